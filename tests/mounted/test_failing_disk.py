"""A lower disk whose writes fail: fsync says so, nothing that was promised before is lost, and once the disk is healthy
again the vault goes on."""

import errno
import os

from failing_disk import FailingDisk
from harness import MountedTest, is_gone, wait_until

SIZE = 48 << 20


class FailingWrites(MountedTest):
    options = None

    def setUp(self):
        super().setUp()
        self.need_root()
        self.need_tools("mkfs.ext4", "filefrag", "mount", "losetup")
        self.disk = FailingDisk(self.dir, SIZE)
        self.addCleanup(self.disk.close)
        (self.dir / "b").mkdir()
        self.vault = self.new_vault(self.dir / "b", vault=self.disk.place / "vault")
        self.mnt = self.vault.mnt
        self.vault.mount()
        self.kept = {}
        for i in range(3):
            data = os.urandom(100_000)
            self.kept[self.write(f"kept{i}", data, fsync=True)] = data
        self.sync_lower()

    def sync_lower(self):
        fd = os.open(self.disk.place, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def assertKept(self):
        for path, data in self.kept.items():
            self.assertTrue(self.read(path) == data, f"{path} has changed")

    def fails(self, path, data, mode="wb"):
        """A write that fsync says has failed, and the file can be closed all the same."""
        with self.assertRaises(OSError) as raised:
            with open(path, mode, buffering=0) as f:
                f.write(data)
                os.fsync(f.fileno())
        self.assertIn(raised.exception.errno, (errno.EIO, errno.EROFS))

    def test_all_writes_fail_until_the_disk_is_well_again(self):
        paths = list(self.kept)
        self.disk.fail()
        self.fails(self.mnt / "new", os.urandom(200_000))
        self.fails(paths[0], b"changed", "r+b")
        # What is cached, or on the disk, is read as before.
        self.assertEqual(self.read(paths[1]), self.kept[paths[1]])
        self.assertRefused(self.vault.run("rotate", self.mnt))
        pid = self.vault.pid
        self.assertFalse(is_gone(pid))
        done = self.vault.run("umount", self.mnt)
        self.assertNotIn("panicked", done.stderr)
        self.assertFalse(self.vault.is_mounted(), done.stderr)
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        self.vault.pid = None
        self.disk.umount()
        self.disk.heal()
        self.disk.mount()
        self.vault.mount()
        # The overwritten bytes were never promised; the others were.
        changed = self.kept.pop(paths[0])
        self.assertIn(self.read(paths[0]), (changed, b"changed" + changed[7:]))
        self.assertKept()
        self.assertEqual(self.vault.rotate()["old_version"], 1)
        self.write("after", b"all is well", fsync=True)
        self.vault.umount()
        self.vault.ok("fsck", self.vault.path, "--passfile", self.vault.passfile)
        self.vault.mount()
        self.assertKept()
        self.assertEqual(self.read(self.mnt / "after"), b"all is well")

    def test_bad_blocks_of_one_file_harm_no_other_and_are_written_again_once_they_are_good(self):
        path = self.mnt / "kept0"
        self.disk.fail_blocks_of(self.vault.lower(path))
        data = os.urandom(100_000)
        self.fails(path, data, "r+b")
        self.assertFalse(is_gone(self.vault.pid))
        beside = self.write("beside", b"this one is written", fsync=True)
        old = self.kept.pop(path)
        self.assertKept()
        self.disk.heal()
        with open(path, "r+b", buffering=0) as f:
            f.write(data)
            os.fsync(f.fileno())
        self.vault.umount()
        self.disk.umount()
        self.disk.mount()
        self.vault.mount()
        self.assertNotEqual(data, old)
        self.kept |= {path: data, beside: b"this one is written"}
        self.assertKept()
        self.vault.umount()
        self.vault.ok("fsck", self.vault.path, "--passfile", self.vault.passfile)
