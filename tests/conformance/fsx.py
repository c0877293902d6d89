"""fsx: random operations on one file, every read held against what it should be."""

import concurrent.futures
import os
import pathlib

from suite import FAILED, PASSED, Outcome, Suite, command

# An operation of no bytes would be EINVAL for posix_fallocate(3), which fsx takes for a failure.
_CONFIG = """flen = 262144
nomsyncafterwrite = {lazy}
[opsize]
min = 1
max = 65536
[weights]
close_open = 2
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 2
truncate = 4
fsync = 1
fdatasync = 1
posix_fallocate = {allocate}
punch_hole = {punch}
sendfile = 3
posix_fadvise = 2
copy_file_range = {copy}
"""



def config(lazy, allocate=4, punch=4, copy=4):
    """With an msync after each write to memory, or lazy without; and how often calls are made that some filesystems lack."""
    return _CONFIG.format(lazy=str(lazy).lower(), allocate=allocate, punch=punch, copy=copy)


ROTATING = ", rotations and sweeps beside"
AT_ONCE = 3  # they wait for the disk most of the time


class Fsx(Suite):
    """Several seeds, in turn with O_DIRECT and with rotations and sweeps beside; msync after each write to memory
    or not. On ext4 a tenth of the operations shows that fsx itself is in order."""

    name = "fsx"
    about = "operations on one file: read, write, mmap, truncate, punch, fallocate with and without KEEP_SIZE, sync, " \
        "sendfile, copy_file_range, invalidate, reopen"

    def version(self):
        return "fsx " + command(self.options.tools / "fsx", "--version").stdout.split()[-1]

    def _plan(self):
        """How many runs, each with a seed of its own, and of how many operations."""
        cases = 4 if self.options.quick else 12
        return cases, -(-self.options.ops // cases)

    def size(self):
        cases, operations = self._plan()
        return f"{cases * operations:,} operations, {cases} seeds"

    def run(self):
        shim = self.options.work / "fsx_shim.so"
        command("cc", "-shared", "-fPIC", "-O1", "-o", shim, pathlib.Path(__file__).with_name("fsx_shim.c"), "-ldl")
        cases, operations = self._plan()
        if self.place.vault is None:
            # fsx doesn't align its buffers, which ext4's O_DIRECT needs and FUSE's doesn't.
            yield from self._at_once(shim, max(operations // 10, 1), range(0, cases, 2))
            return
        with self.place.rotating():
            outcomes = list(self._at_once(shim, operations, [n for n in range(cases) if n % 4 < 2], ROTATING))
        yield from outcomes
        yield from self._at_once(shim, operations, [n for n in range(cases) if n % 4 >= 2])

    def _at_once(self, shim, operations, numbers, beside=""):
        """Runs of fsx, some at once, each on a file of its own."""
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            yield from pool.map(lambda number: self._case(shim, operations, number, beside), numbers)

    def _case(self, shim, operations, number, beside):
        seed, direct, lazy = self.options.seed * 100 + number, number % 2 == 1, number % 3 > 0
        title = f"seed {seed}, {operations} operations{', O_DIRECT' if direct else ''}{'' if lazy else ', msync'}{beside}"
        written = self.options.work / f"fsx-{seed}.toml"
        written.write_text(config(lazy))
        environment = {**os.environ, "LD_PRELOAD": str(shim), **({"FSX_DIRECT": "1"} if direct else {})}
        done = command(
            self.options.tools / "fsx", "-q", "-f", written, "-N", operations, "-S", seed, self.place.root / f"fsx-{seed}",
            check=False, timeout=4 * 3600, env=environment,
        )  # fmt: skip
        end = " / ".join(done.stdout.strip().splitlines()[-8:])
        if done.returncode or "A-OK" not in end:
            return Outcome(title, FAILED, f"exit status {done.returncode}: {end[-1500:]}")
        return Outcome(title, PASSED)
