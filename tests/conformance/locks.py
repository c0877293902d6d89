"""Locks among processes: flock, fcntl, open file descriptions; waiting and not, lost on exit, kept over fork."""

import contextlib
import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
import time

from harness import at_rest, wait_until
from suite import Cases, equal, refused

OFD_GETLK, OFD_SETLK, OFD_SETLKW = 36, 37, 38
FLOCK = struct.Struct("hhqqi4x")
# Another process: takes a lock, says so, and holds it until its input ends.
HOLDER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
kind = fcntl.LOCK_EX if sys.argv[3] == "ex" else fcntl.LOCK_SH
if sys.argv[2] == "flock":
    fcntl.flock(fd, kind)
else:
    fcntl.lockf(fd, kind, 10, 5)
print("locked", flush=True)
sys.stdin.read()
"""


def ofd(fd, command, kind, start=0, length=0):
    """A lock of an open file description; what F_OFD_GETLK found, for that command."""
    return FLOCK.unpack(fcntl.fcntl(fd, command, FLOCK.pack(kind, os.SEEK_SET, start, length, 0)))


@contextlib.contextmanager
def holder(path, call, kind):
    """Another process that holds a lock; killed at the end at the latest."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, path, call, kind], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def locked(process):
    """Waits until the other process has its lock."""
    equal(process.stdout.readline(), b"locked\n", "the holder")


class Locks(Cases):
    """As POSIX and flock(2) have them."""

    name = "locks"
    about = "flock, fcntl and open-file-description locks across processes"
    seconds = 120

    def _file(self):
        path = self.dir / "f"
        path.write_bytes(bytes(100))
        fd = os.open(path, os.O_RDWR)
        return path, fd

    def _conflicts(self, call, take):
        path, fd = self._file()
        with holder(path, call, "ex") as other:
            locked(other)
            refused(errno.EAGAIN, take, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            refused(errno.EAGAIN, take, fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            os.kill(other.pid, signal.SIGKILL)
            other.wait()
            take(fd, fcntl.LOCK_EX)
        os.close(fd)
        with holder(path, call, "sh") as one, holder(path, call, "sh") as two:
            locked(one)
            locked(two)
            fd = os.open(path, os.O_RDWR)
            take(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            refused(errno.EAGAIN, take, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        take(fd, fcntl.LOCK_EX)
        os.close(fd)

    def _waits(self, call, take):
        path, fd = self._file()
        take(fd, fcntl.LOCK_EX)
        with holder(path, call, "ex") as other:
            os.set_blocking(other.stdout.fileno(), False)
            time.sleep(0.5)
            equal(other.stdout.read(), None, "it has to wait")
            os.set_blocking(other.stdout.fileno(), True)
            take(fd, fcntl.LOCK_UN)
            locked(other)
            # One that waits here is woken by a signal.
            signal.signal(signal.SIGUSR1, lambda *_: (_ for _ in ()).throw(InterruptedError))
            child = os.fork()
            if child == 0:
                wait_until(lambda: at_rest(os.getppid()))
                os.kill(os.getppid(), signal.SIGUSR1)
                os._exit(0)
            try:
                take(fd, fcntl.LOCK_EX)
                raise AssertionError("got a lock that another holds")
            except InterruptedError:
                pass
            os.waitpid(child, 0)
            other.stdin.close()
            take(fd, fcntl.LOCK_EX)
            other.stdin = open(os.devnull, "wb")
        os.close(fd)

    @staticmethod
    def _range(fd, how):
        fcntl.lockf(fd, how, 10, 5)

    def test_flock_conflicts_and_ends_with_its_process(self):
        self._conflicts("flock", fcntl.flock)

    def test_fcntl_conflicts_and_ends_with_its_process(self):
        self._conflicts("fcntl", self._range)

    def test_flock_waits_and_can_be_interrupted(self):
        self._waits("flock", fcntl.flock)

    def test_fcntl_waits_and_can_be_interrupted(self):
        self._waits("fcntl", self._range)

    def test_fcntl_ranges_split_and_join(self):
        path, fd = self._file()
        with holder(path, "fcntl", "ex") as other:  # 5 to 14
            locked(other)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 15)
            refused(errno.EAGAIN, fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14)
            kind, _, start, length, pid = FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0)))
            equal((kind, start, length, pid), (fcntl.F_WRLCK, 5, 10, other.pid), "who holds it")
        fcntl.lockf(fd, fcntl.LOCK_EX, 100, 0)
        fcntl.lockf(fd, fcntl.LOCK_UN, 10, 5)
        with holder(path, "fcntl", "ex") as other:
            locked(other)
        os.close(fd)

    def test_fcntl_is_lost_with_any_descriptor_of_the_file(self):
        path, fd = self._file()
        fcntl.lockf(fd, fcntl.LOCK_EX)
        os.close(os.open(path, os.O_RDONLY))
        with holder(path, "fcntl", "ex") as other:
            locked(other)
        os.close(fd)

    def _over_fork(self, take):
        """Whether a child holds what its parent locked: (child may lock too, it is held after the parent let go)."""
        path, fd = self._file()
        take(fd, fcntl.LOCK_EX)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                take(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(writing, b"y")
            except OSError:
                os.write(writing, b"n")
            signal.pause()
        may = os.read(reading, 1) == b"y"
        os.close(fd)
        fd = os.open(path, os.O_RDWR)
        try:
            take(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = False
        except OSError:
            held = True
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        take(fd, fcntl.LOCK_EX)
        for end in (fd, reading, writing):
            os.close(end)
        return may, held

    def test_flock_over_fork_is_shared(self):
        equal(self._over_fork(fcntl.flock), (True, True), "flock over fork")

    def test_fcntl_over_fork_is_the_parents(self):
        equal(self._over_fork(fcntl.lockf), (False, False), "fcntl over fork")

    def test_flock_and_fcntl_do_not_see_each_other(self):
        path, fd = self._file()
        fcntl.flock(fd, fcntl.LOCK_EX)
        with holder(path, "fcntl", "ex") as other:
            locked(other)
        os.close(fd)

    def test_open_file_description_locks(self):
        path, one = self._file()
        two = os.open(path, os.O_RDWR)
        same = os.dup(one)
        ofd(one, OFD_SETLK, fcntl.F_WRLCK, 5, 10)
        ofd(same, OFD_SETLK, fcntl.F_WRLCK, 5, 10)
        refused(errno.EAGAIN, ofd, two, OFD_SETLK, fcntl.F_WRLCK, 0, 0)
        equal(ofd(two, OFD_GETLK, fcntl.F_RDLCK)[0::4], (fcntl.F_WRLCK, -1), "F_OFD_GETLK")
        ofd(two, OFD_SETLK, fcntl.F_WRLCK, 15, 0)
        os.close(one)
        refused(errno.EAGAIN, ofd, two, OFD_SETLK, fcntl.F_WRLCK, 0, 0)
        os.close(same)
        ofd(two, OFD_SETLKW, fcntl.F_WRLCK, 0, 0)
        # A classic lock of this very process conflicts with it too.
        three = os.open(path, os.O_RDWR)
        refused(errno.EAGAIN, fcntl.lockf, three, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(two)
        fcntl.lockf(three, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(three)

    def test_deadlock_is_told(self):
        path, fd = self._file()
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            fd = os.open(path, os.O_RDWR)
            fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1)
            os.write(writing, b"x")
            fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
            os._exit(0)
        os.read(reading, 1)
        wait_until(lambda: at_rest(child))
        try:
            refused(errno.EDEADLK, fcntl.lockf, fd, fcntl.LOCK_EX, 1, 1)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            for end in (fd, reading, writing):
                os.close(end)

    def test_leases(self):
        path, fd = self._file()
        os.close(fd)
        fd = os.open(path, os.O_RDONLY)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        equal(fcntl.fcntl(fd, fcntl.F_GETLEASE), fcntl.F_RDLCK, "the lease")
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        refused(errno.EAGAIN, os.open, path, os.O_WRONLY | os.O_NONBLOCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        os.close(fd)
