"""Someone who can write the ciphertext copies a file's header over another file, has a user append to that, and moves the
page into the first file, where it is authentic."""

import errno
import json
import os
import unittest

from harness import MountedTest, wait_until

SLOTS, PAGE = 1024, 4096
BLOCK_0 = PAGE - SLOTS - 28


class CopiedHeaders(MountedTest):
    def setUp(self):
        super().setUp()
        # Never synced by their writers: the headers have no floor that a file with one empty page falls below.
        self.write("a", b"of a" * 2000)
        self.write("log", b"line\n")
        self.lower_a, self.lower_log = self.vault.lower(self.mnt / "a"), self.vault.lower(self.mnt / "log")
        # As after any while: the kernel knows neither.
        self.vault.remount()

    def copy_header(self):
        with open(self.lower_a, "rb") as a, open(self.lower_log, "r+b") as log:
            log.truncate(0)
            log.write(a.read(SLOTS))
            log.truncate(PAGE + 1)

    def move_page(self):
        with open(self.lower_log, "rb") as log, open(self.lower_a, "r+b") as a:
            log.seek(SLOTS)
            a.seek(SLOTS)
            a.write(log.read(PAGE - SLOTS))

    def append(self, data, sync=True):
        fd = os.open(self.mnt / "log", os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, data)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)

    def events(self):
        return self.vault.events("File Id Of Two Inodes")

    def read_if_let(self):
        try:
            return self.read(self.mnt / "a")
        except OSError as error:
            self.assertEqual(error.errno, errno.EIO)
            return b""

    def numbers(self):
        return os.lstat(self.lower_a).st_ino, os.lstat(self.lower_log).st_ino

    def test_a_copied_header_takes_no_append_while_its_file_is_known(self):
        a, log = self.numbers()
        self.read(self.mnt / "a")
        self.copy_header()
        self.assertErrno(errno.EIO, self.append, b"of the user\n")
        self.assertErrno(errno.EIO, self.read, self.mnt / "log")
        with open(self.lower_log, "rb") as lower:
            lower.seek(SLOTS)
            self.assertEqual(set(lower.read(PAGE - SLOTS)), {0}, "the user's line was sealed under the other file's key")
        event = self.events()[-1]
        self.assertEqual((event["inode"], event["other-inode"], event["refused"]), (log, a, True))
        self.assertTrue(event["lower-path"].endswith(os.path.basename(self.lower_log)))
        self.assertTrue(event["other-lower-path"].endswith(os.path.basename(self.lower_a)))
        # What the event and fsck say to do: it is emptied, and can be used again.
        (self.mnt / "log").write_bytes(b"")
        self.append(b"of the user\n")
        self.assertEqual(self.read(self.mnt / "log"), b"of the user\n")
        self.assertEqual(self.read(self.mnt / "a"), b"of a" * 2000)

    def test_an_append_that_a_copy_has_taken_is_not_read_in_the_other_file(self):
        a, log = self.numbers()
        self.copy_header()
        self.append(b"x" * (BLOCK_0 - 1))
        self.move_page()
        self.assertErrno(errno.EIO, self.read, self.mnt / "a")
        event = self.events()[-1]
        self.assertEqual((event["inode"], event["other-inode"], event["refused"]), (a, log, True))
        # Another mount knows no more than what is on disk, which fsck tells.
        done = self.vault.run("fsck", self.mnt, "--json")
        self.assertEqual(done.returncode, 4, done.stdout)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        twice = sorted(row["path"] for row in found if row.get("code") == "file-id-twice")
        self.assertEqual(twice, ["/a", "/log"])
        # The copy is removed, and the file is read again: with the page that was moved.
        (self.mnt / "log").unlink()
        self.assertIn(b"x" * 100, self.read(self.mnt / "a"))

    def test_a_copy_that_was_taken_away_again_is_told_of(self):
        a, log = self.numbers()
        with open(self.lower_log, "rb") as own:
            own = own.read()
        self.copy_header()
        # The close of a synced file writes its header once more.
        self.append(b"x" * (BLOCK_0 - 1), sync=False)
        self.move_page()
        with open(self.lower_log, "r+b") as lower:
            lower.write(own)
            lower.truncate(len(own))
        # Refused as long as the copy is in use, which the kernel tells a little after the last close.
        self.assertIn(b"x" * 100, wait_until(self.read_if_let))
        event = self.events()[-1]
        self.assertEqual((event["inode"], event["other-inode"], event["refused"]), (a, log, False))

    def test_usual_work_is_no_copy(self):
        for n in range(20):
            self.write(f"f{n}", b"%d" % n * 3000)
            os.link(self.mnt / f"f{n}", self.mnt / f"g{n}")
            self.read(self.mnt / f"g{n}")
            os.rename(self.mnt / f"f{n}", self.mnt / "renamed")
            os.unlink(self.mnt / f"g{n}")
            self.write("renamed", b"anew" * n)
        self.vault.rotate()
        self.vault.ok("rewrap", self.mnt)
        self.vault.ok("reencrypt", "-r", self.mnt)
        for path in self.mnt.iterdir():
            self.read(path)
        self.assertEqual(self.events(), [])
        self.assertEqual(self.vault.run("fsck", self.mnt).returncode, 0)


if __name__ == "__main__":
    unittest.main()
