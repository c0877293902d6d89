"""What the lower filesystem can't keep: sizes and times beyond its range. What is shown is what will be there after a
remount."""

import contextlib
import errno
import os
import subprocess

from harness import BIN, MountedTest, wait_until
from test_full_disk import OnADisk

PATIENCE = 5  # seconds, for the kernel to look again


class Seeks(MountedTest):
    def test_a_negative_offset_has_no_data_and_no_hole(self):
        path = self.write("f", b"x" * 5000)
        with open(path, "r+b") as file:
            for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                for offset in (-1, -5000, -(1 << 63), 5000, (1 << 63) - 1):
                    self.assertErrno(errno.ENXIO, os.lseek, file.fileno(), offset, whence)
            self.assertErrno(errno.EINVAL, os.lseek, file.fileno(), -1, os.SEEK_SET)


class LargestFile(OnADisk):
    """Files of a kind of ext4 that end at 16 GiB: 1 KiB blocks, and blocks of block numbers three deep."""

    size = 48
    mkfs = ("mkfs.ext4", "-q", "-b", "1024", "-m", "0", "-O", "^extents,^64bit")
    largest = (12 + 256 + 256**2 + 256**3) * 1024

    def refuses(self, path, *more):
        """Calls that would make the file larger than any can be: those that the kernel doesn't answer itself, and more."""
        fd, direct = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR | os.O_DIRECT)
        calls = [
            lambda: os.ftruncate(fd, self.largest + 1),
            lambda: os.truncate(path, 1 << 62),
            lambda: os.pwrite(direct, b"x" * 512, self.largest - self.largest % 512 + 512),
            *(lambda: call(fd) for call in more),
        ]
        for call in calls:
            self.assertErrno(errno.EFBIG, call)
            self.assertEqual(os.fstat(fd).st_size, 5)
        os.close(fd)
        os.close(direct)

    def test_a_larger_file_is_refused_at_once(self):
        path = self.write("f", b"hello", fsync=True)
        self.refuses(path)
        self.vault.remount("--no-writeback")
        self.refuses(path, lambda fd: os.pwrite(fd, b"x", self.largest + 5000))
        self.vault.remount()
        self.assertEqual(self.read(path), b"hello")

    def test_a_write_that_the_kernel_took_and_the_lower_filesystem_did_not_leaves_no_size_behind(self):
        path = self.write("f", b"hello", fsync=True)
        fd = os.open(path, os.O_RDWR)
        os.pwrite(fd, b"x", self.largest + 5000)
        self.assertErrno(errno.EFBIG, os.fsync, fd)
        os.close(fd)
        self.assertTrue(wait_until(lambda: os.stat(path).st_size == 5, PATIENCE), os.stat(path))
        self.assertEqual(self.read(path), b"hello")


class SmallInodes(OnADisk):
    """ext4 with inodes of 128 bytes: times in whole seconds, from 1901 to 2038."""

    size = 48
    mkfs = ("mkfs.ext4", "-q", "-b", "4096", "-m", "0", "-I", "128")
    first, last = -(1 << 31), (1 << 31) - 1

    def test_directories_are_made_while_programs_hold_all_files(self):
        """Nothing below says when it was made, so lookups ask for file handles, for which they take a descriptor if one is free."""
        self.vault.umount()
        command = ["bash", "-c", 'ulimit -n 128; exec "$@"', "-", BIN, "mount", self.vault.path, self.mnt, "--passfile", self.vault.passfile]
        subprocess.run(command, env=self.vault.env, check=True)
        self.vault.pid = self.vault.daemon_pid()
        with contextlib.ExitStack() as held:

            def hold_all():
                for n in range(300):
                    held.enter_context(open(self.mnt / f"f{n}", "wb"))

            self.assertErrno(errno.ENFILE, hold_all)
            (self.mnt / "d").mkdir()
            self.assertTrue((self.mnt / "d").is_dir())
            (self.mnt / "s").symlink_to("d")
        (self.mnt / "d/e").mkdir()

    def test_times_are_shown_as_they_are_kept(self):
        second = 10**9
        far = {"late": 4102444800 * second + 1, "early": -3000000000 * second, "fine": 1500000000 * second + 123456789}
        kept = {"late": self.last, "early": self.first, "fine": 1500000000}
        self.write("written", b"x" * 5000)
        for name, time in far.items():
            os.utime(self.write(name, b"x"), ns=(time, time))
            (self.mnt / f"{name}.d").mkdir()
            os.utime(self.mnt / f"{name}.d", ns=(time, time))
            # Through a descriptor, and written before.
            with open(self.mnt / f"{name}.open", "wb", buffering=0) as file:
                file.write(b"x")
                os.utime(file.fileno(), ns=(time, time))
        names = [name + kind for name in far for kind in ("", ".d", ".open")]

        def shown():
            return {name: os.stat(self.mnt / name).st_mtime_ns for name in names}

        expected = {name: kept[name.split(".")[0]] * second for name in names}
        wait_until(lambda: shown() == expected, PATIENCE)
        self.assertEqual(shown(), expected)
        written = os.stat(self.mnt / "written").st_mtime_ns
        self.assertEqual(written % second, 0)
        self.vault.remount()
        self.assertEqual(shown(), expected)
        self.assertEqual(os.stat(self.mnt / "written").st_mtime_ns, written)
