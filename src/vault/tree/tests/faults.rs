//! Every operation that takes several lower calls, stopped or failed at each of them.

use super::*;
use crate::ids::AliasName;
use crate::storage::Errno;
use crate::storage::fault::{After, Faults, Op, Plan};
use crate::vault::XattrMode;

const LONG: &str = "a name so long that its lower form does not fit into 255 bytes, which is what a companion \
                    file is for, and which takes a little more than one hundred and sixty bytes of plaintext";

/// What becomes of the call that doesn't work, and of those after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// All fail, and the vault is opened anew by another process.
    Stops,
    /// One fails, and the vault goes on.
    Fails,
}

/// Runs `act` on a vault that `prepare` has filled, with the lower calls after the first n stopped or one of them
/// failed, for every n until all work; then has `check` look at it, told whether `act` succeeded.
fn at_every_call(
    how: How,
    prepare: impl Fn(&Vault),
    act: impl Fn(&Vault) -> Result<()>,
    check: impl Fn(&Vault, bool, u64),
) {
    for n in 0.. {
        let mut t = TestVault::new();
        prepare(&t.vault);
        let faults = match how {
            How::Stops => Faults::stop_after(n),
            How::Fails => Faults::fail_once(n, Errno::NOSPC),
        };
        let done = {
            let _scope = faults.on_this_thread();
            act(&t.vault)
        };
        assert!(done.is_ok() || faults.fired(), "{done:?} without a fault");
        if how == How::Fails {
            check(&t.vault, done.is_ok(), n);
        }
        t.reopen();
        check(&t.vault, done.is_ok(), n);
        if !faults.fired() {
            assert!(done.is_ok());
            return;
        }
    }
}

/// Both ways.
pub(super) fn everywhere(
    prepare: impl Fn(&Vault),
    act: impl Fn(&Vault) -> Result<()>,
    check: impl Fn(&Vault, bool, u64),
) {
    for how in [How::Stops, How::Fails] {
        at_every_call(how, &prepare, &act, &check);
    }
}

/// One of two paths leads to the content, the other nowhere.
fn at_one_of(v: &Vault, a: &str, b: &str, content: &[u8]) -> bool {
    let (a, b) = (read(v, a), read(v, b));
    match (&a, &b) {
        (Ok(found), Err(Error::NotFound)) => assert_eq!(found, content),
        (Err(Error::NotFound), Ok(found)) => assert_eq!(found, content),
        _ => panic!("{a:?} {b:?}"),
    }
    a.is_err()
}

#[test]
fn moving_a_directory() {
    everywhere(
        |v| {
            mkdir(v, "a");
            mkdir(v, "a/b");
            write(v, "a/b/f", b"content");
        },
        |v| rename(v, "a", "z", PLAIN),
        |v, done, n| assert!(at_one_of(v, "a/b/f", "z/b/f", b"content") || !done, "{n}"),
    );
}

#[test]
fn exchanging_directories() {
    everywhere(
        |v| {
            mkdir(v, "a");
            mkdir(v, "b");
            write(v, "a/f", b"f");
            write(v, "b/g", b"g");
        },
        |v| rename(v, "a", "b", RenameFlags::EXCHANGE),
        |v, done, n| {
            let moved = at_one_of(v, "a/f", "b/f", b"f");
            assert_eq!(at_one_of(v, "b/g", "a/g", b"g"), moved, "{n}");
            assert!(moved || !done, "{n}");
        },
    );
}

#[test]
fn moving_a_directory_over_one_with_a_record() {
    let alias = |v: &Vault, path: &str| find(v, path).and_then(|ino| v.getxattr(ino, b"user.rekeyfs.alias"));
    let prepare = |v: &Vault| {
        mkdir(v, "a");
        write(v, "a/f", b"f");
        let victim = mkdir(v, "victim");
        v.tree.set_own_alias(victim, Some("alias/x".parse().unwrap()), XattrMode::Set).unwrap();
    };
    let act = |v: &Vault| rename(v, "a", "victim", PLAIN);
    at_every_call(How::Stops, prepare, act, |v, done, n| {
        assert!(at_one_of(v, "a/f", "victim/f", b"f") || !done, "{n}");
    });
    at_every_call(How::Fails, prepare, act, |v, done, n| {
        let moved = at_one_of(v, "a/f", "victim/f", b"f");
        assert!(moved || !done, "{n}");
        // Where it failed, the victim is what it was.
        if !moved && n < 8 {
            assert!(alias(v, "victim").is_ok(), "{n}: {:?}", alias(v, "victim"));
        }
    });
}

#[test]
fn a_victim_gets_its_record_back() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    mkdir(&v, "a");
    write(&v, "a/f", b"f");
    let victim = mkdir(&v, "victim");
    let alias: AliasName = "alias/x".parse().unwrap();
    v.tree.set_own_alias(victim, Some(alias), XattrMode::Set).unwrap();
    // Renames: the record of "a" into place, the directory (not empty: refused), the directory.
    let plan = |skip| Plan { skip, only: Some(Op::Rename), errno: Errno::IO, after: After::Recover };
    let faults = Faults::new(plan(2));
    {
        let _scope = faults.on_this_thread();
        assert!(matches!(rename(&v, "a", "victim", PLAIN), Err(Error::Lower(Errno::IO))));
    }
    assert!(faults.fired());
    for _ in 0..2 {
        let ino = find(&t.vault, "victim").unwrap();
        assert_eq!(t.vault.getxattr(ino, b"user.rekeyfs.alias").unwrap(), b"alias/x");
        assert_eq!(read(&t.vault, "a/f").unwrap(), b"f");
        t.reopen();
    }
    let faults = Faults::new(Plan { only: Some(Op::Rmdir), ..plan(1) });
    {
        let _scope = faults.on_this_thread();
        assert!(rmdir(&t.vault, "victim").is_err());
    }
    assert!(faults.fired());
    let ino = find(&t.vault, "victim").unwrap();
    assert_eq!(t.vault.getxattr(ino, b"user.rekeyfs.alias").unwrap(), b"alias/x");
    rename(&t.vault, "a", "victim", PLAIN).unwrap();
}

#[test]
fn a_record_that_is_not_durable_is_not_relied_on() {
    let t = TestVault::new();
    let v = &t.vault;
    mkdir(v, "a");
    write(v, "a/f", b"f");
    // The sync of the directory, after the record's own.
    let faults =
        Faults::new(Plan { skip: 1, only: Some(Op::Fsync), errno: Errno::IO, after: After::Recover });
    {
        let _scope = faults.on_this_thread();
        assert!(rename(v, "a", "b", PLAIN).is_err());
    }
    let again = Faults::record();
    {
        let _scope = again.on_this_thread();
        rename(v, "a", "b", PLAIN).unwrap();
    }
    let log = again.log();
    let moved = log.iter().rposition(|op| *op == Op::Rename).unwrap();
    assert_eq!(log[..moved].iter().filter(|op| **op == Op::Fsync).count(), 2, "{log:?}");
    assert_eq!(read(v, "b/f").unwrap(), b"f");
}

#[test]
fn making_moving_and_removing_long_names() {
    let other: &str = &format!("{LONG}, and on");
    let seen = |v: &Vault| list(v, Ino::ROOT);
    everywhere(
        |_| {},
        |v| v.mkdir(Ino::ROOT, LONG.as_bytes(), 0o755, &me()).map(drop),
        |v, done, n| {
            assert!(
                seen(v).len() == usize::from(find(v, LONG).is_ok()) && seen(v).len() >= done.into(),
                "{n}"
            )
        },
    );
    everywhere(
        |v| _ = write(v, LONG, b"x"),
        |v| rename(v, LONG, other, PLAIN),
        |v, done, n| {
            assert!(at_one_of(v, LONG, other, b"x") || !done, "{n}");
            assert_eq!(seen(v).len(), 1, "{n}: it has a name that can be listed");
        },
    );
    everywhere(
        |v| _ = write(v, LONG, b"x"),
        |v| unlink(v, LONG),
        |v, done, n| {
            assert_eq!(seen(v).len(), usize::from(find(v, LONG).is_ok()), "{n}");
            assert!(!done || seen(v).is_empty(), "{n}");
        },
    );
}

#[test]
fn setting_an_alias() {
    everywhere(
        |v| {
            mkdir(v, "a");
            write(v, "a/f", b"f");
        },
        |v| v.setxattr(find(v, "a")?, b"user.rekeyfs.alias", b"alias/default", XattrMode::Set),
        |v, done, n| {
            assert_eq!(read(v, "a/f").unwrap(), b"f", "{n}");
            let alias = v.getxattr(find(v, "a").unwrap(), b"user.rekeyfs.alias");
            assert!(!done || alias.is_ok(), "{n}");
        },
    );
}
