//! What is done where the lower filesystem lacks a call.

use super::*;

fn to_new(dir: &Dir, name: &[u8], new_name: &[u8]) -> Result<()> {
    rename_to_new(dir.fd(), name, dir.fd(), new_name)
}

#[test]
fn a_file_gets_a_new_name_with_what_calls_there_are() {
    for errno in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP] {
        let no_flags = || Faults::record().refusing(Op::RenameFlagged, errno);
        let no_links = || no_flags().refusing(Op::Link, Errno::PERM);
        for (lacking, calls) in [
            (Faults::record(), &[Op::RenameFlagged][..]),
            (no_flags(), &[Op::RenameFlagged, Op::Link, Op::Unlink]),
            (no_links(), &[Op::RenameFlagged, Op::Link, Op::Rename]),
        ] {
            let dir = Dir::new();
            let before = fstat(dir.file(b"f").as_fd()).unwrap();
            {
                let _scope = lacking.on_this_thread();
                to_new(&dir, b"f", b"new").unwrap();
            }
            assert_eq!(lacking.log(), calls);
            assert_eq!(dir.names(), [b"new"]);
            let after = stat(dir.fd(), b"new").unwrap();
            assert_eq!((after.ino, after.nlink), (before.ino, 1));
            // Never over another.
            pwrite_all(dir.file(b"there").as_fd(), b"x", AT0).unwrap();
            let _scope = lacking.on_this_thread();
            assert_eq!(to_new(&dir, b"new", b"there"), Err(Errno::EXIST));
            assert_eq!(dir.names(), [&b"new"[..], b"there"]);
            assert_eq!(stat(dir.fd(), b"there").unwrap().size, 1);
        }
    }
}

#[test]
fn a_name_that_can_not_be_removed_leaves_no_second_one() {
    let dir = Dir::new();
    dir.file(b"f");
    let plan = Plan { skip: 0, only: Some(Op::Unlink), errno: Errno::IO, after: After::Recover };
    let faults = Faults::new(plan).refusing(Op::RenameFlagged, Errno::INVAL);
    let _scope = faults.on_this_thread();
    assert_eq!(to_new(&dir, b"f", b"new"), Err(Errno::IO));
    assert_eq!(dir.names(), [b"f"]);
}

#[test]
fn an_error_is_not_taken_for_a_lack() {
    let dir = Dir::new();
    dir.file(b"f");
    for errno in [Errno::IO, Errno::NOSPC, Errno::ACCESS, Errno::ROFS] {
        let faults = Faults::fail_once(0, errno);
        let _scope = faults.on_this_thread();
        assert_eq!(to_new(&dir, b"f", b"new"), Err(errno));
        assert_eq!(faults.log(), [Op::RenameFlagged]);
    }
}

#[test]
fn a_directory_is_synced_with_all_its_filesystem_where_there_is_no_fsync_for_it() {
    let dir = Dir::new();
    let lacking = Faults::record().refusing(Op::Fsync, Errno::INVAL);
    let broken = Faults::record().refusing(Op::Fsync, Errno::IO);
    {
        let _scope = lacking.on_this_thread();
        assert_eq!(fsync_dir(dir.fd()), Ok(()));
        assert_eq!(lacking.log(), [Op::Fsync, Op::Syncfs]);
    }
    let _scope = broken.on_this_thread();
    assert_eq!(fsync_dir(dir.fd()), Err(Errno::IO));
}

#[test]
fn the_times_of_a_file_without_a_name_are_nobodys() {
    let dir = Dir::new();
    let file = dir.file(b"f");
    let set = || {
        let faults = Faults::fail_once(0, Errno::NOENT);
        let _scope = faults.on_this_thread();
        set_times(file.as_fd(), TimeChange::Now, TimeChange::Now)
    };
    assert_eq!(set(), Err(Errno::NOENT));
    unlink(dir.fd(), b"f").unwrap();
    assert_eq!(set(), Ok(()));
}
