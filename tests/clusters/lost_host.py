"""A host that is cut off: when the cluster gives its lock to another one, and whether its own late writes still arrive. Who takes
over must know that: a lock alone doesn't stop a host that doesn't know it has lost it."""

import dataclasses
import subprocess
import sys
import time

from harness import wait_until

# How long the lock is waited for, in seconds.
PATIENCE = 150
# Takes the lock of a file, writes a byte for each line on its standard input, and says what came of it.
HOLDER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
for line in sys.stdin:
    at, byte = line.split()
    try:
        os.pwrite(fd, byte.encode(), int(at))
        os.fsync(fd)
        print("written", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""
# Bytes of the file: written while it was cut off, and once it was back.
PENDING, LATER = 0, 1


@dataclasses.dataclass
class LostHost:
    """What was seen."""

    # Until another host had the lock; None: not within PATIENCE.
    seconds: int | None = None
    # Whether what it wrote while it was cut off, and after it was back, is in the file.
    pending_arrives: bool | None = None
    later_arrives: bool | None = None

    @property
    def fences(self):
        """Whether the cluster kept its late writes out."""
        return self.seconds is not None and not self.pending_arrives and not self.later_arrives


class Holder:
    """A process that has the lock on one host's mount."""

    def __init__(self, path):
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._process.stdout.readline() != "held\n":
            raise AssertionError(f"no lock on {path}")

    def write(self, at, byte):
        """Has it write; doesn't wait for that."""
        self._process.stdin.write(f"{at} {byte}\n")
        self._process.stdin.flush()

    def end(self):
        """Kills it; what hangs in the cluster's client goes with that."""
        self._process.kill()


def lose(cluster, here, there):
    """Cuts h1 off while it has a lock, has h2 take that, and brings h1 back: LostHost."""
    name = "lost"
    (here / name).write_bytes(b"....")
    wait_until((there / name).exists, 10)
    holder = Holder(here / name)
    found = LostHost()
    cluster.network["h1"].link(up=False)
    began = time.monotonic()
    try:
        holder.write(PENDING, "a")

        def free():
            """Whether the other host gets it, without waiting for it."""
            words = ["timeout", "-s", "KILL", "20", "flock", "-n", there / name, "true"]
            return subprocess.run(words, check=False, capture_output=True).returncode == 0

        if not wait_until(free, PATIENCE, 1):
            return found
        found.seconds = round(time.monotonic() - began)
        other = Holder(there / name)
        other.write(PENDING, "b")
        other.write(LATER, "b")
        time.sleep(3)
    finally:
        cluster.network["h1"].link(up=True)
    time.sleep(20)
    holder.write(LATER, "a")
    time.sleep(10)
    other.end()
    with open(there / name, "rb") as file:
        content = file.read()
    found.pending_arrives, found.later_arrives = content[PENDING:LATER] == b"a", content[LATER : LATER + 1] == b"a"
    holder.end()
    return found
