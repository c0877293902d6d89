"""What a power cut leaves of a recorded disk: cuts are drawn from a seed, and disks rebuilt as of a cut."""

import bisect
import json
import mmap
import os
import random
import subprocess
from dataclasses import dataclass

from recorder import FLUSH, MARK, RECORD, WRITE

BLOCK = 4096


@dataclass
class Cut:
    """An instant (the number of log records before it) and what became of the writes that no flush covered."""
    index: int
    position: int
    keep: float  # odds of a 4 KiB block; 0: none, 1: all
    seed: int

    def __str__(self):
        return f"cut {self.index} at record {self.position}, {self.keep:.0%} of the unflushed blocks"


class Log:
    """A recording: its base image, its records, its marks by position."""

    def __init__(self, directory):
        self.base = os.path.join(directory, "base.img")
        raw = open(os.path.join(directory, "log.idx"), "rb").read()
        self.records = [RECORD.unpack_from(raw, at) for at in range(0, len(raw) - RECORD.size + 1, RECORD.size)]
        self._data = open(os.path.join(directory, "log.dat"), "rb")
        self.marks = []
        self.flushes = []
        for position, (kind, length, _, at) in enumerate(self.records):
            if kind == MARK:
                self.marks.append((position, json.loads(os.pread(self._data.fileno(), length, at))))
            elif kind == FLUSH:
                self.flushes.append(position)
        self.begin = next(position for position, mark in self.marks if mark.get("run") == "begin")
        self.end = next((position for position, mark in self.marks if mark.get("run") == "end"), len(self.records))

    def close(self):
        self._data.close()

    def promised(self, position):
        """The marks made before an instant."""
        return [mark for at, mark in self.marks if at < position]

    def cuts(self, count, seed):
        """`count` cuts: half of them right behind a mark, the others anywhere in the run."""
        rng = random.Random(seed)
        marks = [at + 1 for at, mark in self.marks if self.begin < at < self.end]
        cuts = []
        for index in range(count):
            if marks and rng.random() < 0.5:
                position = rng.choice(marks)
            else:
                position = rng.randint(self.begin + 1, self.end)
            keep = rng.choice((0.0, 1.0, 0.5, 0.5, 0.9, 0.1, rng.random()))
            cuts.append(Cut(index, position, keep, rng.getrandbits(32)))
        return cuts

    def blocks(self, first, last):
        """The blocks written by the records of a range: (offset, bytes or a length of zeros)."""
        for kind, length, offset, at in self.records[first:last]:
            if kind in (FLUSH, MARK):
                continue
            payload = os.pread(self._data.fileno(), length, at) if kind == WRITE else None
            done = 0
            while done < length:
                step = min(BLOCK - (offset + done) % BLOCK, length - done)
                yield offset + done, bytes(step) if payload is None else payload[done:done + step]
                done += step


class Rebuilder:
    """Rebuilds disks in the order of their cuts: the durable part moves forward and is applied once."""

    def __init__(self, log, directory):
        self.log = log
        self.durable = os.path.join(directory, "durable.img")
        self.applied = 0
        copy(log.base, self.durable)
        self._file = open(self.durable, "r+b")
        self._map = mmap.mmap(self._file.fileno(), 0)

    def close(self):
        self._map.close()
        self._file.close()
        os.unlink(self.durable)

    def rebuild(self, cut, image):
        """Writes the disk as of a cut; cuts must come in the order of their positions."""
        flushes = bisect.bisect_left(self.log.flushes, cut.position)
        covered = self.log.flushes[flushes - 1] if flushes else 0
        for offset, payload in self.log.blocks(self.applied, covered):
            self._map[offset:offset + len(payload)] = payload
        self.applied = max(self.applied, covered)
        copy(self.durable, image)
        rng = random.Random(cut.seed)
        with open(image, "r+b") as disk:
            for offset, payload in self.log.blocks(covered, cut.position):
                if rng.random() < cut.keep:
                    os.pwrite(disk.fileno(), payload, offset)


def copy(source, target):
    """Copies an image with its holes."""
    subprocess.run(["cp", "--sparse=always", "--reflink=never", source, target], check=True)
