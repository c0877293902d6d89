"""Those who look at a history, and judge what they see. That is close-to-open: what was closed before an open began is what that sees,
each byte is one that was written, and none is of a key that was disabled by then."""

import contextlib
import dataclasses
import errno
import os
import random
import subprocess
import sys
import time

from contents import explains, unexplained
from tree import NAMES, Register, shown
from writer import DIRECTORIES, DISABLED, ENABLED, STILL, content, read_all


@dataclasses.dataclass(frozen=True)
class Quirks:
    """What a cluster doesn't keep itself, as was seen without a vault."""

    # A name that is given to another file by a rename isn't there for a moment.
    names_blink: bool = False
    # What a read says of a file that was removed elsewhere.
    gone: tuple = (errno.ESTALE,)


class Reader:
    """Looks at a tree through a mount, and judges at once what it sees. `quirks`: what the cluster itself doesn't keep."""

    def __init__(self, directory, writer, seed, quirks=Quirks()):
        self.directory, self.writer, self.random = directory, writer, random.Random(seed)
        self.quirks = quirks
        # Of the mount: something other than None while it may fail.
        self.trouble = Register(None)
        self.seen = self.in_between = self.stale = self.withheld = self.failed = self.zeros = 0
        self.wrong = []
        # Of known faults: when, and what.
        self.known = []
        self._held = None

    def step(self):
        """One look."""
        draw = self.random.random()
        where = self.random.choice(DIRECTORIES), self.random.choice(NAMES)
        if draw < 0.08:
            where = STILL
        if draw < 0.7:
            self.read(where)
        elif draw < 0.8:
            self.stat(where)
        elif draw < 0.87:
            self.list(where[0])
        else:
            self.hold(where)

    def read(self, where):
        """Opens a file and reads it."""
        opened, opens = time.monotonic(), True
        try:
            with open(self.directory.joinpath(*where), "rb", buffering=0) as source:
                opens = False
                seen = read_all(source)
        except FileNotFoundError:
            seen = None
        except OSError as error:
            seen = error
        self.judge(f"read {'/'.join(where)}", where, opened, seen, opens)

    def judge(self, what, where, opened, seen, opens=True):
        """Whether that may be seen there."""
        done = time.monotonic()
        found = self.writer.tree.find(*where, opened, done)
        candidates = [file.content.possible(opened, done) for file in found.files]
        self.in_between += found.changes > 0 or any(len(contents) > 1 for contents in candidates)
        if isinstance(seen, bytes):
            right = any(explains(contents, seen) for contents in candidates)
            if not right:
                # Known: docs/hosts.md.
                candidates = [with_zeros(contents) for contents in candidates]
                right = any(explains(contents, seen) for contents in candidates)
                if right:
                    self.zeros += 1
                    self.known.append((opened, f"to {done:.3f} zeros in {what}: {shown(seen)}, of {[[*map(shown, c)] for c in candidates]}"))
            if right and seen:
                fit = [file for file, contents in zip(found.files, candidates, strict=True) if explains(contents, seen)]
                # What a write-back failed for stays in the writer's kernel for a while, and was never under a key.
                written = all(file.content.settled for file in fit)
                if written and not any(self._may_be(ENABLED, file.keys, opened, done) for file in fit):
                    return self._is_wrong(what, opened, done, "content under a key that is disabled")
        elif seen is None:
            right = self._may_be_absent(found, opened, done)
        else:
            right = self._may_fail(seen, opened, done, [key for file in found.files for key in file.keys])
            # As on NFS: the kernel looks a name up twice, and both times it led to another file by the time that was opened. What is
            # removed is read on where the cluster keeps it.
            twice = opens and seen.errno == errno.ESTALE
            if seen.errno in self.quirks.gone and found.changes >= (2 if twice else 1):
                self.stale += 1
                right = True
        self.seen += 1
        if not right:
            known = [[*map(shown, contents)] for contents in candidates]
            strange = unexplained([data for contents in candidates for data in contents], seen) if isinstance(seen, bytes) else ""
            self._is_wrong(what, opened, done, f"{shown(seen)}{strange}, of {known}{' or nothing' if found.absent else ''}")

    def _is_wrong(self, what, opened, done, why):
        self.wrong.append(f"{opened:.3f} to {done:.3f}: {what}: {why}")

    def _may_be_absent(self, found, opened, done):
        """Whether a name may not be there."""
        return found.absent or self.quirks.names_blink and found.changes > 0 or any(self.trouble.possible(opened, done))

    def _may_fail(self, error, opened, done, keys):
        """Whether a call may have failed so."""
        if any(self.trouble.possible(opened, done)):
            self.failed += 1
            return True
        if error.errno == errno.ENOKEY and self._may_be(DISABLED, keys, opened, done):
            self.withheld += 1
            return True
        return False

    def _may_be(self, state, keys, opened, done):
        """Whether one of the keys may be in this state."""
        return any(state in self.writer.keys[key].possible(opened, done) for key in keys)

    def stat(self, where):
        """Asks for a file's size."""
        opened = time.monotonic()
        try:
            size = os.stat(self.directory.joinpath(*where)).st_size
        except FileNotFoundError:
            size = None
        except OSError as error:
            size = error
        done = time.monotonic()
        found = self.writer.tree.find(*where, opened, done)
        candidates = [[len(data) for data in file.content.possible(opened, done)] for file in found.files]
        if isinstance(size, OSError):
            right = self._may_fail(size, opened, done, [key for file in found.files for key in file.keys])
            right |= size.errno == errno.ESTALE and found.changes > 1
        elif size is None:
            right = self._may_be_absent(found, opened, done)
        else:
            right = any(size in sizes or len(sizes) > 1 and size <= max(sizes) for sizes in candidates)
        self.seen += 1
        if not right:
            self._is_wrong(f"stat {'/'.join(where)}", opened, done, f"{size}, of {candidates}")

    def list(self, directory):
        """Lists a directory: each name is there, or not, as it may be. One that is given to another file meanwhile may be missing."""
        opened = time.monotonic()
        try:
            names = os.listdir(self.directory / directory)
        except OSError as error:
            names = error
        done = time.monotonic()
        self.seen += 1
        troubled = any(self.trouble.possible(opened, done))
        found = {name: self.writer.tree.find(directory, name, opened, done) for name in NAMES}
        if isinstance(names, OSError):
            there = self.writer.tree.directories[directory].possible(opened, done)
            gone = names.errno == errno.ENOENT and None in there or names.errno == errno.ESTALE and len(there) > 1
            if not gone and not self._may_fail(names, opened, done, []):
                self._is_wrong(f"list {directory}", opened, done, str(names))
            return
        for name, what in found.items():
            if not troubled and (not what.files if name in names else not what.changes and not self._may_be_absent(what, opened, done)):
                self._is_wrong(f"list {directory}", opened, done, f"{names}, where {name} is {'not' if name in names else ''} there")

    def hold(self, where):
        """Reads what it has open since long, and then opens something else now and then."""
        if self._held is not None:
            fd, file, opened = self._held
            began = time.monotonic()
            try:
                seen = os.pread(fd, 2_000_000, 0)
            except OSError as error:
                seen = error
            done = time.monotonic()
            if isinstance(seen, bytes):
                if seen and not self._may_be(ENABLED, file.keys, began, done):
                    self._is_wrong("read what is open", began, done, "content under a key that is disabled")
                # One read may see several versions, and a file that is cut and grows again holes in between.
                elif not explains([*file.content.possible(opened, done), b"\0" * 2_000_000, b""], seen):
                    self._is_wrong("read what is open", began, done, f"{shown(seen)}, opened at {opened:.3f}")
            elif not self._may_fail(seen, began, done, file.keys) and seen.errno not in self.quirks.gone:
                self._is_wrong("read what is open", began, done, str(seen))
            if self.random.random() < 0.2 or isinstance(seen, OSError):
                self.let_go()
            return
        opened = time.monotonic()
        with contextlib.suppress(OSError):
            fd = os.open(self.directory.joinpath(*where), os.O_RDONLY)
            found = self.writer.tree.find(*where, opened, time.monotonic())
            if len(found.files) == 1 and not found.absent:
                self._held = fd, found.files[0], opened
            else:
                os.close(fd)

    def let_go(self):
        """Has nothing open any more."""
        if self._held is not None:
            with contextlib.suppress(OSError):
                os.close(self._held[0])
            self._held = None


class Mapped:
    """A program that has mapped what is never changed, and looks at it when it is told to. One that is shown nothing ends."""

    PROGRAM = (
        "import mmap, sys\n"
        "f = open(sys.argv[1], 'rb')\n"
        "m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)\n"
        "for line in sys.stdin:\n"
        "    print(m[:8].hex(), flush=True)\n"
    )

    def __init__(self, directory):
        self._child = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, directory.joinpath(*STILL)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def look(self):
        """Whether it is shown content."""
        try:
            self._child.stdin.write("\n")
            self._child.stdin.flush()
        except OSError:
            return False
        return self._child.stdout.readline() == content(0, 5000)[:8].hex() + "\n"

    def end(self):
        """Ends it."""
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        self._child.wait()


def with_zeros(contents):
    """These, and zeros for each byte that one of them doesn't have, or is about to be written again after it was cut."""
    if len(contents) < 2:
        return contents
    return [*contents, b"\0" * max(map(len, contents))]


def same(writer, directories):
    """What differs, now that nothing is changed, from what was written: sentences."""
    found = []
    for directory in directories:
        for name in DIRECTORIES:
            for file in NAMES:
                path, there = directory / name / file, writer.tree.directories[name].value
                held = there and there.names[file].value
                try:
                    seen = path.read_bytes()
                except FileNotFoundError:
                    seen = None
                wanted = held and held.content.value
                if seen != wanted:
                    found.append(f"{path}: {shown(seen)} instead of {shown(wanted)}")
    return found
