"""What only rekeyfs does: rotations, which must not depend on the number of files, and sweeps."""

import statistics

_ROTATIONS = 9
_FEW = 10
_DIRECTORIES = 100


def _fill(root, first, last):
    for number in range(first, last):
        directory = root / f"d{number % _DIRECTORIES}"
        directory.mkdir(exist_ok=True)
        (directory / str(number)).write_bytes(b"small")


def measure(system, many):
    """Seconds of a rotation at 10 files and at `many` (medians; the command's start included), and the files a second
    of a sweep. Leaves the system unmounted."""
    try:
        out = {"files": many}
        _fill(system.root, 0, _FEW)
        out["rotate few"] = statistics.median(system.rotate() for _ in range(_ROTATIONS))
        _fill(system.root, _FEW, many)
        out["rotate many"] = statistics.median(system.rotate() for _ in range(_ROTATIONS))
        system.remount()
        system.rotate()
        out["sweep"] = many / system.rewrap()
        return out
    finally:
        system.umount()
