"""Many threads at once on the same files and directories: no deadlock, no error that is out of place, contents right."""

import errno
import hashlib
import os
import random
import threading
import time

from at_once import asynchronous, overlapping
from suite import Cases, equal

THREADS = 16
FILES = 40
RECORD = 512
RECORDS = 64
# What any filesystem may say when another thread was faster.
EXPECTED = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, errno.EINVAL}
STUCK = 180  # seconds without any thread having done anything


def record(worker, turn, place):
    """A record whose content shows that it is whole: 32 bytes of hash over the rest, which names its place."""
    body = f"{worker} {turn} {place} ".encode().ljust(RECORD - 32, b".")
    return hashlib.sha256(body).digest() + body


def check(data, place):
    """A record that was read is one that was written there, or was never written."""
    if data and data.count(0) != len(data):
        if hashlib.sha256(data[32:]).digest() != data[:32] or data[32:].split()[2] != str(place).encode():
            raise AssertionError(f"record {place} is none that was written: {data[:80]!r}")


class Worker(threading.Thread):
    """One thread with its own random sequence. `error` is what was out of place."""

    def __init__(self, number, root, seed, until):
        super().__init__(daemon=True)
        self.number = number
        self.root = root
        self.rng = random.Random(f"{seed}/{number}")
        self.until = until
        self.turn = 0
        self.error = None

    def run(self):
        operations = (self.write, self.write, self.read, self.read, self.append_own, self.make_and_move, self.directories, self.list,
                      self.links, self.attributes, self.replace)  # fmt: skip
        try:
            while time.monotonic() < self.until:
                self.turn += 1
                try:
                    self.rng.choice(operations)()
                except OSError as error:
                    if error.errno not in EXPECTED:
                        raise
        except Exception as error:
            self.error = error

    def _shared(self):
        return os.path.join(self.root, f"shared{self.rng.randrange(FILES)}")

    def write(self):
        """A record, whole, at a place of its own among those of a shared file."""
        place = self.rng.randrange(RECORDS) * THREADS + self.number
        fd = os.open(self._shared(), os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            equal(os.pwrite(fd, record(self.number, self.turn, place), place * RECORD), RECORD, "written")
            if self.rng.random() < 0.1:
                os.fsync(fd)
        finally:
            os.close(fd)

    def read(self):
        """A record of this thread: nobody else writes there."""
        place = self.rng.randrange(RECORDS) * THREADS + self.number
        fd = os.open(self._shared(), os.O_RDONLY)
        try:
            check(os.pread(fd, RECORD, place * RECORD), place)
        finally:
            os.close(fd)

    def append_own(self):
        """A log that only this thread appends to."""
        with open(os.path.join(self.root, f"log{self.number}"), "ab") as file:
            file.write(record(self.number, self.turn, self.turn))

    def replace(self):
        """Writes beside and renames over a name that all use so; whoever reads it finds one whole version."""
        name = os.path.join(self.root, f"whole{self.rng.randrange(5)}")
        beside = f"{name}.{self.number}"
        with open(beside, "wb") as file:
            file.write(record(self.number, self.turn, 0) * 20)
        os.replace(beside, name)
        with open(name, "rb") as file:
            data = file.read()
        equal(len(data), 20 * RECORD, "size of a file that is replaced whole")
        equal(data, data[:RECORD] * 20, "its content")
        check(data[:RECORD], 0)

    def make_and_move(self):
        one, other = (os.path.join(self.root, f"m{self.rng.randrange(20)}") for _ in range(2))
        if self.rng.random() < 0.5:
            os.close(os.open(one, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        os.rename(one, other)
        if self.rng.random() < 0.5:
            os.unlink(other)

    def directories(self):
        one, other = (os.path.join(self.root, f"d{self.rng.randrange(6)}") for _ in range(2))
        call = self.rng.randrange(4)
        if call == 0:
            os.mkdir(one)
        elif call == 1:
            os.rename(one, os.path.join(other, "in") if self.rng.random() < 0.5 else other)
        elif call == 2:
            os.rmdir(one)
        else:
            os.rename(os.path.join(one, "in"), other)

    def list(self):
        for entry in os.scandir(self.root):
            if entry.name.startswith("whole") and entry.name.count(".") == 0:
                equal(entry.stat().st_size, 20 * RECORD, "size in a listing")

    def links(self):
        source, name = self._shared(), os.path.join(self.root, f"l{self.rng.randrange(10)}")
        if self.rng.random() < 0.5:
            os.link(source, name)
        else:
            os.unlink(name)

    def attributes(self):
        path = self._shared()
        value = f"{self.number} {self.turn}".encode() * 4
        os.setxattr(path, f"user.w{self.number}", value)
        # Names stay with their files here: shared ones are never renamed.
        equal(os.getxattr(path, f"user.w{self.number}"), value, "an attribute that only this thread sets")
        os.chmod(path, self.rng.choice((0o644, 0o600, 0o755)))


class Threads(Cases):
    """Mixed operations; what only one thread writes must be what it wrote. Then writers of one file whose bytes lie side by
    side, and readers who must not see what was there before."""

    name = "threads"
    about = f"{THREADS} threads, mixed operations on the same files and directories, contents verified"
    seconds = 6 * 3600

    def size(self):
        return f"{THREADS} threads, {self.options.minutes:g} minutes"

    def _seconds(self, share):
        """A share of the time that there is; a quarter of that on ext4, which isn't what is tested."""
        return self.options.minutes * 60 * share / (1 if self.place.vault else 4)

    def test_writes_that_overlap(self):
        path = self.dir / "overlapping"
        for flags in (os.O_DIRECT, 0):
            path.write_bytes(bytes(256 << 10))
            with self.place.rotating():
                rounds, lost = overlapping(path, self._seconds(0.1), flags)
            equal(lost, 0, f"of {rounds} large writes, those of which bytes came back old")

    def test_asynchronous_direct_writes_beside_the_page_cache(self):
        path = self.dir / "asynchronous"
        path.write_bytes(bytes(256 << 10))
        with self.place.rotating():
            rounds, stale = asynchronous(path, self._seconds(0.2), readers=5)
        equal(stale, {"read": 0, "mapping": 0, "disk": 0}, f"old pages in {rounds} rounds")

    def test_mixed_operations(self):
        until = time.monotonic() + self._seconds(1)
        workers = [Worker(number, self.dir, self.options.seed, until) for number in range(THREADS)]
        with self.place.rotating():
            for worker in workers:
                worker.start()
            self._watch(workers)
        for worker in workers:
            if worker.error:
                raise worker.error
        equal(min(worker.turn for worker in workers) > 10, True, "every thread got to do something")
        self._verify(workers)
        if self.place.vault:
            os.chdir("/")
            self.place.vault.remount(*self.mount_options)
            self._verify(workers)

    @staticmethod
    def _watch(workers):
        """Waits for all; one that does nothing for long is stuck."""
        turns, last = None, time.monotonic()
        while any(worker.is_alive() for worker in workers):
            now = [(worker.turn, worker.is_alive()) for worker in workers]
            if now != turns:
                turns, last = now, time.monotonic()
            elif time.monotonic() - last > STUCK:
                raise AssertionError(f"nothing happened for {STUCK} s: a deadlock")
            time.sleep(0.2)

    def _verify(self, workers):
        for worker in workers:
            path = self.dir / f"log{worker.number}"
            data = path.read_bytes() if path.exists() else b""
            equal(len(data) % RECORD, 0, "size of a log")
            last = 0
            for at in range(0, len(data), RECORD):
                turn = int(data[at + 32 : at + RECORD].split()[1])
                check(data[at : at + RECORD], turn)
                equal(turn > last, True, "order in a log")
                last = turn
        for number in range(FILES):
            path = self.dir / f"shared{number}"
            data = path.read_bytes() if path.exists() else b""
            for at in range(0, len(data), RECORD):
                check(data[at : at + RECORD], at // RECORD)
