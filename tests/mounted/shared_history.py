"""A history of a few files that one mount writes and others read, and whether what they saw is close-to-open: what was closed before
an open began is what that sees, and each byte is one that was written. All of it on one clock, so on one machine."""

import errno
import random
import threading
import time

from common.contents import explains, unexplained

FILES = 4


def content(file, version, length):
    """Of which each byte tells the version: none is 0, which is what a hole would be."""
    return random.Random(f"{file}.{version}").randbytes(length).replace(b"\0", b"\1")


class File:
    """What was written to a file: versions, each with when it began and ended. The last one may not have ended."""

    def __init__(self, name):
        self.name = name
        self.lock = threading.Lock()
        # (began, ended, content; None: it isn't there)
        self.versions = [(0.0, 0.0, None)]

    def begin(self, data):
        with self.lock:
            self.versions.append((time.monotonic(), None, data))

    def end(self):
        with self.lock:
            began, _, data = self.versions[-1]
            self.versions[-1] = (began, time.monotonic(), data)

    def possible(self, opened, read):
        """What may be seen by who began to open at `opened` and was done at `read`."""
        with self.lock:
            versions = list(self.versions)
        done = max(n for n, (_, ended, _) in enumerate(versions) if ended is not None and ended <= opened)
        return [data for began, _, data in versions[done:] if began <= read]


def described(seen, candidates):
    """What was seen that shouldn't have been."""
    return f"{len(seen)} bytes{unexplained(candidates, seen)}" if isinstance(seen, bytes) else repr(seen)


class Writer:
    def __init__(self, directory, seed):
        self.directory, self.random = directory, random.Random(seed)
        self.files = [File(f"f{n}") for n in range(FILES)]
        self.count = 0
        self.ended = False

    def step(self):
        file = self.random.choice(self.files)
        path = self.directory / file.name
        old = file.versions[-1][2]
        self.count += 1
        length = self.random.choice((1, 100, 3044, 4068, 5000, 20_000))
        data = content(file.name, self.count, length)
        act = self.random.choice(("over", "anew", "append", "replace", "remove", "inside") if old else ("anew", "replace"))
        if act == "append":
            data = old + data
        elif act == "inside":
            at = self.random.randrange(len(old))
            data = old[:at] + data[: len(old) - at] + old[at + len(data) :]
        elif act == "over":
            data = data[: len(old)] + old[len(data) :]
        file.begin(None if act == "remove" else data)
        if act == "remove":
            path.unlink()
        elif act == "replace":
            beside = self.directory / f"{file.name}.new"
            beside.write_bytes(data)
            beside.rename(path)
        elif act == "append":
            with open(path, "ab", buffering=0) as out:
                out.write(data[len(old) :])
        elif act in ("inside", "over"):
            with open(path, "r+b", buffering=0) as out:
                out.write(data)
        else:
            with open(path, "wb", buffering=0) as out:
                out.write(data)
        file.end()


class Reader:
    def __init__(self, directory, files, seed):
        self.directory, self.files, self.random = directory, files, random.Random(seed)
        self.seen = self.in_between = self.stale = 0
        self.wrong = []

    def step(self):
        file = self.random.choice(self.files)
        opened = time.monotonic()
        try:
            with open(self.directory / file.name, "rb", buffering=0) as source:
                seen = b"".join(iter(lambda: source.read(1 << 16), b""))
        except FileNotFoundError:
            seen = None
        except OSError as error:
            seen = error
        possible = file.possible(opened, time.monotonic())
        # As on NFS: the kernel looks a name up twice, and both times it led to another file by the time that was opened.
        if getattr(seen, "errno", None) == errno.ESTALE and len(possible) > 2:
            self.stale += 1
            return
        self.seen += 1
        self.in_between += len(possible) > 1
        if seen is None:
            right = None in possible
        else:
            right = isinstance(seen, bytes) and explains(possible, seen)
        if not right:
            lengths = [data if data is None else len(data) for data in possible]
            self.wrong.append(f"{file.name}: {described(seen, possible)}, of {lengths}")


def run(writer_directory, reader_directories, seconds, seed):
    """Has one write and the others read; the readers, with what they saw."""
    writer = Writer(writer_directory, seed)
    readers = [Reader(directory, writer.files, seed + n) for n, directory in enumerate(reader_directories, 1)]
    end = time.monotonic() + seconds
    failed = []

    def until_the_end(who):
        try:
            while time.monotonic() < end and not failed and not getattr(who, "wrong", None):
                who.step()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=until_the_end, args=(who,)) for who in (writer, *readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    for file in writer.files:
        path = writer_directory / file.name
        data = file.versions[-1][2]
        assert (path.read_bytes() if path.exists() else None) == data, file.name
        for directory in reader_directories:
            path = directory / file.name
            assert (path.read_bytes() if path.exists() else None) == data, (directory, file.name)
    return writer, readers
