"""Errors from below: the lower disk is full, a call fails in the middle of a change, a file belongs to someone else, the
lower filesystem lacks a call. What a program was told is what is there after a remount."""

import contextlib
import errno
import mmap
import os
import pathlib
import re
import subprocess

from harness import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, MountedTest, UserMountTest, fallocate, sh, wait_until
from test_full_disk import OnADisk

PAGE = 4096


def outcome(call, *args):
    """None, or the number of the error."""
    try:
        call(*args)
    except OSError as e:
        return e.errno
    return None


def through_the_mount(path):
    """A file's size and bytes, as the mount gives them out and not as the kernel has them cached."""
    with open(path, "rb") as f:
        with contextlib.suppress(OSError):
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size = os.fstat(f.fileno()).st_size
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        try:
            room = mmap.mmap(-1, (size // PAGE + 2) * PAGE)
            got = os.preadv(fd, [room], 0) if size else 0
            return size, bytes(room[:got])
        finally:
            os.close(fd)


class AFullDisk(OnADisk):
    size = 24

    def fill(self):
        for count in (1 << 20, 64 << 10, PAGE):
            with contextlib.suppress(OSError), open(self.disk / "fill", "ab", buffering=0) as f:
                while True:
                    f.write(bytes(count))
                    os.fsync(f.fileno())

    def lose_the_header(self, path, pages):
        """As a power cut leaves a file whose size was journalled and whose blocks never were allocated."""
        lower = self.vault.lower(path)
        self.vault.umount()
        os.truncate(lower, 0)
        os.truncate(lower, pages * PAGE + 100)
        self.vault.mount()

    def test_a_header_that_could_not_be_written_is_written_with_the_next_write(self):
        path = self.write("f", b"first")
        self.lose_the_header(path, 5)
        size = os.stat(path).st_size
        self.fill()
        fd = os.open(path, os.O_RDWR)
        os.pwrite(fd, b"A" * PAGE, 0)
        self.assertEqual(outcome(os.fsync, fd), errno.ENOSPC)
        os.unlink(self.disk / "fill")
        os.pwrite(fd, b"B" * 15_000, 0)
        os.fsync(fd)
        os.close(fd)
        self.vault.remount()
        self.assertEqual(self.read(path), b"B" * 15_000 + bytes(size - 15_000))

    def test_a_failed_fallocate_changes_no_size_and_keeps_no_room(self):
        fd = os.open(self.mnt / "f", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"A" * 10_000)
        os.fsync(fd)
        for name in ("f", "new"):
            with open(self.mnt / name, "ab") as f:
                for mode in (0, FALLOC_KEEP_SIZE):
                    self.assertErrno(errno.ENOSPC, fallocate, f.fileno(), mode, 0, 1 << 30)
        os.pwrite(fd, b"B" * 100, 10_000)
        os.fsync(fd)
        os.close(fd)
        data = os.urandom(4 << 20)
        self.write("other", data, fsync=True)
        self.vault.remount()
        self.assertEqual(self.read(self.mnt / "f"), b"A" * 10_000 + b"B" * 100)
        self.assertEqual(os.stat(self.mnt / "new").st_size, 0)
        self.assertEqual(self.read(self.mnt / "other"), data)

    def test_what_could_not_be_written_back_is_not_shown_once_the_file_is_closed(self):
        written = {name: self.write(name, b"A" * 10_000, fsync=True) for name in ("appended", "beyond", "new")}
        os.truncate(written["new"], 0)
        self.fill()
        for name, at in (("appended", 10_000), ("beyond", 5 << 20), ("new", 0)):
            fd = os.open(written[name], os.O_RDWR)
            os.pwrite(fd, b"B" * (4 << 20), at)
            self.assertEqual(outcome(os.fsync, fd), errno.ENOSPC)
            os.close(fd)
        self.vault.settle()
        shown = {name: (os.stat(path).st_size, self.read(path)) for name, path in written.items()}
        self.vault.remount()
        for name, path in written.items():
            self.assertEqual(shown[name][0], os.stat(path).st_size, name)
            self.assertTrue(shown[name][1] == self.read(path), f"{name} has another content after a remount")

    def test_room_is_kept_for_an_empty_file_whose_size_stays(self):
        with open(self.mnt / "f", "wb") as f:
            fallocate(f.fileno(), FALLOC_KEEP_SIZE, 0, 3 << 20)
        self.assertEqual(os.stat(self.mnt / "f").st_size, 0)
        self.assertGreaterEqual(os.stat(self.vault.lower(self.mnt / "f")).st_blocks * 512, 3 << 20)
        self.vault.remount()
        self.assertEqual(self.read(self.mnt / "f"), b"")
        self.fill()
        # What is reserved is there for what is written.
        data = os.urandom(2 << 20)
        with open(self.mnt / "f", "r+b") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        self.vault.remount()
        self.assertEqual(self.read(self.mnt / "f"), data)


class Injected(MountedTest):
    """Each call that changes something below fails in turn, in the daemon of a mount."""

    def setUp(self):
        super().setUp()
        self.need_root()
        self.need_tools("strace")

    @contextlib.contextmanager
    def failing(self, call, when, error="EIO"):
        """The `when`-th of these calls in each thread of the daemon fails."""
        log = self.dir / "strace"
        traced = subprocess.Popen(
            ["strace", "-f", "-qq", "-p", str(self.vault.pid), "-o", log, "-e", f"trace={call}",
             "-e", f"inject={call}:error={error}:when={when}"],
            stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            status = pathlib.Path(f"/proc/{self.vault.pid}/task")
            attached = lambda: all(  # noqa: E731
                not re.search(r"^TracerPid:\t0$", (task / "status").read_text(), re.M) for task in status.iterdir()
            )
            self.assertTrue(wait_until(attached, step=0.01), "strace can't attach")
            yield lambda: "INJECTED" in log.read_text()
        finally:
            traced.terminate()
            traced.wait(20)
            traced.stderr.close()

    def test_a_truncate_that_fails_takes_nothing(self):
        path = self.write("f", b"A" * 20_000, fsync=True)
        fd = os.open(path, os.O_RDWR)
        with self.failing("ftruncate", 1) as injected:
            self.assertErrno(errno.EIO, os.ftruncate, fd, 8000)
        self.assertTrue(injected())
        self.assertEqual(through_the_mount(path), (20_000, b"A" * 20_000))
        os.close(fd)
        self.vault.remount()
        self.assertEqual(self.read(path), b"A" * 20_000)

    def test_a_hole_that_was_made_in_part_is_not_hidden_by_cached_pages(self):
        old = b"A" * 20_000
        for mode in (FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, FALLOC_ZERO_RANGE):
            with self.subTest(mode=mode):
                # Not synced, it has no floor: nothing is written before the blocks are gone.
                path = self.write("f", old)
                fd = os.open(path, os.O_RDWR)
                self.assertEqual(os.pread(fd, len(old), 0), old)
                # That of what is left beside whole blocks.
                with self.failing("pwrite64", 1) as injected:
                    failed = outcome(fallocate, fd, mode, 5000, 9000)
                self.assertTrue(injected() and failed == errno.EIO, failed)
                self.assertTrue(wait_until(lambda: os.pread(fd, len(old), 0) != old))
                shown = os.pread(fd, len(old), 0)
                os.close(fd)
                self.vault.remount()
                self.assertTrue(shown == self.read(path), "cached pages hide what is there")
                os.unlink(path)

    def test_what_each_error_leaves_is_what_the_mount_shows(self):
        """Sizes and bytes as the mount gives them out behind an error are those after a remount; what failed as a
        whole, a truncate or fallocate, has changed nothing."""

        def direct(fd):
            room = mmap.mmap(-1, 2 * PAGE)
            room[:] = b"D" * (2 * PAGE)
            os.pwrite(fd, room, PAGE)

        operations = {
            "shrink": lambda fd: os.ftruncate(fd, 8000),
            "grow": lambda fd: os.ftruncate(fd, 50_000),
            "empty": lambda fd: os.ftruncate(fd, 0),
            "reserve": lambda fd: fallocate(fd, 0, 0, 90_000),
            "punch": lambda fd: fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 5000, 9000),
            "append": lambda fd: (os.pwrite(fd, b"W" * 9000, 20_000), os.fsync(fd)),
            "overwrite": lambda fd: (os.pwrite(fd, b"W" * 9000, 3000), os.fsync(fd)),
            "direct": direct,
        }
        whole = ("shrink", "grow", "empty", "reserve")
        calls = ("pwrite64", "ftruncate", "fallocate", "fdatasync", "utimensat")
        old = b"A" * 20_000
        shown, fired = {}, 0
        for call in calls:
            paths = {}
            for kind in ("synced", "truncated", "headless"):
                for name in operations:
                    paths[kind, name] = self.write(f"{call}-{kind}-{name}", old, fsync=True)
                    if kind == "truncated":
                        os.truncate(paths[kind, name], 25_000)
                        os.truncate(paths[kind, name], len(old))
            lower = [self.vault.lower(path) for (kind, _), path in paths.items() if kind == "headless"]
            self.vault.umount()
            for path in lower:
                size = os.stat(path).st_size
                os.truncate(path, 0)
                os.truncate(path, size)
            self.vault.mount()
            for (kind, name), path in paths.items():
                direct_flag = os.O_DIRECT if name == "direct" else 0
                fd = os.open(path, os.O_RDWR | direct_flag)
                with self.failing(call, 1) as injected:
                    failed = outcome(operations[name], fd)
                fired += injected()
                # What was written back in vain is told here, if no fsync was told.
                outcome(os.close, fd)
                if failed is not None and name in whole:
                    before = bytes(len(old)) if kind == "headless" else old
                    found = through_the_mount(path)
                    self.assertEqual(found, (len(old), before), f"{call} failed in {name} of a {kind} file")
            # The kernel has been told by now to look again at what it could not write.
            self.vault.settle()
            shown |= {path: through_the_mount(path) for path in paths.values()}
        self.assertGreater(fired, 30)
        self.vault.remount()
        for path, (size, content) in shown.items():
            kept = self.read(path)
            self.assertEqual(len(kept), size, f"{path} has another size after a remount")
            self.assertTrue(kept == content, f"{path} has another content after a remount")


class OfAnother(UserMountTest):
    """Lower files that belong to root and that a user may write, in a mount of that user."""

    def ok(self, script):
        return self.shell_ok(f"cd mnt; {script}")

    def test_what_the_mode_allows_works_and_lasts(self):
        for options in ((), ("--no-writeback",)):
            self.vault.mount(*options)
            self.ok("for f in a b c d e; do echo hello-$f > $f; sync $f; done")
            self.vault.umount()
            for path in (self.vault.path / "tree").iterdir():
                if path.is_file() and not path.name.startswith("."):
                    os.chown(path, 0, 0)
                    path.chmod(0o666)
            self.vault.mount(*options)
            self.ok("echo more >> a; sync a; echo new > b; touch a b; python3 -c \"import os; os.truncate('c', 3)\"")
            self.ok("python3 -c \"import os; f = os.open('d', 2); os.write(f, b'HE'); os.fsync(f); os.ftruncate(f, 9000)\"")
            # Times of one's own choice are for the owner.
            self.assertNotEqual(self.shell("touch -d 2001-01-01 mnt/e").returncode, 0)
            # Re-wrapped as all others are.
            self.vault.ok("rotate", self.vault.mnt)
            self.ok("cat a b c d e > /dev/null")
            for _ in range(2):
                self.vault.umount()
                self.vault.mount(*options)
                self.assertEqual(self.ok("cat a b c e"), "hello-a\nmore\nnew\nhelhello-e\n")
                self.assertEqual(self.ok("stat -c %s d; head -c 8 d; tail -c 10 d | od -An -tx1"),
                                 "9000\nHEllo-d\n 00 00 00 00 00 00 00 00 00 00\n")
            self.ok("rm -f a b c d e")
            self.vault.umount()


class Immutable(MountedTest):
    def test_a_file_that_is_immutable_no_more_can_be_written_whoever_has_it_open(self):
        self.need_root()
        self.need_tools("chattr")
        path = self.write("f", b"first", fsync=True)
        lower = self.vault.lower(path)
        if subprocess.run(["chattr", "+i", lower], capture_output=True).returncode:
            self.skipTest("no chattr +i on this filesystem")
        try:
            self.vault.remount()
            reader = open(path, "rb")
            self.assertErrno(errno.EPERM, open, path, "r+b")
        finally:
            subprocess.run(["chattr", "-i", lower], check=True)
        with open(path, "r+b") as f:
            f.write(b"then")
            f.flush()
            os.fsync(f.fileno())
        os.truncate(path, 4)
        self.assertEqual(reader.read(), b"then")
        reader.close()
        self.vault.remount()
        self.assertEqual(self.read(path), b"then")


class WithoutPunchHole(MountedTest):
    """On a lower filesystem that can't make holes: a FUSE one."""

    options = None

    def test_files_are_cut(self):
        self.need_root()
        self.need_tools("gocryptfs")
        cipher, plain, secret = self.dir / "cipher", self.dir / "plain", self.dir / "secret"
        for made in (cipher, plain):
            made.mkdir()
        secret.write_text("secret\n")
        sh(f"gocryptfs -init -q -scryptn 10 -passfile {secret} {cipher} && gocryptfs -q -passfile {secret} {cipher} {plain}",
           self.dir)  # fmt: skip
        self.addCleanup(subprocess.run, ["umount", "-l", plain], capture_output=True)
        (self.dir / "b").mkdir()
        vault = self.new_vault(self.dir / "b", vault=plain / "vault")
        vault.mount()
        data = os.urandom(300_000)
        path = vault.mnt / "f"
        path.write_bytes(data)
        with open(path, "r+b") as f:
            for size in (250_000, 249_990, 100_000, 10_000, 5000):
                f.truncate(size)
                os.fsync(f.fileno())
                f.truncate(size + 9000)
                f.truncate(size)
            self.assertErrno(errno.EOPNOTSUPP, fallocate, f.fileno(), FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 5000)
        with open(path, "ab") as f:
            f.write(b"more")
        expected = data[:5000] + b"more"
        self.assertEqual(path.read_bytes(), expected)
        vault.umount()
        vault.mount()
        self.assertEqual(path.read_bytes(), expected)
        vault.umount()
        vault.ok("fsck", vault.path, "--passfile", vault.passfile)


class WrittenWhileTheKeyIsGone(MountedTest):
    def test_it_is_told_by_fsync_and_shown_no_more_once_the_key_is_back(self):
        key = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("create-alias", "--alias-name", "alias/b", "--target-key-id", key)
        os.mkdir(self.mnt / "d")
        os.setxattr(self.mnt / "d", "user.rekeyfs.alias", b"alias/b")
        expected = {}
        for name, before in (("was-empty", b""), ("had-data", b"O" * 6000), ("was-truncated", b"")):
            path = self.mnt / "d" / name
            fd = os.open(path, os.O_RDWR | os.O_CREAT)
            os.write(fd, before)
            os.fsync(fd)
            self.kms("disable-key", "--key-id", key)
            told = outcome(os.pwrite, fd, b"N" * 7000, 0) or outcome(os.fsync, fd)
            self.assertEqual(told, errno.ENOKEY, name)
            if name == "was-truncated":
                os.ftruncate(fd, 0)
            self.kms("enable-key", "--key-id", key)
            self.vault.settle()
            os.fsync(fd)
            expected[path] = os.fstat(fd).st_size, os.pread(fd, 9000, 0)
            self.assertEqual(expected[path][1].count(b"N"), 0, name)
            self.assertEqual(expected[path][1][: len(before)], before)
            os.close(fd)
        self.vault.remount()
        for path, (size, content) in expected.items():
            self.assertEqual((os.stat(path).st_size, self.read(path)), (size, content), path)

class AppendOnly(MountedTest):
    def flag(self, change, *paths):
        return subprocess.run(["chattr", change, *paths], capture_output=True).returncode

    def test_what_an_append_only_directory_refuses_leaves_nothing_there(self):
        self.need_root()
        self.need_tools("chattr")
        (self.mnt / "d" / "below").mkdir(parents=True)
        path = self.write("d/f", b"x" * 9000, fsync=True)
        lower = self.vault.lower(self.mnt / "d")
        paths = [lower, self.vault.lower(self.mnt / "d" / "below"), self.vault.path]
        self.addCleanup(self.flag, "-a", *paths)
        if self.flag("+a", *paths):
            self.skipTest("no chattr +a on this filesystem")
        alias = lambda: os.setxattr(self.mnt / "d", "user.rekeyfs.alias", b"alias/default")  # noqa: E731
        for _ in range(3):
            self.assertErrno(errno.EPERM, alias)
            self.assertErrno(errno.EPERM, os.rename, self.mnt / "d", self.mnt / "e")
            self.assertErrno(errno.EPERM, os.mkdir, self.mnt / "d" / ("long" * 60))
            self.assertNotEqual(self.vault.run("reencrypt", path).returncode, 0)
            self.assertRefused(self.vault.run("rotate", self.mnt), "keyring", status=24)
        self.write("d/new", b"names can be added")
        left = sh("find . -name '.tmp.*'", self.vault.path)
        self.assertEqual(self.flag("-a", *paths), 0)
        self.assertEqual(left, "")
        alias()
        os.rename(self.mnt / "d", self.mnt / "e")
        self.vault.ok("reencrypt", self.mnt / "e" / "f")
        self.vault.rotate()
        self.assertEqual(self.read(self.mnt / "e" / "f"), b"x" * 9000)
        self.assertEqual(self.vault.run("fsck", self.mnt).returncode, 0)

