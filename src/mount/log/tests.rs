use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::events::Actor;

fn line(level: Level, held_back: u64) -> Line {
    Line { level, target: String::new(), held_back }
}

#[test]
fn a_line_is_one_line_whatever_a_path_in_it_holds() {
    let shown = line(Level::WARN, 0).shown(b"  WARN /a\nrekeyfs: forged\x1b[2J\n", None);
    assert_eq!(shown, "WARN /a\\nrekeyfs: forged\\u{1b}[2J");
}

#[test]
fn warnings_and_errors_name_their_mount_and_the_lines_held_back_before_them() {
    let mount = Some(" vault=\"/v\" mountpoint=\"/m\"");
    assert_eq!(line(Level::ERROR, 0).shown(b"ERROR x\n", mount), "ERROR x vault=\"/v\" mountpoint=\"/m\"");
    assert_eq!(
        line(Level::WARN, 7).shown(b"WARN x\n", mount),
        "WARN x vault=\"/v\" mountpoint=\"/m\" (and 7 more like it, held back)"
    );
    assert_eq!(line(Level::INFO, 0).shown(b"INFO x\n", mount), "INFO x");
}

#[test]
fn a_notice_says_so_and_names_its_mount() {
    let notice = Line { level: Level::INFO, target: NOTICES.to_owned(), held_back: 0 };
    assert_eq!(notice.shown(b" INFO mounted\n", Some(" vault=\"/v\"")), "NOTICE mounted vault=\"/v\"");
    let severities = [notice, line(Level::INFO, 0), line(Level::ERROR, 0)].map(|line| line.severity());
    assert_eq!(severities, [libc::LOG_NOTICE, libc::LOG_INFO, libc::LOG_ERR]);
}

#[test]
fn requests_with_their_names_are_logged_only_on_demand() {
    assert_eq!(filter("debug"), "warn,rekeyfs::notice=info,debug,fuser=error");
    assert_eq!(filter("fuser=debug"), "warn,rekeyfs::notice=info,fuser=debug");
    assert_eq!(filter("notice"), "warn,rekeyfs::notice=info,,fuser=error");
    assert_eq!(filter(""), filter("notice"));
    for fewer in ["warn", "error", "off", "info,warn"] {
        assert!(!filter(fewer).contains("notice"), "{fewer}");
    }
    assert!(EnvFilter::try_new(filter("notice")).is_ok());
    assert!(EnvFilter::try_new(filter("rekeyfs::vault=debug")).is_ok());
    assert!(EnvFilter::try_new(filter("rekeyfs=loud")).is_err());
}

#[test]
fn warnings_stay_on_where_more_of_one_part_is_asked_for() {
    let seen = |asked: &str| {
        let lines = Lines::default();
        let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone());
        let subscriber = tracing_subscriber::registry().with(layer).with(EnvFilter::new(filter(asked)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("an error");
            tracing::warn!("a warning");
            tracing::info!("more");
        });
        lines.0.lock().len()
    };
    assert_eq!(
        ["", "rekeyfs::request=debug", "a misspelt level", "info", "error", "off"].map(seen),
        [2, 2, 2, 3, 1, 0]
    );
}

/// Held by each test that counts what is held back: there is one count for the process.
static COUNTS: Mutex<()> = Mutex::new(());

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Level, u64)>>>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = io::Sink;

    fn make_writer(&'a self) -> io::Sink {
        io::sink()
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> io::Sink {
        self.0.lock().push((*metadata.level(), take_held_back(metadata)));
        io::sink()
    }
}

#[test]
fn lines_that_repeat_are_held_back_and_counted_for_each_place_and_user() {
    let _alone = COUNTS.lock();
    let seen = Lines::default();
    let layer = tracing_subscriber::fmt::layer().with_writer(seen.clone());
    let subscriber =
        tracing_subscriber::registry().with(layer).with(RepeatLimit).with(EnvFilter::new("debug"));
    let count = |level| seen.0.lock().iter().filter(|(of, _)| *of == level).count();
    tracing::subscriber::with_default(subscriber, || {
        let damaged = || tracing::error!("damaged");
        let flood = |uid| {
            let _acting = Actor::of(uid, 1).act();
            (0..500).for_each(|_| damaged());
        };
        flood(1000);
        assert_eq!(count(Level::ERROR), 50);
        flood(1001);
        assert_eq!(count(Level::ERROR), 100, "one user hides no other's lines");
        tracing::warn!("of another place");
        assert_eq!(count(Level::WARN), 1);
        (0..500).for_each(|_| tracing::debug!("wanted"));
        assert_eq!(count(Level::DEBUG), 500);
    });
    let told: u64 = seen.0.lock().iter().map(|(_, held_back)| held_back).sum();
    assert_eq!(told + take_all_held_back(), 900);
}

#[test]
fn lines_about_one_file_hide_none_about_another() {
    let _alone = COUNTS.lock();
    let seen = Lines::default();
    let layer = tracing_subscriber::fmt::layer().with_writer(seen.clone());
    let subscriber =
        tracing_subscriber::registry().with(layer).with(RepeatLimit).with(EnvFilter::new("debug"));
    tracing::subscriber::with_default(subscriber, || {
        let damaged = |ino: u64| tracing::error!(ino, "damaged");
        (0..500).for_each(|_| damaged(1));
        assert_eq!(seen.0.lock().len(), 5);
        (2..7).for_each(damaged);
        let told: Vec<u64> = seen.0.lock().iter().map(|(_, held_back)| *held_back).collect();
        assert_eq!(told, [0, 0, 0, 0, 0, 495, 0, 0, 0, 0]);
        (10..500).for_each(damaged);
        assert_eq!(seen.0.lock().len(), 50, "of all files together");
        take_all_held_back();
    });
}
