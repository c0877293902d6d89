"""A mixed load on rekeyfs for as long as is asked for, which shows whether the daemon's memory grows: several threads
create, write, read, rename, stat and remove in a tree of bounded size, and the key rotates."""

import random
import threading
import time

from systems import Rekeyfs, command

_THREADS, _FILES, _LINES = 3, 2000, 60


def _work(root, seed, until, failures):
    rng = random.Random(seed)
    root.mkdir()
    try:
        while time.monotonic() < until:
            directory = root / f"d{rng.randrange(20)}"
            path = directory / f"file {rng.randrange(_FILES)}"
            match rng.randrange(6):
                case 0 | 1:
                    directory.mkdir(exist_ok=True)
                    path.write_bytes(rng.randbytes(rng.randrange(40_000)))
                case 2 if path.exists():
                    path.read_bytes()
                case 3 if path.exists():
                    path.rename(directory / f"file {rng.randrange(_FILES)}")
                case 4 if path.exists():
                    path.unlink()
                case 5:
                    command("find", directory if directory.exists() else root, "-size", "+1M")
    except (OSError, RuntimeError) as error:
        failures.append(error)


def soak(place, tools, minutes):
    """Runs it; prints the memory, and returns the minutes and it: seconds since the start, bytes."""
    system, failures, memory = Rekeyfs(place, tools), [], []
    began = time.monotonic()
    until = began + minutes * 60
    threads = [
        threading.Thread(target=_work, args=(system.root / str(seed), seed, until, failures))
        for seed in range(_THREADS)
    ]  # fmt: skip
    try:
        for thread in threads:
            thread.start()
        while time.monotonic() < until and not failures:
            time.sleep(min(minutes * 60 / _LINES, max(until - time.monotonic(), 0.1)))
            system.rotate()
            memory.append((round(time.monotonic() - began), system.memory()[0]))
            print(f"after {memory[-1][0]} s: {memory[-1][1] / 1e6:.1f} MB resident", flush=True)
        for thread in threads:
            thread.join()
    finally:
        system.umount()
    if failures:
        raise failures[0]
    return {"minutes": minutes, "rotations": len(memory), "memory": memory}
