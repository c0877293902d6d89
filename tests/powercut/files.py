"""Workloads on the content of single files: append, overwrite in place, truncate and grow, punch and allocate.

Each change is announced by a mark before it is made, and a mark says after an fsync which changes it covered. So a
byte's permitted values are known at every instant: the promised one, and those of the changes that were under way.
"""

import errno
import hashlib
import os
import random
import threading
import time

from kernel import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate

PAGE = 4096
_LIMIT = 300_000  # bytes of a file
_SMALL = 50_000  # bytes of the file that is kept small
# Sizes at which layouts have their edges: pages, and the payloads of encrypted blocks (rekeyfs, gocryptfs).
_EDGES = [4096 * k for k in range(20)] + [3044 + 4068 * k for k in range(20)]


def payload(name, number, length):
    """The bytes of a write: of the file and the change's number, so that no two are alike."""
    return hashlib.shake_128(f"{name} {number}".encode()).digest(length)


def apply(data, name, number, op):
    """Makes a change to a file's content (a bytearray)."""
    kind, *args = op
    if kind == "truncate":
        size, = args
        data.extend(bytes(max(0, size - len(data))))
        del data[size:]
        return
    offset, length = args
    if kind == "write":
        data.extend(bytes(max(0, offset - len(data))))
        data[offset:offset + length] = payload(name, number, length)
    elif kind == "punch":
        end = min(offset + length, len(data))
        data[offset:end] = bytes(max(0, end - offset))
    elif kind == "zero":
        data.extend(bytes(max(0, offset + length - len(data))))
        data[offset:offset + length] = bytes(length)
    elif kind == "allocate":
        data.extend(bytes(max(0, offset + length - len(data))))


def perform(fd, name, number, op):
    """Makes a change to the file itself."""
    kind, *args = op
    if kind == "truncate":
        os.ftruncate(fd, args[0])
    elif kind == "write":
        rest, at = memoryview(payload(name, number, args[1])), args[0]
        while rest:
            done = os.pwrite(fd, rest, at)
            rest, at = rest[done:], at + done
    else:
        mode = {"punch": FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, "zero": FALLOC_ZERO_RANGE, "allocate": 0,
                "reserve": FALLOC_KEEP_SIZE}[kind]
        fallocate(fd, mode, *args)


def _length(rng):
    return rng.choice((rng.randint(1, 100), rng.randint(100, 5000), rng.randint(4000, 20000), 4096, 4068, 8192))


def _near(rng, size):
    """An offset up to `size`, often at an edge or beside it."""
    if rng.random() < 0.4:
        return min(size, max(0, rng.choice(_EDGES) + rng.randint(-1, 1)))
    return rng.randint(0, size)


def _append(rng, size):
    return ["write", size, rng.choice((_length(rng), rng.randint(1, 200), 65536 if rng.random() < 0.1 else 300))]


def _overwrite(rng, size):
    offset = _near(rng, size - 1)
    if rng.random() < 0.3:
        offset -= offset % PAGE
    return ["write", offset, min(_length(rng), size - offset)]


def _truncate(rng, size):
    pick = rng.random()
    if size > _LIMIT:
        return ["truncate", rng.randint(0, 20000)]
    if pick < 0.40:
        return ["truncate", 0 if rng.random() < 0.1 else _near(rng, size)]
    if pick < 0.50:
        return ["truncate", min(_LIMIT, size + rng.randint(0, 20000))]
    if pick < 0.65:
        return ["write", min(_LIMIT, size + rng.randint(0, 12000)), _length(rng)]
    if pick < 0.85:
        return ["write", size, _length(rng)]
    return ["write", _near(rng, size), _length(rng)]


def _punch(rng, size):
    pick = rng.random()
    offset, length = _near(rng, size), rng.choice((_length(rng), rng.randint(1, 60000)))
    if pick < 0.35:
        return ["punch", offset, length]
    if pick < 0.45:
        return ["zero", offset, length]
    if pick < 0.55:
        return ["allocate", offset, length]
    if pick < 0.65:
        return ["reserve", offset, length]
    return ["write", offset, _length(rng)]


class FileWorkload:
    """Some files, each changed by a thread of its own: `quiet` and `small` by one that syncs now and then, `busy` by one
    that goes on while a second one syncs. `small` stays so small that each re-wrap looks at all of it."""

    files = ("quiet", "small", "busy")

    def __init__(self, name, draw, initial, limit=1 << 30):
        self.name = name
        self._draw = draw
        self._initial = initial  # bytes that it begins with
        self._limit = limit  # bytes at which it ends

    def run(self, root, mark, seed, stop):
        """Works below `root` until `stop` says so; `mark` logs a promise and returns when it is logged."""
        failures = []
        threads = [threading.Thread(target=self._guarded, args=(failures, root, name, mark, f"{seed} {name}", stop))
                   for name in self.files]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _guarded(self, failures, *args):
        try:
            self._work(*args)
        except Exception as problem:  # handed to the thread that waits
            failures.append(problem)

    def _work(self, root, name, mark, seed, stop):
        rng = random.Random(seed)
        path = os.path.join(root, name)
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        size, number, done = 0, 0, [0]
        if self._initial:
            number, size = 1, min(self._initial, _SMALL) if name == "small" else self._initial
            op = ["write", 0, size]
            mark({"file": name, "n": 1, "op": op})
            perform(fd, name, 1, op)
            done[0] = 1
        os.fsync(fd)
        sync_directory(root)
        mark({"file": name, "synced": number})
        beside = _SyncBeside(name, mark, done) if name == "busy" else None
        try:
            if beside:
                beside.start(fd, rng.random())
            while not stop() and size <= self._limit:
                number += 1
                op = self._draw(rng, size)
                if name == "small" and self._initial:
                    op = self._small(rng, size, op)
                mark({"file": name, "n": number, "op": op})
                try:
                    perform(fd, name, number, op)
                except OSError as problem:
                    if problem.errno != errno.EOPNOTSUPP:
                        raise
                    mark({"file": name, "void": number})
                    continue
                finally:
                    done[0] = number
                size = size_after(size, op)
                if beside:
                    time.sleep(rng.random() * 0.003)
                elif rng.random() < 0.6 or (name == "small" and op[0] == "write"):
                    (os.fsync if rng.random() < 0.5 else os.fdatasync)(fd)
                    mark({"file": name, "synced": number})
                if name == "small":
                    time.sleep(rng.random() * 0.04)
                # The header says at a close what a sync has covered before.
                if rng.random() < 0.15:
                    if beside:
                        beside.finish()
                    os.close(fd)
                    fd = os.open(path, os.O_RDWR)
                    if beside:
                        beside.start(fd, rng.random())
        finally:
            if beside:
                beside.finish()
            os.close(fd)

    @staticmethod
    def _small(rng, size, op):
        """Now without any hole, so that a re-wrap can say so in the header, now with one or shorter."""
        if rng.random() < 0.5:
            return ["write", 0, max(size, rng.randint(8000, _SMALL))]
        return op if op[0] != "write" and size_after(size, op) <= _SMALL else ["truncate", rng.randint(1, max(1, size))]

    def check(self, root, marks):
        """What was promised by these marks and isn't so: a list of sentences."""
        problems = []
        for name in self.files:
            problems += [f"{name}: {problem}" for problem in _check_file(root, name, marks)]
        return problems


class _SyncBeside:
    """Syncs a file again and again on a thread of its own, and marks what each sync covered."""

    def __init__(self, name, mark, done):
        self._name, self._mark, self._done = name, mark, done
        self._over = threading.Event()
        self._thread = None
        self._failure = None

    def start(self, fd, seed):
        self._over.clear()
        self._thread = threading.Thread(target=self._run, args=(fd, random.Random(seed)))
        self._thread.start()

    def finish(self):
        """Ends it; raises what a sync failed with."""
        self._over.set()
        self._thread.join()
        if self._failure:
            raise self._failure

    def _run(self, fd, rng):
        try:
            while not self._over.wait(rng.random() * 0.02):
                covered = self._done[0]
                (os.fsync if rng.random() < 0.5 else os.fdatasync)(fd)
                self._mark({"file": self._name, "synced": covered})
        except OSError as problem:
            self._failure = problem


def size_after(size, op):
    kind, *args = op
    if kind == "truncate":
        return args[0]
    if kind in ("write", "zero", "allocate"):
        return max(size, args[0] + args[1])
    return size


def sync_directory(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_file(root, name, marks):
    mine = [mark for mark in marks if mark.get("file") == name]
    synced = max((mark["synced"] for mark in mine if "synced" in mark), default=None)
    if synced is None:
        return []
    void = {mark["void"] for mark in mine if "void" in mark}
    ops = [(mark["n"], mark["op"]) for mark in mine if "op" in mark and mark["n"] not in void]
    base = bytearray()
    for number, op in ops:
        if number <= synced:
            apply(base, name, number, op)
    pending = [(number, op) for number, op in ops if number > synced]
    size = low = high = len(base)
    for _, op in pending:
        size = size_after(size, op)
        low, high = min(low, size), max(high, size)
    path = os.path.join(root, name)
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError as problem:
        return [f"does not open: {problem}"]
    try:
        return _check_content(fd, name, base, pending, low, high)
    finally:
        os.close(fd)


def _check_content(fd, name, base, pending, low, high):
    actual_size = os.fstat(fd).st_size
    problems = []
    where = f"(promised: {len(base)} bytes; under way: {_brief(pending)})"
    if not low <= actual_size <= high:
        problems.append(f"size is {actual_size}, not within {low}..{high} {where}")
    expected = base + bytes(max(0, actual_size - len(base)))
    # As if everything under way had got there: what most of it looks like, so that few bytes are looked at one by one.
    latest = bytearray(base)
    for number, op in pending:
        apply(latest, name, number, op)
    latest += bytes(max(0, actual_size - len(latest)))
    whole, unreadable, wrong = bytearray(), [], []
    for at in range(0, actual_size, PAGE):
        length = min(PAGE, actual_size - at)
        try:
            chunk = os.pread(fd, length, at)
        except OSError as problem:
            unreadable.append(at)
            whole += bytes(length)
            if at < low:
                problems.append(f"bytes {at}..{at + length} give {errno.errorcode.get(problem.errno)}, of which those "
                                f"below {low} were promised {where}")
            continue
        if len(chunk) != length:
            problems.append(f"a read at {at} is {len(chunk)} bytes long instead of {length}")
            chunk = chunk.ljust(length, b"\0")
        whole += chunk
        if chunk not in (expected[at:at + length], latest[at:at + length]):
            wrong += [at + i for i in range(length) if chunk[i] not in (expected[at + i], latest[at + i])]
    wrong = _not_permitted(wrong, whole, name, pending, low)
    if wrong:
        zeros = sum(whole[at] == 0 for at in wrong)
        problems.append(f"{len(wrong)} wrong bytes in {wrong[0]}..{wrong[-1]} ({zeros} are zero) {where}")
    if not problems and not unreadable:
        problems += _exercise(fd, whole)
    return problems


def _not_permitted(positions, actual, name, pending, low):
    """Those positions whose byte no change under way explains."""
    left = [at for at in positions if at < low or actual[at] != 0]
    for number, op in pending:
        if not left:
            break
        if op[0] == "write" and op[1] <= left[-1] and left[0] < op[1] + op[2]:
            written = payload(name, number, op[2])
            left = [at for at in left if not op[1] <= at < op[1] + op[2] or written[at - op[1]] != actual[at]]
        elif op[0] in ("punch", "zero"):
            left = [at for at in left if not op[1] <= at < op[1] + op[2] or actual[at] != 0]
    return left


def _exercise(fd, found):
    """Works on with the file as a power cut left it: what was read before must stay as it is."""
    model = bytearray(found)
    half = len(found) // 2
    steps = (["write", len(found) + 500, 5000], ["truncate", len(found) + 20000], ["truncate", half],
             ["truncate", len(found)], ["write", half // 2, 3000])
    try:
        for number, op in enumerate(steps):
            apply(model, "later", number, op)
            perform(fd, "later", number, op)
            if number in (1, 4):
                os.fsync(fd)
        if os.pread(fd, len(model) + 1, 0) != model:
            return ["wrong content after working on with it"]
    except OSError as problem:
        return [f"can't be worked on with: {op} gives {problem}"]
    return []


def _brief(pending):
    text = ", ".join(" ".join(map(str, op)) for _, op in pending[:4])
    return (text or "nothing") + (f" and {len(pending) - 4} more" if len(pending) > 4 else "")


APPEND = FileWorkload("append", _append, 0, 4 << 20)
OVERWRITE = FileWorkload("overwrite", _overwrite, 200_000)
TRUNCATE = FileWorkload("truncate", _truncate, 20_000)
PUNCH = FileWorkload("punch", _punch, 100_000)
