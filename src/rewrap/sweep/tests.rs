//! A sweep meets every file once and leaves nothing stale.
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::batch_size::{LEAST, MOST, TAKES, most, next};
use super::{SweepOptions, Tally, sweep};
use crate::crypto::suite::Suite;
use crate::ids::{AliasName, Ino, PlainOffset};
use crate::keyring::{KeyRef, Staying};
use crate::monitor::{Cancellation, Monitor, Progress};
use crate::storage::fault::{Faults, Op};
use crate::vault::testing::{TestVault, me};
use crate::vault::{Destination, Measure, Privileges, SetAttr, SyncScope, XattrMode};

fn rotated() -> (TestVault, u64) {
    let test = TestVault::with_suite(Suite::Aes256Gcm);
    let dir = test.vault.mkdir(Ino::ROOT, b"d", 0o755, &me()).unwrap().ino;
    for i in 0..300 {
        test.written_in(if i % 2 == 0 { dir } else { Ino::ROOT }, format!("f{i}").as_bytes());
    }
    test.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
    (test, 300)
}

#[test]
fn every_stale_file_is_rewrapped_once() {
    let (test, files) = rotated();
    let mut seen = 0;
    let mut receiver = |p: Progress| seen = p.seen;
    let mut monitor = Monitor::new(&Cancellation::default(), &mut receiver);
    let report = sweep(&test.vault, SweepOptions::default(), &mut monitor).unwrap();
    assert_eq!((report.files, report.rewrapped, report.failed, seen), (files, files, 0, files));
    let current = test.keys().current(&AliasName::default_alias()).unwrap();
    assert_eq!(report.census, [(current, files)]);
    assert_eq!(test.vault.census(), [(current, files)]);
    let again = sweep(&test.vault, SweepOptions::default(), &mut Monitor::unattended()).unwrap();
    assert_eq!((again.files, again.rewrapped, again.skipped), (files, 0, 0));
}

/// A directory with few files and one with many below it each counted as half.
#[test]
fn the_total_is_right_however_the_files_lie() {
    let test = TestVault::new();
    let mkdir = |at, name: &str| test.vault.mkdir(at, name.as_bytes(), 0o755, &me()).unwrap().ino;
    let (few, deep) = (mkdir(Ino::ROOT, "few"), mkdir(mkdir(Ino::ROOT, "a"), "deep"));
    let (lower, empty) = (mkdir(deep, "lower"), mkdir(few, "empty"));
    let mut files = 0;
    for (dir, of_dir) in [(Ino::ROOT, 2), (few, 1), (lower, 1100), (empty, 0), (mkdir(deep, "z"), 40)] {
        for i in 0..of_dir {
            test.written_in(dir, format!("f{i}").as_bytes());
            files += 1;
        }
    }
    test.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
    let mut totals = Vec::new();
    let mut receiver = |progress: Progress| totals.push(progress.total);
    let mut monitor = Monitor::new(&Cancellation::default(), &mut receiver);
    let report = sweep(&test.vault, SweepOptions::default(), &mut monitor).unwrap();
    assert_eq!((report.files, report.rewrapped), (files, files));
    assert!(totals.len() > 2 && totals.last() == Some(&Some(files)), "{totals:?}");
    assert!(totals.iter().flatten().all(|total| *total == files), "{totals:?}");
    let top = SweepOptions { top: Some(few), ..SweepOptions::default() };
    let (mut of_few, cancelled) = (None, Cancellation::default());
    cancelled.cancel();
    let below =
        |top, cancelled: &Cancellation| test.vault.files_below(top, Measure::Files, cancelled).unwrap();
    assert_eq!(below(few, &Cancellation::default()).map(|all| all.files), Some(1));
    assert_eq!(below(Ino::ROOT, &cancelled), None);
    let mut receiver = |progress: Progress| of_few = progress.total;
    sweep(&test.vault, top, &mut Monitor::new(&Cancellation::default(), &mut receiver)).unwrap();
    assert!(of_few.is_none_or(|total| total == 1), "{of_few:?}");
}

/// Both names were in one batch, and the second was called failed.
#[test]
fn a_file_with_two_names_is_one_file() {
    let (test, files) = rotated();
    let ino = test.vault.lookup(Ino::ROOT, b"f1").unwrap().ino;
    test.vault.link(ino, Ino::ROOT, b"another").unwrap();
    let report = sweep(&test.vault, SweepOptions::default(), &mut Monitor::unattended()).unwrap();
    assert_eq!((report.files, report.rewrapped, report.failed), (files, files, 0));
}

/// Each truncate below the floor seals another header, which overtakes a re-wrap that is under way.
#[test]
fn a_file_that_is_truncated_all_the_while_is_not_left_out() {
    let test = TestVault::new();
    test.written("f");
    let (ino, handle) = test.open("f").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                test.vault.write(ino, PlainOffset(0), &[1; 40_000], Privileges::Keep).unwrap();
                test.vault.fsync(ino, SyncScope::All).unwrap();
                for size in [30_000, 20_000, 10_000] {
                    let cut = SetAttr { size: Some(size), ..SetAttr::default() };
                    test.vault.setattr(ino, &cut, &me()).unwrap();
                }
            }
        });
        let left: Vec<_> = (0..100)
            .map(|_| {
                test.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
                let report = sweep(&test.vault, SweepOptions::default(), &mut Monitor::unattended()).unwrap();
                (report.failed, report.skipped)
            })
            .filter(|left| *left != (0, 0))
            .collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(left, []);
    });
    test.vault.release(ino, handle).unwrap();
}

#[test]
fn a_stopped_sweep_goes_on_where_it_was() {
    let (test, files) = rotated();
    let cancellation = Cancellation::default();
    let first = sweep(
        &test.vault,
        SweepOptions { max_rate: NonZeroU32::new(100), ..SweepOptions::default() },
        &mut Monitor::new(&cancellation, &mut |_| cancellation.cancel()),
    )
    .unwrap();
    assert!(first.stopped && first.files < files);
    let second = sweep(&test.vault, SweepOptions::default(), &mut Monitor::unattended()).unwrap();
    assert_eq!(first.rewrapped + second.rewrapped, files);
}

/// What is removed while a sweep goes on was called left out.
#[test]
fn what_is_gone_since_it_was_met_is_no_failure() {
    let (test, _) = rotated();
    let v = &test.vault;
    let files = [b"f1", b"f3", b"f5"].map(|name| v.lookup(Ino::ROOT, name).unwrap().ino);
    v.unlink(Ino::ROOT, b"f1").unwrap();
    v.unlink(Ino::ROOT, b"f3").unwrap();
    v.forget(files[1], 2);
    let report = Tally::of(v, &Destination::Followed, &files).0.report;
    // One is still there without a name, as an open file would be.
    assert_eq!((report.files, report.rewrapped, report.skipped, report.failed), (3, 2, 0, 0));
}

#[test]
fn batches_grow_where_they_are_quick_and_shrink_where_they_are_slow() {
    let took = |ms| Duration::from_millis(ms);
    assert_eq!(next(256, took(10), MOST), 512);
    assert_eq!(next(MOST, took(10), MOST), MOST);
    assert_eq!(next(512, *TAKES.start(), MOST), 512);
    assert_eq!(next(512, *TAKES.end(), MOST), 512);
    assert_eq!(next(512, took(2_001), MOST), 256);
    // On a disk whose syncs take seconds it shrank to one file a sync.
    assert_eq!(next(LEAST, took(60_000), MOST), LEAST);
    assert_eq!(next(5, took(60_000), 7), 7);
}

#[test]
fn no_batch_is_more_than_a_second_of_a_limited_rate() {
    let rate = |rate| NonZeroU32::new(rate);
    assert_eq!(most(960, rate(3)), 3);
    assert_eq!(most(960, rate(u32::MAX)), most(960, None));
    assert_eq!([0, 64, 960, usize::MAX].map(|fds| most(fds, None)), [1, 16, 240, MOST]);
}

/// A file that was emptied or removed, not durably, needed no re-wrap, and a power cut brought it back with its old
/// header.
#[test]
fn what_a_sweep_or_count_has_not_met_is_durably_gone() {
    let (test, files) = rotated();
    test.vault.unlink(Ino::ROOT, b"f1").unwrap();
    let synced_last = |walk: &dyn Fn()| {
        let faults = Faults::record();
        {
            let _scope = faults.on_this_thread();
            walk();
        }
        faults.log().last() == Some(&Op::Syncfs)
    };
    assert!(synced_last(&|| {
        let report = sweep(&test.vault, SweepOptions::default(), &mut Monitor::unattended()).unwrap();
        assert_eq!(report.rewrapped, files - 1);
    }));
    assert!(synced_last(&|| {
        assert_eq!(
            test.vault.count_key_references(&mut Monitor::unattended()).unwrap().of(|_| true),
            files - 1
        );
    }));
}

fn second_alias(test: &TestVault, name: &str) -> AliasName {
    let alias: AliasName = name.parse().unwrap();
    test.keys().create_key_for_test(alias.clone());
    alias
}

fn sweep_to(test: &TestVault, to: Destination, top: Option<Ino>) -> u64 {
    let options = SweepOptions { to, top, ..SweepOptions::default() };
    let report = sweep(&test.vault, options, &mut Monitor::unattended()).unwrap();
    assert_eq!((report.failed, report.skipped, report.left_out), (0, 0, 0));
    report.rewrapped
}

/// On purpose: a file, what is below a directory, or all; and they follow the new alias from then on.
#[test]
fn files_are_moved_to_an_alias_of_choice_and_follow_it() {
    let test = TestVault::new();
    let v = &test.vault;
    let dir = v.mkdir(Ino::ROOT, b"d", 0o755, &me()).unwrap().ino;
    let below = v.mkdir(dir, b"e", 0o755, &me()).unwrap().ino;
    let files = [
        test.written_in(Ino::ROOT, b"f"),
        test.written_in(Ino::ROOT, b"g"),
        test.written_in(dir, b"h"),
        test.written_in(below, b"i"),
    ];
    let (second, third) = (second_alias(&test, "alias/second"), second_alias(&test, "alias/third"));
    let keys = |ino: &Ino| v.file_header_info(*ino).unwrap().unwrap().backing.key;
    let key = |alias: &AliasName| test.keys().current(alias).unwrap().key;
    let default = key(&AliasName::default_alias());
    let to = |alias: &AliasName| Destination::Alias(alias.clone());

    assert_eq!(sweep_to(&test, to(&second), Some(files[0])), 1);
    assert_eq!(files.each_ref().map(keys), [key(&second), default, default, default]);
    assert_eq!(sweep_to(&test, to(&third), Some(dir)), 2);
    assert_eq!(files.each_ref().map(keys), [key(&second), default, key(&third), key(&third)]);
    assert!(v.census_counted().is_none(), "a part of the tree is not a count of it");
    // They stay there, and are where they are to be.
    assert_eq!(sweep_to(&test, Destination::Followed, None), 0);
    assert_eq!(sweep_to(&test, to(&third), Some(dir)), 0);
    test.keys().rotate(&KeyRef::Alias(third.clone())).unwrap();
    assert_eq!(sweep_to(&test, Destination::Followed, None), 2);
    assert_eq!(sweep_to(&test, to(&second), None), 3);
    assert_eq!(files.each_ref().map(keys), [key(&second); 4]);
    let none = Destination::Alias("alias/none".parse().unwrap());
    let options = SweepOptions { to: none, ..SweepOptions::default() };
    let report = sweep(v, options, &mut Monitor::unattended()).unwrap();
    assert_eq!((report.rewrapped, report.skipped), (0, 4));
}

/// Files without a tag, where two aliases point at their key: their directory's is theirs, if the owner says so and it
/// points at that key. No key changes.
#[test]
fn files_of_before_are_adopted_by_their_directory_on_the_owners_word_alone() {
    let test = TestVault::new();
    let v = &test.vault;
    let default = AliasName::default_alias();
    let key = test.keys().current(&default).unwrap().key;
    let call = |alias: &str| crate::kms::Call::CreateAlias {
        alias_name: alias.to_owned(),
        target_key_id: key.to_string(),
    };
    let (home, elsewhere) = (b"home".as_slice(), b"elsewhere".as_slice());
    let dirs = [home, elsewhere].map(|name| v.mkdir(Ino::ROOT, name, 0o755, &me()).unwrap().ino);
    let files = dirs.map(|dir| test.written_in(dir, b"f"));
    let linked = test.written_in(dirs[0], b"linked");
    v.link(linked, dirs[1], b"linked too").unwrap();
    for ino in files.into_iter().chain([linked]) {
        v.untag_for_test(ino);
    }
    // One alias points at their key: they are adopted as they are used.
    assert_eq!(v.census_of_belonging().0, 3);
    test.keys().call(&call("alias/home")).unwrap();
    second_alias(&test, "alias/elsewhere");
    for (dir, alias) in dirs.iter().zip(["alias/home", "alias/elsewhere"]) {
        v.setxattr(*dir, b"user.rekeyfs.alias", alias.as_bytes(), XattrMode::Set).unwrap();
    }
    assert_eq!(v.census_of_belonging(), (0, Staying { undecided: 3, ..Staying::default() }));
    assert_eq!(sweep_to(&test, Destination::Followed, None), 0);
    assert_eq!(sweep_to(&test, Destination::Adopted, None), 1);
    // Its directory's alias points at another key; or it has names in several.
    assert_eq!(v.census_of_belonging(), (0, Staying { undecided: 2, ..Staying::default() }));
    assert_eq!(v.getxattr(files[0], b"user.rekeyfs.alias").unwrap(), b"alias/home");
    let backings = files.map(|ino| v.file_header_info(ino).unwrap().unwrap().backing.key);
    assert_eq!(backings, [key; 2]);
    // The owner says where they belong.
    assert_eq!(sweep_to(&test, Destination::Alias("alias/home".parse().unwrap()), None), 2);
    assert_eq!(v.census_of_belonging(), (0, Staying::default()));
}

#[test]
fn files_without_a_tag_are_adopted_where_one_alias_points_at_their_key() {
    let test = TestVault::new();
    let v = &test.vault;
    let file = test.written_in(Ino::ROOT, b"f");
    v.untag_for_test(file);
    assert_eq!(v.file_header_info(file).unwrap().unwrap().tag, None);
    assert_eq!(
        v.getxattr(file, b"user.rekeyfs.alias").unwrap(),
        b"alias/default",
        "by the only one there is"
    );
    assert_eq!(sweep_to(&test, Destination::Followed, None), 1);
    let (alias, _) = test.keys().alias_id(&AliasName::default_alias()).unwrap();
    let info = v.file_header_info(file).unwrap().unwrap();
    assert_eq!(info.tag.unwrap().follows, Some(alias));
    assert!(!info.stale);
    // From then on it is known: another alias of the key changes nothing, and it follows its own.
    let second = test.keys().current(&second_alias(&test, "alias/second")).unwrap();
    let call = |alias: &str, key: String| crate::kms::Call::UpdateAlias {
        alias_name: alias.to_owned(),
        target_key_id: key,
    };
    test.keys().call(&call("alias/second", info.backing.key.to_string())).unwrap();
    assert_eq!(sweep_to(&test, Destination::Followed, None), 0);
    test.keys().call(&call("alias/default", second.key.to_string())).unwrap();
    assert_eq!(sweep_to(&test, Destination::Followed, None), 1);
    assert_eq!(v.file_header_info(file).unwrap().unwrap().backing, second);
}

/// Files of before follow the alias that was alone at their key, though it was pointed elsewhere before anything gave
/// them its tag; also by a manual rotation, which leaves another alias at the old key; and after a remount.
#[test]
fn files_without_a_tag_follow_the_alias_that_has_left_their_key() {
    let mut test = TestVault::new();
    let names = [b"swept".as_slice(), b"used", b"later"];
    let files = names.map(|name| test.written_in(Ino::ROOT, name));
    files.iter().for_each(|ino| test.vault.untag_for_test(*ino));
    let default = AliasName::default_alias();
    let (alias, old) = test.keys().alias_id(&default).unwrap();
    let renewal = test.keys().replace_key(&default).unwrap();
    assert_eq!(test.keys().current(&renewal.dated).unwrap().key, old);
    assert_eq!(test.vault.census_of_belonging(), (3, Staying::default()), "all are stale");
    test.reopen_keyring();
    let file = |name: &[u8]| test.vault.lookup(Ino::ROOT, name).unwrap().ino;
    let info = |name: &[u8]| test.vault.file_header_info(file(name)).unwrap().unwrap();
    let moved = |name: &[u8]| (info(name).backing.key, info(name).tag.map(|tag| tag.follows));
    for name in names {
        assert_eq!(moved(name), (old, None));
        assert_eq!(test.vault.getxattr(file(name), b"user.rekeyfs.alias").unwrap(), b"alias/default");
    }
    let options = SweepOptions { top: Some(file(b"swept")), ..SweepOptions::default() };
    assert_eq!(sweep(&test.vault, options, &mut Monitor::unattended()).unwrap().rewrapped, 1);
    assert_eq!(moved(b"swept"), (renewal.new, Some(Some(alias))));
    test.vault.rewrap_batch(&[file(b"used")]);
    assert_eq!(moved(b"used"), (renewal.new, Some(Some(alias))));
    // Pointed elsewhere twice before the last is looked at; the dated alias goes its own way.
    let third = test.keys().replace_key(&default).unwrap().new;
    let call = crate::kms::Call::UpdateAlias {
        alias_name: renewal.dated.to_string(),
        target_key_id: renewal.new.to_string(),
    };
    test.keys().call(&call).unwrap();
    assert_eq!(sweep_to(&test, Destination::Followed, None), 3);
    for name in names {
        assert_eq!(moved(name), (third, Some(Some(alias))));
    }
}

/// Of one that is deleted they are no more, though one of its name is made again; and where one of two leaves, they
/// become neither the one's nor the other's.
#[test]
fn files_without_a_tag_pass_to_no_alias_that_was_not_alone_at_their_key() {
    let test = TestVault::new();
    let v = &test.vault;
    let second = second_alias(&test, "alias/second");
    let dir = v.mkdir(Ino::ROOT, b"d", 0o755, &me()).unwrap().ino;
    v.setxattr(dir, b"user.rekeyfs.alias", b"alias/second", XattrMode::Set).unwrap();
    let files = [test.written_in(Ino::ROOT, b"f"), test.written_in(dir, b"g")];
    files.iter().for_each(|ino| v.untag_for_test(*ino));
    let keys = || files.map(|ino| v.file_header_info(ino).unwrap().unwrap().backing.key);
    let before @ [old, seconds] = keys();
    use crate::kms::Call;
    let call = |call: Call| test.keys().call(&call).unwrap();
    let text = |name: &str| name.to_owned();
    call(Call::DeleteAlias { alias_name: text("alias/second") });
    call(Call::CreateAlias { alias_name: text("alias/second"), target_key_id: seconds.to_string() });
    call(Call::CreateAlias { alias_name: text("alias/third"), target_key_id: old.to_string() });
    let new = test.keys().replace_key(&AliasName::default_alias()).unwrap().new;
    for alias in [second.as_str(), "alias/third"] {
        call(Call::UpdateAlias { alias_name: text(alias), target_key_id: new.to_string() });
    }
    assert_eq!(sweep_to(&test, Destination::Followed, None), 0);
    assert_eq!(keys(), before);
    assert_eq!(v.census_of_belonging(), (0, Staying { alias_gone: 1, undecided: 1, ..Staying::default() }));
    for ino in files {
        assert!(v.getxattr(ino, b"user.rekeyfs.alias").is_err());
    }
}
