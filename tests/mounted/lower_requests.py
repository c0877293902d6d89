"""Counts the requests that a FUSE filesystem below a vault gets for an operation of a program: a cluster's client asks its servers
for some of them, each a round trip. The filesystem is bindfs, which lets the kernel keep nothing, as a cluster's client is mounted
where several hosts use it, and lists its requests.

    unshare -m --propagation private env REKEYFS=target/release/rekeyfs python3 tests/mounted/lower_requests.py

prints the second table of docs/lower-calls.md; `test_lower_requests.py` holds operations to it. `tests/clusters/cost.py` counts the
same operations on clusters.
"""

import collections
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from harness import BASE, Vault, sh, wait_until
from lower_calls import append_and_sync, files, get, moved, put

ENTRIES = 200
ARGUMENTS = ["-d", "-o", "big_writes,attr_timeout=0,entry_timeout=0,negative_timeout=0"]
REQUEST = re.compile(r"^unique: \d+, opcode: (\w+) \(", re.M)
# A request that ends an operation in the log: nothing else makes it.
MARK = "STATFS"
# Nobody waits for most of these. How often the kernel asks for attributes that it may not keep depends on how fast the program is: what
# it was told within the same tick of its clock holds.
UNCOUNTED = {"FORGET", "BATCH_FORGET", "RELEASE", "RELEASEDIR", "INTERRUPT", "GETATTR"}
# Requests come after an operation: the last close, the times of a written file.
SETTLED = 0.15
ROW = re.compile(r"^\| ([^|]+) \| \d+ → (\d+) \|", re.M)


def overwrite(path):
    with open(path, "r+b") as file:
        file.write(b"o" * 4096)


class Below:
    """bindfs on a directory; `during` counts its requests."""

    def __init__(self, base):
        real, self.mnt, self.log = base / "real", base / "below", base / "requests"
        for directory in (real, self.mnt):
            directory.mkdir()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(["bindfs", *ARGUMENTS, real, self.mnt], stdout=log, stderr=log)
        assert wait_until(lambda: os.path.ismount(self.mnt)), self.log.read_text()
        self.vault = None

    def during(self, act, targets):
        """What it was asked for one call of `act`, opcode by opcode."""
        self.mark()
        began = self.log.stat().st_size
        for target in targets:
            act(target)
        self.mark()
        with self.log.open("rb") as log:
            log.seek(began)
            sent = collections.Counter(REQUEST.findall(log.read().decode(errors="replace")))
        times = len(targets)
        each = {opcode: (count + times // 2) // times for opcode, count in sorted(sent.items()) if opcode not in UNCOUNTED | {MARK}}
        # What came by chance is none of it.
        return {opcode: count for opcode, count in each.items() if count}

    def mark(self):
        time.sleep(SETTLED)
        if self.vault:
            self.vault.settle()
        os.statvfs(self.mnt)

    def close(self):
        sh(f"fusermount3 -u {self.mnt} || umount -l {self.mnt}", pathlib.Path("/"))
        self.process.wait(20)


def requests(during, place, forget):
    """Operation -> what `during` says of it, in a directory below a mount. Names are relative, since each directory on the way would be
    looked up too. `forget` empties the kernel's caches."""
    place.mkdir()
    os.chdir(place)
    d, many = pathlib.Path("."), pathlib.Path("many")
    many.mkdir()
    of = {kind: files(d, kind) for kind in ("stat", "read", "over", "grown", "moved", "removed")}
    for path in (path for paths in of.values() for path in paths):
        put(path)
    for number in range(ENTRIES):
        put(many / f"entry {number}", b"")
    counted = {}

    def did(name, act, targets):
        counted[name] = during(act, targets)

    forget()
    (d / "none").exists()
    did("stat, cold", os.stat, of["stat"])
    did("open, read 4 KiB, close, cold", get, of["read"])
    did("open, read 4 KiB, close, again", get, of["read"])
    did("create, write 4 KiB, close", put, files(d, "new"))
    did("overwrite 4 KiB, close", overwrite, of["over"])
    did("append 8 bytes, fdatasync, close", append_and_sync, of["grown"])
    did("rename", lambda path: os.rename(path, moved(path)), of["moved"])
    did("remove", os.unlink, of["removed"])
    did("make a directory", os.mkdir, files(d, "made"))
    forget()
    did(f"ls -l of {ENTRIES} files, cold", lambda path: [os.stat(path / name) for name in os.listdir(path)], [many])
    os.chdir("/")
    return counted


def measure(base):
    """Operation -> the requests of it on the filesystem itself, and on a vault there."""
    below = Below(base)
    vault = None
    try:
        bare = requests(below.during, below.mnt / "bare", lambda: None)
        vault = Vault(base, vault=below.mnt / "vault")
        vault.mount()
        below.vault = vault

        def forget():
            here = os.getcwd()
            os.chdir("/")
            vault.remount()
            os.chdir(here)

        of_vault = requests(below.during, vault.mnt / "counted", forget)
        vault.umount()
    finally:
        os.chdir("/")
        if vault:
            vault.close()
        below.close()
    return {name: (bare[name], counts) for name, counts in of_vault.items()}


def total(counts):
    """How many requests in all."""
    return sum(counts.values())


def listed(counts):
    """Which they are."""
    return ", ".join(opcode if count == 1 else f"{count} {opcode}" for opcode, count in counts.items()).lower()


def rows(counted):
    """The table's lines."""
    yield "| operation | requests | of a vault |"
    yield "|--|--:|--|"
    for name, (bare, of_vault) in counted.items():
        yield f"| {name} | {total(bare)} → {total(of_vault)} | {listed(of_vault)} |"


def budgets(page):
    """Of each operation in the page's table: the requests that it may take on a vault."""
    return {name: int(most) for name, most in ROW.findall(page)}


def main():
    BASE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lower-requests-", dir=BASE) as base:
        counted = measure(pathlib.Path(base))
    print("\n".join(rows(counted)))


if __name__ == "__main__":
    sys.exit(main())
