"""System calls that Linux has beyond POSIX, one by one: which of them work is known, and listed where they can't."""

import ctypes
import fcntl
import os
import select
import signal
import struct

from harness import RENAME_EXCHANGE, RENAME_NOREPLACE, checked, fallocate, libc, renameat2
from suite import Cases, command, equal, need

COLLAPSE, INSERT, KEEP_SIZE, PUNCH, ZERO = 8, 32, 1, 2, 16
RENAME_WHITEOUT = 4
AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000


class Calls(Cases):
    """Each call on a file or directory of its own."""

    name = "calls"
    about = "Linux calls beyond POSIX: fallocate's modes, O_TMPFILE, handles, notification, copying in the kernel, limits"

    def _fd(self, size=65536, name="f"):
        fd = os.open(self.dir / name, os.O_RDWR | os.O_CREAT)
        self.descriptors.append(fd)
        os.write(fd, bytes(range(256)) * (size // 256))
        return fd

    def test_fallocate_punch_zero_and_keep_size(self):
        fd = self._fd()
        fallocate(fd, PUNCH | KEEP_SIZE, 8192, 8192)
        fallocate(fd, ZERO, 30000, 5000)
        fallocate(fd, KEEP_SIZE, 60000, 50000)
        equal(os.fstat(fd).st_size, 65536, "size")
        wanted = bytearray(bytes(range(256)) * 256)
        wanted[8192:16384], wanted[30000:35000] = bytes(8192), bytes(5000)
        equal(os.pread(fd, 65536, 0) == wanted, True, "content")

    def test_fallocate_collapse_range(self):
        fallocate(self._fd(), COLLAPSE, 4096, 4096)

    def test_fallocate_insert_range(self):
        fallocate(self._fd(), INSERT, 4096, 4096)

    def test_o_tmpfile(self):
        fd = os.open(self.dir, os.O_TMPFILE | os.O_RDWR, 0o600)
        self.descriptors.append(fd)
        os.write(fd, b"x")
        checked(libc.linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, os.fsencode(self.dir / "f"), 0x400))
        equal((self.dir / "f").read_bytes(), b"x", "linked")

    def test_rename_flags(self):
        for name in "abc":
            (self.dir / name).write_text(name)
        renameat2(self.dir / "a", self.dir / "b", RENAME_EXCHANGE)
        renameat2(self.dir / "a", self.dir / "d", RENAME_NOREPLACE)
        renameat2(self.dir / "c", self.dir / "e", RENAME_WHITEOUT)
        equal([(self.dir / name).read_text() for name in "bde"], ["a", "b", "c"], "contents")
        equal(os.lstat(self.dir / "c").st_rdev, 0, "the whiteout")

    def test_copy_file_range_splice_and_sendfile(self):
        fd = self._fd()
        copy = self._fd(0, "copy")
        equal(os.copy_file_range(fd, copy, 50000, 1000, 3) > 0, True, "copied")
        equal(os.sendfile(copy, fd, 100, 5000), 5000, "sent")
        reading, writing = os.pipe()
        self.descriptors += [reading, writing]
        equal(os.splice(fd, writing, 4096, 0), 4096, "spliced out")
        equal(os.splice(reading, copy, 4096, None, 90000), 4096, "spliced in")
        equal(os.pread(copy, 4096, 90000), os.pread(fd, 4096, 0), "content")

    def test_inotify(self):
        fd = checked(libc.inotify_init1(os.O_NONBLOCK))
        self.descriptors.append(fd)
        checked(libc.inotify_add_watch(fd, os.fsencode(self.dir), 0xFFF))
        (self.dir / "x").write_bytes(b"y")
        os.rename(self.dir / "x", self.dir / "z")
        seen = set()
        while select.select([fd], [], [], 0.5)[0]:
            data = os.read(fd, 65536)
            while data:
                _, mask, _, length = struct.unpack_from("iIII", data)
                seen.add(mask)
                data = data[16 + length:]
        for mask in (0x100, 0x2, 0x8, 0x40, 0x80):
            equal(mask in seen, True, f"event {mask:#x}")

    def test_file_handles(self):
        self._fd()
        handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
        mount = ctypes.c_int()
        checked(libc.name_to_handle_at(AT_FDCWD, os.fsencode(self.dir / "f"), handle, ctypes.byref(mount), 0))
        directory = os.open(self.dir, os.O_RDONLY)
        fd = checked(libc.open_by_handle_at(directory, handle, os.O_RDONLY))
        self.descriptors += [directory, fd]
        equal(os.read(fd, 256), bytes(range(256)), "read by handle")

    def test_file_flags(self):
        need("chattr", "lsattr")
        self._fd()
        command("chattr", "+d", self.dir / "f")
        equal("d" in command("lsattr", self.dir / "f").stdout.split()[0], True, "the flag")

    def test_extents(self):
        need("filefrag")
        os.fsync(self._fd())
        equal("extents" in command("filefrag", "-v", self.dir / "f").stdout, True, "extents")

    def test_swap_files(self):
        need("mkswap", "swapon")
        fd = self._fd(1 << 20, "swap")
        os.fsync(fd)
        command("mkswap", self.dir / "swap")
        command("swapon", self.dir / "swap")
        command("swapoff", self.dir / "swap")

    def test_symlink_targets_of_3030_bytes(self):
        os.symlink("x" * 3030, self.dir / "link")
        equal(os.readlink(self.dir / "link"), "x" * 3030, "target")

    def test_symlink_targets_of_4095_bytes(self):
        os.symlink("x" * 4095, self.dir / "link")
        equal(os.readlink(self.dir / "link"), "x" * 4095, "target")

    def test_attribute_names_of_168_bytes(self):
        fd = self._fd()
        os.setxattr(fd, "user." + "n" * 163, b"value")
        equal(os.getxattr(fd, "user." + "n" * 163), b"value", "value")

    def test_attribute_names_of_255_bytes(self):
        os.setxattr(self._fd(), "user." + "n" * 250, b"value")

    def test_mmap_private_shared_and_exec(self):
        import mmap

        fd = self._fd()
        shared, private = mmap.mmap(fd, 65536), mmap.mmap(fd, 65536, flags=mmap.MAP_PRIVATE)
        private[0:4] = b"mine"
        shared[4:8] = b"ours"
        equal((os.pread(fd, 8, 0), private[0:4]), (bytes(range(4)) + b"ours", b"mine"), "what is seen")
        os.pwrite(fd, b"late", 100)
        equal(shared[100:104], b"late", "a write shows in the mapping")

    def test_leases_and_dnotify(self):
        directory = os.open(self.dir, os.O_RDONLY)
        self.descriptors.append(directory)
        fcntl.fcntl(directory, fcntl.F_NOTIFY, fcntl.DN_CREATE)
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        (self.dir / "f").write_bytes(b"x")
        fd = os.open(self.dir / "f", os.O_RDONLY)
        self.descriptors.append(fd)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        equal(fcntl.fcntl(fd, fcntl.F_GETLEASE), fcntl.F_RDLCK, "the lease")
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
