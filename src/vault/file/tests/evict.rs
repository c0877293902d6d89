//! Files whose key becomes unusable: what was written is kept, DEKs are wiped, the same handles work again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bytes;
use crate::ids::{AliasName, Handle, Ino, KeyId, PlainOffset};
use crate::keyring::KeyRef;
use crate::kms::Call;
use crate::storage::fault::{Faults, Op as FaultOp, Plan};
use crate::storage::{self, Errno};
use crate::vault::file::Body;
use crate::vault::testing::{READ_WRITE, TestVault, me};
use crate::vault::{Error, PageCache, Privileges, SetAttr, SyncScope, Vault, XattrMode};

const OTHER: &str = "alias/other";

/// An offset, and what is written there.
type Write = (u64, Vec<u8>);

/// What the kernel holds of a mount: writes that haven't come yet.
#[derive(Default)]
struct Kernel {
    vault: Mutex<Weak<Vault>>,
    dirty: Mutex<HashMap<Ino, Vec<Write>>>,
    dropped: Mutex<Vec<Ino>>,
    failed: Mutex<Vec<Error>>,
}

impl PageCache for Kernel {
    fn drop_pages(&self, ino: Ino) -> std::io::Result<()> {
        let dirty = self.dirty.lock().remove(&ino).unwrap_or_default();
        let vault = self.vault.lock().upgrade().unwrap();
        for (at, data) in dirty {
            if let Err(e) = vault.write_back(ino, PlainOffset(at), &data, Privileges::Keep) {
                self.failed.lock().push(e);
            }
        }
        self.dropped.lock().push(ino);
        Ok(())
    }
}

/// A vault with a second key, and a directory whose new files are under it.
struct Two {
    test: TestVault,
    kernel: Arc<Kernel>,
    key: KeyId,
    dir: Ino,
}

impl Two {
    fn new() -> Self {
        let test = TestVault::in_memory();
        let key = Call::CreateKey { key: Default::default() };
        let made = test.keys().call(&key).unwrap();
        let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        let alias = Call::CreateAlias { alias_name: OTHER.to_owned(), target_key_id: id };
        test.keys().call(&alias).unwrap();
        let key = test.keys().current(&OTHER.parse().unwrap()).unwrap().key;
        let dir = test.vault.mkdir(Ino::ROOT, b"other", 0o755, &me()).unwrap().ino;
        test.vault.setxattr(dir, b"user.rekeyfs.alias", OTHER.as_bytes(), XattrMode::Set).unwrap();
        let two = Self { test, kernel: Arc::default(), key, dir };
        two.connect();
        two
    }

    fn connect(&self) {
        *self.kernel.vault.lock() = Arc::downgrade(&self.test.vault);
        self.test.vault.set_page_cache(Arc::clone(&self.kernel) as Arc<dyn PageCache>);
    }

    fn create(&self, dir: Ino, name: &str, content: &[u8]) -> (Ino, Handle) {
        let vault = &self.test.vault;
        let (attr, handle) = vault.create(dir, name.as_bytes(), 0o600, READ_WRITE, &me()).unwrap();
        if !content.is_empty() {
            vault.write(attr.ino, PlainOffset(0), content, Privileges::Keep).unwrap();
        }
        (attr.ino, handle)
    }

    fn enable(&self) {
        self.test.keys().enable_key(self.key).unwrap();
    }

    fn disable(&self) {
        self.test.keys().disable_key(self.key).unwrap();
    }

    fn dirty(&self, ino: Ino, at: u64, data: &[u8]) {
        self.kernel.dirty.lock().entry(ino).or_default().push((at, data.to_owned()));
    }

    fn read(&self, ino: Ino) -> Result<Vec<u8>, Error> {
        let mut content = vec![0; 1 << 17];
        let got = self.test.vault.read(ino, PlainOffset(0), &mut content)?;
        content.truncate(got);
        Ok(content)
    }

    fn has_dek(&self, ino: Ino) -> bool {
        let file = self.test.vault.inode(ino).unwrap().opened();
        file.is_some_and(|file| matches!(file.state.read().body, Body::Sealed(_)))
    }
}

fn is_nokey<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::KeyNotUsable(_)))
}

#[test]
fn open_files_of_a_key_that_goes_are_written_wiped_and_come_back() {
    let two = Two::new();
    let vault = &two.test.vault;
    let (ino, handle) = two.create(two.dir, "written", &bytes(1, 20_000));
    let (fresh, _) = two.create(two.dir, "fresh", b"");
    let (mine, _) = two.create(Ino::ROOT, "mine", &bytes(2, 9000));
    two.dirty(ino, 100, b"dirty when the key went");
    two.dirty(fresh, 0, b"the first write of an empty file");
    two.dirty(mine, 0, b"of another key");

    two.disable();
    assert!(two.kernel.failed.lock().is_empty(), "{:?}", two.kernel.failed.lock());
    assert!(
        two.kernel.dropped.lock().ends_with(&[ino, fresh])
            || two.kernel.dropped.lock().ends_with(&[fresh, ino])
    );
    assert!(!two.kernel.dropped.lock().contains(&mine), "another key's pages stay");
    assert!(!two.has_dek(ino) && !two.has_dek(fresh) && two.has_dek(mine));
    assert!(is_nokey(two.read(ino)) && is_nokey(two.read(fresh)));
    assert!(is_nokey(vault.write(ino, PlainOffset(5), b"later", Privileges::Keep)));
    assert!(is_nokey(vault.open(ino, READ_WRITE, &me())));
    for size in [0, 10, 20_000, 90_000] {
        let new_size = SetAttr { size: Some(size), ..SetAttr::default() };
        assert!(is_nokey(vault.setattr(ino, &new_size, &me())), "{size}");
    }
    assert_eq!(vault.getattr(ino).unwrap().size, 20_000);
    vault.fsync(ino, SyncScope::All).unwrap();
    assert_eq!(vault.file_header_info(ino).unwrap().unwrap().backing.key, two.key);
    assert_eq!(two.read(mine).unwrap(), bytes(2, 9000), "what is dirty is the kernel's still");

    two.enable();
    let mut expected = bytes(1, 20_000);
    expected[100..123].copy_from_slice(b"dirty when the key went");
    assert_eq!(two.read(ino).unwrap(), expected);
    assert_eq!(two.read(fresh).unwrap(), b"the first write of an empty file");
    vault.write(ino, PlainOffset(30_000), b"grown", Privileges::Keep).unwrap();
    vault.release(ino, handle).unwrap();
    assert_eq!(two.read(ino).unwrap().len(), 30_005);
}

/// The kernel has them, and their size, as if they had been written.
#[test]
fn what_was_written_while_a_key_was_gone_is_shown_no_more_once_it_is_back() {
    let two = Two::new();
    let vault = &two.test.vault;
    let (empty, _a) = two.create(two.dir, "empty", b"");
    let (full, _b) = two.create(two.dir, "full", &bytes(1, 6000));
    let (truncated, _t) = two.create(two.dir, "truncated", b"");
    let (direct, _d) = two.create(two.dir, "direct", b"");
    two.disable();
    for ino in [empty, full, truncated] {
        assert!(is_nokey(vault.write_back(ino, PlainOffset(2000), &[b'N'; 6000], Privileges::Keep)));
    }
    // Of this one the kernel knows that it failed: it has no page of it, nor its size.
    assert!(is_nokey(vault.write(direct, PlainOffset(0), &[b'N'; 6000], Privileges::Keep)));
    vault.setattr(truncated, &SetAttr { size: Some(0), ..SetAttr::default() }, &me()).unwrap();
    two.kernel.dropped.lock().clear();
    // Another key that comes changes nothing.
    two.test.keys().create_key_for_test("alias/third".parse().unwrap());
    assert_eq!(vault.getattr(empty).unwrap().size, 0);
    two.kernel.dropped.lock().clear();

    two.enable();
    let dropped = two.kernel.dropped.lock().clone();
    assert!(dropped.contains(&empty) && dropped.contains(&full), "{dropped:?}");
    assert_eq!(two.read(empty).unwrap(), [0; 8000]);
    assert_eq!(two.read(full).unwrap(), [bytes(1, 6000), vec![0; 2000]].concat());
    assert_eq!(two.read(truncated).unwrap(), b"");
    assert_eq!(two.read(direct).unwrap(), b"");
    two.kernel.dropped.lock().clear();
    two.test.keys().create_key_for_test("alias/fourth".parse().unwrap());
    assert_eq!(*two.kernel.dropped.lock(), []);
}

#[test]
fn a_key_that_comes_back_while_a_write_fails_for_it_leaves_nothing_unwritten() {
    let two = Two::new();
    let vault = &two.test.vault;
    let (ino, _handle) = two.create(two.dir, "f", b"");
    two.disable();
    let written = vault.recording_unwritten(ino, PlainOffset(6000), || {
        let written = vault.write(ino, PlainOffset(0), &[b'N'; 6000], Privileges::Keep);
        // What makes it usable again looks for what was not written now.
        two.enable();
        written
    });
    assert_eq!(written.unwrap(), 6000);
    assert_eq!(two.read(ino).unwrap(), [b'N'; 6000]);
    two.disable();
    two.enable();
    assert_eq!(two.read(ino).unwrap(), [b'N'; 6000]);
}

#[test]
fn pages_of_closed_files_are_dropped_too() {
    let two = Two::new();
    let (ino, handle) = two.create(two.dir, "closed", b"secret");
    two.test.vault.release(ino, handle).unwrap();
    let call = Call::ScheduleKeyDeletion {
        key_id: two.key.to_string(),
        pending_window_in_days: Some(7),
        force: None,
    };
    two.test.keys().call(&call).unwrap();
    assert_eq!(*two.kernel.dropped.lock(), [ino]);
    two.test.keys().call(&Call::CancelKeyDeletion { key_id: two.key.to_string() }).unwrap();
    assert!(is_nokey(two.read(ino)), "it is disabled still");
    two.enable();
    assert_eq!(two.read(ino).unwrap(), b"secret");
}

#[test]
fn a_disk_that_is_full_when_a_key_goes_keeps_no_key_and_is_told_by_fsync() {
    let two = Two::new();
    let vault = &two.test.vault;
    let (ino, _handle) = two.create(two.dir, "file", &bytes(1, 8000));
    vault.fsync(ino, SyncScope::All).unwrap();
    two.dirty(ino, 0, b"never written");
    let errno = Errno::NOSPC;
    let plan = |only| Plan { skip: 0, only: Some(only), errno, after: storage::fault::After::Recover };
    {
        let _scope = Faults::new(plan(FaultOp::Pwrite)).on_this_thread();
        two.disable();
    }
    assert!(matches!(two.kernel.failed.lock()[..], [Error::Lower(Errno::NOSPC)]), "the kernel tells");
    assert!(!two.has_dek(ino) && is_nokey(two.read(ino)));
    two.enable();
    assert_eq!(two.read(ino).unwrap(), bytes(1, 8000));
    {
        let _scope = Faults::new(plan(FaultOp::Fdatasync)).on_this_thread();
        two.disable();
    }
    assert!(is_nokey(two.read(ino)));
    assert!(
        matches!(vault.fsync(ino, SyncScope::Data), Err(Error::Lower(Errno::NOSPC))),
        "the sync that failed"
    );
    vault.fsync(ino, SyncScope::Data).unwrap();
}

/// Whatever the point at which all stops, the key is as it was or gone, and nothing that was synced is lost.
#[test]
fn a_crash_while_a_key_goes_leaves_it_or_takes_it() {
    for skip in 0.. {
        let mut two = Two::new();
        let (ino, _handle) = two.create(two.dir, "file", &bytes(3, 12_000));
        two.test.vault.fsync(ino, SyncScope::All).unwrap();
        two.dirty(ino, 4000, b"not synced");
        let faults = Faults::stop_after(skip);
        let done = {
            let _scope = faults.on_this_thread();
            two.test.keys().disable_key(two.key)
        };
        two.kernel.dirty.lock().clear();
        two.test.reopen_keyring();
        let found = two.test.vault.lookup(two.dir, b"file");
        let ino = match found {
            Ok(attr) => attr.ino,
            Err(_) => {
                two.test.vault.lookup(Ino::ROOT, b"other").unwrap();
                two.test.vault.lookup(two.dir, b"file").unwrap().ino
            }
        };
        let gone = is_nokey(two.test.vault.open(ino, READ_WRITE, &me()));
        assert!(done.is_err() || gone, "a verb that returned holds");
        two.test.keys().enable_key(two.key).unwrap();
        let mut got = two.read(ino).unwrap();
        if got[4000..4010] == *b"not synced" {
            got[4000..4010].copy_from_slice(&bytes(3, 12_000)[4000..4010]);
        }
        assert_eq!(got, bytes(3, 12_000), "stopped after {skip}");
        if !faults.fired() {
            assert!(skip > 3, "there are that many points");
            break;
        }
    }
}

#[test]
fn a_re_wrap_on_its_way_resurrects_no_dek() {
    let two = Two::new();
    let keys = two.test.keys();
    let first = keys.current(&AliasName::default_alias()).unwrap().key;
    let (ino, _handle) = two.create(two.dir, "file", &bytes(5, 9000));
    keys.rotate(&KeyRef::Key(two.key)).unwrap();
    two.disable();
    let outcome = two.test.vault.rewrap_batch(&[ino]);
    assert_eq!((outcome.rewrapped, outcome.skipped), (0, 1));
    assert!(!two.has_dek(ino));
    two.enable();
    assert_eq!(two.test.vault.rewrap_batch(&[ino]).rewrapped, 1);
    // Moved to the other key by its alias, it goes with that one, and with that one only.
    let moved = Call::UpdateAlias { alias_name: OTHER.to_owned(), target_key_id: first.to_string() };
    keys.call(&moved).unwrap();
    assert_eq!(two.test.vault.rewrap_batch(&[ino]).rewrapped, 1);
    two.disable();
    assert_eq!(two.read(ino).unwrap(), bytes(5, 9000));
    keys.disable_key(first).unwrap();
    assert!(is_nokey(two.read(ino)) && !two.has_dek(ino));
}

/// Writers, syncs, re-wraps and rotations beside a key that comes and goes: nobody waits for ever, each
/// request is done or refused, and once the key is gone no DEK of it is there.
#[test]
fn a_key_that_comes_and_goes_under_load_stops_nobody() {
    const WRITERS: u8 = 16;
    let two = Arc::new(Two::new());
    let stop = Arc::new(AtomicBool::new(false));
    let files: Vec<(Ino, Handle)> =
        (0..WRITERS).map(|n| two.create(two.dir, &format!("f{n}"), &[n | 1; 5000])).collect();
    let refused_or_done = |result: Result<(), Error>| match result {
        Ok(()) | Err(Error::KeyNotUsable(_)) => {}
        Err(e) => panic!("{e}"),
    };
    let (done, finished) = std::sync::mpsc::channel();
    let mut threads = Vec::new();
    let mut start = |work: Box<dyn Fn() + Send>| {
        let (stop, done) = (Arc::clone(&stop), done.clone());
        threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                work();
                std::thread::sleep(Duration::from_millis(1));
            }
            done.send(()).unwrap();
        }));
    };
    for (n, (ino, _)) in files.iter().copied().enumerate() {
        let (two, tag) = (Arc::clone(&two), n as u8 | 1);
        start(Box::new(move || {
            let vault = &two.test.vault;
            refused_or_done(
                vault
                    .write(ino, PlainOffset(4000 * (n as u64 % 5)), &[tag; 6000], Privileges::Keep)
                    .map(drop),
            );
            if let Ok(content) = two.read(ino) {
                assert!(content.iter().all(|byte| *byte == tag || *byte == 0), "another file's content");
            }
            if n % 4 == 0 {
                refused_or_done(vault.fsync(ino, SyncScope::Data));
                let new_size = SetAttr { size: Some(5000), ..SetAttr::default() };
                refused_or_done(vault.setattr(ino, &new_size, &me()).map(drop));
            }
        }));
    }
    let inos: Vec<Ino> = files.iter().map(|(ino, _)| *ino).collect();
    let rewrapper = Arc::clone(&two);
    let all = inos.clone();
    start(Box::new(move || drop(rewrapper.test.vault.rewrap_batch(&all))));
    let rotator = Arc::clone(&two);
    start(Box::new(move || {
        let _ = rotator.test.keys().rotate(&KeyRef::Key(rotator.key));
        std::thread::sleep(Duration::from_millis(5));
    }));
    for _ in 0..6 {
        two.disable();
        assert!(inos.iter().all(|ino| !two.has_dek(*ino)), "a DEK of a key that is gone");
        two.enable();
    }
    stop.store(true, Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(60);
    for _ in 0..threads.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        finished.recv_timeout(left).expect("a thread that waits for ever, or panicked");
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for (n, (ino, handle)) in files.into_iter().enumerate() {
        assert!(two.read(ino).unwrap().iter().all(|byte| *byte == n as u8 | 1 || *byte == 0));
        two.test.vault.release(ino, handle).unwrap();
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn log_lines_about_lost_data_name_the_lower_file() {
    let two = Two::new();
    let vault = &two.test.vault;
    let (ino, _handle) = two.create(two.dir, "file", &bytes(1, 20_000));
    vault.fsync(ino, SyncScope::All).unwrap();
    let named = format!("lower=\"{}\"", vault.lower_path(ino).unwrap());
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        {
            let refused =
                Faults::record().refusing(FaultOp::Truncate, Errno::IO).refusing(FaultOp::Pwrite, Errno::IO);
            let _scope = refused.on_this_thread();
            vault.setattr(ino, &SetAttr { size: Some(5000), ..SetAttr::default() }, &me()).unwrap_err();
        }
        two.dirty(ino, 0, b"never written");
        let once = Plan {
            skip: 0,
            only: Some(FaultOp::Pwrite),
            errno: Errno::IO,
            after: storage::fault::After::Recover,
        };
        let _scope = Faults::new(once).on_this_thread();
        two.disable();
    });
    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    for expected in ["lost what was to go", "could not be written"] {
        let line = log.lines().find(|line| line.contains(expected));
        assert!(line.is_some_and(|line| line.contains(&named)), "{expected}: {log}");
    }
}
