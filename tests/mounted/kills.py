"""SIGKILL to a mount at random instants under load. What fsync, rename with a directory's fsync, and rotate promised
before each kill must be there after the next mount, which needs no manual step.

As a program (`scripts/kills.sh`): so many kills, then 'N passed, M failed'.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness import BASE, Vault

PAGE = 4068
STALE = "unmounted what a killed daemon had left there"


class Lost(Exception):
    """A promise that doesn't hold."""


class Appender:
    """Appends records, each of its own length, and syncs: what was synced is there, in order, and whole."""

    def __init__(self, root, rng):
        self.path, self.rng = root / "log", rng
        self.synced, self.written = 0, b""

    def work(self, stop):
        with open(self.path, "ab", buffering=0) as f:
            while not stop():
                record = os.urandom(self.rng.randrange(1, 9000))
                self.written += record
                f.write(record)
                if self.rng.random() < 0.7:
                    os.fsync(f.fileno())
                    self.synced = len(self.written)

    def check(self):
        found = self.path.read_bytes() if self.synced or self.path.exists() else b""
        if len(found) < self.synced or found[: self.synced] != self.written[: self.synced]:
            raise Lost(f"{self.path.name}: {self.synced} bytes were synced, {len(found)} are there")
        # What came later may be there in part, or as zeros; from here on, the file is what it is.
        end = min(len(found), len(self.written))
        for at in range(self.synced, end):
            if found[at] not in (self.written[at], 0):
                raise Lost(f"{self.path.name}: byte {at}, never synced, is neither what was written nor zero")
        self.written = found
        self.synced = len(found)


class Overwriter:
    """Overwrites pages in place with a number that grows: each page holds one that is no older than promised."""

    PAGES = 24

    def __init__(self, root, rng):
        self.path, self.rng = root / "pages", rng
        # Of each page: the number that is promised, that is in the file, and that was last given out.
        self.synced, self.there, self.written = ([0] * self.PAGES for _ in range(3))

    @staticmethod
    def page(number):
        return number.to_bytes(8, "little") * (PAGE // 8 + 1)

    def work(self, stop):
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not stop():
                for _ in range(self.rng.randrange(1, 6)):
                    at = self.rng.randrange(self.PAGES)
                    self.written[at] += 1
                    os.pwrite(fd, self.page(self.written[at])[:PAGE], at * PAGE)
                    self.there[at] = self.written[at]
                now = list(self.there)
                os.fsync(fd)
                self.synced = now
        finally:
            with contextlib.suppress(OSError):
                os.close(fd)

    def check(self):
        found = self.path.read_bytes() if any(self.synced) or self.path.exists() else b""
        for at in range(self.PAGES):
            page = found[at * PAGE : (at + 1) * PAGE]
            # A write is of two pages below and of two in the kernel's cache: a kill may part them.
            numbers = {int.from_bytes(page[i : i + 8], "little") for i in range(0, len(page) - 7, 8)} or {0}
            if min(numbers) < self.synced[at] or max(numbers) > self.written[at]:
                raise Lost(f"page {at} holds {sorted(numbers)}, {self.synced[at]} was synced")
            self.there[at] = min(numbers)


class Renamer:
    """Makes directories with a file each, moves them, and syncs the directory: each is where it was moved to."""

    def __init__(self, root, rng):
        self.root, self.rng = root, rng
        self.number, self.promised = 0, {}

    def work(self, stop):
        top = os.open(self.root, os.O_RDONLY)
        try:
            while not stop():
                self.number += 1
                data = os.urandom(self.rng.randrange(1, 6000))
                first, last = self.root / f"new-{self.number}", self.root / f"moved-{self.number}"
                first.mkdir()
                with open(first / "file", "wb", buffering=0) as f:
                    f.write(data)
                    os.fsync(f.fileno())
                inner = os.open(first, os.O_RDONLY)
                os.fsync(inner)
                os.close(inner)
                first.rename(last)
                os.fsync(top)
                self.promised[last] = data
                if len(self.promised) > 30:
                    old = next(iter(self.promised))
                    del self.promised[old]
                    shutil.rmtree(old)
        finally:
            with contextlib.suppress(OSError):
                os.close(top)

    def check(self):
        for path, data in self.promised.items():
            if not path.exists() or (path / "file").read_bytes() != data:
                raise Lost(f"{path.name}: was synced, and is not there or not what it was")


class Keys:
    """Rotates, re-wraps, makes keys and points aliases at them: what returned is in force."""

    def __init__(self, vault, rng):
        self.vault, self.rng = vault, rng
        self.version, self.keys = 0, set()

    def work(self, stop):
        while not stop():
            pick = self.rng.random()
            if pick < 0.5:
                done = self.vault.run("rotate", self.vault.mnt, "--json")
                if done.returncode == 0:
                    self.version = json.loads(done.stdout)["new_version"]
            elif pick < 0.75:
                self.vault.run("rewrap", self.vault.mnt)
            elif len(self.keys) < 40:
                done = self.vault.run("kms", "create-key", "--vault", self.vault.mnt)
                if done.returncode == 0:
                    self.keys.add(json.loads(done.stdout)["KeyMetadata"]["KeyId"])
            time.sleep(self.rng.random() * 0.05)

    def check(self):
        aliases = {alias["alias"]: alias["version"] for alias in self.vault.status()["aliases"]}
        if aliases["alias/default"] < self.version:
            raise Lost(f"version {self.version} was promised, {aliases['alias/default']} is in force")
        listed = json.loads(self.vault.ok("kms", "list-keys", "--limit", "1000", "--vault", self.vault.mnt))["Keys"]
        missing = self.keys - {key["KeyId"] for key in listed}
        if missing:
            raise Lost(f"keys that were made are missing: {missing}")


def run(directory, count, seed, tell=lambda text: None):
    """Kills the mount of a new vault in `directory` so often; raises Lost, or what a mount said that failed."""
    rng = random.Random(seed)
    vault = Vault(directory)
    vault.mount()
    try:
        (vault.mnt / "tree").mkdir()
        workers = [kind(vault.mnt, random.Random(f"{seed} {kind.__name__}")) for kind in (Appender, Overwriter)]
        workers += [Renamer(vault.mnt / "tree", random.Random(f"{seed} tree")), Keys(vault, random.Random(f"{seed} keys"))]
        for number in range(1, count + 1):
            _kill_under_load(vault, workers, rng)
            done = vault.try_mount()
            if done.returncode:
                raise Lost(f"kill {number}: the next mount failed: {done.stderr.strip()}")
            if STALE not in done.stderr:
                raise Lost(f"kill {number}: the mount said nothing of what it cleared away: {done.stderr.strip()!r}")
            vault.pid = vault.daemon_pid()
            for worker in workers:
                try:
                    worker.check()
                except (OSError, Lost) as problem:
                    raise Lost(f"kill {number}: {type(worker).__name__}: {problem}") from None
            tell(f"{number} kills, 0 lost")
    finally:
        vault.close()


def _kill_under_load(vault, workers, rng):
    failed = []
    ended = threading.Event()

    def work(worker):
        try:
            worker.work(ended.is_set)
        except OSError as problem:
            if not ended.is_set():
                failed.append(f"{type(worker).__name__}: {problem}")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    time.sleep(rng.random() * 0.5)
    if failed:
        raise Lost(f"before the kill: {failed}")
    ended.set()
    vault.kill()
    for thread in threads:
        thread.join(60)
        if thread.is_alive():
            raise Lost("a program still waits for a mount that is gone")


def main():
    parser = argparse.ArgumentParser(prog="kills.sh", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=500, metavar="N", help="how many (500)")
    parser.add_argument("--seed", type=int, default=None, help="draws the load and the instants (default: drawn, printed)")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    BASE.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}", flush=True)
    last = time.monotonic()

    def tell(text):
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            print(text, flush=True)

    with tempfile.TemporaryDirectory(prefix="kills-", dir=BASE) as directory:
        try:
            run(directory, options.kills, seed, tell)
        except Lost as problem:
            print(f"LOST {problem}\n0 passed, 1 failed")
            return 1
    print(f"{options.kills} kills, 0 lost\n1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
