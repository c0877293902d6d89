"""Stable pages: ext4 lets a page be changed while it is written out, and then a mix of both contents can reach the disk.
A block that an fsync promised must not be lost to that. Here a durable file is rewritten again and again while its lower
file is written out, and each page that reached the recorded disk is judged: ext4 alone shows mixed pages, which proves
that the race was run; of rekeyfs, which waits before it overwrites such a page, each must open with its tag.
"""

import fcntl
import mmap
import os
import struct
from itertools import zip_longest

import recording
from disk import BLOCK, Log
from systems import SYSTEMS, Broken

_PAGES = 16
_WRITE_OUTS = 700  # a recording ends behind so many
_SECONDS = 3.0  # or behind these
_TRIES = 4  # for the control to show what it is there to show
_AT_ONCE = 300  # files that fsck judges at once
_FIBMAP = 1
_SYNCED = {"pages": "synced"}


class Racing:
    """Rewrites all of a file in one write after another, beside a thread that has the lower file written out."""

    name = "racing rewrites"

    def __init__(self, system):
        self._system = system
        # rekeyfs: the payload of its blocks; so each write replaces whole pages below.
        self._length = 3044 + 4068 * (_PAGES - 1) if system.rotates else BLOCK * _PAGES

    def run(self, root, mark, _seed, stop):
        """Works below `root` until `stop` says so; `mark` says when the file is durable."""
        contents = [self._content(stamp) for stamp in range(1, 9)]
        # A mount has a page cache of its own: past it, each write is a write of the lower file.
        fd = os.open(os.path.join(root, "pages"), os.O_RDWR | os.O_CREAT | (os.O_DIRECT if self._system.rotates else 0))
        os.pwrite(fd, contents[0], 0)
        os.fsync(fd)
        mark(_SYNCED)
        # A process, not a thread: the two must run at the same instant.
        beside = recording.fork(lambda: self._write_out(stop))
        number, ended = 0, 0
        while not ended:
            number += 1
            os.pwrite(fd, contents[number % len(contents)], 0)
            ended, status = os.waitpid(beside, os.WNOHANG)
        os.close(fd)
        if status:
            raise recording.RigError("writing pages out failed")

    def _content(self, stamp):
        content = mmap.mmap(-1, self._length)
        content.write(bytes([stamp]) * self._length)
        return content

    def _write_out(self, stop):
        """Does what the kernel does in its own time. Not by a sync of the file through its mount: the kernel lets no
        write of it pass meanwhile."""
        fd = os.open(_lower_file(self._system), os.O_RDONLY)
        for _ in range(_WRITE_OUTS):
            if stop():
                break
            os.fdatasync(fd)
        os.close(fd)


def _files(system):
    """The lower files below a filesystem."""
    paths = [os.path.join(at, name) for at, _, names in os.walk(system.under()) for name in names]
    return sorted(path for path in paths if os.path.getsize(path) >= BLOCK)


def _lower_file(system):
    path, = _files(system)
    return path


def _versions(directory, path):
    """What reached the disk of a lower file since it was durable: the contents of its pages, as files that hold each
    one of them."""
    fd = os.open(path, os.O_RDONLY)
    block_of = [struct.unpack("i", fcntl.ioctl(fd, _FIBMAP, struct.pack("i", page)))[0] for page in range(_PAGES)]
    last = [os.pread(fd, BLOCK, BLOCK * page) for page in range(_PAGES)]
    os.close(fd)
    page_at = {BLOCK * block: page for page, block in enumerate(block_of)}
    log = Log(directory)
    synced = next(position for position, mark in log.marks if mark == _SYNCED)
    seen = [[] for _ in range(_PAGES)]
    for offset, payload in log.blocks(synced, len(log.records)):
        if offset in page_at:
            seen[page_at[offset]].append(payload)
    log.close()
    return [[content or last[page] for page, content in enumerate(version)] for version in zip_longest(*seen)]


def _mixed_plainly(_system, versions):
    """ext4: a page holds one stamp."""
    return sum(page != page[:1] * BLOCK for version in versions for page in version)


def _mixed_by_fsck(system, versions):
    """rekeyfs: what its own check can't open of files with these pages, and of one that is mixed on purpose."""
    mixed = list(versions[0])
    half = BLOCK // 2
    mixed[3] = versions[0][3][:half] + versions[1][3][half:]
    versions = versions + [mixed]
    original = _lower_file(system)
    # No name is part of a block: copies of the file take the places of these.
    system.mount()
    for number in range(min(_AT_ONCE, len(versions))):
        with open(os.path.join(system.root, str(number)), "wb") as file:
            file.write(bytes(4000))
    system.umount()
    paths = [path for path in _files(system) if path != original]
    damaged = 0
    for first in range(0, len(versions), _AT_ONCE):
        for path, version in zip_longest(paths, versions[first:first + _AT_ONCE], fillvalue=()):
            with open(path, "r+b") as file:
                file.truncate(BLOCK * len(version))
                file.write(b"".join(version))
        damaged += system.damaged_pages()
    if damaged < 1:
        raise recording.RigError("fsck does not see a page that was mixed on purpose")
    return damaged - 1


def _measure(box, name, mixed_pages):
    """Runs the race on a system; returns how many pages reached the disk, and how many of them are mixed."""
    system, directory = SYSTEMS[name](box), box.fresh("recording")
    recording.record(box, directory, system, Racing(system), False, 0, _SECONDS)
    try:
        recording.mount_image(box.image, box.lower)
        versions = _versions(directory, _lower_file(system))
        if len(versions) < 2:
            raise recording.RigError("no page was written out")
        return len(versions) * _PAGES, mixed_pages(system, versions)
    finally:
        box.clear()


def run(box):
    """Prints what became of the pages; the exit status."""
    try:
        for _ in range(_TRIES):
            pages, mixed = _measure(box, "ext4", _mixed_plainly)
            print(f"stable pages: ext4: {mixed} mixed pages in {pages} on the disk", flush=True)
            if mixed:
                break
        outcomes = [mixed > 0]
        pages, mixed = _measure(box, "rekeyfs", _mixed_by_fsck)
        print(f"stable pages: rekeyfs: {mixed} mixed pages in {pages} on the disk", flush=True)
        outcomes.append(mixed == 0)
    except (recording.RigError, Broken) as problem:
        print(f"FAILED stable pages: {problem}")
        outcomes = [False]
    print(f"{sum(outcomes)} passed, {len(outcomes) - sum(outcomes)} failed", flush=True)
    return 0 if all(outcomes) else 1
