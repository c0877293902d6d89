"""A disk that fails when it is told to: a loop device over a FUSE file, as the power-cut rig has one, whose writes give
EIO, all of them or those of bad blocks, until it is healed. Needs nothing of the kernel but FUSE and loop devices."""

import errno
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "powercut"))

import recorder

BLOCK = 4096


class _Disk(recorder.Recorder):
    """Keeps no log; what is written to `mark` says which writes fail."""

    def __init__(self, image, _logdir):
        self.disk = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.disk).st_size
        self._bad = []

    def record(self, kind, offset, payload, length=None):
        if kind == recorder.MARK:
            self._bad = json.loads(payload)

    def close(self):
        os.close(self.disk)

    def _fail_if_bad(self, node, offset, length):
        if node == recorder.DISK and any(start < offset + length and offset < end for start, end in self._bad):
            raise OSError(errno.EIO, "")

    def write(self, node, body):
        self._fail_if_bad(node, *recorder.extent_of(body))
        return super().write(node, body)

    def fallocate(self, node, body):
        if self._bad:
            raise OSError(errno.EIO, "")
        return super().fallocate(node, body)

    def fsync(self, node, body):
        if [[0, self.size]] == self._bad:
            raise OSError(errno.EIO, "")
        return super().fsync(node, body)


class FailingDisk:
    """An ext4 on such a disk, mounted at `place`."""

    def __init__(self, directory, size):
        self.place = directory / "disk"
        self._fuse = directory / "device"
        self._image = directory / "image"
        for made in (self.place, self._fuse):
            made.mkdir()
        with open(self._image, "wb") as file:
            file.truncate(size)
        self._size = size
        subprocess.run(["mkfs.ext4", "-q", "-b", str(BLOCK), "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0",
                        self._image], check=True)
        recorder.start(str(self._image), str(directory), str(self._fuse), _Disk)
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-t", "ext4", "-o", "loop", self._fuse / "disk.img", self.place], check=True)

    def umount(self):
        subprocess.run(["umount", self.place], check=True)

    def _tell(self, bad):
        with open(self._fuse / "mark", "wb", buffering=0) as marks:
            marks.write(json.dumps(bad).encode())

    def fail(self):
        """All writes and flushes fail from now on."""
        self._tell([[0, self._size]])

    def fail_blocks_of(self, path):
        """Those of a file's blocks: it must be on the disk."""
        shown = subprocess.run(["filefrag", "-e", f"-b{BLOCK}", path], capture_output=True, text=True, check=True).stdout
        bad = []
        for line in shown.splitlines():
            fields = line.replace("..", " ").replace(":", " ").split()
            if fields and fields[0].isdigit() and len(fields) >= 6:
                first, last = int(fields[3]), int(fields[4])
                bad.append([first * BLOCK, (last + 1) * BLOCK])
        assert bad, shown
        self._tell(bad)

    def heal(self):
        self._tell([])

    def close(self):
        """Takes all of it down."""
        self.heal()
        for place in (self.place, self._fuse):
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)
