"""Time stamps of what was written: what is shown is what will be shown once the kernel has forgotten the file."""

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import time

from harness import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, MountedTest, fallocate, is_gone, libc, wait_until

PAUSE = 0.03  # some ticks of the clock that files are stamped by
SYNC_FILE_RANGE_WRITE = 2


def make(path, data=b"x" * 5000):
    """A file that is written in the tick in which it is made, and written back some ticks later."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, data)
    time.sleep(PAUSE)
    return fd


def changed(path, change, fsync=False):
    """Makes a file, changes it later, and closes it later still."""
    fd = make(path)
    change(fd)
    time.sleep(PAUSE)
    if fsync:
        os.fsync(fd)
        time.sleep(PAUSE)
    os.close(fd)


def appended(path):
    os.close(make(path))
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    time.sleep(PAUSE)
    os.write(fd, b"more")
    time.sleep(PAUSE)
    os.close(fd)


def truncated_by_open(path):
    os.close(make(path))
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def truncated_by_path(path):
    os.close(make(path))
    os.truncate(path, 10)


def mapped(path, sync, close_first):
    fd = make(path)
    memory = mmap.mmap(fd, 5000)
    if close_first:
        os.close(fd)
        time.sleep(PAUSE)
    memory[3] = 1
    time.sleep(PAUSE)
    if sync:
        memory.flush()
        time.sleep(PAUSE)
    memory.close()
    if not close_first:
        os.close(fd)


def direct(path):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
    os.write(fd, mmap.mmap(-1, 8192))
    time.sleep(PAUSE)
    os.close(fd)


def written_back(path):
    fd = make(path)
    libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), SYNC_FILE_RANGE_WRITE)
    time.sleep(PAUSE)
    os.close(fd)


def by_two(path):
    first = make(path)
    second = os.open(path, os.O_WRONLY)
    os.close(first)
    time.sleep(PAUSE)
    os.write(second, b"hello")
    time.sleep(PAUSE)
    os.close(second)


def killed(path):
    """By a process that never closes it."""
    script = "import os, sys; os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), b'x' * 5000); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(PAUSE)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()


# Ways to change a file, each on a path of its own that doesn't exist yet.
CHANGES = {
    "made": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)),
    "written": lambda path: os.close(make(path)),
    "written and synced": lambda path: changed(path, lambda fd: None, fsync=True),
    "written large": lambda path: os.close(make(path, b"x" * 9_000_000)),
    "written back early": written_back,
    "written again": lambda path: changed(path, lambda fd: os.pwrite(fd, b"y", 4500)),
    "written again and synced": lambda path: changed(path, lambda fd: os.pwrite(fd, b"y", 4500), fsync=True),
    "written with O_DIRECT": direct,
    "written by two": by_two,
    "written by one who is killed": killed,
    "appended to": appended,
    "truncated": lambda path: changed(path, lambda fd: os.ftruncate(fd, 100)),
    "truncated and synced": lambda path: changed(path, lambda fd: os.ftruncate(fd, 100), fsync=True),
    "grown": lambda path: changed(path, lambda fd: os.ftruncate(fd, 100_000)),
    "truncated by path": truncated_by_path,
    "truncated by open": truncated_by_open,
    "allocated": lambda path: changed(path, lambda fd: fallocate(fd, 0, 0, 100_000)),
    "allocated behind its end": lambda path: changed(path, lambda fd: fallocate(fd, FALLOC_KEEP_SIZE, 0, 100_000)),
    "punched": lambda path: changed(path, lambda fd: fallocate(fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 0, 4096)),
    "mapped": lambda path: mapped(path, sync=False, close_first=False),
    "mapped and synced": lambda path: mapped(path, sync=True, close_first=False),
    "mapped when closed": lambda path: mapped(path, sync=False, close_first=True),
    "mapped when closed and synced": lambda path: mapped(path, sync=True, close_first=True),
    "its mode changed": lambda path: changed(path, lambda fd: os.fchmod(fd, 0o600)),
    "its times set": lambda path: changed(path, lambda fd: os.utime(fd, ns=(5, 7))),
    "its times set, and written": lambda path: changed(path, lambda fd: [os.utime(fd, ns=(5, 7)), os.pwrite(fd, b"y", 9)]),
    "its suid bit taken by a write": lambda path: changed(path, lambda fd: [os.fchmod(fd, 0o4777), os.pwrite(fd, b"y", 9)]),
}  # fmt: skip


class Stamps(MountedTest):
    check_ctime = MountedTest.assertGreaterEqual

    def setUp(self):
        super().setUp()
        for name, change in CHANGES.items():
            change(self.mnt / name)
        self.shown = self.stamps()

    def stamps(self):
        return {name: os.stat(self.mnt / name) for name in CHANGES}

    def same_as_shown(self, found):
        for name, before in self.shown.items():
            with self.subTest(name):
                self.assertEqual(found[name].st_mtime_ns, before.st_mtime_ns)
                self.check_ctime(found[name].st_ctime_ns, before.st_ctime_ns)

    def test_mtimes_are_the_same_once_the_kernel_has_forgotten_the_files(self):
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("2\n")
        self.same_as_shown(self.stamps())

    def test_mtimes_are_the_same_after_a_remount(self):
        self.vault.remount()
        self.same_as_shown(self.stamps())

    def test_mtimes_are_the_same_after_a_rotation_and_a_sweep(self):
        self.vault.rotate()
        self.vault.ok("rewrap", self.mnt)
        # What wraps a file is part of it: its ctime moves.
        self.check_ctime = self.assertGreaterEqual
        self.same_as_shown(self.stamps())
        self.vault.remount()
        self.same_as_shown(self.stamps())


class StampsWithoutWriteback(Stamps):
    """The daemon gets each write when it is made."""

    options = ("--no-writeback",)
    check_ctime = Stamps.assertEqual

    def test_truncate_to_the_size_it_has_moves_its_times(self):
        path = self.mnt / "written"
        before = os.stat(path)
        os.truncate(path, before.st_size)
        after = os.stat(path)
        self.assertGreater(after.st_mtime_ns, before.st_mtime_ns)
        self.assertGreater(after.st_ctime_ns, before.st_ctime_ns)


class StampsOfOpenFiles(MountedTest):
    def test_a_file_open_at_a_lazy_unmount_keeps_its_mtime(self):
        fd = make(self.mnt / "f")
        os.pwrite(fd, b"y", 4500)
        shown = os.fstat(fd).st_mtime_ns
        time.sleep(PAUSE)
        pid = self.vault.pid
        subprocess.run(["umount", "-l", self.mnt], check=True)
        time.sleep(PAUSE)
        os.close(fd)
        self.assertTrue(wait_until(lambda: is_gone(pid)), "the daemon ends with the last file")
        self.vault.mount()
        self.assertEqual(os.stat(self.mnt / "f").st_mtime_ns, shown)
