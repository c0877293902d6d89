//! Several threads on shared directories, each as the kernel would be: what it has looked up, and not forgotten,
//! stays usable whatever the others do.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{errno, observe};
use crate::ids::{AliasName, Handle, Ino, PlainOffset};
use crate::keyring::KeyRef;
use crate::storage::{Errno, RenameFlags};
use crate::vault::testing::{READ_WRITE, TestVault, me};
use crate::vault::{FileKind, Privileges, Result, SetAttr, SyncScope, Vault, XattrMode};

const RUN: Duration = Duration::from_secs(3);
/// Long past the end of the run: a thread that isn't done by then waits for a lock.
const PATIENCE: Duration = Duration::from_secs(60);
const THREADS: u64 = 4;
/// What each does at the least, however slow the machine is.
const STEPS: u32 = 300;
const TOP: usize = 3;
/// Writes begin, and truncates end, below this size.
const SIZE: usize = 12_000;

/// What a file of this tag, an odd number, holds at an offset; never zero, and the tag itself at 0.
fn pattern(tag: u8, at: usize) -> u8 {
    tag.wrapping_add(((at / 3 % 64) * 2) as u8)
}

fn patterned(tag: u8, at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(|at| pattern(tag, at)).collect()
}

/// Panics unless each byte is what the file's pattern says, or in a hole.
fn verify(content: &[u8]) {
    let Some(&tag) = content.first() else { return };
    let bad = content.iter().enumerate().find(|(at, byte)| **byte != 0 && **byte != pattern(tag, *at));
    assert!(tag % 2 == 1 && bad.is_none(), "tag {tag}: {bad:?} of {}", content.len());
}

struct Worker {
    vault: Arc<Vault>,
    random: u64,
    top: Vec<Ino>,
    held: Vec<(Ino, Handle)>,
}

/// A directory to work in.
#[derive(Clone, Copy)]
struct Dir {
    ino: Ino,
    /// Whether another thread may remove it.
    mortal: bool,
}

impl Worker {
    fn below(&mut self, n: usize) -> usize {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) as usize % n
    }

    fn file_name(&mut self) -> Vec<u8> {
        match self.below(5) {
            4 => vec![b'l'; 200],
            n => format!("f{n}").into_bytes(),
        }
    }

    fn dir_name(&mut self) -> Vec<u8> {
        format!("s{}", self.below(2)).into_bytes()
    }

    fn top(&mut self) -> Dir {
        let n = self.below(TOP);
        Dir { ino: self.top[n], mortal: false }
    }

    /// Works in some directory, looked up for as long as that takes.
    fn in_dir(&mut self, work: impl FnOnce(&mut Self, Dir)) {
        let top = self.top();
        let name = self.dir_name();
        if self.below(2) == 0 {
            return work(self, top);
        }
        if let Some(attr) = self.may_fail(top, self.vault.lookup(top.ino, &name)) {
            assert_eq!(attr.kind, FileKind::Directory);
            work(self, Dir { ino: attr.ino, mortal: true });
            self.vault.forget(attr.ino, 1);
        }
    }

    /// Failures that another thread can cause.
    #[track_caller]
    fn may_fail<T>(&self, dir: Dir, done: Result<T>) -> Option<T> {
        match done.as_ref().map_err(errno) {
            Ok(_) | Err(Errno::NOENT | Errno::EXIST | Errno::NOTEMPTY) => {}
            Err(Errno::STALE) if dir.mortal => {}
            Err(e) => panic!("{e}"),
        }
        done.ok()
    }

    fn close(&mut self, index: usize) {
        let (ino, handle) = self.held.swap_remove(index);
        verify(&self.read(ino));
        self.vault.release(ino, handle).unwrap();
        self.vault.forget(ino, 1);
    }

    /// In one call: between two, the size may change.
    fn read(&self, ino: Ino) -> Vec<u8> {
        let mut seen = vec![0xAA; 2 * SIZE];
        let n = self.vault.read(ino, PlainOffset(0), &mut seen).unwrap();
        seen.truncate(n);
        seen
    }

    fn create(&mut self, dir: Dir) {
        let (name, tag, len) = (self.file_name(), self.below(128) as u8 * 2 + 1, 1 + self.below(9000));
        let made = self.vault.create(dir.ino, &name, 0o644, READ_WRITE, &me());
        let Some((attr, handle)) = self.may_fail(dir, made) else { return };
        self.vault.write(attr.ino, PlainOffset(0), &patterned(tag, 0, len), Privileges::Keep).unwrap();
        self.hold(attr.ino, handle);
    }

    fn hold(&mut self, ino: Ino, handle: Handle) {
        self.held.push((ino, handle));
        if self.held.len() > 4 {
            self.close(0);
        }
    }

    fn open(&mut self, dir: Dir) {
        let name = self.file_name();
        let Some(attr) = self.may_fail(dir, self.vault.lookup(dir.ino, &name)) else { return };
        assert_eq!(attr.kind, FileKind::Regular);
        let handle = self.vault.open(attr.ino, READ_WRITE, &me()).unwrap();
        self.hold(attr.ino, handle);
    }

    /// Works on a file that is open: nothing the others do may make that fail.
    fn use_held(&mut self) {
        let Some(index) = (!self.held.is_empty()).then(|| self.below(self.held.len())) else { return };
        let (ino, vault) = (self.held[index].0, self.vault.clone());
        let seen = self.read(ino);
        verify(&seen);
        let Some(&tag) = seen.first() else { return };
        match self.below(6) {
            0 | 1 => {
                let (at, len) = (self.below(SIZE), 1 + self.below(6000));
                vault.write(ino, PlainOffset(at as u64), &patterned(tag, at, len), Privileges::Keep).unwrap();
            }
            2 => {
                let size = Some(1 + self.below(SIZE) as u64);
                vault.setattr(ino, &SetAttr { size, ..SetAttr::default() }, &me()).map(drop).unwrap();
            }
            3 => {
                let scope = if self.below(2) == 0 { SyncScope::Data } else { SyncScope::All };
                vault.fsync(ino, scope).unwrap()
            }
            4 => {
                vault.setxattr(ino, b"user.tag", &[tag], XattrMode::Set).unwrap();
                assert_eq!(vault.getxattr(ino, b"user.tag").unwrap(), [tag]);
            }
            _ => _ = vault.rewrap_batch(&[ino]),
        }
    }

    fn rename_file(&mut self, dir: Dir) {
        let (to, old, new) = (self.top(), self.file_name(), self.file_name());
        let flags = self.flags();
        self.may_fail(dir, self.vault.rename((dir.ino, &old), (to.ino, &new), flags));
    }

    fn flags(&mut self) -> RenameFlags {
        [RenameFlags::empty(), RenameFlags::NOREPLACE, RenameFlags::EXCHANGE][self.below(3)]
    }

    fn rename_dir(&mut self) {
        let (from, to, old, new) = (self.top(), self.top(), self.dir_name(), self.dir_name());
        let flags = self.flags();
        self.may_fail(from, self.vault.rename((from.ino, &old), (to.ino, &new), flags));
    }

    fn link(&mut self, dir: Dir) {
        let name = self.file_name();
        let Some(&(ino, _)) = self.held.first() else { return };
        if let Some(attr) = self.may_fail(dir, self.vault.link(ino, dir.ino, &name)) {
            assert_eq!(attr.ino, ino);
            self.vault.forget(ino, 1);
        }
    }

    fn list(&mut self, dir: Dir) {
        let Some(handle) = self.may_fail(dir, self.vault.opendir(dir.ino)) else { return };
        let mut seen = Vec::new();
        let listed = self.vault.readdirplus(dir.ino, handle, 0, &mut |attr, name, _| {
            assert!(name.starts_with(b".") || matches!(name[0], b'f' | b's' | b'l'));
            seen.extend(attr.map(|attr| attr.ino));
            true
        });
        self.may_fail(dir, listed);
        for ino in seen {
            self.vault.getattr(ino).unwrap();
            self.vault.forget(ino, 1);
        }
        self.vault.releasedir(dir.ino, handle).unwrap();
    }

    fn step(&mut self) {
        match self.below(40) {
            0..=5 => self.in_dir(Self::create),
            6..=10 => self.in_dir(Self::open),
            11..=20 => self.use_held(),
            21..=22 => self.in_dir(|worker, dir| {
                let name = worker.file_name();
                worker.may_fail(dir, worker.vault.unlink(dir.ino, &name));
            }),
            23..=26 => self.in_dir(Self::rename_file),
            27..=28 => {
                let (top, name) = (self.top(), self.dir_name());
                if let Some(attr) = self.may_fail(top, self.vault.mkdir(top.ino, &name, 0o755, &me())) {
                    self.vault.forget(attr.ino, 1);
                }
            }
            29 => {
                let (top, name) = (self.top(), self.dir_name());
                self.may_fail(top, self.vault.rmdir(top.ino, &name));
            }
            30..=33 => self.rename_dir(),
            34 => self.in_dir(Self::link),
            35..=37 => self.in_dir(Self::list),
            38 if self.below(8) == 0 => {
                self.vault.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).map(drop).unwrap();
            }
            _ => {
                if !self.held.is_empty() {
                    self.close(0);
                }
            }
        }
    }

    fn run(mut self, until: Instant) {
        let mut steps = 0;
        while steps < STEPS || Instant::now() < until {
            self.step();
            steps += 1;
        }
        while !self.held.is_empty() {
            self.close(0);
        }
    }
}

#[test]
fn threads_share_directories() {
    let mut test = TestVault::in_memory();
    let top: Vec<Ino> = (0..TOP)
        .map(|n| test.vault.mkdir(Ino::ROOT, format!("d{n}").as_bytes(), 0o755, &me()).unwrap().ino)
        .collect();
    let until = Instant::now() + RUN;
    let (done, finished) = mpsc::channel();
    for n in 0..THREADS {
        let random = 0x9E37_79B9_7F4A_7C15 ^ (n << 32) ^ u64::from(std::process::id());
        let worker = Worker { vault: test.vault.clone(), random, top: top.clone(), held: Vec::new() };
        let done = done.clone();
        std::thread::spawn(move || {
            let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.run(until)));
            _ = done.send(run);
        });
    }
    for _ in 0..THREADS {
        if let Err(panic) = finished.recv_timeout(PATIENCE).expect("a thread waits for ever") {
            std::panic::resume_unwind(panic);
        }
    }
    for ino in top {
        test.vault.forget(ino, 1);
    }
    assert_eq!(test.vault.tree.inodes.len(), 1, "inodes known though all are forgotten");
    let last = observe(&test.vault).unwrap();
    test.reopen();
    observe(&test.vault).unwrap().assert_is(&last, "after it was opened again");
    last.entries.values().filter(|seen| seen.kind == FileKind::Regular).for_each(|seen| verify(&seen.bytes));
}
