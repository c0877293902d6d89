//! What one lower call that fails in the middle of an operation leaves; the walk through all of them is the model's.

use super::*;
use crate::ids::AliasName;
use crate::storage::Errno;
use crate::storage::fault::{After, Faults, Op, Plan};
use crate::vault::{SyncScope, XattrMode};

#[test]
fn a_directory_can_be_synced_where_the_lower_filesystem_has_no_fsync_for_it() {
    let t = TestVault::new();
    let dir = mkdir(&t.vault, "d");
    for scope in [SyncScope::All, SyncScope::Data] {
        let lacking =
            Faults::record().refusing(Op::Fsync, Errno::INVAL).refusing(Op::Fdatasync, Errno::INVAL);
        let _scope = lacking.on_this_thread();
        t.vault.fsyncdir(dir, scope).unwrap();
        assert_eq!(lacking.log().last(), Some(&Op::Syncfs));
    }
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
fn nothing_is_replaced_where_the_lower_filesystem_lacks_noreplace() {
    for errno in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP] {
        let mut t = TestVault::new();
        let v = t.vault.clone();
        let lacking = Faults::record().refusing(Op::RenameFlagged, errno);
        mkdir(&v, "d");
        mkdir(&v, "d/below");
        write(&v, "d/f", b"f");
        write(&v, "there", b"there");
        let long = "l".repeat(200);
        {
            let _scope = lacking.on_this_thread();
            let rename = |from: &str, to: &str| rename(&v, from, to, RenameFlags::NOREPLACE);
            assert!(matches!(rename("d/f", "there"), Err(Error::Exists)));
            assert!(matches!(rename("d", "there"), Err(Error::Exists)));
            rename("d/f", &long).unwrap();
            rename("d", "e").unwrap();
            assert!(matches!(rename("e", "e/below/e"), Err(Error::Lower(Errno::INVAL))));
            assert!(lacking.log().contains(&Op::Rename) && !lacking.log().contains(&Op::Link));
        }
        for _ in 0..2 {
            let v = &t.vault;
            assert_eq!(read(v, "there").unwrap(), b"there");
            assert_eq!(read(v, &long).unwrap(), b"f");
            assert!(find(v, "e/below").is_ok() && matches!(find(v, "d"), Err(Error::NotFound)));
            t.reopen();
        }
    }
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
