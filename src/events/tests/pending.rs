//! A log that can't be written: events wait, are counted where they are too many, and fail no one but a change.

use serde_json::Value;

use super::*;
use crate::events::pending::{PendingEvents, StampedEvent};
use crate::storage::Errno;
use crate::storage::fault::{After, Faults, InjectedFault, Op, Plan};

impl Fixture {
    /// Puts a directory where the log should be.
    fn block(&self) {
        std::fs::create_dir(self.dir.path().join("events.jsonl")).unwrap();
    }

    fn unblock(&self) {
        std::fs::remove_dir(self.dir.path().join("events.jsonl")).unwrap();
    }

    fn events(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn what_can_not_be_written_waits_and_is_written_in_its_order() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    f.block();
    (1..4).for_each(|n| log.record(&rotated(n)));
    log.record_limited(Class::Damage, damage);
    assert!(log.record_change(&[rotated(9)], Generation(1), Generation(2), &mut || false).is_err());
    assert!(log.verify(Anchor::default()).is_err());
    let blocked = Timestamp::now();
    f.unblock();
    std::thread::sleep(std::time::Duration::from_millis(5));
    log.record(&rotated(4));
    let events = f.events();
    let versions: Vec<_> = events.iter().map(|event| event["detail"]["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [2, 3, 4, 5]);
    assert_eq!(events[0]["events-held-back"], 1, "the damage");
    assert!(events[2]["time"].as_str().unwrap() <= blocked.to_string().as_str(), "when it happened");
    assert_eq!(log.anchor().count, 4);
    assert!(log.verify(log.anchor()).unwrap().is_good());
}

#[test]
fn what_waits_is_written_by_and_by_too() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    f.block();
    (0..100).for_each(|n| log.record(&rotated(n)));
    f.unblock();
    log.catch_up();
    assert_eq!(f.events().len(), 100);
    assert!(log.verify(log.anchor()).unwrap().is_good());
}

#[test]
fn what_waits_when_the_log_is_closed_is_written_then() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    f.block();
    log.record(&rotated(1));
    f.unblock();
    drop(log);
    assert_eq!(f.events().len(), 1);
}

#[test]
fn events_that_are_too_many_to_wait_are_counted() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    f.block();
    let before = Timestamp::now().to_string();
    (0..1234).for_each(|n| log.record(&rotated(n)));
    f.unblock();
    log.record(&rotated(9999));
    let events = f.events();
    assert_eq!(events.len(), 1001);
    let last = &events[1000];
    assert_eq!((&last["detail-type"], &last["detail"]["events"]), (&"Events Lost".into(), &235.into()));
    assert_eq!(last["detail"]["outcome"], "failed");
    let [since, until] = ["since", "until"].map(|field| last["detail"][field].as_str().unwrap());
    assert!(before.as_str() <= since && since <= until);
    log.record(&rotated(10_000));
    assert_eq!(f.events().len(), 1002, "they are told of once");
    assert!(log.verify(log.anchor()).unwrap().is_good());
}

#[test]
fn what_is_given_up_is_counted_with_what_was_lost_before() {
    let mut waiting = PendingEvents::default();
    for _ in 0..1010 {
        waiting.push(StampedEvent::now(rotated(1)));
    }
    assert_eq!(waiting.lost(), None, "others come first");
    assert_eq!(waiting.lose_all(), 1010);
    assert!(matches!(waiting.lost(), Some(Event::EventsLost { events: 1010, .. })));
    waiting.lost_reported();
    assert!(waiting.is_empty());
}

/// Whatever fault hits a call of recording an event: once it is over, every event is in the log.
#[test]
fn no_event_is_lost_to_a_fault_of_one_call() {
    let first = {
        let f = Fixture::new();
        let faults = Faults::record();
        let _scope = faults.on_this_thread();
        f.log(Anchor::default()).record(&rotated(1));
        faults.log()
    };
    assert!(first.contains(&Op::Pwrite) && first.contains(&Op::Allocate), "{first:?}");
    for (skip, call) in first.into_iter().enumerate() {
        for fault in InjectedFault::all_of(call).into_iter().filter(|fault| !fault.stops()) {
            let f = Fixture::new();
            let log = f.log(Anchor::default());
            {
                let _scope = fault.at(skip as u64).on_this_thread();
                log.record(&rotated(1));
            }
            log.record(&rotated(2));
            let found = log.verify(log.anchor()).unwrap();
            assert!(found.is_good() && !found.torn_end, "{fault:?} at {call:?}: {found:?}");
            // One that was written but for its line end stands there twice.
            let whole = f
                .text()
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .collect::<Vec<_>>();
            for version in [2, 3] {
                let there = whole.iter().any(|event| event["detail"]["version"] == version);
                assert!(there, "{fault:?} at {call:?}: version {version}");
            }
        }
    }
}

#[test]
fn a_change_on_a_full_disk_has_room_made_for_its_event() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    log.record(&rotated(1));
    let full = Plan { skip: 0, only: Some(Op::Pwrite), errno: Errno::NOSPC, after: After::Stop };
    let mut scope = Some(Faults::new(full).on_this_thread());
    let mut asked = 0;
    let anchor = log.record_change(&[rotated(2)], Generation(1), Generation(2), &mut || {
        asked += 1;
        if asked == 2 {
            scope = None;
        }
        true
    });
    assert_eq!((anchor.unwrap().count, asked), (2, 2));
    let full = Plan { skip: 0, only: Some(Op::Pwrite), errno: Errno::NOSPC, after: After::Stop };
    let _scope = Faults::new(full).on_this_thread();
    let refused = log.record_change(&[rotated(3)], Generation(2), Generation(3), &mut || false);
    assert!(refused.is_err(), "nothing is left to be given up");
}

#[test]
fn a_change_whose_event_is_not_durable_is_refused_and_said_to_have_failed() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    log.record(&rotated(1));
    let before = log.anchor();
    let stop = Plan { skip: 0, only: Some(Op::Fdatasync), errno: Errno::IO, after: After::Stop };
    {
        let _scope = Faults::new(stop).on_this_thread();
        assert_eq!(
            log.record_change(&[rotated(2)], Generation(1), Generation(2), &mut || false),
            Err(Errno::IO)
        );
    }
    assert_eq!(log.durable(), before);
    log.record_durably(&rotated(3));
    let types: Vec<_> = f.events().iter().map(|event| event["detail-type"].to_string()).collect();
    assert_eq!(types[2], "\"Keyring Change Failed\"");
    assert_eq!(log.durable().count, 4);
    assert!(log.verify(log.durable()).unwrap().is_good());
}
