"""Several at once at one file, and what they did to each other: for the mounted tests and, longer, for conformance."""

import contextlib
import ctypes
import mmap
import os
import platform
import random
import signal
import struct
import time

from harness import checked, libc

PAGE = 4096
SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE = 1, 2
IO_SETUP, IO_SUBMIT, IO_GETEVENTS = (0, 2, 4) if platform.machine() == "aarch64" else (206, 209, 208)
IOCB_WRITE = 1


def long(number):
    return ctypes.c_long(number)


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


def overlapping(path, seconds, flags, large=256 << 10, own=20):
    """Large writes through a descriptor with these flags, while one page in the middle is changed through a mapping and written
    back. Returns how many writes there were, and after how many bytes beside the page were old ones on disk."""
    with contextlib.ExitStack() as stack:

        def opened(flags):
            fd = os.open(path, flags)
            stack.callback(os.close, fd)
            return fd

        fd, below, cached = opened(os.O_RDWR | flags), opened(os.O_RDONLY | os.O_DIRECT), opened(os.O_RDWR)
        mapped = stack.enter_context(mmap.mmap(cached, PAGE, offset=own * PAGE))
        how = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE
        number = 0

        def store():
            nonlocal number
            number = (number + 1) % 256
            mapped[2048] = number
            libc.sync_file_range(cached, long(own * PAGE), long(PAGE), how)

        out, back = mmap.mmap(-1, large), mmap.mmap(-1, large)
        before, after = own * PAGE, (own + 1) * PAGE
        lost = rounds = 0
        with beside(store):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                rounds += 1
                value = bytes([rounds % 255 + 1])
                out[:] = value * large
                assert os.pwrite(fd, out, 0) == large
                assert os.preadv(below, [back], 0) == large
                lost += back[:before] != value * before or back[after:] != value * (large - after)
        return rounds, lost


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
        count = long(len(pages))
        assert checked(libc.syscall(IO_SUBMIT, self.context, count, requests)) == len(pages)
        events = ctypes.create_string_buffer(32 * self.most)
        assert checked(libc.syscall(IO_GETEVENTS, self.context, count, count, events, None)) == len(pages)
        for slot in range(len(pages)):
            assert struct.unpack_from("<q", events, 32 * slot + 16)[0] == PAGE


def asynchronous(path, seconds, readers=1, pages=64, at_once=16):
    """Direct writes as databases and virtual machines make them, while others read the file through the page cache and
    through a mapping. Returns how many rounds there were, and how many old pages were met by a read and through a mapping
    right after a write had completed, and on disk after one byte of a page was written through the cache."""
    with contextlib.ExitStack() as stack:

        def opened(flags):
            fd = os.open(path, flags)
            stack.callback(os.close, fd)
            return fd

        direct, cached = opened(os.O_RDWR | os.O_DIRECT), opened(os.O_RDWR)
        mapped = stack.enter_context(mmap.mmap(cached, pages * PAGE, access=mmap.ACCESS_READ))
        aio, back = Aio(direct, at_once), mmap.mmap(-1, PAGE)
        rng = random.Random(1)
        expected = [os.pread(cached, PAGE, page * PAGE) for page in range(pages)]

        def read():
            for page in range(pages):
                os.pread(cached, PAGE, page * PAGE)

        def look():
            for page in range(pages):
                mapped[page * PAGE]

        def read_ahead():
            os.posix_fadvise(cached, 0, pages * PAGE, os.POSIX_FADV_WILLNEED)
            os.pread(cached, PAGE * 16, rng.randrange(pages - 16) * PAGE)

        works = [(read, look, read_ahead)[number % 3] for number in range(readers + 1)]
        stale = {"read": 0, "mapping": 0, "disk": 0}
        rounds = 0
        with beside(*works):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                rounds += 1
                value = rounds % 250 + 1
                chosen = rng.sample(range(pages), at_once)
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
        for page in range(pages):
            stale["read"] += os.pread(cached, PAGE, page * PAGE) != expected[page]
            os.preadv(direct, [back], page * PAGE)
            stale["disk"] += back[:] != expected[page]
        return rounds, stale


def as_many_as_go(path, seconds, readers=8, pages=32, at_once=64):
    """As many direct writes at once as the kernel lets be under way, all to pages that others are reading. Returns how many
    rounds of them ended."""
    with contextlib.ExitStack() as stack:
        direct, cached = os.open(path, os.O_RDWR | os.O_DIRECT), os.open(path, os.O_RDONLY)
        stack.callback(os.close, direct)
        stack.callback(os.close, cached)
        aio, rng = Aio(direct, at_once), random.Random(1)

        def read():
            os.posix_fadvise(cached, 0, 0, os.POSIX_FADV_DONTNEED)
            os.pread(cached, pages * PAGE, 0)

        def stuck(_signal, _frame):
            raise TimeoutError("no direct write ends any more")

        rounds = 0
        stack.callback(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, stuck))
        stack.callback(signal.alarm, 0)
        with beside(*[read] * readers):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                signal.alarm(20)
                rounds += 1
                aio.write([rng.randrange(pages) for _ in range(at_once)], rounds % 250 + 1)
        return rounds
