//! Every operation on names and attributes, with each fault hitting each of its lower calls in turn: the tree is what
//! it was or what it was to become, all of it is readable, and the operation can be repeated. Operations on content
//! have a walk of their own beside them.

use std::sync::Arc;

use super::{Snapshot, content, errno, observe};
use crate::ids::{AliasName, Ino, PlainOffset, Time, TimeChange};
use crate::monitor::Monitor;
use crate::storage::fault::{Faults, InjectedFault, Op};
use crate::storage::{Errno, RenameFlags};
use crate::vault::testing::{READ_WRITE, TestVault, me};
use crate::vault::{Destination, Privileges, Reencrypted, Result, SetAttr, SyncScope, Vault, XattrMode};

const ALIAS: &[u8] = b"user.rekeyfs.alias";

struct World {
    test: TestVault,
}

/// An operation: what it is called here, and how it is done.
type Case = (&'static str, fn(&World) -> Result<()>);

impl World {
    fn new() -> Self {
        let test = TestVault::in_memory();
        test.keys().create_key_for_test("alias/second".parse().unwrap());
        let mut world = Self { test };
        world.reset();
        world
    }

    fn vault(&self) -> &Vault {
        &self.test.vault
    }

    /// The tree as it is before each operation, opened by a new process.
    fn reset(&mut self) {
        for entry in std::fs::read_dir(self.test.tree()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        }
        self.test.reopen();
        for dir in ["d", "d/sub", "e", "e/LONG-dir", "plain", "LONG-empty", "before", "aliased"] {
            self.mkdir(dir).unwrap();
        }
        self.rename("before", "recorded", RenameFlags::empty()).unwrap();
        self.set_alias("aliased", b"alias/second").unwrap();
        for file in ["f", "d/f", "d/LONG-g", "d/sub/h", "e/i", "e/LONG-dir/j", "LONG-k"] {
            self.create(file).unwrap();
        }
        self.link("f", "hard").unwrap();
        self.symlink("sym").unwrap();
        self.vault().setxattr(self.ino("d/f"), b"user.a", b"old", XattrMode::Set).unwrap();
        self.test.reopen();
    }

    /// A path whose names that start with LONG are long ones.
    fn split(path: &str) -> (&str, Vec<u8>) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let padding = if name.starts_with("LONG") { 170 } else { 0 };
        (dir, [name.as_bytes(), &vec![b'_'; padding]].concat())
    }

    fn ino(&self, path: &str) -> Ino {
        if path.is_empty() {
            return Ino::ROOT;
        }
        let (dir, name) = Self::split(path);
        self.vault().lookup(self.ino(dir), &name).unwrap().ino
    }

    fn at(&self, path: &str) -> (Ino, Vec<u8>) {
        let (dir, name) = Self::split(path);
        (self.ino(dir), name)
    }

    fn mkdir(&self, path: &str) -> Result<()> {
        let (dir, name) = self.at(path);
        self.vault().mkdir(dir, &name, 0o755, &me()).map(drop)
    }

    fn touch(&self, path: &str) -> Result<Ino> {
        let (dir, name) = self.at(path);
        let (attr, handle) = self.vault().create(dir, &name, 0o644, READ_WRITE, &me())?;
        self.vault().release(attr.ino, handle)?;
        Ok(attr.ino)
    }

    fn create(&self, path: &str) -> Result<()> {
        let ino = self.touch(path)?;
        self.vault().write(ino, PlainOffset(0), path.repeat(900).as_bytes(), Privileges::Keep).map(drop)
    }

    fn unlink(&self, path: &str) -> Result<()> {
        let (dir, name) = self.at(path);
        self.vault().unlink(dir, &name)
    }

    fn rmdir(&self, path: &str) -> Result<()> {
        let (dir, name) = self.at(path);
        self.vault().rmdir(dir, &name)
    }

    fn rename(&self, from: &str, to: &str, flags: RenameFlags) -> Result<()> {
        let ((from, old), (to, new)) = (self.at(from), self.at(to));
        self.vault().rename((from, &old), (to, &new), flags)
    }

    fn over(&self, from: &str, to: &str) -> Result<()> {
        self.rename(from, to, RenameFlags::empty())
    }

    fn exchange(&self, one: &str, other: &str) -> Result<()> {
        self.rename(one, other, RenameFlags::EXCHANGE)
    }

    fn link(&self, file: &str, path: &str) -> Result<()> {
        let (dir, name) = self.at(path);
        self.vault().link(self.ino(file), dir, &name).map(drop)
    }

    fn symlink(&self, path: &str) -> Result<()> {
        let (dir, name) = self.at(path);
        self.vault().symlink(dir, &name, b"to/there", &me()).map(drop)
    }

    fn set_alias(&self, dir: &str, alias: &[u8]) -> Result<()> {
        self.vault().setxattr(self.ino(dir), ALIAS, alias, XattrMode::Set)
    }

    fn chmod(&self, path: &str) -> Result<()> {
        let set = SetAttr { mode: Some(0o700), ..SetAttr::default() };
        self.vault().setattr(self.ino(path), &set, &me()).map(drop)
    }

    fn mknod(&self, path: &str, mode: u32) -> Result<()> {
        let (dir, name) = self.at(path);
        self.vault().mknod(dir, &name, mode, 0, &me()).map(drop)
    }

    fn owner_and_times(&self, path: &str) -> Result<()> {
        let at = Some(TimeChange::At(Time { secs: 1_000_000, nanos: 5 }));
        let (uid, gid) = (Some(me().uid), Some(me().gid));
        let set = SetAttr { uid, gid, atime: at, mtime: at, ..SetAttr::default() };
        self.vault().setattr(self.ino(path), &set, &me()).map(drop)
    }

    fn reencrypt(&self, path: &str) -> Result<()> {
        match self.vault().reencrypt(self.ino(path), &mut Monitor::unattended())? {
            Reencrypted::Done(_) => Ok(()),
            other => panic!("{other:?}"),
        }
    }

    fn rewrap(&self, path: &str) -> Result<()> {
        let second: AliasName = "alias/second".parse().unwrap();
        let key = self.test.keys().current(&second).unwrap().key;
        self.vault().rewrap_to(self.ino(path), &Destination::Key(key))
    }

    fn observe(&self) -> Snapshot {
        observe(self.vault()).unwrap()
    }
}

const CASES: &[Case] = &[
    ("mkdir", |w| w.mkdir("new")),
    ("mkdir, long name", |w| w.mkdir("d/LONG-new")),
    ("create", |w| w.touch("d/new").map(drop)),
    ("create, long name", |w| w.touch("LONG-new").map(drop)),
    ("symlink", |w| w.symlink("new")),
    ("symlink, long name", |w| w.symlink("LONG-new")),
    ("link", |w| w.link("f", "d/new")),
    ("link, long names", |w| w.link("LONG-k", "LONG-new")),
    ("mknod of a FIFO", |w| w.mknod("new", 0o010_644)),
    ("mknod of a file, long name", |w| w.mknod("d/LONG-new", 0o100_644)),
    ("unlink", |w| w.unlink("d/f")),
    ("unlink of one of two links", |w| w.unlink("f")),
    ("unlink, long name", |w| w.unlink("d/LONG-g")),
    ("rmdir", |w| w.rmdir("plain")),
    ("rmdir of one with a record", |w| w.rmdir("recorded")),
    ("rmdir of one with an alias", |w| w.rmdir("aliased")),
    ("rmdir, long name", |w| w.rmdir("LONG-empty")),
    ("rename of a file", |w| w.over("d/f", "e/new")),
    ("rename of a file to a long name", |w| w.over("d/f", "LONG-new")),
    ("rename of a file from a long name", |w| w.over("d/LONG-g", "new")),
    ("rename of a file between long names", |w| w.over("d/LONG-g", "LONG-new")),
    ("rename of a file over another", |w| w.over("f", "d/f")),
    ("rename of a file over a long name", |w| w.over("d/f", "LONG-k")),
    ("rename of a directory", |w| w.over("d", "e/new")),
    ("rename of a directory to a long name", |w| w.over("d", "LONG-new")),
    ("rename of a directory from a long name", |w| w.over("e/LONG-dir", "new")),
    ("rename of a directory over an empty one", |w| w.over("d", "plain")),
    ("rename of a directory over an empty one with a record", |w| w.over("d", "recorded")),
    ("rename of a directory over an empty one with an alias", |w| w.over("e", "aliased")),
    ("rename of a directory over an empty one of a long name", |w| w.over("d/sub", "LONG-empty")),
    ("rename of a directory without replacing", |w| w.rename("d", "new", RenameFlags::NOREPLACE)),
    ("exchange of directories", |w| w.exchange("d", "e")),
    ("exchange of directories, one with a record", |w| w.exchange("d", "aliased")),
    ("exchange of directories, one of a long name", |w| w.exchange("d", "e/LONG-dir")),
    ("exchange of a file and a directory", |w| w.exchange("LONG-k", "d")),
    ("exchange of files", |w| w.exchange("f", "d/f")),
    ("setxattr, new", |w| w.vault().setxattr(w.ino("f"), b"user.a", b"new", XattrMode::Set)),
    ("setxattr, changed", |w| w.vault().setxattr(w.ino("d/f"), b"user.a", b"new", XattrMode::Set)),
    ("setxattr, made", |w| w.vault().setxattr(w.ino("f"), b"user.a", b"new", XattrMode::Create)),
    ("setxattr, replaced", |w| w.vault().setxattr(w.ino("d/f"), b"user.a", b"new", XattrMode::Replace)),
    ("removexattr", |w| w.vault().removexattr(w.ino("d/f"), b"user.a")),
    ("alias of a directory", |w| w.set_alias("d", b"alias/second")),
    ("alias of the root", |w| w.set_alias("", b"alias/second")),
    ("alias of a directory, changed", |w| w.set_alias("aliased", b"alias/default")),
    ("alias of a directory, taken away", |w| w.vault().removexattr(w.ino("aliased"), ALIAS)),
    ("chmod of a directory", |w| w.chmod("d")),
    ("chmod of a file", |w| w.chmod("LONG-k")),
];

/// Operations of which the tree shows nothing.
const UNSEEN: &[Case] = &[
    ("fsyncdir", |w| w.vault().fsyncdir(w.ino("d"), SyncScope::All)),
    ("fsyncdir of the data", |w| w.vault().fsyncdir(w.ino("d"), SyncScope::Data)),
    ("owner and times of a directory", |w| w.owner_and_times("d")),
    ("owner and times of a symlink", |w| w.owner_and_times("sym")),
    ("owner and times of a file", |w| w.owner_and_times("LONG-k")),
    ("re-encryption", |w| w.reencrypt("e/i")),
    ("re-encryption, long name", |w| w.reencrypt("LONG-k")),
    ("re-wrap of one file", |w| w.rewrap("d/f")),
];

/// Does an operation with a plan in force.
fn with_faults(world: &World, case: &Case, faults: &Faults) -> Result<()> {
    let _scope = faults.on_this_thread();
    case.1(world)
}

/// Runs each operation once for each of its lower calls and each fault that `tried` picks, which hits that call. `look`
/// receives the result, and the tree as it was before and is to be after.
fn walk(
    tried: fn(InjectedFault) -> bool,
    mut look: impl FnMut(&mut World, &str, &Case, Result<()>, &[Snapshot; 2]),
) {
    walk_from(tried, |_| (), |world, when, case, done, states, ()| look(world, when, case, done, states));
}

/// As [`walk`]; `begin` is called before each operation, and what it returns is handed on.
fn walk_from<T>(
    tried: fn(InjectedFault) -> bool,
    begin: impl Fn(&World) -> T,
    mut look: impl FnMut(&mut World, &str, &Case, Result<()>, &[Snapshot; 2], T),
) {
    let mut world = World::new();
    let before = world.observe();
    for case in CASES.iter().chain(UNSEEN) {
        world.reset();
        let calls = calls(&world, case.1);
        let states = [before.clone(), world.observe()];
        assert_eq!(states[0] == states[1], UNSEEN.iter().any(|unseen| unseen.0 == case.0), "{}", case.0);
        assert!(!calls.is_empty(), "{} has no write point", case.0);
        for (skip, call) in calls.into_iter().enumerate() {
            for fault in InjectedFault::all_of(call).into_iter().filter(|fault| tried(*fault)) {
                world.reset();
                let begun = begin(&world);
                let when = format!("{}, {fault:?} at {call:?} after {skip} calls", case.0);
                let done = with_faults(&world, case, &fault.at(skip as u64));
                look(&mut world, &when, case, done, &states, begun);
            }
        }
    }
}

fn without_alias(tree: &Snapshot) -> Snapshot {
    let mut tree = tree.clone();
    tree.entries.get_mut([b"aliased".to_vec()].as_slice()).unwrap().alias = None;
    tree
}

#[test]
fn an_operation_that_is_stopped_anywhere_is_done_or_not() {
    walk(InjectedFault::stops, |world, when, case, _, [before, after]| {
        world.test.reopen();
        let seen = world.observe();
        if seen != *after {
            // An empty directory on its way out may have lost its record already.
            if !case.0.ends_with("with an alias") || seen != without_alias(before) {
                seen.assert_is(before, when);
            }
            case.1(world).unwrap_or_else(|e| panic!("{when}: repeated: {e}"));
            world.observe().assert_is(after, when);
        }
        world.test.reopen();
        world.observe().assert_is(after, when);
    });
}

#[test]
fn an_operation_that_fails_anywhere_is_done_or_not() {
    let full = |fault| matches!(fault, InjectedFault::Full | InjectedFault::TornFull(_));
    walk(full, |world, when, case, done, [before, after]| {
        // In the same process first: what it remembers is what is there.
        let seen = world.observe();
        match done {
            Ok(()) => seen.assert_is(after, when),
            Err(e) => assert_eq!(errno(&e), Errno::NOSPC, "{when}: {e}"),
        }
        if seen != *after {
            seen.assert_is(before, when);
            world.test.reopen();
            world.observe().assert_is(before, when);
            case.1(world).unwrap_or_else(|e| panic!("{when}: repeated: {e}"));
            world.observe().assert_is(after, when);
        }
        world.test.reopen();
        world.observe().assert_is(after, when);
    });
}

#[test]
fn an_operation_that_is_interrupted_anywhere_is_done() {
    walk(InjectedFault::is_no_failure, |world, when, _, done, [_, after]| {
        done.unwrap_or_else(|e| panic!("{when}: {e}"));
        world.observe().assert_is(after, when);
    });
}

/// Repeated in the same process, whose memory of the directories has seen the failure.
#[test]
fn an_operation_that_failed_can_be_repeated_at_once() {
    walk(
        |fault| fault == InjectedFault::Io,
        |world, when, case, _, [_, after]| {
            if world.observe() != *after {
                case.1(world).unwrap_or_else(|e| panic!("{when}: repeated: {e}"));
            }
            world.observe().assert_is(after, when);
            world.test.reopen();
            world.observe().assert_is(after, when);
        },
    );
}

/// What an operation does below, in order.
fn calls(world: &World, go: fn(&World) -> Result<()>) -> Vec<Op> {
    let faults = Faults::record();
    let scope = faults.on_this_thread();
    go(world).unwrap();
    drop(scope);
    faults.log()
}

const DURABLE: [Op; 5] = [Op::Create, Op::Pwrite, Op::Fsync, Op::Rename, Op::Fsync];

#[test]
fn a_directory_moves_once_its_record_is_durable() {
    let world = World::new();
    let [first, again] = [|w: &World| w.over("d", "e/new"), |w: &World| w.over("e/new", "d")];
    assert_eq!(calls(&world, first), [DURABLE.as_slice(), &[Op::SetTimes, Op::Rename]].concat());
    assert_eq!(calls(&world, again), [Op::Rename]);
    let both = calls(&world, |w| w.exchange("e", "plain"));
    let stored = [DURABLE.as_slice(), &[Op::SetTimes]].concat();
    assert_eq!(both, [stored.as_slice(), &stored, &[Op::RenameFlagged]].concat());
}

#[test]
fn a_long_name_is_made_durable_first_and_removed_last() {
    let world = World::new();
    let made = calls(&world, |w| w.mkdir("LONG-new"));
    assert_eq!(made, [DURABLE.as_slice(), &[Op::Mkdir]].concat());
    assert_eq!(calls(&world, |w| w.rmdir("LONG-new")), [Op::Rmdir, Op::Unlink]);
    let moved = calls(&world, |w| w.over("LONG-k", "d/LONG-new"));
    assert_eq!(moved, [DURABLE.as_slice(), &[Op::Rename, Op::Unlink]].concat());
}

#[test]
fn storing_a_record_leaves_no_trace_in_the_times() {
    let world = World::new();
    let times = |path| {
        let attr = world.vault().getattr(world.ino(path)).unwrap();
        (attr.atime, attr.mtime)
    };
    let before = times("d");
    world.over("d", "new").unwrap();
    assert_eq!(times("new"), before);
    world.set_alias("new", b"alias/second").unwrap();
    assert_eq!(times("new"), before);
}

/// An open file, and a directory the kernel knows, stay usable through all of it.
#[test]
fn what_is_known_stays_usable_through_failures() {
    let begin = |world: &World| {
        let vault = Arc::clone(&world.test.vault);
        let (open, sub) = (world.ino("d/f"), world.ino("d/sub"));
        let inner = vault.lookup(sub, b"h").unwrap().ino;
        let handle = vault.open(open, READ_WRITE, &me()).unwrap();
        (vault, open, handle, sub, inner)
    };
    walk_from(
        |fault| fault == InjectedFault::Io,
        begin,
        |_, when, _, _, _, (vault, open, handle, sub, inner)| {
            assert_eq!(content(&vault, open).unwrap(), "d/f".repeat(900).as_bytes(), "{when}");
            assert_eq!(content(&vault, inner).unwrap(), "d/sub/h".repeat(900).as_bytes(), "{when}");
            assert_eq!(vault.lookup(sub, b"h").unwrap().ino, inner, "{when}");
            vault.release(open, handle).unwrap();
        },
    );
}
