"""Several at once at one file: what one has written stays as it is whatever others do to other bytes, and no one is shown
what was there before."""

import contextlib
import ctypes
import mmap
import os
import platform
import random
import signal
import struct
import time

from harness import MountedTest, checked, libc

PAGE = 4096
IO_SETUP, IO_SUBMIT, IO_GETEVENTS = (0, 2, 4) if platform.machine() == "aarch64" else (206, 209, 208)
IOCB_WRITE = 1
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


class Aio:
    """Direct writes of pages, several at once, that complete on their own: libaio's system calls."""

    def __init__(self, fd, most):
        self.fd, self.most = fd, most
        self.context = ctypes.c_ulong(0)
        checked(libc.syscall(IO_SETUP, most, ctypes.byref(self.context)))
        self.memory = mmap.mmap(-1, most * PAGE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def write(self, pages, value):
        """Fills these pages with a byte; returns when all writes have completed."""
        requests = (ctypes.c_void_p * self.most)()
        keep = []
        for slot, page in enumerate(pages):
            self.memory[slot * PAGE : (slot + 1) * PAGE] = bytes([value]) * PAGE
            data, at = self.address + slot * PAGE, page * PAGE
            request = struct.pack("<QIIHhIQQqQII", page, 0, 0, IOCB_WRITE, 0, self.fd, data, PAGE, at, 0, 0, 0)
            keep.append(ctypes.create_string_buffer(request, 64))
            requests[slot] = ctypes.addressof(keep[-1])
        count = _long(len(pages))
        assert checked(libc.syscall(IO_SUBMIT, self.context, count, requests)) == len(pages)
        events = ctypes.create_string_buffer(32 * self.most)
        assert checked(libc.syscall(IO_GETEVENTS, self.context, count, count, events, None)) == len(pages)
        for slot in range(len(pages)):
            assert struct.unpack_from("<q", events, 32 * slot + 16)[0] == PAGE


class AsynchronousDirectWrites(MountedTest):
    """As databases and virtual machines write: O_DIRECT through libaio, while others read through the page cache."""

    pages, at_once, seconds = 64, 16, 4

    def test_a_completed_write_is_what_everybody_reads(self):
        path = self.write("f", bytes(self.pages * PAGE), fsync=True)
        direct, cached = os.open(path, os.O_RDWR | os.O_DIRECT), os.open(path, os.O_RDWR)
        mapped = mmap.mmap(cached, self.pages * PAGE, access=mmap.ACCESS_READ)
        aio, back = Aio(direct, self.at_once), mmap.mmap(-1, PAGE)
        rng = random.Random(1)
        expected = [0] * self.pages

        def read():
            for page in range(self.pages):
                os.pread(cached, PAGE, page * PAGE)

        def look():
            for page in range(self.pages):
                mapped[page * PAGE]

        stale = {"read": 0, "mapping": 0, "disk": 0}
        rounds = 0
        with beside(read, look):
            end = time.monotonic() + self.seconds
            while time.monotonic() < end:
                rounds += 1
                value = rounds % 250 + 1
                chosen = rng.sample(range(self.pages), self.at_once)
                aio.write(chosen, value)
                for page in chosen:
                    expected[page] = bytes([value]) * PAGE
                stale["read"] += os.pread(cached, 1, chosen[0] * PAGE)[0] != value
                stale["mapping"] += mapped[chosen[1] * PAGE] != value
                # A byte in the page, through the cache: the others stay what was written directly.
                page = chosen[2]
                os.pwrite(cached, b"\xff", page * PAGE + 7)
                os.preadv(direct, [back], page * PAGE)
                expected[page] = expected[page][:7] + b"\xff" + expected[page][8:]
                stale["disk"] += back[:] != expected[page]
        for page in range(self.pages):
            if expected[page]:
                stale["read"] += os.pread(cached, PAGE, page * PAGE) != expected[page]
                os.preadv(direct, [back], page * PAGE)
                stale["disk"] += back[:] != expected[page]
        self.assertEqual(stale, {"read": 0, "mapping": 0, "disk": 0}, f"old pages in {rounds} rounds")


class AsynchronousDirectWritesWithoutWriteback(AsynchronousDirectWrites):
    options = ("--no-writeback",)
