//! The chain shows what was done to the log; the limit keeps it small.
use std::sync::Arc;

use super::limit::Limit;
use super::*;
use crate::crypto::keys::EventKey;
use crate::events::limit::REFILL_MS;
use crate::ids::Timestamp;
use crate::ids::{Generation, Ino, KeyId, KeyVersion, PageIndex};

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
        EventLog::new(dir, Arc::clone(&self.key), anchor)
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
        self.record_change(&[], Generation(1), Generation(2))
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
    // What a cut log goes on with says so.
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
fn a_log_that_cannot_be_written_fails_no_one() {
    let f = Fixture::new();
    std::fs::create_dir(f.dir.path().join("events.jsonl")).unwrap();
    let log = f.log(Anchor::default());
    log.record(&rotated(1));
    assert_eq!(log.anchor(), Anchor::default());
    assert!(log.verify(Anchor::default()).is_err());
    std::fs::remove_dir(f.dir.path().join("events.jsonl")).unwrap();
    log.record(&rotated(1));
    assert_eq!(log.anchor().count, 1);
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
fn the_limit_refills_and_survives_a_clock_set_back() {
    let mut limit = Limit::new(Timestamp(0));
    assert_eq!((0..100).filter(|_| limit.pass(Timestamp(10), REFILL_MS)).count(), 50);
    assert_eq!(limit.take_held_back(), 50);
    assert!(limit.pass(Timestamp(1000), REFILL_MS));
    assert!(!limit.pass(Timestamp(1999), REFILL_MS));
    assert!(!limit.pass(Timestamp(-5_000), REFILL_MS));
    assert!(limit.pass(Timestamp(-3_500), REFILL_MS));
}
