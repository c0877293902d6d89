"""Time stamps, with the kernel's writeback cache on."""

import datetime
import os
import stat
import time

from suite import Cases, command, equal
from test_times import CHANGES

SECOND = 10**9


def when(*date):
    """Nanoseconds since 1970 of a date, UTC."""
    moment = datetime.datetime(*date, tzinfo=datetime.timezone.utc) - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (moment.days * 86400 + moment.seconds) * SECOND


# ext4 has 34 bits of seconds, from December 1901 on.
DATES = (when(1901, 12, 14), when(1955, 11, 5) + 1, -1, 0, 1, when(2038, 1, 20) + 999_999_999, when(2106, 2, 8),
         when(2446, 5, 1) + 123_456_789)  # fmt: skip


class Times(Cases):
    """What each operation changes, how exactly, and what may change nothing."""

    name = "times"
    about = "mtime, ctime, atime with the writeback cache: exact, before 1970, after 2038, by operation"

    def _later(self):
        time.sleep(0.03)

    def _changed(self, path, call):
        """Which of mtime and ctime a call changes."""
        before = os.lstat(path)
        self._later()
        call()
        after = os.lstat(path)
        equal(after.st_mtime_ns >= before.st_mtime_ns and after.st_ctime_ns >= before.st_ctime_ns, True, "never back")
        return "m" * (after.st_mtime_ns != before.st_mtime_ns) + "c" * (after.st_ctime_ns != before.st_ctime_ns)

    def _again(self):
        """The kernel asks again."""
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("2\n")

    def test_any_date_to_the_nanosecond(self):
        for number, date in enumerate(DATES):
            for kind in ("file", "directory", "link"):
                path = self.dir / f"{kind}{number}"
                if kind == "file":
                    path.write_bytes(b"x")
                elif kind == "directory":
                    path.mkdir()
                else:
                    path.symlink_to("x")
                os.utime(path, ns=(date, DATES[-number]), follow_symlinks=False)
        for _ in range(2):
            for number, date in enumerate(DATES):
                for kind in ("file", "directory", "link"):
                    found = os.lstat(self.dir / f"{kind}{number}")
                    equal((found.st_atime_ns, found.st_mtime_ns), (date, DATES[-number]), f"{kind} {date}")
            self._again()
            if self.place.vault:
                os.chdir("/")
                self.place.vault.remount(*self.mount_options)

    def test_times_set_stay_after_writes_are_flushed(self):
        path = self.dir / "f"
        with open(path, "wb") as file:
            file.write(bytes(100_000))
            file.flush()
            os.utime(file.fileno(), ns=(5, 7))
            equal(os.fstat(file.fileno()).st_mtime_ns, 7, "while dirty")
            os.fsync(file.fileno())
            equal(os.fstat(file.fileno()).st_mtime_ns, 7, "after fsync")
        equal(os.stat(path).st_mtime_ns, 7, "after close")
        self._again()
        equal(os.stat(path).st_mtime_ns, 7, "asked again")
        command("cp", "-a", path, self.dir / "g")
        equal(os.stat(self.dir / "g").st_mtime_ns, 7, "cp -a")

    def test_mtime_of_a_write_lies_between_before_and_after(self):
        path = self.dir / "f"
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        for call in (lambda: os.write(fd, b"x"), lambda: os.ftruncate(fd, 10), lambda: os.pwrite(fd, b"y", 5000)):
            self._later()
            before = time.time_ns()
            call()
            after = time.time_ns()
            for _ in range(2):
                found = os.fstat(fd).st_mtime_ns
                equal(before - SECOND // 20 <= found <= after, True, f"{found} of {before} to {after}")
                os.fsync(fd)
        seen = os.fstat(fd)
        os.close(fd)
        self._again()
        equal(os.stat(path).st_mtime_ns, seen.st_mtime_ns, "asked again")

    def test_what_each_call_changes(self):
        f, d = self.dir / "f", self.dir / "d"
        f.write_bytes(bytes(9000))
        d.mkdir()
        fd = os.open(f, os.O_RDWR)
        for wanted, what, call in (
            ("mc", "write", lambda: os.pwrite(fd, b"x", 3)),
            ("mc", "truncate down", lambda: os.ftruncate(fd, 8000)),
            ("mc", "truncate up", lambda: os.ftruncate(fd, 8500)),
            ("c", "chmod", lambda: os.chmod(f, 0o640)),
            ("c", "chown", lambda: os.chown(f, 1, 1)),
            ("c", "link", lambda: os.link(f, self.dir / "g")),
            ("c", "unlink", lambda: os.unlink(self.dir / "g")),
            ("c", "rename", lambda: os.rename(f, self.dir / "f2") or os.rename(self.dir / "f2", f)),
            ("c", "setxattr", lambda: os.setxattr(f, "user.a", b"b")),
            ("c", "removexattr", lambda: os.removexattr(f, "user.a")),
            ("", "read", lambda: os.pread(fd, 100, 0)),
            ("", "fsync", lambda: os.fsync(fd)),
            ("", "stat and open", lambda: os.close(os.open(f, os.O_RDONLY))),
            ("mc", "fallocate that grows", lambda: os.posix_fallocate(fd, 8500, 4000)),
        ):
            equal(self._changed(f, call), wanted, what)
            self._again()
            equal(self._changed(f, lambda: None), "", f"asked again after {what}")
        os.close(fd)
        for wanted, what, call in (
            ("mc", "create", lambda: (d / "x").write_bytes(b"")),
            ("", "write to a file in it", lambda: (d / "x").write_bytes(b"z")),
            ("mc", "rename in it", lambda: os.rename(d / "x", d / "y")),
            ("mc", "mkdir", lambda: (d / "e").mkdir()),
            ("mc", "rmdir", lambda: (d / "e").rmdir()),
            ("mc", "link", lambda: os.link(d / "y", d / "z")),
            ("mc", "symlink", lambda: (d / "s").symlink_to("x")),
            ("mc", "unlink", lambda: os.unlink(d / "z")),
            ("", "listing", lambda: os.listdir(d)),
            ("", "chmod of a file in it", lambda: os.chmod(d / "y", 0o600)),
        ):
            equal(self._changed(d, call), wanted, f"directory: {what}")

    def _changed_files(self):
        """A file for each way to change one; what is seen of them."""
        for name, change in CHANGES.items():
            change(self.dir / name)
        return {name: os.stat(self.dir / name) for name in CHANGES}

    def _same(self, before, stamp):
        moved = {}
        for name, seen in before.items():
            now = getattr(os.stat(self.dir / name), stamp)
            if now != getattr(seen, stamp):
                moved[name] = now - getattr(seen, stamp)
        equal(moved, {}, f"nanoseconds by which {stamp} moved")

    def test_mtimes_once_the_kernel_has_forgotten_the_files_and_after_a_remount(self):
        before = self._changed_files()
        self._again()
        self._same(before, "st_mtime_ns")
        if self.place.vault:
            os.chdir("/")
            self.place.vault.remount(*self.mount_options)
            self._same(before, "st_mtime_ns")

    def test_ctimes_once_the_kernel_has_forgotten_the_files(self):
        before = self._changed_files()
        for name, seen in before.items():
            equal(os.stat(self.dir / name).st_ctime_ns >= seen.st_ctime_ns, True, f"{name}: never back")
        self._again()
        self._same(before, "st_ctime_ns")

    def test_truncate_to_the_size_it_has(self):
        path = self.dir / "f"
        path.write_bytes(bytes(9000))
        equal(self._changed(path, lambda: os.truncate(path, 9000)), "mc", "truncate")

    def test_ftruncate_to_the_size_it_has(self):
        path = self.dir / "f"
        path.write_bytes(bytes(9000))
        fd = os.open(path, os.O_RDWR)
        equal(self._changed(path, lambda: os.ftruncate(fd, 9000)), "mc", "ftruncate")
        os.close(fd)

    def test_mmap_writes_change_mtime(self):
        import mmap

        path = self.dir / "f"
        path.write_bytes(bytes(9000))
        os.utime(path, ns=(1, 1))
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 9000) as memory:
            memory[5000] = 1
            memory.flush()
        equal(os.stat(path).st_mtime > 10**9, True, "mtime")

    def test_a_rewrap_changes_no_mtime(self):
        names = [self.dir / f"f{number}" for number in range(20)]
        for number, path in enumerate(names):
            path.write_bytes(bytes(number * 1000))
            os.utime(path, ns=(number + 5, number * SECOND + 7))
        if self.place.vault:
            self.place.vault.rotate()
            self.place.vault.ok("rewrap", self.place.vault.mnt)
            self._again()
            versions = {self.place.vault.version(path) for path in names[1:]}
            equal(versions, {max(versions)}, "key versions")
        for number, path in enumerate(names):
            equal(os.stat(path).st_mtime_ns, number * SECOND + 7, path.name)

    def test_atime(self):
        """As relatime has it: the first read after a change, by a read that reaches the filesystem."""
        path = self.dir / "f"
        path.write_bytes(b"x" * 5000)
        now = time.time_ns()
        os.utime(path, ns=(now - 3600 * SECOND, now - 1800 * SECOND))
        self._drop_pages(path)
        path.read_bytes()
        equal(os.stat(path).st_atime_ns >= now - SECOND, True, "atime after a read")
        first = os.stat(path).st_atime_ns
        self._drop_pages(path)
        self._later()
        path.read_bytes()
        equal(os.stat(path).st_atime_ns, first, "relatime: not again")

    def test_atime_of_a_read_that_the_page_cache_serves(self):
        path = self.dir / "f"
        path.write_bytes(b"x" * 5000)
        now = time.time_ns()
        for _ in range(2):
            os.utime(path, ns=(now - 3600 * SECOND, now - 1800 * SECOND))
            path.read_bytes()
        equal(os.stat(path).st_atime_ns >= now - SECOND, True, "atime after a cached read")

    def test_atime_with_o_noatime(self):
        path = self.dir / "f"
        path.write_bytes(b"x" * 5000)
        os.utime(path, ns=(5, 7 * SECOND))
        self._drop_pages(path)
        fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
        os.read(fd, 100)
        os.close(fd)
        equal(os.stat(path).st_atime_ns, 5, "atime after a read with O_NOATIME")

    def test_birth_time(self):
        path = self.dir / "f"
        before = time.time_ns()
        path.write_bytes(b"x")
        born = command("stat", "-c", "%W", path).stdout.strip()
        equal(born != "-" and int(born) >= before // SECOND - 1, True, f"birth time {born}")

    def test_creation_sets_all(self):
        before = time.time_ns() - SECOND // 20
        (self.dir / "f").write_bytes(b"")
        (self.dir / "d").mkdir()
        (self.dir / "s").symlink_to("f")
        os.mkfifo(self.dir / "p")
        os.mknod(self.dir / "n", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        for name in "fdspn":
            found = os.lstat(self.dir / name)
            for stamp in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns):
                equal(before <= stamp <= time.time_ns(), True, name)

    def _drop_pages(self, path):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
