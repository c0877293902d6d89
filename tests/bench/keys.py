"""What only rekeyfs does: rotations, which must not depend on the number of files, opens of files that an older key
version wraps, and sweeps; and the daemon's memory."""

import os
import statistics
import time

from systems import Rekeyfs, command

_ROTATIONS = 21
_FEW = 10
_DIRECTORIES = 100
_SWEEPS = 3


def _fill(root, count, name="d"):
    for number in range(count):
        directory = root / f"{name}{number % _DIRECTORIES}"
        if number < _DIRECTORIES:
            directory.mkdir(exist_ok=True)
        with open(directory / str(number), "wb", buffering=0) as file:
            file.write(b"small")


def _spread(seconds):
    """The median in milliseconds, and the quartiles about it: what noise is."""
    low, median, high = (value * 1000 for value in statistics.quantiles(seconds, n=4))
    return {"median": median, "low": low, "high": high}


def _rotations(few, many):
    """Rotations of two vaults in turn."""
    times = [], []
    for _ in range(_ROTATIONS):
        for system, of in zip((few, many), times):
            of.append(system.rotate())
    return {"rotate few": _spread(times[0]), "rotate many": _spread(times[1])}


def _opens(system, count):
    """First opens (and reads) after a remount, of stale files and of fresh ones in turn: the ratio of the medians."""
    stale, fresh = system.root / "stale", system.root / "fresh"
    stale.mkdir()
    fresh.mkdir()
    for number in range(count):
        (stale / str(number)).write_bytes(b"small")
    system.rotate()
    for number in range(count):
        (fresh / str(number)).write_bytes(b"small")
    system.remount()
    times = {stale: [], fresh: []}
    for number in range(count):
        for root in (stale, fresh) if number % 2 else (fresh, stale):
            path = root / str(number)
            path.stat()
            began = time.perf_counter()
            file = os.open(path, os.O_RDONLY)
            os.read(file, 100)
            os.close(file)
            times[root].append(time.perf_counter() - began)
    return {
        "stale open": statistics.median(times[stale]) / statistics.median(times[fresh]),
        "fresh open us": statistics.median(times[fresh]) * 1e6,
    }


def _sweeps(system, many):
    """Files a second of a sweep, and of `touch` on as many files of the ciphertext."""
    sweeps, touches = [], []
    for _ in range(_SWEEPS):
        system.rotate()
        sweeps.append(many / system.rewrap())
        began = time.perf_counter()
        command("find", system.vault / "tree", "-type", "f", "-exec", "touch", "{}", "+")
        touches.append(many / (time.perf_counter() - began))
    return {"sweep": statistics.median(sweeps), "touch": statistics.median(touches)}


def _memory(system, many):
    """What the daemon has resident before and after the kernel knows all inodes."""
    system.remount()
    before, _ = system.memory()
    command("find", system.root, "-type", "f", "-size", "+1M")
    after, most = system.memory()
    return {
        "memory before": before, "memory after": after, "memory most": most, "inode bytes": (after - before) / many,
    }  # fmt: skip


def measure(place, tools, quick):
    """All of it, on vaults of its own under `place`."""
    many = 300 if quick else 100_000
    small, large = Rekeyfs(place / "few", tools), Rekeyfs(place / "many", tools)
    try:
        _fill(small.root, _FEW)
        _fill(large.root, many)
        large.remount()
        out = {"few": _FEW, "files": many}
        out |= _rotations(small, large)
        out |= _opens(small, 100 if quick else 4000)
        out |= _sweeps(large, many)
        return out | _memory(large, many)
    finally:
        small.umount()
        large.umount()
