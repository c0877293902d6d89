"""Random sequences of operations on a mount and on a plain directory beside it: same results, same errors,
same trees, also after rotations, sweeps, remounts and SIGKILL of the mount.

Environment: REKEYFS_MODEL_SEED (first seed; default fresh), REKEYFS_MODEL_RUNS (default 6),
REKEYFS_MODEL_OPS (operations a run; default 250). A failure is shrunk and printed as a list of operations
that `Known.replay` takes: keep it there as a named test.
"""

import errno
import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import threading
import time

from harness import (
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    PASSPHRASE,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    ROOT,
    TARGET,
    MountedTest,
    fallocate,
    renameat2,
    sh,
    sha,
)

FILES = ["a", "b", "c", "L" * 200, "d1/a", "d1/b", "d2/a", "d2/d3/a"]
DIRS = ["d1", "d2", "d2/d3", "M" * 230]
OFFSETS = [0, 1, 3043, 3044, 3045, 4096, 7111, 7112, 7113, 11180, 30000, 66000]
LENGTHS = [0, 1, 2, 100, 3044, 4068, 4096, 5000, 20000, 70000]
ATTRS = ["user.a", "user.b", "user.long" + "x" * 100]


class Mismatch(AssertionError):
    pass


def attempt(call):
    """The outcome of a call as something to compare: its value or its errno."""
    try:
        return ("ok", call())
    except OSError as e:
        # Linux filesystems differ in which of these two they give.
        name = {errno.EEXIST: "ENOTEMPTY"}.get(e.errno, errno.errorcode[e.errno])
        return ("error", name)


class World:
    """A directory with open descriptors, to which operations are applied by name."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.open = {}

    def path(self, name):
        return self.root / name

    def close_all(self):
        for fd in self.open.values():
            os.close(fd)
        self.open.clear()

    @staticmethod
    def data(seed, n):
        return random.Random(seed).randbytes(n)

    def on_fd(self, name, flags, call):
        fd = os.open(self.path(name), flags, 0o644)
        try:
            return call(fd)
        finally:
            os.close(fd)

    # Each operation returns what both worlds must agree on.

    def write(self, name, at, n, seed):
        return self.on_fd(name, os.O_WRONLY | os.O_CREAT, lambda fd: os.pwrite(fd, self.data(seed, n), at))

    def append(self, name, n, seed):
        return self.on_fd(name, os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, self.data(seed, n)))

    def replace(self, name, n, seed):
        return self.on_fd(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, lambda fd: os.write(fd, self.data(seed, n)))

    def create_new(self, name):
        return self.on_fd(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, lambda fd: None)

    def truncate(self, name, n):
        return os.truncate(self.path(name), n)

    def punch(self, name, at, n):
        return self.on_fd(
            name, os.O_RDWR, lambda fd: fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, at, max(n, 1))
        )

    def allocate(self, name, keep, at, n):
        return self.on_fd(name, os.O_RDWR, lambda fd: fallocate(fd, FALLOC_KEEP_SIZE if keep else 0, at, max(n, 1)))

    def read(self, name, at, n):
        return self.on_fd(name, os.O_RDONLY, lambda fd: os.pread(fd, n, at))

    def fsync(self, name):
        return self.on_fd(name, os.O_RDONLY, os.fsync)

    def hold(self, key, name):
        if key not in self.open:
            self.open[key] = os.open(self.path(name), os.O_RDWR)

    def held_write(self, key, at, n, seed):
        return os.pwrite(self.open[key], self.data(seed, n), at) if key in self.open else None

    def held_read(self, key, at, n):
        return os.pread(self.open[key], n, at) if key in self.open else None

    def held_truncate(self, key, n):
        return os.ftruncate(self.open[key], n) if key in self.open else None

    def held_stat(self, key):
        if key in self.open:
            st = os.fstat(self.open[key])
            return (st.st_size, st.st_nlink, st.st_mode)

    def release(self, key):
        if key in self.open:
            os.close(self.open.pop(key))

    def rename(self, old, new, flags):
        if flags:
            return renameat2(self.path(old), self.path(new), flags)
        return os.rename(self.path(old), self.path(new))

    def link(self, old, new):
        return os.link(self.path(old), self.path(new))

    def unlink(self, name):
        return os.unlink(self.path(name))

    def mkdir(self, name):
        return os.mkdir(self.path(name))

    def rmdir(self, name):
        return os.rmdir(self.path(name))

    def symlink(self, target, name):
        return os.symlink(target, self.path(name))

    def setxattr(self, name, attr, n, seed):
        return os.setxattr(self.path(name), attr, self.data(seed, n))

    def removexattr(self, name, attr):
        return os.removexattr(self.path(name), attr)

    def chmod(self, name, mode):
        return os.chmod(self.path(name), mode)

    def utime(self, name, a, m):
        return os.utime(self.path(name), ns=(a, m))

    def snapshot(self):
        """All that can be seen of the tree, times aside, and mtimes of what had them set."""
        rows = {}
        for directory, dirs, files in os.walk(self.root):
            for name in dirs + files:
                path = os.path.join(directory, name)
                rel = os.path.relpath(path, self.root)
                st = os.lstat(path)
                row = [oct(st.st_mode)]
                if stat.S_ISREG(st.st_mode):
                    with open(path, "rb") as f:
                        row += [st.st_size, st.st_nlink, f.read()]
                if stat.S_ISLNK(st.st_mode):
                    row.append(os.readlink(path))
                else:
                    attrs = [a for a in os.listxattr(path) if a.startswith("user.") and "rekeyfs" not in a]
                    row.append(sorted((a, os.getxattr(path, a)) for a in attrs))
                rows[rel] = row
        return rows


def random_operation(rng):
    f, g = rng.choice(FILES), rng.choice(FILES)
    d, e = rng.choice(DIRS), rng.choice(DIRS)
    at, n, seed = rng.choice(OFFSETS), rng.choice(LENGTHS), rng.randrange(1000)
    flags = rng.choice([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE])
    key = rng.randrange(3)
    either = [rng.choice([f, d]), rng.choice([g, e])]
    choices = [
        (14, ("write", f, at, n, seed)),
        (5, ("append", f, n, seed)),
        (4, ("replace", f, n, seed)),
        (2, ("create_new", f)),
        (8, ("truncate", f, at + rng.choice([0, n]))),
        (5, ("punch", f, at, n)),
        (2, ("allocate", f, rng.random() < 0.5, at, n)),
        (6, ("read", f, at, n)),
        (4, ("fsync", f)),
        (4, ("hold", key, f)),
        (6, ("held_write", key, at, n, seed)),
        (4, ("held_read", key, at, n)),
        (3, ("held_truncate", key, at)),
        (2, ("held_stat", key)),
        (3, ("release", key)),
        (7, ("rename", *either, flags)),
        (3, ("link", f, g)),
        (4, ("unlink", rng.choice([f, f, d]))),
        (6, ("mkdir", d)),
        (2, ("rmdir", rng.choice([d, d, f]))),
        (2, ("symlink", rng.choice(["a", "nowhere", "t" * 300]), f)),
        (3, ("setxattr", either[0], rng.choice(ATTRS), rng.choice([0, 1, 500]), seed)),
        (2, ("removexattr", either[0], rng.choice(ATTRS))),
        (1, ("chmod", f, rng.choice([0o600, 0o644, 0o755]))),
        (1, ("utime", f, 10**18 + seed, 10**18 + 2 * seed)),
        (3, ("@rotate",)),
        (1, ("@rewrap",)),
        (2, ("@remount",)),
        (1, ("@crash",)),
        (2, ("@compare",)),
    ]
    return rng.choices([c for _, c in choices], [w for w, _ in choices])[0]


class Model(MountedTest):
    options = None

    def replay(self, operations):
        """Applies the operations to a fresh vault and a fresh directory; raises Mismatch at the first difference."""
        base = self.dir / f"replay-{time.monotonic_ns()}"
        plain = base / "plain"
        plain.mkdir(parents=True)
        vault = self.new_vault(base)
        ours, theirs = World(vault.mnt), World(plain)
        try:
            vault.mount()
            for i, (op, *args) in enumerate(operations):
                if op.startswith("@"):
                    self.on_vault(op, vault, ours, theirs, i)
                    continue
                got, want = (attempt(lambda w=w: getattr(w, op)(*args)) for w in (ours, theirs))
                if got != want:
                    raise Mismatch(f"operation {i}, {op}{tuple(args)}: {brief(got)}, should be {brief(want)}")
            self.compare(ours, theirs, "at the end")
            ours.close_all(), theirs.close_all()
            vault.remount()
            self.compare(ours, theirs, "after a last remount")
            vault.umount()
            self.compare_on_disk(vault, theirs)
        finally:
            ours.close_all()
            theirs.close_all()
            vault.close()
            shutil.rmtree(base, ignore_errors=True)

    def on_vault(self, op, vault, ours, theirs, i):
        if op == "@rotate":
            vault.rotate()
        elif op == "@rewrap":
            vault.ok("rewrap", vault.mnt)
        elif op == "@compare":
            self.compare(ours, theirs, f"at operation {i}")
        else:
            ours.close_all(), theirs.close_all()
            if op == "@remount":
                vault.remount()
            else:
                # What is synced survives a kill: every file and directory is, first.
                sh("find . -type f -exec sync {} + ; find . -type d -exec sync {} +; sync -f .", vault.mnt)
                vault.kill()
                vault.clear_stale_mountpoint()
                vault.mount()
            self.compare(ours, theirs, f"after {op} at operation {i}")

    @staticmethod
    def compare(ours, theirs, when):
        got, want = ours.snapshot(), theirs.snapshot()
        if got == want:
            return
        for name in sorted(got.keys() | want.keys()):
            if got.get(name) != want.get(name):
                raise Mismatch(f"{when}, {name[:60]}: {brief(got.get(name))}, should be {brief(want.get(name))}")

    @staticmethod
    def read_on_disk(vault):
        """What the reader in Python makes of the vault; None if test.sh has not installed what it needs."""
        if "Damaged" in (vault.path / "events.jsonl").read_text():
            raise Mismatch("the event log tells of damage")
        python = TARGET / "python/bin/python"
        if not python.exists():
            return None
        done = subprocess.run(
            [python, ROOT / "tests/golden/reader.py", "--dump", vault.path, PASSPHRASE], capture_output=True, text=True
        )
        if done.returncode:
            raise Mismatch(f"the independent reader: {done.stderr.strip().splitlines()[-1]}")
        return {os.fsdecode(bytes.fromhex(path)): about for path, about in json.loads(done.stdout)["tree"].items()}

    def compare_on_disk(self, vault, theirs):
        found = self.read_on_disk(vault)
        if found is None:
            return
        want = theirs.snapshot()
        if found.keys() != want.keys():
            raise Mismatch(f"the independent reader finds {sorted(found)}, should be {sorted(want)}")
        for name, row in want.items():
            about = found[name]
            if about["kind"] == "file" and (about["size"], about["sha256"]) != (row[1], sha(row[3])):
                raise Mismatch(f"the independent reader finds other content in {name}")
            if about["kind"] == "symlink" and bytes.fromhex(about["target"]) != os.fsencode(row[1]):
                raise Mismatch(f"the independent reader finds another target in {name}")

    def shrink(self, operations, seconds=90):
        """A shorter list that still fails, by leaving out ever smaller pieces."""
        end = time.monotonic() + seconds
        piece = len(operations) // 2
        while piece >= 1 and time.monotonic() < end:
            at = 0
            while at < len(operations) and time.monotonic() < end:
                shorter = operations[:at] + operations[at + piece :]
                try:
                    self.replay(shorter)
                    at += piece
                except (Mismatch, AssertionError, OSError):
                    operations = shorter
            piece //= 2
        return operations


def brief(value):
    text = repr(value)
    return text if len(text) < 300 else f"{text[:200]}... {text[-60:]} ({len(text)} characters)"


class Random(Model):
    def test_random_operations(self):
        first = int(os.environ.get("REKEYFS_MODEL_SEED", time.time_ns() % 10**9))
        count = int(os.environ.get("REKEYFS_MODEL_OPS", 250))
        for seed in range(first, first + int(os.environ.get("REKEYFS_MODEL_RUNS", 6))):
            print(f"        model seed {seed}", flush=True)
            rng = random.Random(seed)
            operations = [("mkdir", "d1"), ("mkdir", "d2"), ("mkdir", "d2/d3")]
            operations += [random_operation(rng) for _ in range(count)]
            try:
                self.replay(operations)
            except Mismatch as e:
                short = self.shrink(operations)
                try:
                    self.replay(short)
                except Mismatch as again:
                    e = again
                listing = "\n".join(f"    {op!r}," for op in short)
                raise AssertionError(f"seed {seed}: {e}\n[\n{listing}\n]") from None


class Stress(Model):
    """Several processes' worth of random operations at once, in one tree, beside rotations and sweeps. What comes
    out is not known beforehand; but no call may fail in a way that plain filesystems don't, nothing may be damaged,
    and what the mount shows is what an independent reader finds on disk."""

    NORMAL = {
        errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EINVAL, errno.ENODATA,
        errno.EPERM, errno.ELOOP, errno.EMLINK, errno.ENAMETOOLONG,  # the last through a long symlink
    }  # fmt: skip

    def test_many_threads_in_one_tree(self):
        seed = int(os.environ.get("REKEYFS_MODEL_SEED", time.time_ns() % 10**9))
        print(f"        stress seed {seed}", flush=True)
        vault = self.new_vault(self.dir)
        vault.mount()
        problems, stop = [], threading.Event()

        def worker(k):
            rng, world = random.Random(seed * 100 + k), World(vault.mnt)
            while not stop.is_set():
                op, *args = random_operation(rng)
                if not op.startswith("@"):
                    try:
                        getattr(world, op)(*args)
                    except OSError as e:
                        if e.errno not in self.NORMAL:
                            problems.append(f"{op}{args}: {e}")
            world.close_all()

        threads = [threading.Thread(target=worker, args=(k,)) for k in range(6)]
        for t in threads:
            t.start()
        try:
            for _ in range(4):
                vault.rotate()
                time.sleep(0.7)
                vault.ok("rewrap", vault.mnt)
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(problems[:5], [])
        before = World(vault.mnt).snapshot()
        vault.remount()
        self.compare(World(vault.mnt), Frozen(before), "after a remount")
        vault.umount()
        self.compare_on_disk(vault, Frozen(before))


class Frozen:
    """A snapshot that stands for a world."""

    def __init__(self, rows):
        self.rows = rows

    def snapshot(self):
        return self.rows


class Known(Model):
    """Sequences that once failed, or that cross a rule of the format on purpose."""

    def test_rename_of_a_directory_then_writes_below(self):
        self.replay([
            ("mkdir", "d1"), ("write", "d1/a", 0, 5000, 1), ("rename", "d1", "M" * 230, 0), ("mkdir", "d1"),
            ("write", "d1/a", 3044, 100, 2), ("rename", "d1", "M" * 230, RENAME_EXCHANGE), ("@remount",),
        ])  # fmt: skip

    def test_cut_grow_punch_around_the_last_page(self):
        self.replay([
            ("write", "a", 0, 20000, 1), ("fsync", "a"), ("truncate", "a", 7113), ("truncate", "a", 11180),
            ("write", "a", 11180, 1, 2), ("@compare",), ("punch", "a", 3043, 4096), ("truncate", "a", 3044),
            ("append", "a", 4068, 3), ("@crash",), ("truncate", "a", 1), ("append", "a", 2, 4), ("@remount",),
        ])  # fmt: skip

    def test_rotation_while_held_and_unlinked(self):
        self.replay([
            ("write", "a", 0, 5000, 1), ("hold", 0, "a"), ("@rotate",), ("unlink", "a"), ("held_write", 0, 4096, 5000, 2),
            ("@rewrap",), ("held_read", 0, 0, 20000), ("write", "a", 0, 1, 3), ("held_truncate", 0, 3044),
            ("held_read", 0, 0, 20000), ("release", 0),
        ])  # fmt: skip
