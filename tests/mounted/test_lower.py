"""The lower filesystem goes wrong under a mount: read-only, failing, or gone. Clear errors, and a clean unmount."""

import errno
import os
import pathlib
import shutil
import subprocess

from harness import MountedTest, is_gone, wait_until
from test_full_disk import OnADisk


class Lower(OnADisk):
    size = 48

    def assertEndsWell(self):
        """The daemon is the one that was there, and goes when it is told to."""
        pid = self.vault.pid
        self.assertFalse(is_gone(pid))
        done = self.vault.run("umount", self.mnt)
        self.assertNotIn("panicked", done.stderr)
        self.assertFalse(self.vault.is_mounted(), done.stderr)
        self.assertTrue(wait_until(lambda: is_gone(pid), 10))
        self.vault.pid = None

    def write_fails(self, *expected):
        with self.assertRaises(OSError) as raised:
            self.write("new", os.urandom(50_000), fsync=True)
        self.assertIn(raised.exception.errno, expected)
        with self.assertRaises(OSError) as raised:
            with open(self.mnt / "kept0", "r+b", buffering=0) as f:
                f.write(b"changed")
                os.fsync(f.fileno())
        self.assertIn(raised.exception.errno, expected)

    def device(self):
        found = subprocess.run(["losetup", "-n", "-O", "NAME", "-j", self.image], capture_output=True, text=True)
        return pathlib.Path(found.stdout.strip()).name

    def test_mounted_read_only(self):
        kept = self.keep(2)
        self.vault.umount()
        subprocess.run(["mount", "-o", "remount,ro", self.disk], check=True)
        done = self.vault.try_mount()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("mounted read-only", done.stderr)
        self.vault.pid = self.vault.daemon_pid()
        self.assertKept(kept)
        self.assertErrno(errno.EROFS, open, self.mnt / "new", "wb")
        self.assertErrno(errno.EROFS, os.mkdir, self.mnt / "new")
        self.assertRefused(self.vault.run("rotate", self.mnt), "read-only")
        self.assertEndsWell()

    def test_turned_read_only_by_an_error(self):
        kept = self.keep(2)
        trigger = pathlib.Path(f"/sys/fs/ext4/{self.device()}/trigger_fs_error")
        if not trigger.exists():
            self.skipTest("this kernel has no trigger_fs_error")
        subprocess.run(["mount", "-o", "remount,errors=remount-ro", self.disk], check=True)
        trigger.write_text("for a test")
        self.assertKept(kept)
        self.write_fails(errno.EROFS, errno.EIO)
        self.assertRefused(self.vault.run("rotate", self.mnt))
        self.assertEndsWell()

    def test_a_disk_that_can_not_be_read(self):
        kept = self.keep(3)
        self.vault.umount()
        subprocess.run(["umount", self.disk], check=True)
        subprocess.run(["mount", "-t", "ext4", "-o", "loop", self.image, self.disk], check=True)
        self.vault.mount()
        # Its journal and inodes are in the first part; what lies behind the end of the image can't be read.
        os.truncate(self.image, 1 << 20)
        failed = 0
        for path, data in kept.items():
            try:
                self.assertTrue(self.read(path) == data)
            except OSError as e:
                self.assertIn(e.errno, (errno.EIO, errno.EUCLEAN))
                failed += 1
        self.assertGreater(failed, 0)
        self.assertEndsWell()


class Gone(MountedTest):
    def test_the_tree_is_deleted_under_the_mount(self):
        os.mkdir(self.mnt / "d")
        self.write("d/f", b"x" * 10_000, fsync=True)
        held = open(self.write("held", b"y" * 10_000, fsync=True), "rb")
        self.addCleanup(held.close)
        shutil.rmtree(self.vault.path)
        gone = (errno.ENOENT, errno.ESTALE, errno.EIO)
        for call in (
            lambda: self.write("new", b"x", fsync=True),
            lambda: os.mkdir(self.mnt / "d2"),
            lambda: os.rename(self.mnt / "d", self.mnt / "e"),
            lambda: self.read(self.mnt / "d/g"),
        ):
            with self.assertRaises(OSError) as raised:
                call()
            self.assertIn(raised.exception.errno, gone)
        self.assertEqual(held.read(), b"y" * 10_000)
        self.assertRefused(self.vault.run("rotate", self.mnt))
        held.close()
        pid = self.vault.pid
        done = self.vault.run("umount", self.mnt)
        self.assertNotIn("panicked", done.stderr)
        self.assertFalse(self.vault.is_mounted(), done.stderr)
        self.assertTrue(wait_until(lambda: is_gone(pid), 10))
        self.vault.pid = None
