"""Several at once at one file: what one has written stays as it is whatever others do to other bytes, and no one is shown
what was there before."""

import contextlib
import ctypes
import mmap
import os
import signal
import time

from harness import MountedTest, libc

PAGE = 4096
SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE = 1, 2


@contextlib.contextmanager
def beside(*works):
    """Runs functions, each in a process of its own, again and again."""
    children = []
    try:
        for work in works:
            child = os.fork()
            if child == 0:
                try:
                    while True:
                        work()
                finally:
                    os._exit(1)
            children.append(child)
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


class OverlappingWrites(MountedTest):
    """Large writes, and one page in the middle of each that is changed through a mapping and written back."""

    large, own, seconds = 256 << 10, 20, 4
    flags = os.O_DIRECT

    def test_bytes_beside_a_mapped_page_are_those_of_the_last_write(self):
        path = self.write("f", bytes(self.large), fsync=True)
        fd = os.open(path, os.O_RDWR | self.flags)
        self.addCleanup(os.close, fd)
        below = os.open(path, os.O_RDONLY | os.O_DIRECT)
        self.addCleanup(os.close, below)
        mapped = mmap.mmap(os.open(path, os.O_RDWR), PAGE, offset=self.own * PAGE)
        mapped_fd = os.open(path, os.O_RDWR)
        number = [0]

        def store():
            number[0] = (number[0] + 1) % 256
            mapped[2048] = number[0]
            libc.sync_file_range(
                mapped_fd, _long(self.own * PAGE), _long(PAGE), SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE
            )

        out, back = mmap.mmap(-1, self.large), mmap.mmap(-1, self.large)
        before, after = self.own * PAGE, (self.own + 1) * PAGE
        lost = rounds = 0
        with beside(store):
            end = time.monotonic() + self.seconds
            while time.monotonic() < end:
                rounds += 1
                value = bytes([rounds % 255 + 1])
                out[:] = value * self.large
                self.assertEqual(os.pwrite(fd, out, 0), self.large)
                self.assertEqual(os.preadv(below, [back], 0), self.large)
                lost += back[:before] != value * before or back[after:] != value * (self.large - after)
        self.assertEqual(lost, 0, f"of {rounds} writes so many came back with old bytes beside the page")


class OverlappingBufferedWrites(OverlappingWrites):
    """The same through the page cache, where each write is sent as it is made."""

    options = ("--no-writeback",)
    flags = 0


def _long(number):
    return ctypes.c_long(number)
