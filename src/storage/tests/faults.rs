//! The fault points themselves: each mutating function has one, and a plan does what it says.

use super::*;

type Call = fn(&Dir, &OwnedFd) -> Result<()>;

/// Every mutating function, on a directory that holds a file `f`, given open, and an empty directory `d`.
const CALLS: &[(Op, Call)] = &[
    (Op::Create, |dir, _| create_file(dir.fd(), b"new", 0o600).map(drop)),
    (Op::Mkdir, |dir, _| mkdir(dir.fd(), b"new", 0o700)),
    (Op::Mknod, |dir, _| mknod(dir.fd(), b"new", 0o010_600, 0)),
    (Op::Symlink, |dir, _| symlink(dir.fd(), b"new", b"t")),
    (Op::Link, |dir, _| link(dir.fd(), b"f", dir.fd(), b"new")),
    (Op::Link, |dir, f| link_fd(f.as_fd(), dir.fd(), b"new")),
    (Op::Unlink, |dir, _| unlink(dir.fd(), b"f")),
    (Op::Rmdir, |dir, _| rmdir(dir.fd(), b"d")),
    (Op::Rename, |dir, _| rename(dir.fd(), b"f", dir.fd(), b"new", RenameFlags::empty())),
    (Op::RenameFlagged, |dir, _| rename(dir.fd(), b"f", dir.fd(), b"new", RenameFlags::NOREPLACE)),
    (Op::Pwrite, |_, f| pwrite_all(f.as_fd(), b"x", AT0)),
    (Op::Truncate, |_, f| truncate(f.as_fd(), LowerOffset(9))),
    (Op::Punch, |_, f| punch(f.as_fd(), AT0, 4096)),
    (Op::Allocate, |_, f| allocate_keep_size(f.as_fd(), AT0, 4096)),
    (Op::AllocatePlain, |_, f| allocate(f.as_fd(), AT0, 4096)),
    (Op::ZeroRange, |_, f| match zero_range(f.as_fd(), AT0, 4096) {
        // As tmpfs has it.
        Err(Errno::OPNOTSUPP) => Ok(()),
        done => done,
    }),
    (Op::Chmod, |_, f| chmod(f.as_fd(), 0o600)),
    (Op::Chmod, |dir, _| chmod_at(dir.fd(), b"f", 0o600)),
    (Op::Chown, |_, f| chown(f.as_fd(), None, None)),
    (Op::Chown, |dir, _| chown_at(dir.fd(), b"f", None, None)),
    (Op::SetTimes, |_, f| set_times(f.as_fd(), TimeChange::Now, TimeChange::Now)),
    (Op::SetTimes, |dir, _| set_times_at(dir.fd(), b"f", TimeChange::Now, TimeChange::Now)),
    (Op::SetXattr, |_, f| setxattr(f.as_fd(), b"user.a", b"", XattrMode::Set)),
    (Op::SetXattr, |dir, _| setxattr_at(dir.fd(), b"f", b"user.a", b"", XattrMode::Set)),
    (Op::RemoveXattr, |_, f| removexattr(f.as_fd(), b"user.x")),
    (Op::RemoveXattr, |dir, _| removexattr_at(dir.fd(), b"f", b"user.x")),
    (Op::Fdatasync, |_, f| fdatasync(f.as_fd())),
    (Op::Fsync, |_, f| fsync(f.as_fd())),
    (Op::Syncfs, |_, f| syncfs(f.as_fd())),
    (Op::WaitStable, |_, f| wait_stable(f.as_fd(), AT0, 4096)),
];

#[test]
fn every_mutating_call_can_be_failed_and_then_does_nothing() {
    for (op, call) in CALLS {
        let dir = Dir::new();
        let file = dir.file(b"f");
        setxattr(file.as_fd(), b"user.x", b"", XattrMode::Set).unwrap();
        mkdir(dir.fd(), b"d", 0o700).unwrap();
        let before = (dir.names(), fstat(file.as_fd()).unwrap(), listxattr(file.as_fd()).unwrap());
        let faults = Faults::fail_once(0, Errno::NOSPC);
        {
            let _scope = faults.on_this_thread();
            assert_eq!(call(&dir, &file), Err(Errno::NOSPC), "{op:?}");
        }
        assert!(faults.fired());
        assert_eq!(faults.log(), [*op]);
        let after = (dir.names(), fstat(file.as_fd()).unwrap(), listxattr(file.as_fd()).unwrap());
        assert_eq!(before, after, "{op:?}");
        assert_eq!(call(&dir, &file), Ok(()), "{op:?}: works once the plan is gone");
        assert_eq!(faults.calls(), 1);
    }
}

#[test]
fn an_interrupted_call_is_made_again() {
    for (op, call) in CALLS {
        let dir = Dir::new();
        let file = dir.file(b"f");
        setxattr(file.as_fd(), b"user.x", b"", XattrMode::Set).unwrap();
        mkdir(dir.fd(), b"d", 0o700).unwrap();
        let faults = Faults::fail_once(0, Errno::INTR);
        let _scope = faults.on_this_thread();
        assert_eq!(call(&dir, &file), Ok(()), "{op:?}");
        assert_eq!(faults.log(), [*op, *op]);
    }
}

#[test]
fn a_short_write_is_completed_or_leaves_whole_pages() {
    let dir = Dir::new();
    let file = dir.file(b"f");
    let data: Vec<u8> = (0..5 * 4096).map(|i| (i % 251) as u8).collect();
    for (offset, len, first) in [(0, 5 * 4096, 2 * 4096), (1024, 4096, 3072), (4096 + 512, 512, 512)] {
        let at = LowerOffset(offset);
        truncate(file.as_fd(), AT0).unwrap();
        let faults = Faults::record().short_after(0, ShortWrite::Pages);
        {
            let _scope = faults.on_this_thread();
            pwrite_all(file.as_fd(), &data[..len], at).unwrap();
        }
        assert_eq!(faults.calls(), if first < len { 2 } else { 1 }, "{len} bytes at {offset}");
        assert_eq!(read_all(file.as_fd(), 1 << 20).unwrap()[offset as usize..], data[..len]);

        truncate(file.as_fd(), AT0).unwrap();
        let faults = Faults::fail_once(1, Errno::NOSPC).short_after(0, ShortWrite::Pages);
        let _scope = faults.on_this_thread();
        let done = pwrite_all(file.as_fd(), &data[..len], at);
        assert_eq!(done, if first < len { Err(Errno::NOSPC) } else { Ok(()) });
        let written = read_all(file.as_fd(), 1 << 20).unwrap();
        assert_eq!(written[offset as usize..], data[..first], "{len} bytes at {offset}");
    }
}

#[test]
fn a_write_is_cut_short_at_any_byte() {
    let dir = Dir::new();
    let file = dir.file(b"f");
    let data: Vec<u8> = (0..999).map(|i| (i % 251) as u8).collect();
    for (part, first) in [(ShortWrite::Byte, 1), (ShortWrite::Half, 499), (ShortWrite::AllButOne, 998)] {
        truncate(file.as_fd(), AT0).unwrap();
        {
            let _scope = Faults::stop_after(1).short_after(0, part).on_this_thread();
            assert_eq!(pwrite_all(file.as_fd(), &data, AT0), Err(Errno::IO));
        }
        assert_eq!(read_all(file.as_fd(), 1 << 20).unwrap(), data[..first], "{part:?}");
        // Completed by a further call; of a single byte there is no part.
        for (data, calls) in [(data.as_slice(), 2), (b"x", 1)] {
            truncate(file.as_fd(), AT0).unwrap();
            let faults = Faults::record().short_after(0, part);
            let _scope = faults.on_this_thread();
            pwrite_all(file.as_fd(), data, AT0).unwrap();
            assert_eq!(faults.calls(), calls);
            assert_eq!(read_all(file.as_fd(), 1 << 20).unwrap(), data, "{part:?}");
        }
    }
}

#[test]
fn a_process_can_be_stopped_while_it_deals_with_an_error() {
    let dir = Dir::new();
    let file = dir.file(b"f");
    let plan = Plan { skip: 1, only: None, errno: Errno::NOSPC, after: After::StopAfter(1) };
    let faults = Faults::new(plan);
    let _scope = faults.on_this_thread();
    let write = || pwrite_all(file.as_fd(), b"x", AT0);
    assert_eq!([write(), write(), write()], [Ok(()), Err(Errno::NOSPC), Ok(())]);
    assert!(faults.fired() && !faults.stopped());
    assert_eq!([write(), write()], [Err(Errno::IO), Err(Errno::IO)]);
    assert!(faults.stopped());
}

#[test]
fn a_plan_fails_the_call_it_names() {
    let dir = Dir::new();
    let file = dir.file(b"f");
    let write = || pwrite_all(file.as_fd(), b"x", AT0);
    let faults = Faults::fail_once(2, Errno::DQUOT);
    let scope = faults.on_this_thread();
    assert_eq!([write(), write(), write(), write()], [Ok(()), Ok(()), Err(Errno::DQUOT), Ok(())]);
    drop(scope);

    let only = Plan { skip: 1, only: Some(Op::Fsync), errno: Errno::IO, after: After::Recover };
    let faults = Faults::new(only);
    let _scope = faults.on_this_thread();
    let results = [write(), fsync(file.as_fd()), write(), fsync(file.as_fd()), fsync(file.as_fd())];
    assert_eq!(results, [Ok(()), Ok(()), Ok(()), Err(Errno::IO), Ok(())]);
    assert_eq!(faults.log(), [Op::Pwrite, Op::Fsync, Op::Pwrite, Op::Fsync, Op::Fsync]);
}

#[test]
fn after_a_stop_nothing_changes_any_more() {
    let dir = Dir::new();
    let file = dir.file(b"f");
    let faults = Faults::stop_after(1);
    let _scope = faults.on_this_thread();
    pwrite_all(file.as_fd(), b"1", AT0).unwrap();
    assert!(!faults.fired());
    for _ in 0..3 {
        assert_eq!(pwrite_all(file.as_fd(), b"2", AT0), Err(Errno::IO));
        assert_eq!(unlink(dir.fd(), b"f"), Err(Errno::IO));
    }
    assert_eq!(read_all(file.as_fd(), 9).unwrap(), b"1", "reading continues");
    assert_eq!(faults.calls(), 7);
}

#[test]
fn a_plan_concerns_the_threads_it_is_put_on() {
    let dir = Dir::new();
    let file = dir.file(b"f");
    let write = || pwrite_all(file.as_fd(), b"x", AT0);
    let faults = Faults::stop_after(0);
    let inner = Faults::record();
    let scope = faults.on_this_thread();
    std::thread::scope(|threads| {
        let other = threads.spawn(write);
        assert_eq!(other.join().unwrap(), Ok(()));
        let joined = threads.spawn(|| {
            let _scope = faults.on_this_thread();
            write()
        });
        assert_eq!(joined.join().unwrap(), Err(Errno::IO));
    });
    {
        let _scope = inner.on_this_thread();
        assert_eq!(write(), Ok(()), "the innermost counts");
    }
    assert_eq!(write(), Err(Errno::IO));
    drop(scope);
    assert_eq!(write(), Ok(()));
    assert_eq!((faults.calls(), inner.calls()), (2, 1));
}

/// A stop at each write point in turn: what is there is the old file or the new one, never anything between.
#[test]
fn a_replaced_file_is_whole_wherever_it_stops() {
    let counted = Faults::record();
    {
        let dir = Dir::new();
        let _scope = counted.on_this_thread();
        replace_durably(dir.fd(), b"f", b"new", 0o600).unwrap();
    }
    assert_eq!(counted.log(), [Op::Create, Op::Pwrite, Op::Fsync, Op::Rename, Op::Fsync]);
    for skip in 0..counted.calls() {
        for stop in [false, true] {
            let dir = Dir::new();
            replace_durably(dir.fd(), b"f", b"old", 0o600).unwrap();
            let faults = if stop { Faults::stop_after(skip) } else { Faults::fail_once(skip, Errno::NOSPC) };
            {
                let _scope = faults.on_this_thread();
                assert!(replace_durably(dir.fd(), b"f", b"new", 0o600).is_err());
            }
            let file = open_file(dir.fd(), b"f", Access::ReadOnly).unwrap();
            let expected: &[u8] = if skip < 4 { b"old" } else { b"new" };
            assert_eq!(read_all(file.as_fd(), 9).unwrap(), expected);
            let leftovers = dir.names().len() - 1;
            assert_eq!(leftovers, usize::from(stop && (1..4).contains(&skip)), "stop {stop} at {skip}");
        }
    }
}
