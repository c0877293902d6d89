"""What programs ask of a filesystem, one system call at a time."""

import errno
import fcntl
import mmap
import os
import socket
import stat
import subprocess
import sys
import threading
import time

from harness import (
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    MountedTest,
    fallocate,
    renameat2,
    sha,
    sh,
)


class Contents(MountedTest):
    def test_sizes_around_every_boundary_survive_a_remount(self):
        sizes = [0, 1, 2, 3043, 3044, 3045, 4095, 4096, 4097]
        sizes += [3044 + 4068 * k + d for k in (1, 2, 3, 255, 256) for d in (-1, 0, 1)]
        data = os.urandom(max(sizes))
        for size in sizes:
            self.write(f"f{size}", data[:size])
        self.vault.remount()
        for size in sizes:
            path = self.mnt / f"f{size}"
            self.assertEqual(path.stat().st_size, size)
            self.assertEqual(sha(self.read(path)), sha(data[:size]), f"size {size}")

    def test_overwrites_and_truncates(self):
        path = self.write("f", b"")
        model = bytearray()
        with open(path, "r+b", buffering=0) as f:
            for at, n in ((0, 10), (3040, 10), (3000, 5000), (20000, 1), (4096, 8192), (7111, 2)):
                data = os.urandom(n)
                f.seek(at)
                f.write(data)
                model.extend(bytes(max(0, at + n - len(model))))
                model[at : at + n] = data
                self.assertEqual(self.read(path), bytes(model))
            for size in (19999, 7113, 7112, 7111, 3045, 3044, 3043, 1, 5000, 0, 3044, 100000):
                f.truncate(size)
                model = model[:size] + bytes(max(0, size - len(model)))
                self.assertEqual(path.stat().st_size, size)
                self.assertEqual(self.read(path), bytes(model), f"after truncate to {size}")
        self.vault.remount()
        self.assertEqual(self.read(path), bytes(model))

    def test_truncate_then_grow_never_shows_old_bytes(self):
        path = self.write("f", b"S" * 20000, fsync=True)
        for size, grow in ((10000, 15000), (3000, 3044), (3044, 9000), (100, 20000)):
            os.truncate(path, size)
            os.truncate(path, grow)
            self.vault.remount()
            data = self.read(path)
            self.assertEqual(len(data), grow)
            self.assertEqual(data[size:], bytes(grow - size))
            self.write("f", b"S" * 20000, fsync=True)

    def test_append_mode_from_several_descriptors(self):
        path = self.write("log", b"")
        fds = [os.open(path, os.O_WRONLY | os.O_APPEND) for _ in range(4)]
        lines = []
        for i in range(400):
            line = f"{i} {'x' * (i % 50)}\n".encode()
            lines.append(line)
            os.write(fds[i % 4], line)
        for fd in fds:
            os.close(fd)
        self.assertEqual(self.read(path), b"".join(lines))

    def test_direct_io(self):
        buf = mmap.mmap(-1, 65536)
        data = os.urandom(65536)
        buf[:] = data
        fd = os.open(self.mnt / "direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
        try:
            self.assertEqual(os.pwrite(fd, buf, 0), 65536)
            self.assertEqual(os.pwrite(fd, buf, 65536), 65536)
            back = mmap.mmap(-1, 65536)
            self.assertEqual(os.preadv(fd, [back], 65536), 65536)
            self.assertEqual(back[:], data)
        finally:
            os.close(fd)
        self.assertEqual(self.read(self.mnt / "direct"), data * 2)

    def test_shared_writable_mmap(self):
        path = self.write("m", bytes(50000))
        with open(path, "r+b") as f:
            with mmap.mmap(f.fileno(), 0) as m:
                m[0:5] = b"begin"
                m[3040:3050] = b"0123456789"
                m[49995:50000] = b"ended"
                m.flush()
            f.seek(3040)
            self.assertEqual(f.read(10), b"0123456789")
        self.vault.remount()
        data = self.read(path)
        self.assertEqual((data[:5], data[3040:3050], data[-5:]), (b"begin", b"0123456789", b"ended"))
        with open(path, "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
            self.assertEqual(m[49995:], b"ended")
            m[:5] = b"again"
        self.assertEqual(self.read(path)[:5], b"again")

    def test_file_over_4_gib(self):
        path = self.mnt / "big"
        at = (5 << 30) + 123
        with open(path, "wb") as f:
            f.seek(at)
            f.write(b"the end")
        self.assertEqual(path.stat().st_size, at + 7)
        self.assertLess(path.stat().st_blocks * 512, 1 << 20)
        self.vault.remount()
        with open(path, "rb") as f:
            f.seek(at - 10)
            self.assertEqual(f.read(), bytes(10) + b"the end")
            f.seek((1 << 32) - 100)
            self.assertEqual(f.read(200), bytes(200))
        with open(path, "r+b") as f:
            f.seek((1 << 32) - 50)
            f.write(b"x" * 100)
        self.vault.remount()
        with open(path, "rb") as f:
            f.seek((1 << 32) - 60)
            self.assertEqual(f.read(120), bytes(10) + b"x" * 100 + bytes(10))

    def test_sparse_files_and_seek_hole(self):
        path = self.mnt / "sparse"
        with open(path, "wb") as f:
            f.write(b"head")
            f.seek(1 << 20)
            f.write(b"tail")
        self.vault.remount()
        fd = os.open(path, os.O_RDONLY)
        try:
            self.assertEqual(os.lseek(fd, 0, os.SEEK_DATA), 0)
            hole = os.lseek(fd, 0, os.SEEK_HOLE)
            self.assertTrue(4 <= hole < 1 << 20, hole)
            data = os.lseek(fd, hole, os.SEEK_DATA)
            self.assertTrue(hole < data <= 1 << 20, data)
            self.assertEqual(os.lseek(fd, data, os.SEEK_HOLE), (1 << 20) + 4)
            self.assertErrno(errno.ENXIO, os.lseek, fd, (1 << 20) + 4, os.SEEK_DATA)
        finally:
            os.close(fd)
        self.assertEqual(os.stat(path).st_size, (1 << 20) + 4)
        sh("cp --sparse=always sparse copy && cmp sparse copy", self.mnt)

    def test_what_a_writer_has_not_flushed_is_data(self):
        """The kernel holds all of it: without it the file would look empty, and cp would copy zeros."""
        path = self.mnt / "growing"
        with open(path, "wb", buffering=0) as f:
            f.write(b"x" * 200000)
            fd = os.open(path, os.O_RDONLY)
            try:
                self.assertEqual(os.lseek(fd, 0, os.SEEK_DATA), 0)
                self.assertEqual(os.lseek(fd, 150000, os.SEEK_DATA), 150000)
                self.assertEqual(os.lseek(fd, 0, os.SEEK_HOLE), 200000)
            finally:
                os.close(fd)
            f.write(b"y" * 200000)
            sh("cp --sparse=auto growing copy && cmp growing copy", self.mnt)

    def test_fallocate_and_punch(self):
        path = self.write("f", b"d" * 100000, fsync=True)
        fd = os.open(path, os.O_RDWR)
        try:
            fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 5000, 50000)
            expected = b"d" * 5000 + bytes(50000) + b"d" * 45000
            self.assertEqual(self.read(path), expected)
            fallocate(fd, FALLOC_KEEP_SIZE, 0, 300000)
            self.assertEqual(os.fstat(fd).st_size, 100000)
            fallocate(fd, 0, 0, 150000)
            self.assertEqual(os.fstat(fd).st_size, 150000)
            os.fsync(fd)
        finally:
            os.close(fd)
        self.vault.remount()
        self.assertEqual(self.read(path), expected + bytes(50000))

    def test_unlinked_while_open(self):
        path = self.write("gone", b"still here")
        fd = os.open(path, os.O_RDWR)
        try:
            os.unlink(path)
            self.assertEqual(os.fstat(fd).st_nlink, 0)
            self.write("gone", b"another")
            self.assertEqual(os.pread(fd, 100, 0), b"still here")
            os.pwrite(fd, b"more" * 2000, 5)
            os.ftruncate(fd, 6000)
            os.fsync(fd)
            os.fchmod(fd, 0o600)
            self.assertEqual(os.pread(fd, 9, 0), b"stillmore")
            self.assertEqual(os.fstat(fd).st_size, 6000)
        finally:
            os.close(fd)
        self.assertEqual(self.read(self.mnt / "gone"), b"another")

    def test_replaced_while_open(self):
        old = self.write("target", b"old")
        with open(old, "rb") as f:
            os.rename(self.write("new", b"new"), old)
            self.assertEqual(f.read(), b"old")
        self.assertEqual(self.read(old), b"new")

    def test_many_threads_write_one_file(self):
        path = self.write("f", bytes(1 << 20))
        fd = os.open(path, os.O_RDWR)

        def worker(k):
            for i in range(64):
                os.pwrite(fd, bytes([k + 1]) * 1000, (i * 8 + k) * 2000)

        threads = [threading.Thread(target=worker, args=(k,)) for k in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        os.close(fd)
        self.vault.remount()
        data = self.read(path)
        for i in range(64):
            for k in range(8):
                at = (i * 8 + k) * 2000
                self.assertEqual(data[at : at + 1000], bytes([k + 1]) * 1000)


class ContentsChaCha(Contents):
    suite = "chacha20-poly1305"


class ContentsWithoutWriteback(Contents):
    options = ("--no-writeback",)

    def test_each_write_is_in_the_lower_file_at_once(self):
        with open(self.mnt / "f", "wb", buffering=0) as file:
            lower = max((path for path in (self.vault.path / "tree").rglob("*") if path.is_file()), key=os.path.getctime)
            sizes = []
            for _ in range(3):
                file.write(b"x" * 4068)
                sizes.append(lower.stat().st_size)
        self.assertEqual([size - sizes[0] for size in sizes], [0, 4096, 8192])


class Metadata(MountedTest):
    def test_times_modes_and_owners(self):
        path = self.write("f", b"x")
        os.utime(path, ns=(1_000_000_000_123_456_789, 1_500_000_000_987_654_321))
        os.chmod(path, 0o640)
        os.mkdir(self.mnt / "d", 0o751)
        os.utime(self.mnt / "d", ns=(-1_500_000_000, -86_400_000_000_001))
        os.symlink("f", self.mnt / "l")
        os.utime(self.mnt / "l", ns=(5, 6), follow_symlinks=False)
        if os.getuid() == 0:
            os.chown(path, 1234, 4321)
            os.chown(self.mnt / "l", 7, 8, follow_symlinks=False)
        for _ in range(2):
            st = path.stat()
            self.assertEqual(st.st_mtime_ns, 1_500_000_000_987_654_321)
            self.assertEqual(stat.S_IMODE(st.st_mode), 0o640)
            self.assertEqual((self.mnt / "d").stat().st_mtime_ns, -86_400_000_000_001)
            self.assertEqual(stat.S_IMODE((self.mnt / "d").stat().st_mode), 0o751)
            self.assertEqual(os.lstat(self.mnt / "l").st_mtime_ns, 6)
            if os.getuid() == 0:
                self.assertEqual((st.st_uid, st.st_gid), (1234, 4321))
                self.assertEqual(os.lstat(self.mnt / "l").st_uid, 7)
            self.vault.remount()

    def test_write_changes_mtime_and_read_only_files_of_the_owner_work(self):
        path = self.write("f", b"x")
        os.utime(path, (0, 0))
        with open(path, "ab") as f:
            f.write(b"y")
        self.assertLess(abs(path.stat().st_mtime - time.time()), 60)
        fd = os.open(self.mnt / "ro", os.O_CREAT | os.O_WRONLY, 0o400)
        os.write(fd, b"written once")
        os.close(fd)
        self.assertEqual(self.read(self.mnt / "ro"), b"written once")
        self.assertEqual(stat.S_IMODE((self.mnt / "ro").stat().st_mode), 0o400)

    def test_inode_numbers_are_stable(self):
        for d in ("a", "a/b", "c"):
            os.mkdir(self.mnt / d)
        self.write("a/b/f", b"1")
        before = {p: os.lstat(self.mnt / p).st_ino for p in ("a", "a/b", "a/b/f", "c")}
        os.rename(self.mnt / "a/b", self.mnt / "c/moved")
        before["c/moved"], before["c/moved/f"] = before.pop("a/b"), before.pop("a/b/f")
        self.vault.remount()
        self.assertEqual({p: os.lstat(self.mnt / p).st_ino for p in before}, before)

    def test_xattrs(self):
        path = self.write("f", b"x")
        os.mkdir(self.mnt / "d")
        for p in (path, self.mnt / "d"):
            os.setxattr(p, "user.one", b"first")
            os.setxattr(p, "user.empty", b"")
            os.setxattr(p, "user.binary", bytes(range(256)))
            self.assertErrno(errno.EEXIST, os.setxattr, p, "user.one", b"x", os.XATTR_CREATE)
            self.assertErrno(errno.ENODATA, os.setxattr, p, "user.two", b"x", os.XATTR_REPLACE)
            os.setxattr(p, "user.one", b"second", os.XATTR_REPLACE)
        self.vault.remount()
        for p in (path, self.mnt / "d"):
            self.assertEqual(os.getxattr(p, "user.one"), b"second")
            self.assertEqual(os.getxattr(p, "user.empty"), b"")
            self.assertEqual(os.getxattr(p, "user.binary"), bytes(range(256)))
            self.assertLessEqual({"user.one", "user.empty", "user.binary"}, set(os.listxattr(p)))
            os.removexattr(p, "user.one")
            self.assertErrno(errno.ENODATA, os.getxattr, p, "user.one")
            self.assertErrno(errno.ENODATA, os.removexattr, p, "user.one")
        lower = self.vault.lower(path)
        names = [n for n in os.listxattr(lower) if n.startswith("user.")]
        self.assertEqual(len(names), 2)
        for name in names:
            self.assertTrue(name.startswith("user.rkf."))
            self.assertNotIn(b"first", os.getxattr(lower, name))

    def test_virtual_xattrs(self):
        path = self.write("f", b"x" * 5000, fsync=True)
        status = self.vault.status()
        self.assertEqual(os.getxattr(path, "user.rekeyfs.key-version"), b"1")
        self.assertEqual(os.getxattr(path, "user.rekeyfs.suite"), b"aes-256-gcm")
        self.assertEqual(os.getxattr(path, "user.rekeyfs.alias"), b"alias/default")
        self.assertIn(os.getxattr(path, "user.rekeyfs.key-id").decode(), str(status))
        with self.assertRaises(OSError):
            os.setxattr(path, "user.rekeyfs.key-version", b"2")

    def test_acls(self):
        self.need_tools("setfacl", "getfacl")
        self.need_root()
        path = self.write("f", b"x")
        os.mkdir(self.mnt / "d")
        sh("setfacl -m u:1234:rw f && setfacl -d -m g:4321:rx d", self.mnt)
        self.vault.remount()
        self.assertIn("user:1234:rw-", sh("getfacl -n f", self.mnt))
        self.assertIn("default:group:4321:r-x", sh("getfacl -n d", self.mnt))
        self.write("d/inherits", b"")
        self.assertIn("group:4321:r-x", sh("getfacl -n d/inherits", self.mnt))
        self.assertTrue(path.exists())

    def test_suid_is_cleared_by_a_write(self):
        path = self.write("f", b"x")
        os.chmod(path, 0o6755)
        code = f"open({str(path)!r}, 'r+b').write(b'y')"
        if os.getuid() == 0:
            os.chmod(path, 0o6777)
            # Without CAP_FSETID a write clears both bits, as on any filesystem.
            drop = ["setpriv", "--bounding-set=-fsetid", "--inh-caps=-fsetid"]
            subprocess.run([*drop, sys.executable, "-c", code], check=True)
        else:
            subprocess.run([sys.executable, "-c", code], check=True)
        self.assertEqual(path.stat().st_mode & 0o6000, 0)

    def test_statfs(self):
        st, lower = os.statvfs(self.mnt), os.statvfs(self.vault.path)
        self.assertEqual(st.f_namemax, 255)
        self.assertGreater(st.f_bavail, 0)
        self.assertEqual(st.f_blocks * st.f_frsize, lower.f_blocks * lower.f_frsize)


class Names(MountedTest):
    def test_any_bytes_and_any_length(self):
        names = [b"\xff" * 255, bytes(range(1, 47)) + bytes(range(48, 256)), b".hidden", b"...", b" ", b"-rf", b"\n"]
        names += [bytes([65 + i % 26]) * n for i, n in enumerate((1, 15, 16, 17, 159, 160, 161, 176, 177, 254, 255))]
        names += ["Ünï©ode 名前".encode(), b".long.x", b".dir", b".tmp.1", b".rekeyfs-bad"]
        mnt = os.fsencode(self.mnt)
        for i, name in enumerate(names):
            self.write(name, b"%d" % i)
        self.assertErrno(errno.ENAMETOOLONG, open, mnt + b"/" + b"n" * 256, "wb")
        self.vault.remount()
        self.assertEqual(sorted(os.listdir(mnt)), sorted(names))
        for i, name in enumerate(names):
            self.assertEqual(self.read(mnt + b"/" + name), b"%d" % i)
        for name in names:
            new = name[:-1] + b"~" if len(name) > 1 else name + b"~"
            os.rename(mnt + b"/" + name, mnt + b"/" + new)
        for i, name in enumerate(names):
            new = name[:-1] + b"~" if len(name) > 1 else name + b"~"
            self.assertEqual(self.read(mnt + b"/" + new), b"%d" % i)
            os.unlink(mnt + b"/" + new)
        self.assertEqual(os.listdir(mnt), [])
        leftovers = os.listdir(self.vault.path / "tree")
        self.assertEqual([n for n in leftovers if n != ".dir"], [])

    def test_long_names_of_directories_links_and_symlinks(self):
        mnt = os.fsencode(self.mnt)
        d, f, s = b"\xfe" * 255, b"\xfd" * 255, b"\xfc" * 255
        os.mkdir(mnt + b"/" + d)
        self.write(d + b"/" + f, b"deep")
        os.link(mnt + b"/" + d + b"/" + f, mnt + b"/" + f)
        os.symlink(d + b"/" + f, mnt + b"/" + s)
        os.rename(mnt + b"/" + d, mnt + b"/" + d[:-1])
        os.rename(mnt + b"/" + d[:-1], mnt + b"/" + d)
        self.vault.remount()
        self.assertEqual(self.read(mnt + b"/" + s), b"deep")
        self.assertEqual(self.read(mnt + b"/" + f), b"deep")
        for p in (s, f, d + b"/" + f):
            os.unlink(mnt + b"/" + p)
        os.rmdir(mnt + b"/" + d)
        self.assertEqual(os.listdir(mnt), [])

    def test_names_do_not_show_below(self):
        os.mkdir(self.mnt / "secret-directory")
        self.write("secret-directory/secret-name", b"secret-content" * 300, fsync=True)
        os.symlink("secret-target", self.mnt / "secret-directory/secret-link")
        out = sh("grep -rcaE 'secret-(directory|name|link|target|content)' . | grep -v ':0$' || true", self.vault.path)
        self.assertEqual(out, "")
        below = sh("find . ; find . -type l -printf '%l\\n'", self.vault.path)
        self.assertNotIn("secret", below)

    def test_a_large_directory_lists_each_name_once(self):
        wanted = {f"file-{i:05}" for i in range(5000)}
        for name in wanted:
            os.close(os.open(self.mnt / name, os.O_CREAT | os.O_WRONLY))
        self.assertEqual(sorted(os.listdir(self.mnt)), sorted(wanted))
        self.vault.remount()
        seen = os.listdir(self.mnt)
        self.assertEqual(len(seen), len(wanted))
        self.assertEqual(set(seen), wanted)
        with os.scandir(self.mnt) as entries:
            for i, entry in enumerate(entries):
                if i % 2:
                    os.unlink(entry.path)
        self.assertEqual(len(os.listdir(self.mnt)), 2500)
        self.assertEqual(sh("ls | wc -l", self.mnt).strip(), "2500")


class Links(MountedTest):
    def test_symlinks(self):
        for i, target in enumerate([b"x", b"../a/b", b"/absolute/\xff", b"t" * 1000, b"t" * 3030]):
            os.symlink(target, os.fsencode(self.mnt) + b"/l%d" % i)
        with self.assertRaises(OSError) as raised:
            os.symlink(b"t" * 3200, os.fsencode(self.mnt) + b"/toolong")
        self.assertEqual(raised.exception.errno, errno.ENAMETOOLONG)
        self.vault.remount()
        for i, target in enumerate([b"x", b"../a/b", b"/absolute/\xff", b"t" * 1000, b"t" * 3030]):
            path = os.fsencode(self.mnt) + b"/l%d" % i
            self.assertEqual(os.readlink(path), target)
            self.assertEqual(os.lstat(path).st_size, len(target))

    def test_hard_links(self):
        a = self.write("a", b"one")
        os.mkdir(self.mnt / "d")
        os.link(a, self.mnt / "d/b")
        self.assertEqual(a.stat().st_nlink, 2)
        self.assertEqual(a.stat().st_ino, (self.mnt / "d/b").stat().st_ino)
        with open(self.mnt / "d/b", "ab") as f:
            f.write(b" two" * 2000)
        self.assertEqual(self.read(a), b"one" + b" two" * 2000)
        os.unlink(a)
        self.vault.remount()
        self.assertEqual(self.read(self.mnt / "d/b"), b"one" + b" two" * 2000)
        self.assertEqual((self.mnt / "d/b").stat().st_nlink, 1)
        self.assertErrno(errno.EPERM, os.link, self.mnt / "d", self.mnt / "e")

    def test_special_files(self):
        os.mkfifo(self.mnt / "fifo", 0o640)
        with socket.socket(socket.AF_UNIX) as s:
            here = os.getcwd()
            os.chdir(self.mnt)  # a socket's address has at most 108 bytes
            try:
                s.bind("sock")
                s.listen(1)
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect("sock")
            finally:
                os.chdir(here)
        if os.getuid() == 0:
            os.mknod(self.mnt / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            os.mknod(self.mnt / "blk", stat.S_IFBLK | 0o600, os.makedev(259, 70000))
        self.vault.remount()
        self.assertTrue(stat.S_ISFIFO(os.lstat(self.mnt / "fifo").st_mode))
        self.assertTrue(stat.S_ISSOCK(os.lstat(self.mnt / "sock").st_mode))
        writer = threading.Thread(target=lambda: self.write("fifo", b"through the pipe"))
        writer.start()
        self.assertEqual(self.read(self.mnt / "fifo"), b"through the pipe")
        writer.join()
        if os.getuid() == 0:
            self.assertEqual(os.lstat(self.mnt / "null").st_rdev, os.makedev(1, 3))
            self.assertEqual(os.lstat(self.mnt / "blk").st_rdev, os.makedev(259, 70000))
            with self.assertRaises(OSError):  # nodev
                open(self.mnt / "null", "rb")


class Renames(MountedTest):
    def test_files(self):
        a, b = self.write("a", b"A"), self.write("b", b"B")
        self.assertErrno(errno.EEXIST, renameat2, a, b, RENAME_NOREPLACE)
        renameat2(a, b, RENAME_EXCHANGE)
        self.assertEqual((self.read(a), self.read(b)), (b"B", b"A"))
        renameat2(a, self.mnt / "c", RENAME_NOREPLACE)
        os.rename(self.mnt / "c", b)
        self.assertEqual(self.read(b), b"B")
        self.assertErrno(errno.ENOENT, os.rename, a, b)
        self.assertErrno(errno.ENOENT, renameat2, b, a, RENAME_EXCHANGE)
        self.vault.remount()
        self.assertEqual(os.listdir(self.mnt), ["b"])

    def test_directories_keep_what_is_below(self):
        os.makedirs(self.mnt / "a/b/c")
        self.write("a/b/c/f", b"deep")
        os.makedirs(self.mnt / "x/y")
        self.write("x/y/g", b"other")
        os.rename(self.mnt / "a/b", self.mnt / "x/b")
        self.assertEqual(self.read(self.mnt / "x/b/c/f"), b"deep")
        renameat2(self.mnt / "x", self.mnt / "a", RENAME_EXCHANGE)
        self.assertEqual(self.read(self.mnt / "a/b/c/f"), b"deep")
        self.assertEqual(self.read(self.mnt / "a/y/g"), b"other")
        self.vault.remount()
        self.assertEqual(self.read(self.mnt / "a/b/c/f"), b"deep")
        os.mkdir(self.mnt / "x/new")
        renameat2(self.mnt / "x/new", self.mnt / "a/b", RENAME_EXCHANGE)
        os.mkdir(self.mnt / "b2")
        self.vault.remount()
        self.assertEqual(self.read(self.mnt / "x/new/c/f"), b"deep")
        self.assertErrno(errno.EINVAL, os.rename, self.mnt / "x", self.mnt / "x/new/below")

    def test_over_directories(self):
        os.makedirs(self.mnt / "full/sub")
        os.mkdir(self.mnt / "empty")
        os.mkdir(self.mnt / "dir")
        self.write("dir/f", b"1")
        self.write("file", b"2")
        with self.assertRaises(OSError) as raised:
            os.rename(self.mnt / "dir", self.mnt / "full")
        self.assertIn(raised.exception.errno, (errno.ENOTEMPTY, errno.EEXIST))
        self.assertErrno(errno.ENOTDIR, os.rename, self.mnt / "dir", self.mnt / "file")
        self.assertErrno(errno.EISDIR, os.rename, self.mnt / "file", self.mnt / "dir")
        os.rename(self.mnt / "full/sub", self.mnt / "moved")  # stores a record in it
        os.rename(self.mnt / "moved", self.mnt / "full/sub")
        os.rename(self.mnt / "dir", self.mnt / "full/sub")  # over an empty one that has a record
        self.assertEqual(self.read(self.mnt / "full/sub/f"), b"1")
        os.rename(self.mnt / "full/sub", self.mnt / "empty")
        self.vault.remount()
        self.assertEqual(self.read(self.mnt / "empty/f"), b"1")
        self.assertErrno(errno.ENOTEMPTY, os.rmdir, self.mnt / "empty")
        os.unlink(self.mnt / "empty/f")
        os.rmdir(self.mnt / "empty")
        self.assertEqual(sorted(os.listdir(self.mnt)), ["file", "full"])

    def test_moved_then_made_again_under_the_old_name(self):
        os.mkdir(self.mnt / "d")
        self.write("d/f", b"first")
        os.rename(self.mnt / "d", self.mnt / "e")
        os.mkdir(self.mnt / "d")
        self.write("d/f", b"second")
        self.vault.remount()
        self.assertEqual((self.read(self.mnt / "e/f"), self.read(self.mnt / "d/f")), (b"first", b"second"))
        renameat2(self.mnt / "d", self.mnt / "e", RENAME_EXCHANGE)
        self.vault.remount()
        self.assertEqual((self.read(self.mnt / "e/f"), self.read(self.mnt / "d/f")), (b"second", b"first"))

    def test_open_files_and_working_directories_follow(self):
        os.makedirs(self.mnt / "a/b")
        path = self.write("a/b/f", b"one")
        here = os.getcwd()
        with open(path, "r+b", buffering=0) as f:
            os.chdir(self.mnt / "a/b")
            try:
                os.rename(self.mnt / "a", self.mnt / "z")
                self.assertEqual(open("f", "rb").read(), b"one")
                f.write(b"two")
                open("g", "wb").write(b"made below")
            finally:
                os.chdir(here)
        self.assertEqual(self.read(self.mnt / "z/b/f"), b"two")
        self.assertEqual(self.read(self.mnt / "z/b/g"), b"made below")


class Locks(MountedTest):
    LOCKED = "import fcntl,sys; f=open(sys.argv[1],'r+b'); fcntl.{}(f, fcntl.LOCK_EX|fcntl.LOCK_NB)"

    def contended(self, path, kind):
        done = subprocess.run([sys.executable, "-c", self.LOCKED.format(kind), str(path)], capture_output=True)
        return done.returncode != 0

    def test_flock_and_posix_locks(self):
        path = self.write("f", b"x" * 100)
        for kind in ("flock", "lockf"):
            with open(path, "r+b") as f:
                self.assertFalse(self.contended(path, kind))
                getattr(fcntl, kind)(f, fcntl.LOCK_EX)
                self.assertTrue(self.contended(path, kind))
                getattr(fcntl, kind)(f, fcntl.LOCK_UN)
                self.assertFalse(self.contended(path, kind))
