"""What is measured. A group is a chain of workloads that share files: it runs as a whole on one system after the other,
each round from scratch. Every workload gives a rate: more is better."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import time
from typing import NamedTuple

from limits import arm
from priority import raise_all
from streams import MIB, read_stream, write_stream
from systems import command

#: What a group is at between its workloads.
PREPARATION = "preparation"
PAGE = 4096
#: How often a file is read that the kernel has in its cache.
WARM = 8


class Sizes(NamedTuple):
    """How much each workload does."""

    stream_mib: int
    random_reads: int
    random_writes: int
    synced_writes: int
    appends: int
    directories: int
    files: int
    tree_copies: int
    crates: int
    builds: int


FULL = Sizes(256, 40_000, 40_000, 400, 50_000, 100, 40, 10, 12, 3)
QUICK = Sizes(16, 2_000, 2_000, 20, 2_000, 20, 5, 1, 2, 1)


class Rates(dict):
    """The rates of a group: workload to units a second. Each workload has `limit` seconds."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit
        #: What runs now.
        self.current = ""
        self._between()

    def _between(self):
        """Between workloads: what is prepared and mounted isn't measured, and has longer."""
        self.current = PREPARATION
        arm(5 * self.limit)

    def take(self, workload, work):
        """Runs `work()`, which tells the rate."""
        self.current = workload
        raise_all()
        arm(self.limit)
        self[workload] = work()
        self._between()

    def time(self, workload, amount, work):
        """Runs `work()`, which does `amount` units."""

        def timed():
            began = time.perf_counter()
            work()
            return amount / (time.perf_counter() - began)

        self.take(workload, timed)


def fio(path, mib, amount, *options, threads=1):
    """Runs fio and gives operations a second, the sync at the end included."""
    said = command(
        "fio", "--name=bench", f"--filename={path}", f"--size={mib}m", "--bs=4k", "--ioengine=psync", "--thread",
        "--fallocate=none", "--norandommap", "--randseed=1", f"--number_ios={amount // threads}",
        f"--numjobs={threads}", "--output-format=json", *options,
    )  # fmt: skip
    jobs = json.loads(said[said.index("{") :])["jobs"]
    done = sum(job[way]["total_ios"] for job in jobs for way in ("read", "write"))
    return done / max(max(job["job_runtime"] for job in jobs) / 1000, 0.001)


def stream(system, sizes, rates):
    """One large file: sequential, then random."""
    path, mib = system.root / "stream", sizes.stream_mib
    rates.time("sequential write (MiB/s)", mib, lambda: write_stream(path, mib))
    system.remount()
    rates.time("sequential read, cold (MiB/s)", mib, lambda: read_stream(path))
    # The first of them still has the kernel move pages between its lists.
    rates.time("sequential read, warm (MiB/s)", WARM * mib, lambda: [read_stream(path) for _ in range(WARM)])
    for threads in (1, 4):
        system.remount()
        workload = f"random 4 KiB read, {threads} thread{'s' if threads > 1 else ''} (1/s)"
        options = ("--rw=randread", "--invalidate=0")
        rates.take(workload, lambda n=threads: fio(path, mib, sizes.random_reads, *options, threads=n))
    options = ("--rw=randwrite", "--end_fsync=1")
    workload = "random 4 KiB write, fsync at end (1/s)"
    rates.take(workload, lambda: fio(path, mib, sizes.random_writes, *options))
    rng, page = random.Random(1), os.urandom(PAGE)
    with open(path, "r+b", buffering=0) as file:

        def synced():
            for _ in range(sizes.synced_writes):
                os.pwrite(file.fileno(), page, rng.randrange(mib * MIB // PAGE) * PAGE)
                os.fdatasync(file.fileno())

        rates.time("random 4 KiB write, fdatasync each (1/s)", sizes.synced_writes, synced)
    path.unlink()


def append(system, sizes, rates):
    """100 bytes at a time, as logs grow."""
    path, line = system.root / "log", b"x" * 99 + b"\n"

    def work():
        with open(path, "ab", buffering=0) as file:
            for _ in range(sizes.appends):
                file.write(line)

    rates.time("100-byte appends (1/s)", sizes.appends, work)
    path.unlink()


def small_files(system, sizes, rates):
    """Files of 4 KiB in many directories."""
    root, data = system.root / "small", os.urandom(PAGE)
    count = sizes.directories * sizes.files
    paths = [root / f"d{d}" / f"file-{n}" for d in range(sizes.directories) for n in range(sizes.files)]
    for d in range(sizes.directories):
        (root / f"d{d}").mkdir(parents=True)

    def create():
        for path in paths:
            with open(path, "wb", buffering=0) as file:
                file.write(data)

    def read():
        for path in paths:
            with open(path, "rb", buffering=0) as file:
                file.read()

    def stat():
        command("find", root, "-type", "f", "-size", "+1M")

    rates.time("create 4 KiB files (1/s)", count, create)
    system.remount()
    rates.time("stat of a tree, cold (files/s)", count, stat)
    rates.time("stat of a tree, warm (files/s)", count, stat)
    system.remount()
    rates.time("read 4 KiB files, cold (1/s)", count, read)
    rates.time("rm -rf of small files (1/s)", count, lambda: command("rm", "-rf", root))


def source_tree(system, sizes, rates):
    """A repository of source: unpacked, looked at, removed."""
    archive, count = system.tools["archive"], int(system.tools["archive files"])
    root = system.root / "source"
    root.mkdir()
    rates.time("untar of a source tree (files/s)", count, lambda: command("tar", "-xf", archive, "-C", root))
    system.remount()
    status = ("git", "-C", root, "-c", "safe.directory=*", "status", "--porcelain")
    rates.time("git status, cold (files/s)", count, lambda: command(*status))
    system.remount()
    # In two pieces: this file is in the tree too, and grep would stop there.
    search = ["grep", "-rqF", "a text that is in " + "no file of it", str(root)]
    rates.time("grep -r, cold (files/s)", count, lambda: subprocess.run(search, check=False))
    rates.time("rm -rf of the tree (files/s)", count, lambda: command("rm", "-rf", root))


def build(system, sizes, rates):
    """cargo builds a workspace of small crates, several at a time, and does so again a few times: one takes a second."""
    root = system.root / "build"
    shutil.copytree(system.tools["workspace"], root)
    words = ("cargo", "build", "--offline", "--quiet", "--manifest-path", root / "Cargo.toml")

    def work():
        for number in range(sizes.builds):
            command(*words, env={"CARGO_TARGET_DIR": str(root / f"target-{number}"), "CARGO_INCREMENTAL": "0"})

    rates.time("parallel cargo build (crates/min)", sizes.builds * sizes.crates * 60, work)
    shutil.rmtree(root)


def busy(system, sizes, rates):
    """More programs than there are processors: each clones a repository, without its files, and checks them out."""
    count, root = 1 + (os.cpu_count() or 1), system.root / "busy"
    files, repository = count * int(system.tools["archive files"]), system.tools["repository"]
    root.mkdir()
    git = ("git", "-c", "safe.directory=*", "-c", "gc.auto=0")

    def all_at_once(words):
        running = [subprocess.Popen([str(word) for word in words(root / f"clone-{n}")]) for n in range(count)]
        failed = [process for process in running if process.wait()]
        if failed:
            raise RuntimeError(f"{' '.join(failed[0].args)}: exit status {failed[0].returncode}")

    def clone(to):
        return (*git, "clone", "-q", "--no-checkout", f"file://{repository}", to)

    def checkout(of):
        return (*git, "-C", of, "checkout", "-q")

    def status(of):
        return (*git, "-C", of, "status", "--porcelain")

    for what, words in (("clone", clone), ("checkout", checkout), ("status", status)):
        rates.time(f"git {what} by {count} at once (files/s)", files, lambda of=words: all_at_once(of))
    shutil.rmtree(root)


GROUPS = {
    "stream": stream,
    "append": append,
    "small": small_files,
    "source": source_tree,
    "build": build,
    "busy": busy,
}
#: Those that are measured beside other filesystems.
COMPARED = ("stream", "append", "small", "source", "build")


def make_inputs(directory, repository, sizes):
    """The archive and the workspace that the groups take: the same for all systems."""
    directory = pathlib.Path(directory)
    tree = directory / "tree"
    for copy in range(sizes.tree_copies):
        for part in ("src", "tests", "docs", "scripts"):
            shutil.copytree(repository / part, tree / f"copy-{copy}" / part, ignore=shutil.ignore_patterns("*.tar"))
    git = ("git", "-C", tree, "-c", "user.name=bench", "-c", "user.email=bench@localhost")
    command(*git, "init", "-q")
    command(*git, "add", "-A")
    command(*git, "commit", "-qm", "tree")
    archive = directory / "tree.tar"
    command("tar", "-cf", archive, "-C", tree, ".")
    workspace = directory / "workspace"
    names = [f"part{number}" for number in range(sizes.crates)]
    for name in names:
        (workspace / name / "src").mkdir(parents=True)
        manifest = f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n'
        (workspace / name / "Cargo.toml").write_text(manifest)
        for module in range(10):
            code = "".join(f"pub fn f{n}(x: u64) -> u64 {{ x.wrapping_mul({n + 1}) }}\n" for n in range(50))
            (workspace / name / "src" / f"m{module}.rs").write_text(code)
        modules = "".join(f"pub mod m{module};\n" for module in range(10))
        (workspace / name / "src" / "lib.rs").write_text(modules)
    members = ", ".join(f'"{name}"' for name in names)
    (workspace / "Cargo.toml").write_text(f'[workspace]\nresolver = "2"\nmembers = [{members}]\n')
    files = sum(len(files) for _, _, files in os.walk(tree))
    return {
        "archive": str(archive), "archive files": str(files), "workspace": str(workspace), "repository": str(tree),
    }  # fmt: skip
