"""The one who makes a history: changes a tree through a mount, and notes what it changes, when, and what failed."""

import contextlib
import errno
import os
import random
import subprocess
import sys
import threading
import time

from contents import explains
from tree import NAMES, Directory, File, Register, Tree, shown

DIRECTORIES = ("d0", "d1", "d2", "apart")
# The directory of what is never changed, and the file in it.
STILL = ("still", "f0")
ENABLED, DISABLED = "enabled", "disabled"
LENGTHS = (1, 100, 3044, 4068, 5000, 20_000, 300_000)
# In a process of its own: a mapping of a mount that ends kills who uses it.
MAPPED = """
import mmap, sys
at, data = int(sys.argv[2]), sys.stdin.buffer.read()
try:
    with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[at : at + len(data)] = data
        mapped.flush()
except OSError as error:
    sys.exit(error.errno)
"""


def content(number, length):
    """Of which each byte tells what wrote it: none is 0, which is what a hole would be."""
    return random.Random(number).randbytes(length).replace(b"\0", b"\1")


class Writer:
    """Changes a tree, one step after the other. `keys`: the states of the default key and of the other one."""

    def __init__(self, directory, seed, keys):
        self.directory, self.random = directory, random.Random(seed)
        self.keys = keys
        self.tree = Tree((*DIRECTORIES, STILL[0]))
        self.count = 0
        self.steps = []
        self.wrong = []
        # Of the mount: something other than None while steps may fail.
        self.trouble = Register(None)
        # Something has failed, and it isn't known yet what is there.
        self.failing = False
        # Who holds this has no step under way.
        self.turn = threading.RLock()

    def path(self, directory, name=""):
        """Where that is in the mount."""
        return self.directory / directory / name

    def start(self, alias):
        """Makes what there is at first; `alias` gives the directory that lies apart its key."""
        for name in (*DIRECTORIES, STILL[0]):
            self._make_directory(name, "other" if name == "apart" else "default")
        os.setxattr(self.path("apart"), "user.rekeyfs.alias", alias.encode())
        self._create(STILL, content(0, 5000))

    # -- steps --

    @contextlib.contextmanager
    def _changing(self, what, *changes):
        """These registers get these values by what is done inside."""
        began = time.monotonic()
        for register, value in changes:
            register.begin(value)
        try:
            yield
        except OSError as error:
            self.steps.append((began, time.monotonic(), f"{what}: {error.strerror}"))
            raise
        for register, _ in changes:
            register.end()
        self.steps.append((began, time.monotonic(), what))

    def _make_directory(self, name, key="default"):
        made = Directory(key)
        with self._changing(f"mkdir {name}", (self.tree.directories[name], made)):
            os.mkdir(self.path(name))
            made.ino = os.stat(self.path(name)).st_ino

    def _create(self, where, data):
        directory = self.tree.directories[where[0]].value
        file = File((directory.key,), Register(b""))
        what = f"create {'/'.join(where)}: {shown(data)}"
        with self._changing(what, (directory.names[where[1]], file), (file.content, data)):
            with open(self.path(*where), "xb", buffering=0) as out:
                file.ino = os.fstat(out.fileno()).st_ino
                write_all(out, data)

    def _write(self, act, where, file, data):
        path, old = self.path(*where), file.content.value
        if not old:
            # It takes the key of a directory that it lies in, or the one that it had.
            file.keys = tuple(self.keys)
        at = self.random.randrange(len(old)) if old and act in ("inside", "mapped") else 0
        whole = data
        if act == "append":
            whole = old + data
        elif act == "extend":
            whole = old.ljust(len(old) + len(data), b"\0")
        elif act == "truncate":
            whole = old[: self.random.randrange(len(old) + 1)]
        elif act != "anew":
            data = data[: len(old) - at] if act in ("mapped", "over") else data
            whole = old[:at] + data + old[at + len(data) :]
        with self._changing(f"{act} {'/'.join(where)} at {at}: {shown(whole)}", (file.content, whole)):
            if act == "mapped":
                done = subprocess.run([sys.executable, "-c", MAPPED, path, str(at)], input=data, capture_output=True, check=False)
                if done.returncode:
                    # A signal: a page that there was none of.
                    number = done.returncode if done.returncode > 1 else errno.EIO
                    raise OSError(number, os.strerror(number))
                return
            with open(path, {"append": "ab", "anew": "wb"}.get(act, "r+b"), buffering=0) as out:
                if act in ("truncate", "extend"):
                    out.truncate(len(whole))
                else:
                    out.seek(at)
                    write_all(out, data)

    def _rename(self, source, target):
        ours, theirs = (self.tree.directories[where[0]].value.names[where[1]] for where in (source, target))
        if ours.value is theirs.value:
            return
        with self._changing(f"rename {'/'.join(source)} {'/'.join(target)}", (theirs, ours.value), (ours, None)):
            os.rename(self.path(*source), self.path(*target))

    def _link(self, source, target):
        ours, theirs = (self.tree.directories[where[0]].value.names[where[1]] for where in (source, target))
        with self._changing(f"link {'/'.join(source)} {'/'.join(target)}", (theirs, ours.value)):
            os.link(self.path(*source), self.path(*target))

    def _unlink(self, where):
        with self._changing(f"unlink {'/'.join(where)}", (self.tree.directories[where[0]].value.names[where[1]], None)):
            os.unlink(self.path(*where))

    def _directories(self):
        """Moves a directory, makes one, or removes one."""
        settled = [name for name in DIRECTORIES if self.tree.directories[name].settled]
        there = [name for name in settled if self.tree.directories[name].value]
        free = [name for name in settled if name not in there]
        if not there or (free and self.random.random() < 0.3):
            return self._make_directory(self.random.choice(free)) if free else None
        name = self.random.choice(there)
        register = self.tree.directories[name]
        names = register.value.names.values()
        if free:
            target = self.random.choice(free)
            with self._changing(f"rename {name} {target}", (self.tree.directories[target], register.value), (register, None)):
                return os.rename(self.path(name), self.path(target))
        if register.value.key == "default" and all(file.settled and not file.value for file in names):
            with self._changing(f"rmdir {name}", (register, None)):
                return os.rmdir(self.path(name))
        # Empties one, so that it can be removed.
        if register.value.key == "default" and self.random.random() < 0.3:
            for file in [file for file, held in register.value.names.items() if held.settled and held.value]:
                self._unlink((name, file))
        return None

    def _step(self):
        self.count += 1
        if self.random.random() < 0.05:
            return self._directories()
        there = [name for name in DIRECTORIES if self.tree.directories[name].settled and self.tree.directories[name].value]
        names = [(name, file) for name in there for file in NAMES if self.tree.directories[name].value.names[file].settled]
        if not names:
            return None
        where, other = self.random.choice(names), self.random.choice(names)
        data = content(self.random.randrange(1 << 60), self.random.choice(LENGTHS))
        file = self.tree.directories[where[0]].value.names[where[1]].value
        if not file:
            return self._create(where, data)
        act = self.random.choice(
            ("anew", "over", "inside", "append", "truncate", "extend", "rename", "rename", "unlink", "link")
            if self.random.random() < 0.97
            else ("mapped",)
        )
        if act == "rename":
            return self._rename(where, other)
        if act == "link" and not self.tree.directories[other[0]].value.names[other[1]].value:
            return self._link(where, other)
        if act in ("link", "unlink"):
            return self._unlink(where)
        if not file.content.settled or (act in ("mapped", "truncate", "over") and not file.content.value):
            return None
        # What grows is cut again.
        if len(file.content.value) > 1_000_000:
            act = "anew"
        return self._write(act, where, file, data)

    def step(self):
        """One change; whether it could be made. One that fails is there or not, until somebody has looked."""
        with self.turn:
            if self.failing and self.trouble.value:
                return False
            began = time.monotonic()
            try:
                self._step()
                return True
            except OSError as error:
                now, self.failing = time.monotonic(), True
                # The kernel says EIO at a close for whatever a write-back says.
                withheld = error.errno in (errno.ENOKEY, errno.EIO) and self._any_disabled(began, now)
                known = withheld or any(self.trouble.possible(began, now))
                if not known:
                    self.wrong.append(f"{now:.3f}: {self.steps[-1][2] if self.steps else error}")
                return False

    def _any_disabled(self, began, now):
        return any(DISABLED in key.possible(began, now) for key in self.keys.values())

    # -- what failed --

    def settle(self):
        """Looks at what steps have left that failed: whether all of it is known now. What is there must be of before or of after,
        each byte for itself."""
        with self.turn:
            self.failing = False
            for name, register in self.tree.directories.items():
                if not register.settled:
                    self._settle_name(register, self.path(name), name)
            for name, register in self.tree.directories.items():
                if register.settled and register.value:
                    for file, held in register.value.names.items():
                        if not held.settled:
                            self._settle_name(held, self.path(name, file), f"{name}/{file}")
            whole = all(register.settled for register in self.tree.registers())
            for where, file in self.tree.paths():
                if not file.content.settled:
                    whole &= self._settle_content(where, file)
            return whole

    def _settle_name(self, register, path, what):
        now = time.monotonic()
        candidates = register.possible(now, now)
        try:
            ino = os.stat(path).st_ino
        except FileNotFoundError:
            ino = None
        for value in candidates:
            # What it made has no number yet.
            if (value is None) == (ino is None) and (value is None or value.ino in (ino, None)):
                if value:
                    value.ino = ino
                return register.settle(value)
        raise AssertionError(f"{what} is inode {ino} after a step that failed, of {[value and value.ino for value in candidates]}")

    def _settle_content(self, where, file):
        now = time.monotonic()
        try:
            with open(self.path(*where), "r+b", buffering=0) as source:
                # The host's client of the cluster may have it, and the cluster not yet.
                os.fsync(source.fileno())
                seen = read_all(source)
        except OSError as error:
            if error.errno == errno.ENOKEY and self._any_disabled(now, time.monotonic()):
                return False
            raise
        candidates = file.content.possible(now, now)
        if not explains(candidates, seen):
            raise AssertionError(f"{'/'.join(where)} is {shown(seen)} after a step that failed, of {[*map(shown, candidates)]}")
        self.steps.append((now, time.monotonic(), f"is {'/'.join(where)}: {shown(seen)}"))
        file.content.settle(seen)
        return True


def read_all(source):
    """Reads to the end."""
    return b"".join(iter(lambda: source.read(1 << 16), b""))


def write_all(out, data):
    """Writes all of it, however it is taken."""
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]
