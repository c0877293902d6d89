use std::os::fd::AsFd;

use super::*;
use crate::ids::{Ino, NodeGeneration};
use crate::storage;
use crate::storage::Errno;
use crate::sys::testing::eventually;
use crate::vault::testing::TestVault;
use crate::vault::tree::inode::{Capability, Links, Table};
use crate::vault::{Error, FileKind, Result};

/// An inode that keeps a descriptor open, and what is left of the file behind it when that is closed.
fn pinned(n: u64) -> (Arc<Inode>, std::fs::File) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let inode = Arc::new(Inode::new(Ino(n), FileKind::Regular, NodeGeneration::default(), Capability::None));
    Table::new(1).strike(&inode, Ino::ROOT, b"gone", ours.into(), Links::None);
    (inode, std::fs::File::from(std::os::fd::OwnedFd::from(theirs)))
}

/// Whether the descriptor is closed.
fn closed(other: &std::fs::File) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(other, PollFlags::IN)], Some(&at_once)).unwrap() > 0
}

#[test]
fn descriptors_are_closed_in_bursts_and_again_after_a_rest() {
    let removed = DeferredClose::default();
    std::thread::scope(|threads| {
        threads.spawn(|| removed.serve());
        eventually(|| removed.queue.lock().asleep);
        for _ in 0..3 {
            let files: Vec<_> = (0..40)
                .map(|n| {
                    let (inode, file) = pinned(n);
                    removed.add(inode);
                    file
                })
                .collect();
            eventually(|| files.iter().all(closed));
            eventually(|| removed.queue.lock().asleep);
        }
        removed.close();
    });
    let (inode, file) = pinned(1);
    removed.add(inode);
    assert!(closed(&file), "nobody else would");
}

#[test]
fn no_more_wait_than_may_and_settling_closes_them() {
    let removed = DeferredClose::default();
    removed.queue.lock().served = true;
    let files: Vec<_> = (0..MOST as u64 + 10)
        .map(|n| {
            let (inode, file) = pinned(n);
            removed.add(inode);
            file
        })
        .collect();
    assert!(files[..MOST].iter().all(|file| !closed(file)));
    assert!(files[MOST..].iter().all(closed));
    assert!(removed.drain());
    assert!(files.iter().all(closed));
    assert!(!removed.drain());
}

#[test]
fn who_finds_no_room_tries_again_if_files_were_still_to_be_freed() {
    let test = TestVault::new();
    let vault = &test.vault;
    vault.deferred_close.queue.lock().served = true;
    let full = || Err::<(), _>(Error::Lower(Errno::NOSPC));
    let tries = std::cell::Cell::new(0);
    let attempt = |then: &dyn Fn() -> Result<()>| {
        tries.set(0);
        vault.retry_when_full(|| {
            tries.set(tries.get() + 1);
            if tries.get() == 1 { full() } else { then() }
        })
    };
    assert!(attempt(&|| Ok(())).is_err(), "nothing waits");
    assert_eq!(tries.get(), 1);

    let (inode, file) = pinned(1);
    vault.close_later(inode);
    assert!(!closed(&file));
    assert!(attempt(&|| Ok(())).is_ok());
    assert!(closed(&file));

    let (inode, _file) = pinned(2);
    vault.close_later(inode);
    assert!(attempt(&full).is_err());
    assert_eq!(tries.get(), 2);

    let (inode, _file) = pinned(3);
    vault.close_later(inode);
    let other = vault.retry_when_full(|| Err::<(), _>(Error::Lower(Errno::IO)));
    assert!(matches!(other, Err(Error::Lower(Errno::IO))));
    assert!(vault.deferred_close.drain(), "another error waits for nothing");
}

#[test]
fn a_removed_file_is_freed_once_it_is_forgotten() {
    let test = TestVault::new();
    let vault = &test.vault;
    std::thread::scope(|threads| {
        threads.spawn(|| vault.run_deferred_close());
        eventually(|| vault.deferred_close.queue.lock().asleep);
        let ino = test.make("file");
        vault.lookup(Ino::ROOT, b"file").unwrap();
        vault.unlink(Ino::ROOT, b"file").unwrap();
        let pin = Arc::downgrade(&vault.tree.inodes.find(ino).unwrap().pin().fd().unwrap());
        assert_eq!(storage::fstat(pin.upgrade().unwrap().as_fd()).unwrap().nlink, 0);
        vault.forget(ino, 1);
        assert!(pin.strong_count() > 0, "it was looked up twice");
        vault.forget(ino, 1);
        eventually(|| pin.strong_count() == 0);
        vault.close_queues();
    });
}
