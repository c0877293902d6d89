"""Counts the system calls that the daemon makes on the tree below for an operation of a program, with strace.

    unshare -m --propagation private env REKEYFS=target/release/rekeyfs python3 tests/mounted/lower_calls.py

prints the table of docs/lower-calls.md; `test_lower_calls.py` holds operations to it.

Each operation is done several times, on files of its own, and the calls are divided by that. Requests that follow it count
as its own: the kernel's lookups of names before it, and what comes after it (times, the close of a file, forgotten inodes).
Calls on /dev/fuse, locks and memory don't count.
"""

import collections
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from harness import BASE, Vault, wait_until

TIMES = 8
ENTRIES = 1000
# No operation of the table.
NONE = ""
SYNCS = {"fsync", "fdatasync", "syncfs", "sync_file_range"}
RANDOM = "getrandom"
# What of strace's classes is no call on files.
NOT_BELOW = {"poll", "ppoll", "mmap", "epoll_wait", "epoll_pwait"}
# A request that ends an operation in the trace: nothing else makes this call.
MARK = "fstatfs"
# Requests come after an operation: the last close, the times of a written file, what the kernel forgets.
SETTLED = 0.15
CALL = re.compile(r"^\d+ +(\w+)\((.*)")


class Calls(collections.Counter):
    """How often each system call was made."""

    def storage(self):
        return sum(count for call, count in self.items() if call not in SYNCS and call != RANDOM)

    def syncs(self):
        return sum(self[call] for call in SYNCS)

    def each(self, times):
        """For one of so many times; a call that came by chance is none."""
        return Calls({call: n for call, count in self.items() if (n := (count + times // 2) // times)})


class Trace:
    """The calls of a vault's daemon, operation by operation."""

    def __init__(self, vault):
        self.vault = vault
        self.tree = f"<{vault.path / 'tree'}"
        self.log = vault.base / "strace"
        self.names = []
        # Calls on descriptors show the file below, those on names begin with a directory's descriptor or its link.
        self.strace = subprocess.Popen(
            ["strace", "-f", "-qq", "-y", "-p", str(vault.pid), "-o", self.log, "-e", f"trace=%file,%desc,{RANDOM}"],
            stderr=subprocess.PIPE,
        )  # fmt: skip
        tasks = pathlib.Path(f"/proc/{vault.pid}/task")
        untraced = re.compile(r"^TracerPid:\t0$", re.M)
        attached = lambda: all(not untraced.search((task / "status").read_text()) for task in tasks.iterdir())  # noqa: E731
        if not wait_until(attached, step=0.01):
            raise AssertionError("strace can't attach")
        self.mark()

    def mark(self):
        time.sleep(SETTLED)
        self.vault.settle()
        os.statvfs(self.vault.mnt)

    def operation(self, name, act, targets):
        """Calls `act` with each of the targets."""
        for target in targets:
            act(target)
        self.names.append((name, len(targets)))
        self.mark()

    def end(self):
        """The calls of each operation, for one time."""
        self.strace.terminate()
        self.strace.wait(20)
        self.strace.stderr.close()
        parts = [Calls()]
        for line in self.log.read_text(errors="replace").splitlines():
            call, rest = match.groups() if (match := CALL.match(line)) else (None, "")
            if call == MARK and self.tree in rest:
                parts.append(Calls())
            elif call == RANDOM or (call and self.is_below(call, rest)):
                parts[-1][call] += 1
        assert len(parts) == len(self.names) + 2, (len(parts), self.names)
        return {name: calls.each(times) for (name, times), calls in zip(self.names, parts[1:])}

    def is_below(self, call, rest):
        # A debug build checks each descriptor that it closes.
        return call not in NOT_BELOW and "F_GETFD" not in rest and (self.tree in rest or "/proc/self/fd/" in rest)


def put(path, data=b"d" * 4096, mode="wb"):
    with open(path, mode) as file:
        file.write(data)


def get(path):
    with open(path, "rb") as file:
        file.read()


def no_xattr(path):
    with contextlib.suppress(OSError):
        os.getxattr(path, "user.none")
        raise AssertionError(f"{path} has one")


def append_and_sync(path):
    with open(path, "ab") as file:
        file.write(b"appended")
        file.flush()
        os.fdatasync(file.fileno())


def moved(path):
    return path.with_name(path.name + "-moved")


def files(directory, prefix):
    return [directory / f"{prefix}{n}" for n in range(TIMES)]


def measure(vault):
    """The calls for one time of each operation, by its name. The vault is mounted, and empty; in the end it is mounted."""
    d, e, many = (vault.mnt / name for name in ("d", "e", "many"))
    for directory in (d, e, many):
        directory.mkdir()
    for n in range(ENTRIES):
        put(many / f"entry {n}", b"")
    kinds = ("used", "moved", "over", "replaced", "across", "removed", "changed", "first", "asked", "cut", "grown", "linked", "last")
    of = {kind: files(d, kind) for kind in kinds}
    for path in (path for paths in of.values() for path in paths):
        put(path)
    moved_dirs, removed_dirs = files(d, "moved-dir"), files(d, "removed-dir")
    for path in moved_dirs + removed_dirs:
        path.mkdir()

    vault.remount()
    os.listdir(vault.mnt)
    for directory in (d, e, many):
        # Its descriptor is kept from its first use on.
        (directory / "none").exists()
    trace = Trace(vault)
    did = trace.operation
    did("stat, cold", os.stat, of["used"])
    did("stat, warm", os.stat, of["used"])
    did("open, read, close, cold", get, of["first"])
    did("open, read, close, warm", get, of["first"])
    did("create, write 4 KiB, close", put, files(d, "new"))
    # The operations below are those on files that the kernel knows.
    did(NONE, os.stat, [path for paths in (*of.values(), moved_dirs, removed_dirs) for path in paths])
    did("rename a file", lambda path: os.rename(path, moved(path)), of["moved"])
    did("rename a file over another", lambda path: os.rename(path, d / path.name.replace("over", "replaced")), of["over"])
    did("rename a file into another directory", lambda path: os.rename(path, e / path.name), of["across"])
    did("rename a directory for the first time", lambda path: os.rename(path, moved(path)), moved_dirs)
    did("rename a directory again", lambda path: os.rename(moved(path), path), moved_dirs)
    did("link", lambda path: os.link(path, path.with_name(path.name + "-link")), of["linked"])
    did("unlink, of another name too", lambda path: os.unlink(path.with_name(path.name + "-link")), of["linked"])
    did("unlink", os.unlink, of["removed"])
    did("mkdir", os.mkdir, files(d, "made"))
    did("rmdir", os.rmdir, removed_dirs)
    did("symlink", lambda path: os.symlink("target", path), files(d, "symlink"))
    did("chmod", lambda path: os.chmod(path, 0o640), of["changed"])
    did("utimens", lambda path: os.utime(path, (1, 1)), of["changed"])
    did("getxattr of none, first", no_xattr, of["asked"])
    did("getxattr of none, again", no_xattr, of["asked"])
    did("listxattr of none", os.listxattr, of["asked"])
    did("setxattr", lambda path: os.setxattr(path, "user.name", b"value"), of["asked"])
    did("getxattr", lambda path: os.getxattr(path, "user.name"), of["asked"])
    did("truncate to half", lambda path: os.truncate(path, 2048), of["cut"])
    did("append, fdatasync", append_and_sync, of["grown"])
    did("append, fdatasync, again", append_and_sync, of["grown"])
    did(f"list {ENTRIES} entries, cold", os.listdir, [many])
    did(f"list {ENTRIES} entries, warm", os.listdir, [many])
    counted = trace.end()
    del counted[NONE]
    return counted


def rows(counted):
    """The table's lines."""
    yield "| operation | calls below | syncs | getrandom | which |"
    yield "|--|--:|--:|--:|--|"
    for name, calls in counted.items():
        which = ", ".join(call if count == 1 else f"{count} {call}" for call, count in sorted(calls.items()))
        yield f"| {name} | {calls.storage()} | {calls.syncs()} | {calls[RANDOM]} | {which} |"


def budgets(page):
    """Of each operation in the page's table: the calls, syncs and draws that it may take."""
    row = re.compile(r"^\| ([^|]+) \| (\d+) \| (\d+) \| (\d+) \|", re.M)
    return {name: tuple(map(int, counts)) for name, *counts in row.findall(page)}


def main():
    BASE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lower-calls-", dir=BASE) as base:
        vault = Vault(base)
        try:
            vault.mount()
            counted = measure(vault)
        finally:
            vault.close()
    print("\n".join(rows(counted)))


if __name__ == "__main__":
    sys.exit(main())
