use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::fault::{After, Faults, Op, Plan, ShortWrite};
use super::*;
use crate::ids::LowerOffset;

mod faults;
mod lacking;

/// A directory of its own, gone with the value.
struct Dir {
    _temp: tempfile::TempDir,
    fd: OwnedFd,
}

impl Dir {
    fn new() -> Self {
        Self::below(tempfile::tempdir().unwrap())
    }

    fn below(temp: tempfile::TempDir) -> Self {
        let fd = open_dir(rustix::fs::CWD, temp.path().to_str().unwrap().as_bytes()).unwrap();
        Self { _temp: temp, fd }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn file(&self, name: &[u8]) -> OwnedFd {
        create_file(self.fd(), name, 0o644).unwrap()
    }

    fn names(&self) -> Vec<Vec<u8>> {
        let mut names: Vec<_> = entries(&mut DirStream::new(open_dir(self.fd(), b".").unwrap()));
        names.retain(|name| name != b"." && name != b"..");
        names.sort();
        names
    }
}

fn entries(stream: &mut DirStream) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    while let Some(entry) = stream.next().unwrap() {
        names.push(entry.name.to_vec());
    }
    names
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

const AT0: LowerOffset = LowerOffset(0);

#[test]
fn content() {
    let dir = Dir::new();
    let file = dir.file(b"f");
    let fd = file.as_fd();
    pwrite_all(fd, &[1; 10_000], LowerOffset(100_000)).unwrap();
    assert_eq!(fstat(fd).unwrap().lower_size(), LowerOffset(110_000));
    let mut buf = vec![9; 20_000];
    assert_eq!(pread(fd, &mut buf, LowerOffset(95_000)).unwrap(), 15_000, "up to the end");
    assert!(buf[..5000].iter().all(|&b| b == 0) && buf[5000..15_000].iter().all(|&b| b == 1));
    assert_eq!(pread(fd, &mut buf, LowerOffset(110_000)).unwrap(), 0);
    assert_eq!(pread(fd, &mut [], AT0).unwrap(), 0);

    assert_eq!(seek_data(fd, AT0).unwrap(), Some(LowerOffset(98_304)), "the block that was written");
    assert_eq!(seek_hole(fd, LowerOffset(98_304)).unwrap(), Some(LowerOffset(110_000)));
    assert_eq!(seek_data(fd, LowerOffset(110_000)).unwrap(), None);
    assert_eq!(seek_hole(fd, LowerOffset(110_001)).unwrap(), None);
    punch(fd, LowerOffset(98_304), 4096).unwrap();
    assert_eq!(seek_data(fd, AT0).unwrap(), Some(LowerOffset(102_400)));
    allocate_keep_size(fd, AT0, 1 << 20).unwrap();
    assert_eq!(fstat(fd).unwrap().size, 110_000);
    assert!(fstat(fd).unwrap().blocks >= (1 << 20) / 512);
    truncate(fd, LowerOffset(5)).unwrap();
    assert_eq!(fstat(fd).unwrap().size, 5);

    wait_stable(fd, AT0, 4096).unwrap();
    fdatasync(fd).unwrap();
    fsync(fd).unwrap();
    fsync(dir.fd()).unwrap();
    syncfs(fd).unwrap();
}

#[test]
fn small_files_are_read_whole_up_to_a_limit() {
    let dir = Dir::new();
    let file = dir.file(b"f");
    pwrite_all(file.as_fd(), b"12345", AT0).unwrap();
    assert_eq!(read_all(file.as_fd(), 5).unwrap(), b"12345");
    assert_eq!(read_all(file.as_fd(), 4), Err(Errno::FBIG));
    truncate(file.as_fd(), AT0).unwrap();
    assert_eq!(read_all(file.as_fd(), 0).unwrap(), b"");
}

#[test]
fn nothing_is_opened_through_a_symlink() {
    let dir = Dir::new();
    mkdir(dir.fd(), b"d", 0o700).unwrap();
    dir.file(b"f");
    symlink(dir.fd(), b"to-d", b"d").unwrap();
    symlink(dir.fd(), b"to-f", b"f").unwrap();
    assert_eq!(open_dir(dir.fd(), b"to-d").err(), Some(Errno::NOTDIR));
    assert_eq!(open_file(dir.fd(), b"to-f", Access::ReadOnly).err(), Some(Errno::LOOP));
    assert_eq!(open_file(dir.fd(), b"to-f", Access::ReadWrite).err(), Some(Errno::LOOP));
    assert_eq!(create_file(dir.fd(), b"to-f", 0o600).err(), Some(Errno::EXIST));
    assert_eq!(stat(dir.fd(), b"to-f").unwrap().kind(), FileKind::Symlink);
    let link = open_path(dir.fd(), b"to-f").unwrap();
    assert_eq!(fstat(link.as_fd()).unwrap().kind(), FileKind::Symlink);
    assert_eq!(readlink_fd(link.as_fd()).unwrap(), b"f");
    assert_eq!(readlink(dir.fd(), b"to-d").unwrap(), b"d");
    assert_eq!(readlink(dir.fd(), b"f"), Err(Errno::INVAL));
    assert_eq!(reopen(link.as_fd(), Access::ReadOnly).err(), Some(Errno::LOOP));
}

#[test]
fn a_long_symlink_target_comes_back_whole() {
    let dir = Dir::new();
    let target = vec![b'x'; 4000];
    symlink(dir.fd(), b"l", &target).unwrap();
    assert_eq!(readlink(dir.fd(), b"l").unwrap(), target);
}

#[test]
fn a_fifo_does_not_hang() {
    let dir = Dir::new();
    mknod(dir.fd(), b"p", 0o010_644, 0).unwrap();
    assert_eq!(stat(dir.fd(), b"p").unwrap().kind(), FileKind::Fifo);
    open_file(dir.fd(), b"p", Access::ReadOnly).unwrap();
    open_file(dir.fd(), b"p", Access::ReadWrite).unwrap();
}

#[test]
fn names_that_are_not_utf8_or_no_names() {
    let dir = Dir::new();
    let name = vec![0xff; 255];
    dir.file(&name);
    assert_eq!(dir.names(), [name]);
    assert_eq!(create_file(dir.fd(), &[b'a'; 256], 0o600).err(), Some(Errno::NAMETOOLONG));
    assert_eq!(create_file(dir.fd(), b"a\0b", 0o600).err(), Some(Errno::INVAL));
}

#[test]
fn links_and_renames() {
    let dir = Dir::new();
    mkdir(dir.fd(), b"d", 0o700).unwrap();
    let sub = open_dir(dir.fd(), b"d").unwrap();
    let ino = fstat(dir.file(b"a").as_fd()).unwrap().ino;
    link(dir.fd(), b"a", sub.as_fd(), b"b").unwrap();
    let path = open_path(dir.fd(), b"a").unwrap();
    link_fd(path.as_fd(), dir.fd(), b"c").unwrap();
    assert_eq!(stat(dir.fd(), b"c").unwrap().ino, ino);
    assert_eq!(stat(sub.as_fd(), b"b").unwrap().nlink, 3);
    symlink(dir.fd(), b"s", b"nowhere").unwrap();
    link_fd(open_path(dir.fd(), b"s").unwrap().as_fd(), dir.fd(), b"s2").unwrap();
    assert_eq!(stat(dir.fd(), b"s2").unwrap().kind(), FileKind::Symlink);

    let none = RenameFlags::empty();
    assert_eq!(rename(dir.fd(), b"a", dir.fd(), b"s", RenameFlags::NOREPLACE), Err(Errno::EXIST));
    rename(dir.fd(), b"a", dir.fd(), b"s", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(stat(dir.fd(), b"a").unwrap().kind(), FileKind::Symlink);
    rename(dir.fd(), b"s", sub.as_fd(), b"new", none).unwrap();
    assert_eq!(stat(sub.as_fd(), b"new").unwrap().ino, ino);
    assert_eq!(rename(dir.fd(), b"gone", dir.fd(), b"x", none), Err(Errno::NOENT));

    assert_eq!(rmdir(dir.fd(), b"d"), Err(Errno::NOTEMPTY));
    unlink(sub.as_fd(), b"b").unwrap();
    unlink(sub.as_fd(), b"new").unwrap();
    rmdir(dir.fd(), b"d").unwrap();
    unlink(dir.fd(), b"c").unwrap();
    assert_eq!(link_fd(path.as_fd(), dir.fd(), b"back"), Err(Errno::NOENT), "no name left");
    assert_eq!(fstat(path.as_fd()).unwrap().nlink, 0);
    assert_eq!(fstat(path.as_fd()).unwrap().ino, ino, "the number isn't reused while we look");
    assert_eq!(dir.names(), [&b"a"[..], b"s2"]);
}

#[test]
fn attributes_through_every_kind_of_descriptor() {
    let dir = Dir::new();
    let file = dir.file(b"f");
    mknod(dir.fd(), b"p", 0o010_600, 0).unwrap();
    symlink(dir.fd(), b"s", b"f").unwrap();
    let path = open_path(dir.fd(), b"f").unwrap();
    let fifo = open_path(dir.fd(), b"p").unwrap();
    let link = open_path(dir.fd(), b"s").unwrap();

    for (fd, mode) in [(file.as_fd(), 0o4751), (path.as_fd(), 0o640), (fifo.as_fd(), 0o222)] {
        chmod(fd, 0o100_000 | mode).unwrap();
        assert_eq!(fstat(fd).unwrap().perm(), mode as u16);
    }
    chmod_at(dir.fd(), b"p", 0o111).unwrap();
    assert_eq!(stat(dir.fd(), b"p").unwrap().perm(), 0o111);
    assert_eq!(chmod_at(dir.fd(), b"s", 0o111), Err(Errno::OPNOTSUPP));
    assert_eq!(fstat(path.as_fd()).unwrap().perm(), 0o640, "not through the symlink");

    let before = Time { secs: -86_401, nanos: 999_999_999 };
    let later = Time { secs: 4_000_000_000, nanos: 1 };
    for fd in [file.as_fd(), path.as_fd(), fifo.as_fd(), link.as_fd()] {
        set_times(fd, TimeChange::At(before), TimeChange::At(later)).unwrap();
        set_times(fd, TimeChange::Keep, TimeChange::Keep).unwrap();
        let st = fstat(fd).unwrap();
        assert_eq!((st.atime, st.mtime), (before, later));
        set_times(fd, TimeChange::Keep, TimeChange::Now).unwrap();
        let st = fstat(fd).unwrap();
        assert!(st.atime == before && st.mtime > Time { secs: 1_600_000_000, nanos: 0 } && st.mtime < later);
    }
    set_times_at(dir.fd(), b"s", TimeChange::At(later), TimeChange::Keep).unwrap();
    assert_eq!(fstat(link.as_fd()).unwrap().atime, later);
    assert_eq!(fstat(path.as_fd()).unwrap().atime, before, "not through the symlink");

    if is_root() {
        for fd in [file.as_fd(), fifo.as_fd(), link.as_fd()] {
            chown(fd, Some(12), Some(34)).unwrap();
            chown(fd, None, Some(56)).unwrap();
            chown(fd, Some(u32::MAX), Some(u32::MAX)).unwrap();
            let st = fstat(fd).unwrap();
            assert_eq!((st.uid, st.gid), (12, 56));
        }
        chown_at(dir.fd(), b"s", Some(78), None).unwrap();
        assert_eq!(fstat(link.as_fd()).unwrap().uid, 78);
        assert_eq!(fstat(path.as_fd()).unwrap().uid, 12, "not through the symlink");
    }
}

#[test]
fn xattrs_through_every_kind_of_descriptor() {
    let dir = Dir::new();
    let file = dir.file(b"f");
    symlink(dir.fd(), b"s", b"f").unwrap();
    let path = open_path(dir.fd(), b"f").unwrap();
    let long = vec![7; 2000];
    for fd in [file.as_fd(), path.as_fd()] {
        assert_eq!(getxattr(fd, b"user.a").unwrap(), None);
        assert_eq!(setxattr(fd, b"user.a", b"", XattrMode::Replace), Err(Errno::NODATA));
        setxattr(fd, b"user.a", b"", XattrMode::Create).unwrap();
        assert_eq!(setxattr(fd, b"user.a", b"", XattrMode::Create), Err(Errno::EXIST));
        assert_eq!(getxattr(fd, b"user.a").unwrap().as_deref(), Some(&b""[..]));
        setxattr(fd, b"user.a", &long, XattrMode::Set).unwrap();
        assert_eq!(getxattr(fd, b"user.a").unwrap().as_ref(), Some(&long));
        setxattr(fd, b"user.b", b"1", XattrMode::Set).unwrap();
        let mut list = listxattr(fd).unwrap();
        list.retain(|name| name.starts_with(b"user."));
        list.sort();
        assert_eq!(list, [b"user.a", b"user.b"]);
        removexattr(fd, b"user.a").unwrap();
        removexattr(fd, b"user.b").unwrap();
        assert_eq!(removexattr(fd, b"user.b"), Err(Errno::NODATA));
    }
    setxattr_at(dir.fd(), b"f", b"user.a", &long, XattrMode::Set).unwrap();
    assert_eq!(getxattr_at(dir.fd(), b"f", b"user.a").unwrap(), Some(long));
    assert!(listxattr_at(dir.fd(), b"f").unwrap().contains(&b"user.a".to_vec()));
    assert_eq!(
        setxattr_at(dir.fd(), b"s", b"user.a", b"", XattrMode::Set),
        Err(Errno::PERM),
        "symlinks have none"
    );
    assert_eq!(listxattr_at(dir.fd(), b"s").unwrap(), Vec::<Vec<u8>>::new(), "not through the symlink");
    removexattr_at(dir.fd(), b"f", b"user.a").unwrap();
    assert_eq!(getxattr(file.as_fd(), b"user.a").unwrap(), None);
    let many: Vec<_> = (0..40).map(|i| format!("user.name-number-{i:03}").into_bytes()).collect();
    for name in &many {
        setxattr(file.as_fd(), name, b"", XattrMode::Set).unwrap();
    }
    let list = listxattr(file.as_fd()).unwrap();
    assert!(many.iter().all(|name| list.contains(name)), "more than the first try holds");
}

#[test]
fn a_directory_can_be_continued_from_every_cookie() {
    let dir = Dir::new();
    for i in 0..1500 {
        dir.file(format!("{i:04}{}", "x".repeat(i % 200)).as_bytes());
    }
    let mut stream = DirStream::new(open_dir(dir.fd(), b".").unwrap());
    let mut all = Vec::new();
    while let Some(entry) = stream.next().unwrap() {
        let expected = if entry.name.starts_with(b".") { FileKind::Directory } else { FileKind::Regular };
        assert!(entry.kind.is_none_or(|kind| kind == expected));
        all.push((entry.name.to_vec(), entry.ino, entry.next_cookie));
    }
    assert_eq!(all.len(), 1502);
    assert!(stream.next().unwrap().is_none(), "still at the end");
    // In one stream back and forth, and in a new one for each.
    for (i, (_, _, cookie)) in all.iter().enumerate().rev().step_by(7) {
        for fresh in [false, true] {
            let mut other = DirStream::new(open_dir(dir.fd(), b".").unwrap());
            let stream = if fresh { &mut other } else { &mut stream };
            stream.seek(*cookie).unwrap();
            for (name, ino, _) in all[i + 1..].iter().take(3) {
                let entry = stream.next().unwrap().unwrap();
                assert_eq!((entry.name, entry.ino), (name.as_slice(), *ino));
            }
            if i + 1 == all.len() {
                assert!(stream.next().unwrap().is_none());
            }
        }
    }
    // As a reader does whose own buffer takes a few entries at a time, giving the last one back.
    stream.seek(0).unwrap();
    let (mut seen, mut cookie) = (Vec::new(), 0);
    loop {
        stream.seek(cookie).unwrap();
        let Some(entry) = stream.next().unwrap() else { break };
        seen.push(entry.name.to_vec());
        cookie = entry.next_cookie;
        let _ = stream.next().unwrap();
    }
    assert!(seen.iter().eq(all.iter().map(|(name, ..)| name)));
    // Wherever a first buffer ends, what is read after it isn't taken for it.
    let first = all[10].2;
    for (i, (_, _, cookie)) in all.iter().enumerate().take(900).skip(11) {
        let mut stream = DirStream::new(open_dir(dir.fd(), b".").unwrap());
        for (cookie, name) in [(first, &all[11].0), (*cookie, &all[i + 1].0), (first, &all[11].0)] {
            stream.seek(cookie).unwrap();
            assert_eq!(stream.next().unwrap().unwrap().name, name);
        }
    }
    // From the start: what has come since is seen.
    dir.file(b"new");
    stream.seek(0).unwrap();
    assert!(entries(&mut stream).contains(&b"new".to_vec()));
}

#[test]
fn a_directory_descriptor_reads_nothing_of_a_removed_directory() {
    let dir = Dir::new();
    mkdir(dir.fd(), b"d", 0o700).unwrap();
    let mut stream = DirStream::new(open_dir(dir.fd(), b"d").unwrap());
    rmdir(dir.fd(), b"d").unwrap();
    assert!(matches!(stream.next(), Ok(None) | Err(Errno::NOENT)));
}

#[test]
fn replacing_a_file() {
    let dir = Dir::new();
    replace_durably(dir.fd(), b"f", b"one", 0o600).unwrap();
    assert_eq!(stat(dir.fd(), b"f").unwrap().perm(), 0o600);
    replace_durably(dir.fd(), b"f", b"two", 0o600).unwrap();
    let file = open_file(dir.fd(), b"f", Access::ReadOnly).unwrap();
    assert_eq!(read_all(file.as_fd(), 10).unwrap(), b"two");
    assert_eq!(dir.names(), [b"f"]);
    assert_ne!(temporary_name(), temporary_name());
}

#[test]
fn reopening_a_path_descriptor() {
    let dir = Dir::new();
    dir.file(b"f");
    let path = open_path(dir.fd(), b"f").unwrap();
    rename(dir.fd(), b"f", dir.fd(), b"g", RenameFlags::empty()).unwrap();
    let file = reopen(path.as_fd(), Access::ReadWrite).unwrap();
    pwrite_all(file.as_fd(), b"x", AT0).unwrap();
    unlink(dir.fd(), b"g").unwrap();
    assert_eq!(read_all(reopen(path.as_fd(), Access::ReadOnly).unwrap().as_fd(), 1).unwrap(), b"x");
}

#[test]
fn the_lower_filesystem() {
    let dir = Dir::new();
    let fs = LowerFs::probe(dir.fd()).unwrap();
    let st = statvfs(dir.fd()).unwrap();
    assert_eq!(fs.block_size, st.frsize);
    assert!(!fs.read_only && !fs.fs_type.is_empty() && st.blocks > 0 && st.bfree >= st.bavail);
    assert_eq!(st.namelen, 255);
    if let Ok(shm) = tempfile::tempdir_in("/dev/shm") {
        let fs = LowerFs::probe(Dir::below(shm).fd()).unwrap();
        assert!(!fs.stable_needed && fs.fs_type == "tmpfs");
        assert!(fs.power_cut_risk().is_some_and(|risk| risk.contains("tmpfs")));
    }
    let good = LowerFs { block_size: 4096, fs_type: "ext4".into(), orders_metadata: true, ..fs };
    assert_eq!(good.power_cut_risk(), None);
    let small = LowerFs { block_size: 1024, ..good.clone() };
    assert!(small.power_cut_risk().is_some_and(|risk| risk.contains("blocks of 1024 bytes")));
    let unknown = LowerFs { fs_type: "0x1234".into(), orders_metadata: false, ..good };
    assert!(unknown.power_cut_risk().is_some_and(|risk| risk.contains("0x1234")));
}

fn caller(uid: u32, gid: u32, umask: u32) -> Caller {
    Caller { uid, gid, umask }
}

#[test]
fn what_is_made_for_a_caller_is_his() {
    let dir = Dir::new();
    chmod(dir.fd(), 0o700).unwrap();
    let (uid, gid) = if is_root() { (1234, 5678) } else { (rustix::process::geteuid().as_raw(), 5678) };
    as_caller(caller(uid, gid, 0o027), || create_file(dir.fd(), b"f", 0o666)).unwrap();
    as_caller(caller(uid, gid, 0), || mkdir(dir.fd(), b"d", 0o777)).unwrap();
    as_caller(caller(uid, gid, 0o077), || symlink(dir.fd(), b"s", b"t")).unwrap();
    as_caller(caller(uid, gid, 0o002), || mknod(dir.fd(), b"p", 0o010_666, 0)).unwrap();
    for (name, perm) in [(&b"f"[..], 0o640), (b"d", 0o777), (b"s", 0o777), (b"p", 0o664)] {
        let st = stat(dir.fd(), name).unwrap();
        assert_eq!((st.uid, st.perm()), (uid, perm), "{name:?}");
        assert!(!is_root() || st.gid == gid);
    }
    // The daemon is itself again, on this thread, and after an error or a panic too.
    let own = rustix::process::geteuid().as_raw();
    let failed = as_caller(caller(uid, gid, 0), || create_file(dir.fd(), b"f", 0o666));
    assert_eq!(failed.err(), Some(Errno::EXIST));
    assert_eq!(fstat(dir.file(b"own").as_fd()).unwrap().uid, own);
    let panicked =
        std::panic::catch_unwind(|| as_caller(caller(uid, gid, 0), || -> Result<()> { panic!("test") }));
    assert!(panicked.is_err());
    assert_eq!(fstat(dir.file(b"own2").as_fd()).unwrap().uid, own);
}

#[test]
fn the_set_group_id_bit_of_a_directory_outweighs_the_caller() {
    if !is_root() {
        return;
    }
    let dir = Dir::new();
    chown(dir.fd(), Some(0), Some(77)).unwrap();
    chmod(dir.fd(), 0o2777).unwrap();
    as_caller(caller(1000, 1000, 0o022), || mkdir(dir.fd(), b"d", 0o777)).unwrap();
    let st = stat(dir.fd(), b"d").unwrap();
    assert_eq!((st.uid, st.gid, st.perm()), (1000, 77, 0o2755));
}

#[test]
fn other_threads_keep_their_umask() {
    let dir = Dir::new();
    let perm = |name: &[u8]| fstat(create_file(dir.fd(), name, 0o666).unwrap().as_fd()).unwrap().perm();
    let before = perm(b"before");
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let inside = std::sync::Barrier::new(2);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            as_caller(caller(uid, gid, 0o666), || {
                inside.wait();
                assert_eq!(perm(b"for-caller"), 0);
                inside.wait();
                Ok::<_, Errno>(())
            })
        });
        inside.wait();
        assert_eq!(perm(b"meanwhile"), before);
        inside.wait();
    });
    assert_eq!(perm(b"after"), before);
}
