"""Counts of files outlive the mount: right after an end in order, marked as of their date after any other."""

import json
import unittest

from harness import MountedTest, wait_until


class KeptCounts(MountedTest):
    options = ("--no-rewrap",)

    def setUp(self):
        super().setUp()
        (self.mnt / "d").mkdir()
        for number in range(8):
            self.write(f"d/{number}", b"x", fsync=True)
        self.vault.rotate()

    def remount(self):
        self.vault.umount()
        self.vault.mount(*self.options)

    def status(self, *args):
        target = self.mnt if self.vault.pid else self.vault.path
        return json.loads(self.vault.ok("status", target, "--json", *args, *([] if self.vault.pid else self.secret)))

    @property
    def secret(self):
        return ["--passfile", self.vault.passfile]

    def check(self, versions, stale, counted):
        """The numbers shown; they hold, and are those of a count of all files."""
        status = self.status()
        self.assertEqual({seen["version"]: seen["files"] for seen in status["versions"]}, versions)
        self.assertEqual((status["files_stale"], status["files_seen"]), (stale, sum(versions.values())))
        self.assertEqual((status["counted"], status.get("counts_as_of")), (counted, None))

    def test_they_are_kept_count_of_from_mount_to_mount(self):
        counted = self.status("--count")["counted"]
        self.check({1: 8}, 8, counted)
        self.write("new", b"x", fsync=True)
        self.vault.umount()
        self.check({1: 8, 2: 1}, 8, counted)
        text = self.vault.ok("status", self.vault.path, *self.secret)
        self.assertIn("9 files that hold data, counted at", text)
        self.assertIn("and kept count of since", " ".join(text.split()))
        self.vault.mount(*self.options)
        self.check({1: 8, 2: 1}, 8, counted)
        # Of files that this mount has not looked at before.
        (self.mnt / "d/0").unlink()
        self.vault.ok("reencrypt", self.mnt / "d/1")
        (self.mnt / "d/2").rename(self.mnt / "d/3")
        self.remount()
        self.check({1: 5, 2: 2}, 5, counted)
        again = self.status("--count")
        self.assertEqual({seen["version"]: seen["files"] for seen in again["versions"]}, {1: 5, 2: 2})
        # Also by what works on a vault that isn't mounted.
        self.vault.umount()
        self.vault.ok("rewrap", self.vault.path, *self.secret)
        self.check({2: 7}, 0, self.status()["counted"])
        self.assertGreater(self.status()["counted"], again["counted"])

    def as_of(self, versions):
        status = self.status()
        self.assertEqual({seen["version"]: seen["files"] for seen in status["versions"]}, versions)
        self.assertIsNone(status["counted"])
        self.assertIsNotNone(status["counts_as_of"])
        target, secret = (self.mnt, []) if self.vault.pid else (self.vault.path, self.secret)
        self.assertIn("which may have changed since: --count", " ".join(self.vault.ok("status", target, *secret).split()))

    def test_after_a_crash_they_are_as_of_their_date(self):
        self.status("--count")
        self.remount()
        self.write("more", b"x", fsync=True)
        self.vault.kill()
        self.vault.clear_stale_mountpoint()
        # Its first thread may end before the last that answers on the socket.
        unmounted = ["status", self.vault.path, *self.secret]
        self.assertTrue(wait_until(lambda: self.vault.run(*unmounted).returncode == 0))
        self.as_of({1: 8})
        self.vault.mount(*self.options)
        self.as_of({1: 8})
        # What removes a version counts by itself.
        key = self.kms("describe-key", "--key-id", "alias/default")["KeyMetadata"]["KeyId"]
        done = self.vault.run("key", "retire", self.mnt, "--key-id", key, "--below", "2")
        self.assertRefused(done, "8 files need", status=44)
        self.assertEqual(self.status("--count")["files_seen"], 9)
        self.remount()
        self.check({1: 8, 2: 1}, 8, self.status()["counted"])

    def test_what_another_user_of_the_vault_did_makes_them_as_of_their_date(self):
        self.status("--count")
        self.vault.umount()
        self.check({1: 8}, 8, self.status()["counted"])
        # Another host, or another user of this one, with a memory of its own.
        here = self.vault.env["XDG_STATE_HOME"]
        there = self.dir / "there"
        there.mkdir()
        self.vault.env["XDG_STATE_HOME"] = str(there)
        self.vault.mount(*self.options)
        self.write("theirs", b"x", fsync=True)
        self.vault.umount()
        self.vault.env["XDG_STATE_HOME"] = here
        self.as_of({1: 8})
        self.vault.mount(*self.options)
        self.as_of({1: 8})

    def test_a_record_that_is_damaged_or_of_another_place_is_none(self):
        self.status("--count")
        self.vault.umount()
        (record,) = (self.dir / "state" / "rekeyfs").glob("*.counts")
        whole = record.read_bytes()
        for bad in (whole[:-20], b"", b"{}", whole.replace(b'"schema":1', b'"schema":2')):
            record.write_bytes(bad)
            self.assertEqual((self.status()["versions"], self.status()["counted"]), ([], None))
        record.write_bytes(whole)
        self.assertEqual(self.status()["files_seen"], 8)
        moved = self.dir / "moved"
        self.vault.path.rename(moved)
        self.assertEqual(json.loads(self.vault.ok("status", moved, "--json", *self.secret))["versions"], [])


if __name__ == "__main__":
    unittest.main()
