"""The recorder: a FUSE filesystem of two files, spoken over /dev/fuse.

`disk.img` is what a loop device lies on: each write, zeroing and fsync (the loop device's flush) goes to the log in the
order in which it came. `mark` takes promises: one write is one mark, in the log when the write returns, so a mark
stands in the log where it stood in time. The log is `log.idx` (records) and `log.dat` (what was written).

One thread serves one request at a time, so the log is the order of arrival, and a write was applied before the flush
behind it. A write that a flush didn't wait for but which came just before it counts as covered: that errs to the
filesystem's side by what was in flight in that instant.
"""

import errno
import os
import stat
import struct
import sys

from kernel import MS_NODEV, MS_NOSUID, die_with_parent, mount

WRITE, FLUSH, ZERO, MARK = range(4)
RECORD = struct.Struct("<BxxxIQQ")  # kind, length, offset on the disk, offset in log.dat

_IN_HEADER = struct.Struct("<IIQQIIIHH")
_OUT_HEADER = struct.Struct("<IiQ")
_ROOT, DISK, _MARKS = 1, 2, 3
_NAMES = {b"disk.img": DISK, b"mark": _MARKS}
_MAX_WRITE = 1 << 20
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_DIRECT_IO = 1


def extent_of(body):
    """Where a write request begins, and its length."""
    _, offset, size = struct.unpack_from("<QQI", body)
    return offset, size


class Recorder:
    def __init__(self, image, logdir):
        self.disk = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.disk).st_size
        self.index = open(os.path.join(logdir, "log.idx"), "wb", buffering=1 << 20)
        self.data = open(os.path.join(logdir, "log.dat"), "wb", buffering=1 << 20)
        self.data_end = 0

    def record(self, kind, offset, payload, length=None):
        self.index.write(RECORD.pack(kind, len(payload) if length is None else length, offset, self.data_end))
        self.data.write(payload)
        self.data_end += len(payload)

    def close(self):
        self.index.close()
        self.data.close()

    def attr(self, node):
        if node == _ROOT:
            mode, size = stat.S_IFDIR | 0o700, 0
        elif node == DISK:
            mode, size = stat.S_IFREG | 0o600, self.size
        else:
            mode, size = stat.S_IFREG | 0o600, 0
        times = (0, 0, 0, 0, 0, 0)
        return struct.pack("<6Q10I", node, size, size // 512, *times[:3], *times[3:], mode, 1, 0, 0, 0, 4096, 0)

    # One method for each request that the kernel sends here; each returns the reply's payload or raises OSError.

    def lookup(self, _node, body):
        node = _NAMES.get(body.rstrip(b"\0"))
        if node is None:
            raise OSError(errno.ENOENT, "")
        return struct.pack("<4Q2I", node, 0, 3600, 3600, 0, 0) + self.attr(node)

    def getattr(self, node, _body):
        return struct.pack("<Q2I", 3600, 0, 0) + self.attr(node)

    def open(self, _node, _body):
        return struct.pack("<QII", 0, _DIRECT_IO, 0)

    def opendir(self, _node, _body):
        return struct.pack("<QII", 0, 0, 0)

    def read(self, node, body):
        _, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(self.disk, size, offset) if node == DISK else b""

    def write(self, node, body):
        offset, size = extent_of(body)
        payload = body[40:40 + size]
        if node == DISK:
            os.pwrite(self.disk, payload, offset)
            self.record(WRITE, offset, payload)
        else:
            self.record(MARK, 0, payload)
        return struct.pack("<II", size, 0)

    def fallocate(self, _node, body):
        _, offset, length, _mode = struct.unpack_from("<QQQI", body)
        end = min(offset + length, self.size)
        for at in range(offset, end, _MAX_WRITE):
            os.pwrite(self.disk, bytes(min(_MAX_WRITE, end - at)), at)
        self.record(ZERO, offset, b"", end - offset)
        return b""

    def fsync(self, node, _body):
        if node == DISK:
            self.record(FLUSH, 0, b"")
        return b""

    def statfs(self, _node, _body):
        return struct.pack("<5Q4I24x", 1 << 20, 1 << 19, 1 << 19, 3, 0, 4096, 255, 4096, 0)

    def nothing(self, _node, _body):
        return b""

    def serve(self, fuse):
        """Answers until the filesystem is unmounted."""
        handlers = {
            1: self.lookup, 3: self.getattr, 4: self.getattr, 14: self.open, 15: self.read, 16: self.write,
            17: self.statfs, 18: self.nothing, 20: self.fsync, 25: self.nothing, 27: self.opendir,
            28: self.nothing, 29: self.nothing, 34: self.nothing, 43: self.fallocate,
        }
        forget, init, interrupt, batch_forget = 2, 26, 36, 42
        while True:
            try:
                request = os.read(fuse, _MAX_WRITE + 4096)
            except OSError as problem:
                if problem.errno == errno.ENODEV:
                    return
                if problem.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                raise
            _, opcode, unique, node, *_ = _IN_HEADER.unpack_from(request)
            if opcode in (forget, batch_forget, interrupt):
                continue
            body, code, payload = request[_IN_HEADER.size:], 0, b""
            if opcode == init:
                _, minor, readahead, flags = struct.unpack_from("<4I", body)
                wanted = flags & (_BIG_WRITES | _MAX_PAGES)
                payload = struct.pack("<4I2H2I2H2I24x", 7, min(minor, 36), readahead, wanted, 12, 9, _MAX_WRITE, 1, 256,
                                      0, 0, 0)
            else:
                try:
                    payload = handlers[opcode](node, body)
                except KeyError:
                    code = -errno.ENOSYS
                except OSError as problem:
                    code = -problem.errno
            os.write(fuse, _OUT_HEADER.pack(_OUT_HEADER.size + len(payload), code, unique) + payload)


def start(image, logdir, mountpoint, kind=Recorder):
    """Mounts a recorder over `image` and serves it from a child process, whose id is returned."""
    fuse = os.open("/dev/fuse", os.O_RDWR)
    mount("recorder", mountpoint, "fuse", MS_NOSUID | MS_NODEV, f"fd={fuse},rootmode=40000,user_id=0,group_id=0")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            die_with_parent()
            recorder = kind(image, logdir)
            recorder.serve(fuse)
            recorder.close()
            status = 0
        except BaseException as problem:  # a child of fork must not return into its parent's code
            sys.stderr.write(f"recorder: {problem!r}\n")
        os._exit(status)
    os.close(fuse)
    return child
