//! The chain shows what was done to the log; the limit keeps it small.
mod pending;
mod rotate;

use std::sync::Arc;

use super::rate_limit::{RateLimits, TokenBucket};
use proptest::prelude::*;

use super::*;
use crate::crypto::keys::EventKey;
use crate::events::rate_limit::REFILL_MS;
use crate::ids::Timestamp;
use crate::ids::{Generation, Ino, KeyId, KeyVersion, PageIndex};
use crate::storage::RoCompat;
use crate::sys::testing::cases;

struct Fixture {
    dir: tempfile::TempDir,
    key: Arc<EventKey>,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), key: Arc::new(EventKey::from_bytes(&[7; 32])) }
    }

    fn log(&self, anchor: Anchor) -> EventLog {
        let dir = std::fs::File::open(self.dir.path()).unwrap().into();
        EventLog::new(dir, Arc::clone(&self.key), anchor, RoCompat::default().writable().ok())
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("events.jsonl")).unwrap()
    }

    fn write(&self, text: &str) {
        std::fs::write(self.dir.path().join("events.jsonl"), text).unwrap();
    }
}

fn rotated(n: u32) -> Event {
    Event::KeyRotated { key: KeyId::from_bytes([1; 16]), old: KeyVersion(n), new: KeyVersion(n + 1) }
}

fn damage() -> Event {
    let file = FileRef { ino: Ino(9), file: None, path: Some("tree/x".into()) };
    Event::Damage { file, part: "page", page: Some(PageIndex(3)), backing: None }
}

impl EventLog {
    /// The end of the log as anchor, durable.
    fn anchor(&self) -> Anchor {
        self.record_change(&[], Generation(1), Generation(2), &mut || false).unwrap()
    }
}

#[test]
fn a_rotation_has_the_shape_of_the_eventbridge_event() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    log.record(&rotated(1));
    let event: serde_json::Value = serde_json::from_str(f.text().trim_end()).unwrap();
    assert_eq!(event["detail-type"], "KMS CMK Rotation");
    assert_eq!(event["detail"]["key-id"], "01010101-0101-0101-0101-010101010101");
    assert_eq!(
        event["resources"][0],
        "arn:rekeyfs:kms:local:000000000000:key/01010101-0101-0101-0101-010101010101"
    );
    for field in ["version", "account", "time", "region", "source", "sequence", "mac"] {
        assert!(!event[field].is_null(), "{field}");
    }
}

#[test]
fn an_untouched_log_verifies_across_openings() {
    let f = Fixture::new();
    let mut anchor = Anchor::default();
    for round in 0..3 {
        let log = f.log(anchor);
        log.record(&rotated(round));
        log.record_limited(Class::Damage, damage);
        anchor = log.anchor();
    }
    assert_eq!(anchor.count, 6);
    let found = f.log(anchor).verify(anchor).unwrap();
    assert_eq!(found, Verification { good: 6, anchored: 6, ..Verification::default() });
}

#[test]
fn two_writers_share_one_chain() {
    let f = Fixture::new();
    let logs = [f.log(Anchor::default()), f.log(Anchor::default())];
    std::thread::scope(|scope| {
        for log in &logs {
            scope.spawn(|| (0..50).for_each(|n| log.record(&rotated(n))));
        }
    });
    let found = logs[0].verify(Anchor::default()).unwrap();
    assert_eq!((found.good, found.breaks, found.torn), (100, 0, 0));
}

#[test]
fn each_change_of_the_log_shows() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    (0..4).for_each(|n| log.record(&rotated(n)));
    let anchor = log.anchor();
    let good = f.text();
    let lines: Vec<_> = good.lines().collect();
    let changed = good.replacen("\"version\":3", "\"version\":4", 1);
    assert_ne!(changed, good);
    let swapped = [lines[0], lines[2], lines[1], lines[3], ""].join("\n");
    let removed = [lines[0], lines[2], lines[3], ""].join("\n");
    let doubled = [lines[0], lines[0], lines[1], lines[2], lines[3], ""].join("\n");
    for bad in [changed, swapped, removed, doubled] {
        f.write(&bad);
        assert!(log.verify(anchor).unwrap().breaks > 0, "{bad}");
    }
    f.write(&[lines[0], lines[1], lines[2], ""].join("\n"));
    let found = log.verify(anchor).unwrap();
    assert_eq!((found.breaks, found.cut), (0, true));
    // The line that continues a truncated log says so.
    let log = f.log(anchor);
    log.record(&rotated(9));
    assert!(f.text().contains("\"detail-type\":\"Event Log Cut\""));
    std::fs::remove_file(f.dir.path().join("events.jsonl")).unwrap();
    assert!(log.verify(anchor).unwrap().cut);
}

#[test]
fn a_torn_last_line_is_closed_and_the_chain_goes_on() {
    let f = Fixture::new();
    f.log(Anchor::default()).record(&rotated(1));
    f.log(Anchor::default()).record(&rotated(2));
    let good = f.text();
    let first = good.lines().next().unwrap().len() + 1;
    for cut in first + 1..good.len() {
        f.write(&good[..cut]);
        let log = f.log(Anchor::default());
        log.record(&rotated(3));
        let found = log.verify(Anchor::default()).unwrap();
        let whole = cut == good.len() - 1;
        // The event that says so is one more.
        let expected = if whole { (3, 0, 0) } else { (3, 1, 0) };
        assert_eq!((found.good, found.torn, found.breaks), expected, "cut at {cut}");
        assert!(f.text().ends_with("\"}\n"));
    }
}

#[test]
fn damage_is_rate_limited_and_counted() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    (0..1000).for_each(|_| log.record_limited(Class::Damage, damage));
    let lines = f.text().lines().count();
    assert!((50..60).contains(&lines), "{lines}");
    log.record(&rotated(1));
    assert_eq!(log.verify(log.anchor()).unwrap().breaks, 0);
    assert!(f.text().contains("\"events-held-back\":"), "the next line says how many");
}

#[test]
fn one_users_flood_hides_no_one_elses_event() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    let as_user = |uid, events: usize| {
        let _acting = Actor::of(uid, 1).act();
        (0..events).for_each(|_| log.record_limited(Class::Damage, damage));
    };
    as_user(1000, 1000);
    as_user(1001, 1);
    let of = |uid: u32| f.text().lines().filter(|line| line.contains(&format!("\"uid\":{uid},"))).count();
    assert!((50..60).contains(&of(1000)), "{}", of(1000));
    assert_eq!(of(1001), 1);
}

#[test]
fn a_flood_of_one_request_does_not_hide_the_first_of_another() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    let _acting = Actor::of(1000, 1).act();
    let key = KeyId::random();
    let ask = |operation, key, refused: bool| {
        let code = refused.then(|| "AccessDeniedException".to_owned());
        let kind = RequestKind { operation, key, refused };
        log.record_request(kind, || Event::KmsRequest { operation, key, version: None, code: code.clone() });
    };
    let of = |operation: &str| f.text().lines().filter(|line| line.contains(operation)).count();
    (0..1000).for_each(|_| ask("GenerateRandom", None, false));
    let flood = of("GenerateRandom");
    assert!((50..60).contains(&flood), "{flood}");
    ask("Decrypt", Some(key), true);
    ask("Decrypt", Some(key), false);
    assert_eq!(of("Decrypt"), 2);
    (0..100).for_each(|_| ask("Decrypt", Some(key), false));
    assert!(of("Decrypt") < 10, "the first alone");
    // Also while a change of keys has the log.
    let (begun, ends) = (std::sync::Barrier::new(2), std::time::Duration::from_millis(100));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let state = log.state.lock();
            begun.wait();
            std::thread::sleep(ends);
            drop(state);
        });
        begun.wait();
        ask("Encrypt", Some(key), false);
    });
    assert_eq!(of("Encrypt"), 1);
    assert_eq!(log.verify(log.anchor()).unwrap().breaks, 0);
}

#[test]
fn limits_of_more_users_than_are_kept_are_shared_and_come_free_again() {
    let mut limits = RateLimits::default();
    let users = 0..5000u32;
    let passed = |limits: &mut RateLimits, at| {
        users
            .clone()
            .map(|uid| (0..60).filter(|_| limits.pass(uid, Timestamp(at), REFILL_MS)).count())
            .sum::<usize>()
    };
    assert_eq!(passed(&mut limits, 0), 1024 * 50 + 50);
    assert_eq!(limits.take_held_back(), 5000 * 60 - (1024 * 50 + 50));
    // A minute later all of them are at rest, and others have their place.
    assert_eq!((0..60).filter(|_| limits.pass(9999, Timestamp(60_000), REFILL_MS)).count(), 50);
}

#[test]
fn a_forged_line_is_followed_in_nothing() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    let change = |log: &EventLog, to: u64| {
        log.record_change(&[rotated(to as u32)], Generation(to - 1), Generation(to), &mut || false).unwrap()
    };
    let anchor = change(&log, 2);
    let good = f.text();
    // As someone makes it who can write the vault: a high sequence number, a generation that no keyring reaches, some MAC.
    let last = good.lines().last().unwrap();
    let forged = last
        .replace("\"sequence\":1", &format!("\"sequence\":{}", u64::MAX))
        .replace("\"generation\":2", &format!("\"generation\":{}", u64::MAX));
    assert_ne!(forged, last);
    for forged in
        [format!("{forged}\n"), forged.clone(), format!("{forged}\n{forged}\n"), format!("torn\n{forged}\n")]
    {
        f.write(&format!("{good}{forged}"));
        let log = f.log(anchor);
        assert_eq!(log.changes_after(Anchor::default()).newest, Some(Generation(2)));
        let anchor = change(&log, 3);
        let text = f.text();
        assert!(text.contains("\"detail-type\":\"Event Log Lines Forged\""), "{text}");
        assert!(!text.contains("Keyring Changes Lost") && !text.contains("Event Log Cut"), "{text}");
        let events: Vec<serde_json::Value> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(events.last().unwrap()["sequence"], 3);
        let found = log.verify(anchor).unwrap();
        let whole = forged.lines().filter(|line| line.starts_with('{')).count() as u64;
        assert_eq!((found.good, found.cut, found.first_break), (3, false, Some(2)), "{text}");
        assert!(found.breaks >= whole && found.broken_lines.len() as u64 == found.breaks);
        // And the next one who opens it continues from there.
        let next = f.log(anchor);
        assert_eq!(next.changes_after(Anchor::default()).newest, Some(Generation(3)));
        next.record(&rotated(3));
        assert_eq!(next.verify(anchor).unwrap().good, 4);
    }
}

#[test]
fn the_limit_refills_and_survives_a_clock_set_back() {
    let mut limit = TokenBucket::new(Timestamp(0));
    assert_eq!((0..100).filter(|_| limit.pass(Timestamp(10), REFILL_MS)).count(), 50);
    assert_eq!(limit.take_held_back(), 50);
    assert!(limit.pass(Timestamp(1000), REFILL_MS));
    assert!(!limit.pass(Timestamp(1999), REFILL_MS));
    assert!(!limit.pass(Timestamp(-5_000), REFILL_MS));
    assert!(limit.pass(Timestamp(-3_500), REFILL_MS));
}

#[test]
fn an_unreadable_line_is_torn_only_if_the_next_event_says_so() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    (0..3).for_each(|n| log.record(&rotated(n)));
    let good = f.text();
    let lines: Vec<_> = good.lines().collect();
    for junk in ["", "{}", " ", "torn", "{\"mac\":\"00\"}"] {
        f.write(&[lines[0], junk, lines[1], lines[2], ""].join("\n"));
        let found = log.verify(Anchor::default()).unwrap();
        assert_eq!((found.breaks, found.first_break), (1, Some(2)), "{junk:?}");
    }
    // Behind the last line anything may be a crash's; it is said, and closed by the next event.
    f.write(&format!("{good}torn\nagain"));
    assert!(log.verify(Anchor::default()).unwrap().torn_end);
    let log = f.log(Anchor::default());
    log.record(&rotated(9));
    let found = log.verify(Anchor::default()).unwrap();
    assert_eq!((found.good, found.torn, found.torn_end, found.breaks), (5, 1, false, 0));
    // The event that closes it vouches for these bytes alone.
    f.write(&f.text().replace("torn\nagain", "torn\nother"));
    assert_eq!(log.verify(Anchor::default()).unwrap().first_break, Some(4));
}

#[test]
fn a_line_that_is_longer_than_an_event_is_a_break_and_takes_no_memory() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    log.record(&rotated(1));
    let path = f.dir.path().join("events.jsonl");
    // A hole, which takes no room, and would take all memory, and hours.
    std::fs::File::options().append(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let found = log.verify(Anchor::default()).unwrap();
    assert_eq!((found.good, found.breaks, found.first_break, found.torn_end), (1, 1, Some(2), false));
    // The log continues behind it, and nothing vouches for it.
    let log = f.log(Anchor::default());
    log.record(&rotated(2));
    let found = log.verify(Anchor::default()).unwrap();
    assert_eq!((found.torn, found.first_break, &found.strange_lines[..1]), (0, Some(2), &[2][..]));
}

#[test]
fn an_event_without_a_mac_is_named_wherever_it_stands() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    (0..3).for_each(|n| log.record(&rotated(n)));
    let good = f.text();
    let lines: Vec<_> = good.lines().collect();
    let forged = "{\"detail-type\":\"KMS CMK Deletion\",\"detail\":{\"uid\":0}}";
    let strange = |text: &str| {
        f.write(text);
        f.log(Anchor::default()).verify(Anchor::default()).unwrap().strange_lines
    };
    assert_eq!(strange(&[lines[0], "torn", forged, forged, lines[1], lines[2], ""].join("\n")), [2, 3, 4]);
    assert_eq!(strange(&format!("{good}{forged}\n")), [4]);
    // Said by the next event to be what a crash left: no event of the vault all the same.
    f.log(Anchor::default()).record(&rotated(9));
    let found = log.verify(Anchor::default()).unwrap();
    assert_eq!((found.torn, found.breaks, found.strange_lines), (1, 0, vec![4]));
}

#[test]
fn an_event_is_in_the_name_of_who_asked() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    {
        let _acting = Actor::of(77, 88).act();
        log.record(&rotated(1));
    }
    log.record(&rotated(2));
    let events: Vec<serde_json::Value> =
        f.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&events[0]["detail"]["uid"], &events[0]["detail"]["pid"]), (&77.into(), &88.into()));
    assert_eq!(events[1]["detail"]["pid"], std::process::id());
}

/// Something that somebody does to the log.
#[derive(Clone, Debug)]
enum Tampering {
    Edit { line: usize, at: usize, byte: u8 },
    Swap(usize, usize),
    Remove(usize),
    Double(usize),
    Insert(usize, String),
    Truncate(usize),
}

fn tampering(lines: usize) -> impl Strategy<Value = Tampering> {
    let line = || 0..lines;
    prop_oneof![
        (line(), any::<usize>(), any::<u8>()).prop_map(|(line, at, byte)| Tampering::Edit { line, at, byte }),
        (line(), line()).prop_map(|(a, b)| Tampering::Swap(a, b)),
        line().prop_map(Tampering::Remove),
        line().prop_map(Tampering::Double),
        (line(), "[ -~]{0,40}").prop_map(|(line, text)| Tampering::Insert(line, text)),
        any::<usize>().prop_map(Tampering::Truncate),
    ]
}

proptest! {
    #![proptest_config(cases(300))]
    #[test]
    fn whatever_is_done_before_the_anchor_is_seen(done in tampering(8)) {
        let f = Fixture::new();
        let log = f.log(Anchor::default());
        (0..8).for_each(|n| log.record(&rotated(n)));
        let anchor = log.anchor();
        log.record(&rotated(9));
        let good = f.text().into_bytes();
        let mut lines: Vec<Vec<u8>> = good.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        let anchored: usize = lines[..8].iter().map(Vec::len).sum();
        match done {
            Tampering::Edit { line, at, byte } => {
                let at = at % lines[line].len();
                lines[line][at] = byte;
            }
            Tampering::Swap(a, b) => lines.swap(a, b),
            Tampering::Remove(line) => drop(lines.remove(line)),
            Tampering::Double(line) => lines.insert(line, lines[line].clone()),
            Tampering::Insert(line, text) => lines.insert(line, format!("{text}\n").into_bytes()),
            Tampering::Truncate(at) => {
                lines = vec![good[..at % (anchored - 1)].to_vec()];
            }
        }
        let bad = lines.concat();
        let path = f.dir.path().join("events.jsonl");
        std::fs::write(&path, &bad).unwrap();
        let found = log.verify(anchor).unwrap();
        prop_assert_eq!(found.is_good(), bad == good, "{:?}", found);
        prop_assert!(found.first_break.is_none_or(|line| line <= 10));
    }

    #[test]
    fn any_bytes_are_checked_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let f = Fixture::new();
        std::fs::write(f.dir.path().join("events.jsonl"), &bytes).unwrap();
        let log = f.log(Anchor::default());
        prop_assert_eq!(log.verify(Anchor::default()).unwrap().good, 0);
        log.record(&rotated(1));
        prop_assert!(log.verify(Anchor::default()).unwrap().good >= 1);
    }
}
