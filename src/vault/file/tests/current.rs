//! A file that one vault writes and another one, open on the same directory, reads: what is closed is seen, and every block
//! opens wherever the writer has got to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::*;
use crate::storage::fault::Op as Call;
use crate::vault::{Attr, PageCache, Vault};

const READ: OpenFlags = OpenFlags { read: true, write: false, truncate: false };
pub(super) const WRITE: OpenFlags = OpenFlags { read: true, write: true, truncate: false };

pub(super) fn lookup(vault: &Vault, name: &str) -> Attr {
    vault.lookup(Ino::ROOT, name.as_bytes()).unwrap()
}

fn read_open(vault: &Vault, ino: Ino) -> Vec<u8> {
    let mut out = vec![0; 1 << 20];
    let n = vault.read(ino, PlainOffset(0), &mut out).unwrap();
    out.truncate(n);
    out
}

/// As a program reads a file that it opens now.
fn read(vault: &Vault, name: &str) -> Vec<u8> {
    let attr = lookup(vault, name);
    let handle = vault.open(attr.ino, READ, &me()).unwrap();
    let content = read_open(vault, attr.ino);
    vault.release(attr.ino, handle).unwrap();
    assert_eq!(content.len() as u64, attr.size);
    content
}

fn write(test: &TestVault, ino: Ino, at: u64, data: &[u8]) {
    let handle = test.vault.open(ino, WRITE, &me()).unwrap();
    test.vault.write(ino, PlainOffset(at), data, Privileges::Keep).unwrap();
    test.vault.flush(ino).unwrap();
    test.vault.release(ino, handle).unwrap();
}

pub(super) fn truncate(test: &TestVault, ino: Ino, size: u64) {
    test.vault.setattr(ino, &SetAttr { size: Some(size), ..SetAttr::default() }, &me()).unwrap();
}

#[test]
fn what_was_closed_is_what_an_open_or_a_stat_that_begins_later_sees() {
    let test = TestVault::shared();
    let (ino, reader) = (test.written("f"), test.reader());
    assert_eq!(read(&reader, "f"), b"content");
    // Of one that stays open, too.
    let held = reader.open(ino, READ, &me()).unwrap();
    let mut expected = b"content".to_vec();
    for (at, data) in
        [(0, bytes(1, 7)), (3, bytes(2, 20_000)), (19_000, bytes(3, 5000)), (100_000, bytes(4, 10))]
    {
        write(&test, ino, at as u64, &data);
        expected.resize(expected.len().max(at + data.len()), 0);
        expected[at..at + data.len()].copy_from_slice(&data);
        assert_eq!(read(&reader, "f"), expected);
    }
    for size in [50_000, 4000, 90_000, 0, 70_000] {
        truncate(&test, ino, size);
        expected.resize(size as usize, 0);
        assert_eq!(read(&reader, "f"), expected);
        assert_eq!(read_open(&reader, ino), expected);
    }
    // Another data key.
    truncate(&test, ino, 0);
    write(&test, ino, 0, b"another");
    assert_eq!(reader.getattr(ino).unwrap().size, 7);
    assert_eq!(read_open(&reader, ino), b"another");
    test.keys().rotate(&KeyRef::parse("alias/default").unwrap()).unwrap();
    test.vault.rewrap_batch(&[ino]);
    assert_eq!(read_open(&reader, ino), b"another");
    reader.release(ino, held).unwrap();
    assert!(!reader.has_open_files());
}

/// Pages that the kernel was asked to drop.
#[derive(Default)]
struct Dropped(Mutex<Vec<Ino>>);

impl PageCache for Dropped {
    fn drop_pages(&self, ino: Ino) -> std::io::Result<()> {
        self.0.lock().push(ino);
        Ok(())
    }
}

/// A re-wrap changes neither size nor mtime, so nothing else tells a reader that has the file open.
#[test]
fn what_was_moved_to_another_key_while_it_is_open_goes_with_that_key() {
    let test = TestVault::shared();
    let (ino, reader) = (test.written("f"), test.reader());
    let dropped = Arc::new(Dropped::default());
    reader.set_page_cache(Arc::clone(&dropped) as Arc<dyn PageCache>);
    let held = reader.open(lookup(&reader, "f").ino, READ, &me()).unwrap();
    assert_eq!(read_open(&reader, ino), b"content");
    // As the next renewal of the reader's lease does it.
    let renew = || {
        assert!(reader.keys.read_again().unwrap());
        reader.keys.settle();
    };
    let other = test.keys().create_key_for_test("alias/other".parse().unwrap());
    renew();
    test.vault.rewrap_to(ino, &Destination::Key(other)).unwrap();
    test.keys().disable_key(other).unwrap();
    assert!(dropped.0.lock().is_empty());
    renew();
    assert_eq!(*dropped.0.lock(), [ino]);
    let refused = reader.read(ino, PlainOffset(0), &mut [0; 7]);
    assert!(matches!(refused, Err(Error::KeyNotUsable(_))), "{refused:?}");
    test.keys().enable_key(other).unwrap();
    assert_eq!(read_open(&reader, ino), b"content");
    reader.release(ino, held).unwrap();
}

/// A change of a file of a size, and what it makes of the content.
struct Change {
    name: &'static str,
    size: usize,
    make: fn(&TestVault, Ino) -> crate::vault::Result<()>,
    becomes: fn(&mut Vec<u8>),
    /// Whether what goes may be zeros for a moment.
    takes_away: bool,
}

fn put(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    content.resize(content.len().max(at + data.len()), 0);
    content[at..at + data.len()].copy_from_slice(data);
}

fn write_at(test: &TestVault, ino: Ino, at: u64, data: &[u8]) -> crate::vault::Result<()> {
    test.vault.write(ino, PlainOffset(at), data, Privileges::Keep).map(drop)
}

fn set_size(test: &TestVault, ino: Ino, size: u64) -> crate::vault::Result<()> {
    test.vault.setattr(ino, &SetAttr { size: Some(size), ..SetAttr::default() }, &me()).map(drop)
}

const CHANGES: [Change; 9] = [
    Change {
        name: "overwrite",
        size: 40_000,
        make: |test, ino| write_at(test, ino, 10, &bytes(9, 30_000)),
        becomes: |content| put(content, 10, &bytes(9, 30_000)),
        takes_away: false,
    },
    Change {
        name: "append",
        size: 40_000,
        make: |test, ino| write_at(test, ino, 40_000, &bytes(9, 260_000)),
        becomes: |content| put(content, 40_000, &bytes(9, 260_000)),
        takes_away: false,
    },
    Change {
        name: "append within the last block",
        size: 40_000,
        make: |test, ino| write_at(test, ino, 40_000, &bytes(9, 100)),
        becomes: |content| put(content, 40_000, &bytes(9, 100)),
        takes_away: false,
    },
    Change {
        name: "write beyond the end",
        size: 40_000,
        make: |test, ino| write_at(test, ino, 290_000, &bytes(9, 10_000)),
        becomes: |content| put(content, 290_000, &bytes(9, 10_000)),
        takes_away: false,
    },
    Change {
        name: "first write",
        size: 0,
        make: |test, ino| write_at(test, ino, 0, &bytes(9, 260_000)),
        becomes: |content| put(content, 0, &bytes(9, 260_000)),
        takes_away: false,
    },
    Change {
        name: "first write beyond the first block",
        size: 0,
        make: |test, ino| write_at(test, ino, 50_000, &bytes(9, 260_000)),
        becomes: |content| put(content, 50_000, &bytes(9, 260_000)),
        takes_away: false,
    },
    Change {
        name: "shrink",
        size: 40_000,
        make: |test, ino| set_size(test, ino, 5000),
        becomes: |content| content.truncate(5000),
        takes_away: true,
    },
    Change {
        name: "empty",
        size: 40_000,
        make: |test, ino| set_size(test, ino, 0),
        becomes: |content| content.clear(),
        takes_away: false,
    },
    Change {
        name: "punch",
        size: 40_000,
        make: |test, ino| {
            let mode = FallocMode { keep_size: true, punch_hole: true, zero_range: false };
            test.vault.fallocate(ino, PlainOffset(100), 30_000, mode, Privileges::Keep)
        },
        becomes: |content| content[100..30_100].fill(0),
        takes_away: true,
    },
];

/// The steps of each change, one after the other: what a process that is killed there leaves is what another host can see.
#[test]
fn whatever_the_writer_is_doing_every_block_opens_and_each_byte_was_written() {
    for Change { name, size, make, becomes, takes_away } in CHANGES {
        let old = bytes(5, size);
        let mut new = old.clone();
        becomes(&mut new);
        for step in 0.. {
            let test = TestVault::shared();
            let ino = test.make("f");
            if size > 0 {
                write(&test, ino, 0, &old);
                // With a floor that what is taken away lies below.
                let handle = test.vault.open(ino, WRITE, &me()).unwrap();
                test.vault.fsync(ino, SyncScope::All).unwrap();
                test.vault.release(ino, handle).unwrap();
            }
            let reader = test.reader();
            let held = reader.open(lookup(&reader, "f").ino, READ, &me()).unwrap();
            assert_eq!(read_open(&reader, ino), old);
            let handle = test.vault.open(ino, WRITE, &me()).unwrap();
            let faults = Faults::stop_after(step);
            {
                let _scope = faults.on_this_thread();
                let _ = make(&test, ino);
            }
            for seen in [read_open(&reader, ino), read(&reader, "f")] {
                let stray = seen.iter().enumerate().position(|(at, byte)| {
                    let known = [old.get(at), new.get(at)].contains(&Some(byte));
                    !(known || (takes_away && *byte == 0))
                });
                assert_eq!(stray, None, "{name}, step {step}: of {} bytes", seen.len());
            }
            let stopped = faults.fired();
            let _ = (reader.release(ino, held), test.vault.release(ino, handle));
            if !stopped {
                assert_eq!(read(&reader, "f"), new, "{name}");
                break;
            }
        }
    }
}

#[test]
fn a_file_grows_with_its_pages_and_not_before_them() {
    for test in [TestVault::shared(), TestVault::remote(Suite::Aes256Gcm)] {
        let ino = test.make("f");
        let handle = test.vault.open(ino, WRITE, &me()).unwrap();
        for (at, len) in [(0, 5), (5, 100), (105, 5000), (5105, 1 << 17), (200_000, 17)] {
            let faults = Faults::record();
            {
                let _scope = faults.on_this_thread();
                test.vault.write(ino, PlainOffset(at), &bytes(1, len), Privileges::Keep).unwrap();
            }
            assert!(!faults.log().contains(&Call::Truncate), "{:?}", faults.log());
            // The pages, and the bytes that say the size, in one call where they fit into one.
            let writes = faults.log().iter().filter(|call| **call == Call::Pwrite).count();
            assert_eq!(writes, 1, "at {at}");
        }
        test.vault.release(ino, handle).unwrap();
        assert_eq!(test.vault.getattr(ino).unwrap().size, 200_017);
    }
}

#[test]
fn a_file_gets_its_size_first_where_a_power_cut_could_leave_one_in_the_middle_of_a_page() {
    let mut test = TestVault::shared();
    test.have_small_blocks();
    test.reopen();
    let ino = test.make("f");
    let handle = test.vault.open(ino, WRITE, &me()).unwrap();
    let faults = Faults::record();
    {
        let _scope = faults.on_this_thread();
        test.vault.write(ino, PlainOffset(0), &bytes(1, 5000), Privileges::Keep).unwrap();
    }
    let calls: Vec<_> =
        faults.log().into_iter().filter(|call| [Call::Truncate, Call::Pwrite].contains(call)).collect();
    assert_eq!(calls, [Call::Truncate, Call::Pwrite]);
    test.vault.release(ino, handle).unwrap();
}

#[test]
fn a_reader_that_follows_a_file_as_it_grows_sees_no_byte_that_was_not_written() {
    let test = TestVault::shared();
    let (ino, reader) = (test.make("log"), test.reader());
    let ended = Arc::new(AtomicBool::new(false));
    let line = |n: u64| format!("line {n} of a log that another host reads\n").into_bytes();
    let (mut followed, mut expected) = (Vec::new(), Vec::new());
    std::thread::scope(|threads| {
        let ended = &ended;
        threads.spawn(move || {
            let ino = lookup(&reader, "log").ino;
            let handle = reader.open(ino, READ, &me()).unwrap();
            loop {
                let last = ended.load(Ordering::SeqCst);
                let mut buffer = vec![0; 1 << 16];
                let size = reader.getattr(ino).unwrap().size;
                assert!(size >= followed.len() as u64);
                let n = reader.read(ino, PlainOffset(followed.len() as u64), &mut buffer).unwrap();
                assert!(!buffer[..n].contains(&0), "a size was seen before its pages");
                followed.extend_from_slice(&buffer[..n]);
                if last && n == 0 {
                    break;
                }
            }
            reader.release(ino, handle).unwrap();
            let lines: Vec<u8> = (0..).flat_map(line).take(followed.len()).collect();
            assert_eq!(followed, lines);
        });
        let handle = test.vault.open(ino, WRITE, &me()).unwrap();
        let begun = Instant::now();
        for n in 0.. {
            test.vault.write(ino, PlainOffset(expected.len() as u64), &line(n), Privileges::Keep).unwrap();
            expected.extend(line(n));
            if begun.elapsed() > Duration::from_millis(700) {
                break;
            }
        }
        test.vault.release(ino, handle).unwrap();
        ended.store(true, Ordering::SeqCst);
    });
}

/// Of a file that another host cuts and writes anew all the time, the zeros behind the end of the lower file are none of its bytes.
#[test]
fn a_file_that_is_cut_while_it_is_read_shows_no_zeros_in_place_of_what_is_gone() {
    const SIZE: usize = 20_000;
    let test = TestVault::shared();
    let (ino, reader) = (test.make("f"), test.reader());
    let data: Vec<u8> = bytes(1, SIZE).into_iter().map(|byte| byte | 1).collect();
    write(&test, ino, 0, &data);
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let (ended, data) = (&ended, &data);
        threads.spawn(move || {
            let ino = lookup(&reader, "f").ino;
            let handle = reader.open(ino, READ, &me()).unwrap();
            let mut whole = 0;
            // In the middle of the file, where its size isn't looked at again, and as far as the file may reach.
            for (at, len) in [(8192, 4096), (8192, SIZE)].into_iter().cycle() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let mut buffer = vec![0; len];
                let n = reader.read(ino, PlainOffset(at as u64), &mut buffer).unwrap();
                assert!(buffer[..n] == data[at..at + n], "{n} bytes at {at}");
                whole += u32::from(n > 0);
            }
            assert!(whole > 0);
            reader.release(ino, handle).unwrap();
        });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            truncate(&test, ino, 0);
            write(&test, ino, 0, data);
        }
        ended.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_file_that_was_removed_is_read_by_who_has_it_open() {
    let test = TestVault::shared();
    let (ino, reader) = (test.written("f"), test.reader());
    let handle = reader.open(lookup(&reader, "f").ino, READ, &me()).unwrap();
    test.vault.unlink(Ino::ROOT, b"f").unwrap();
    let _ = reader.getattr(ino);
    assert_eq!(read_open(&reader, ino), b"content");
    let replaced = test.written("f");
    assert_ne!(replaced, ino);
    write(&test, replaced, 0, b"another");
    assert_eq!(read_open(&reader, ino), b"content");
    assert_eq!(read(&reader, "f"), b"another");
    reader.release(ino, handle).unwrap();
}

#[test]
fn a_file_that_was_written_anew_and_then_removed_is_read_by_who_has_it_open() {
    let test = TestVault::shared();
    let (ino, reader) = (test.written("f"), test.reader());
    let handle = reader.open(lookup(&reader, "f").ino, READ, &me()).unwrap();
    assert_eq!(read_open(&reader, ino), b"content");
    // Of the same size, under another data key.
    truncate(&test, ino, 0);
    write(&test, ino, 0, b"another");
    test.vault.unlink(Ino::ROOT, b"f").unwrap();
    assert_eq!(read_open(&reader, ino), b"another");
    reader.release(ino, handle).unwrap();
}

#[test]
fn a_reader_whose_keyring_is_behind_reports_no_older_one_that_was_put_back() {
    let test = TestVault::shared();
    let reader = test.reader();
    let before = test.keys().generation();
    test.keys().create_alias("alias/x".parse().unwrap(), &KeyRef::Alias(AliasName::default_alias())).unwrap();
    let ino = test.make("f");
    write(&test, ino, 0, b"data");
    assert_eq!(read(&reader, "f"), b"data");
    assert!(before < test.keys().generation() && reader.keys.generation() == before);
    assert_eq!(reader.newest_reported.load(Ordering::Relaxed), before.0);
}

#[test]
fn what_stays_damaged_is_damage_to_a_reader_and_not_waited_for() {
    let test = TestVault::shared();
    let ino = test.make("f");
    let handle = test.vault.open(ino, WRITE, &me()).unwrap();
    test.vault.write(ino, PlainOffset(0), &bytes(1, 5000), Privileges::Keep).unwrap();
    test.vault.release(ino, handle).unwrap();
    for entry in std::fs::read_dir(test.tree()).unwrap() {
        let entry = entry.unwrap();
        if entry.metadata().unwrap().len() > 4096 {
            let mut lower = std::fs::read(entry.path()).unwrap();
            lower[..1024].fill(0xFF);
            std::fs::write(entry.path(), lower).unwrap();
        }
    }
    let reader = test.reader();
    let ino = lookup(&reader, "f").ino;
    let read = reader.open(ino, READ, &me()).and_then(|handle| {
        let read = reader.read(ino, PlainOffset(0), &mut [0; 100]);
        reader.release(ino, handle)?;
        read
    });
    assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
}
