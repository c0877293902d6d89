//! A log of several files is one chain: each stop and failure of a rotation leaves it whole, and what is done to a file
//! shows.

use super::*;
use crate::storage::Errno;
use crate::storage::fault::Faults;

impl Fixture {
    fn rotated_log(&self) -> (EventLog, Anchor, [String; 2]) {
        let log = self.log(Anchor::default());
        (0..3).for_each(|n| log.record(&rotated(n)));
        let first = log.rotate(Generation(1)).unwrap();
        (3..5).for_each(|n| log.record(&rotated(n)));
        let second = log.rotate(Generation(1)).unwrap();
        log.record(&rotated(5));
        let anchor = log.anchor();
        (log, anchor, [first, second])
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_rotated_log_is_one_chain_across_its_files() {
    let f = Fixture::new();
    let (log, anchor, names) = f.rotated_log();
    assert_eq!(names, ["events.jsonl.0000000003", "events.jsonl.0000000006"]);
    assert_eq!(f.names(), ["events.jsonl", &names[0], &names[1]]);
    let found = log.verify(anchor).unwrap();
    assert_eq!(found, Verification { good: 8, anchored: 8, ..Verification::default() });
    let first: serde_json::Value = serde_json::from_str(f.text().lines().next().unwrap()).unwrap();
    assert_eq!(first["detail-type"], "Event Log Continued");
    assert_eq!(first["detail"]["previous-file"], names[1].as_str());
    assert_eq!((&first["sequence"], &first["detail"]["generation"]), (&7.into(), &1.into()));

    // Another process continues where it is, and one that was there before finds the new file.
    f.log(anchor).record(&rotated(6));
    log.record(&rotated(7));
    assert_eq!(log.verify(anchor).unwrap().good, 10);
}

#[test]
fn two_writers_share_one_chain_while_it_is_rotated() {
    let f = Fixture::new();
    let logs = [f.log(Anchor::default()), f.log(Anchor::default())];
    std::thread::scope(|scope| {
        for log in &logs {
            scope.spawn(|| (0..50).for_each(|n| log.record(&rotated(n))));
        }
        scope.spawn(|| {
            for _ in 0..5 {
                // Nothing to close yet, or the other writer has the lock.
                let _ = logs[0].rotate(Generation(1));
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
    });
    let found = logs[0].verify(Anchor::default()).unwrap();
    let files = logs[0].files().unwrap().len() as u64;
    assert_eq!((found.good, found.breaks, found.torn), (99 + files, 0, 0));
}

#[test]
fn an_empty_log_is_not_rotated() {
    let f = Fixture::new();
    assert_eq!(f.log(Anchor::default()).rotate(Generation(1)), Err(Errno::NODATA));
    assert_eq!(f.log(Anchor::default()).verify(Anchor::default()).unwrap().good, 0);
}

#[test]
fn a_torn_end_is_closed_before_the_file_is() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    (0..2).for_each(|n| log.record(&rotated(n)));
    let whole = f.text();
    f.write(&whole[..whole.len() - 30]);
    let log = f.log(Anchor::default());
    let closed = log.rotate(Generation(1)).unwrap();
    assert!(std::fs::read_to_string(f.path(&closed)).unwrap().contains("Event Log Line Torn"));
    let found = log.verify(log.anchor()).unwrap();
    assert!(found.is_good() && found.torn == 1 && !found.torn_end, "{found:?}");
}

#[test]
fn whatever_is_done_to_a_file_is_seen() {
    let f = Fixture::new();
    let (log, anchor, names) = f.rotated_log();
    let [first, second] = names.each_ref().map(|name| f.path(name));
    let current = f.path(FILE_NAME);
    let read = |path| std::fs::read(path).unwrap();
    let good = [&first, &second, &current].map(|path| (path.clone(), read(path)));
    let check = |what: &str, change: &dyn Fn()| {
        change();
        let found = log.verify(anchor).unwrap();
        assert!(!found.is_good(), "{what}: {found:?}");
        for (path, bytes) in &good {
            std::fs::write(path, bytes).unwrap();
        }
        assert!(log.verify(anchor).unwrap().is_good(), "{what}");
    };
    let remove = |path| std::fs::remove_file(path).unwrap();
    let put = |path, bytes: &[u8]| std::fs::write(path, bytes).unwrap();
    check("the oldest is removed", &|| remove(&first));
    check("one between is removed", &|| remove(&second));
    check("the newest is removed", &|| remove(&current));
    check("the closed one takes its place", &|| std::fs::rename(&second, &current).unwrap());
    check("two are swapped", &|| {
        put(&first, &good[1].1);
        put(&second, &good[0].1);
    });
    check("an older one is put in the place of a newer one", &|| put(&second, &good[0].1));
    check("the last line of a closed one is removed", &|| {
        let text = String::from_utf8(read(&second)).unwrap();
        put(
            &second,
            text.split_inclusive('\n')
                .rev()
                .skip(1)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<String>()
                .as_bytes(),
        );
    });
    check("a line is added to a closed one", &|| put(&second, &[&good[1].1[..], b"{}\n"].concat()));
    check("a closed one is emptied", &|| put(&first, b""));
    check("the first line of a file names another one", &|| {
        let text = String::from_utf8(read(&current)).unwrap();
        put(&current, text.replacen("\"previous-sequence\":6", "\"previous-sequence\":3", 1).as_bytes());
    });
    check("the first line of a file is removed", &|| {
        let text = String::from_utf8(read(&current)).unwrap();
        put(&current, text.split_once('\n').unwrap().1.as_bytes());
    });
}

#[test]
fn what_the_chain_does_not_lead_to_is_no_part_of_the_log() {
    let f = Fixture::new();
    let (log, anchor, names) = f.rotated_log();
    std::fs::write(f.path("events.jsonl.0000000004"), b"{}\n").unwrap();
    assert!(log.verify(anchor).unwrap().is_good());
    let files: Vec<String> = log.files().unwrap().into_iter().map(|file| file.name).collect();
    assert_eq!(files, [&names[0], &names[1], FILE_NAME]);
}

#[test]
fn pruned_files_are_explained_by_an_event_and_removed_ones_are_not() {
    let f = Fixture::new();
    let (log, _, names) = f.rotated_log();
    let files = log.prunable(1).unwrap();
    assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), [names[0].as_str()]);
    log.record(&Event::LogPruned { until: 3, files: 1 });
    let anchor = log.anchor();
    log.remove_closed(&files).unwrap();
    let found = log.verify(anchor).unwrap();
    assert!(found.is_good() && found.begins_after == 3 && !found.cut, "{found:?}");
    // Also where the keyring's anchor is in what was pruned.
    assert!(log.verify(Anchor { count: 2, mac: [9; 32] }).unwrap().is_good());
    std::fs::remove_file(f.path(&names[1])).unwrap();
    let found = log.verify(anchor).unwrap();
    assert!(!found.is_good() && found.files_removed && found.begins_after == 6, "{found:?}");
}

#[test]
fn the_changes_of_closed_files_still_prove_a_rollback() {
    let f = Fixture::new();
    let log = f.log(Anchor::default());
    let old = log.record_change(&[rotated(1)], Generation(1), Generation(2), &mut || false).unwrap();
    log.record_change(&[rotated(2)], Generation(2), Generation(3), &mut || false).unwrap();
    log.rotate(Generation(3)).unwrap();
    log.record(&damage());
    assert_eq!(f.log(old).changes_after(old).newest, Some(Generation(3)));
}

/// A rotation that fails, or after whose n-th step nothing is done any more, as after a kill or a power cut: the log is whole,
/// it is continued, and the next rotation is made.
#[test]
fn a_rotation_that_is_stopped_at_any_step_leaves_the_log_whole() {
    let kinds: [fn(u64) -> Faults; 2] = [Faults::stop_after, |n| Faults::fail_once(n, Errno::IO)];
    for (kind, faults) in kinds.into_iter().enumerate() {
        for n in 0.. {
            let f = Fixture::new();
            let log = f.log(Anchor::default());
            (0..3).for_each(|n| log.record(&rotated(n)));
            let anchor = log.anchor();
            let faults = faults(n);
            let done = {
                let _scope = faults.on_this_thread();
                log.rotate(Generation(1))
            };
            let hit = faults.fired();
            // As another process finds it, and this one.
            for log in [&f.log(anchor), &log] {
                log.record(&rotated(4));
                let found = log.verify(anchor).unwrap();
                assert!(found.is_good(), "{kind} {n}: {found:?}");
            }
            let closed = log.rotate(Generation(1)).unwrap();
            let found = log.verify(log.anchor()).unwrap();
            assert!(found.is_good(), "{kind} {n}: {found:?}");
            let closed_files = log.files().unwrap().len() - 1;
            let names = f.names().into_iter().filter(|name| closed_at(name.as_bytes()).is_some());
            assert_eq!(names.count(), closed_files, "{kind} {n}: no name is left over beside {closed}");
            if !hit {
                assert!(done.is_ok());
                break;
            }
        }
    }
}
