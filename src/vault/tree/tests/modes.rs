//! A daemon that isn't root, on files and directories whose mode shuts their owner out.

use super::*;
use crate::sys;
use crate::vault::{FileKind, Privileges, SetAttr};

const NOBODY: u32 = 65534;

/// Runs `act` as a daemon without privileges that owns the tree. Does nothing where the tests can't.
fn unprivileged(act: impl FnOnce(&TestVault) + Send) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let t = TestVault::new();
    std::os::unix::fs::chown(t.tree(), Some(NOBODY), Some(NOBODY)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The thread's own; it takes the rights to override modes along.
            sys::set_fsgid(NOBODY).unwrap();
            sys::set_fsuid(NOBODY).unwrap();
            act(&t);
        });
    });
}

fn chmod(v: &Vault, path: &str, mode: u32) {
    let set = SetAttr { mode: Some(mode), ..Default::default() };
    assert_eq!(u32::from(v.setattr(find(v, path).unwrap(), &set, &me()).unwrap().perm), mode);
}

fn close_directories(v: &Vault) {
    for _ in 0..8 {
        v.tree.dirs.shrink();
    }
}

fn perm(v: &Vault, path: &str) -> u16 {
    v.getattr(find(v, path).unwrap()).unwrap().perm
}

#[test]
fn a_read_only_file_is_opened_for_what_the_kernel_allowed() {
    unprivileged(|t| {
        let v = &t.vault;
        let ino = write(v, "f", b"before");
        for mode in [0o444, 0o200, 0] {
            chmod(v, "f", mode);
            let flags = OpenFlags { read: true, write: true, truncate: false };
            let handle = v.open(ino, flags, &me()).unwrap();
            v.write(ino, PlainOffset(0), b"after!", Privileges::Keep).unwrap();
            v.release(ino, handle).unwrap();
            assert_eq!(u32::from(perm(v, "f")), mode);
        }
        chmod(v, "f", 0o444);
        unlink(v, "f").unwrap();
        let handle = v.open(ino, OpenFlags { read: true, write: true, truncate: false }, &me()).unwrap();
        v.release(ino, handle).unwrap();
        assert_eq!(v.getattr(ino).unwrap().perm, 0o444);
    });
}

#[test]
fn a_read_only_directory_can_be_moved_and_removed() {
    unprivileged(|t| {
        let v = &t.vault;
        for mode in [0o555, 0o300, 0o100] {
            let d = mkdir(v, "d");
            write(v, "d/f", b"f");
            chmod(v, "d", mode);
            close_directories(v);
            assert_eq!(read(v, "d/f").unwrap(), b"f");
            rename(v, "d", "e", PLAIN).unwrap();
            close_directories(v);
            assert_eq!(u32::from(perm(v, "e")), mode);
            assert_eq!(read(v, "e/f").unwrap(), b"f");
            if mode & 0o400 == 0 {
                assert!(matches!(v.opendir(d), Err(Error::Lower(crate::storage::Errno::ACCESS))));
            }
            if mode & 0o200 == 0 {
                let denied = v.mkdir(d, b"x", 0o755, &me());
                assert!(matches!(denied, Err(Error::Lower(crate::storage::Errno::ACCESS))));
                chmod(v, "e", 0o700);
            }
            unlink(v, "e/f").unwrap();
            chmod(v, "e", mode);
            close_directories(v);
            rmdir(v, "e").unwrap();
            assert_eq!(v.getattr(d).unwrap().kind, FileKind::Directory);
            v.forget(d, 100);
        }
    });
}

#[test]
fn what_is_said_of_a_directory_that_is_shut() {
    unprivileged(|t| {
        let v = &t.vault;
        let d = mkdir(v, "d");
        write(v, "d/f", b"f");
        chmod(v, "d", 0);
        close_directories(v);
        let denied = v.lookup(d, b"f");
        assert!(matches!(denied, Err(Error::Lower(crate::storage::Errno::ACCESS))), "{denied:?}");
        assert_eq!(v.getattr(d).unwrap().perm, 0);
        chmod(v, "d", 0o700);
        assert_eq!(read(v, "d/f").unwrap(), b"f");
    });
}
