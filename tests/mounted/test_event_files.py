"""The files of the audit log: `events rotate` and `events prune`, mounted and not, and what an attacker does to them."""

import json
import os
import subprocess
import threading

from harness import BIN, MountedTest, wait_until

TAMPERED = 45


class EventFiles(MountedTest):
    def secret(self):
        return [] if self.vault.pid else ["--passfile", self.vault.passfile]

    def target(self):
        return self.mnt if self.vault.pid else self.vault.path

    def rotate_log(self):
        return json.loads(self.vault.ok("events", "rotate", self.target(), "--json", *self.secret()))["closed"]

    def verify(self):
        return self.vault.run("events", self.target(), "--verify", "--json", *self.secret())

    def files(self):
        return sorted(path.name for path in self.vault.path.glob("events.jsonl*"))

    def make_files(self):
        """A log of three files; their names, oldest first."""
        self.vault.rotate()
        first = self.rotate_log()
        self.vault.umount()
        second = self.rotate_log()
        self.vault.mount()
        return [first, second, "events.jsonl"]

    def test_a_log_is_continued_in_new_files_mounted_and_not(self):
        names = self.make_files()
        self.assertEqual(self.files(), sorted(names))
        self.assertEqual(json.loads((self.vault.path / names[2]).read_text().splitlines()[0])["detail-type"], "Event Log Continued")
        done = self.verify()
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        text = "".join((self.vault.path / name).read_text() for name in names)
        self.assertEqual((found["good"], found["begins_after"]), (len(text.splitlines()), 0))
        self.assertEqual(self.vault.ok("events", self.mnt, "--json"), text)
        self.vault.umount()
        fsck = self.vault.run("fsck", self.vault.path, "--passfile", self.vault.passfile)
        self.assertEqual(fsck.returncode, 0, fsck.stdout + fsck.stderr)

    def test_a_file_that_is_removed_or_swapped_is_noticed(self):
        names = self.make_files()
        paths = [self.vault.path / name for name in names]
        good = [path.read_bytes() for path in paths]
        def put_back():
            for path, content in zip(paths, good, strict=True):
                path.write_bytes(content)
        for gone in paths:
            gone.unlink()
            self.assertEqual(self.verify().returncode, TAMPERED, gone.name)
            put_back()
        paths[0].write_bytes(good[1])
        paths[1].write_bytes(good[0])
        self.assertEqual(self.verify().returncode, TAMPERED)
        put_back()
        # The last rotation undone.
        os.replace(paths[1], paths[2])
        self.assertEqual(self.verify().returncode, TAMPERED)
        put_back()
        paths[0].unlink()
        refused = self.vault.run("events", "prune", self.mnt, "--keep", "0")
        self.assertRefused(refused, "doesn't verify", status=1)
        self.vault.umount()
        fsck = self.vault.run("fsck", self.vault.path, "--passfile", self.vault.passfile)
        self.assertIn("no event says that they were pruned", fsck.stdout + fsck.stderr)
        put_back()
        self.assertEqual(self.verify().returncode, 0)

    def test_pruning_is_an_event_and_the_log_verifies_from_there(self):
        names = self.make_files()
        removed = json.loads(self.vault.ok("events", "prune", self.mnt, "--keep", "1", "--json"))["removed"]
        self.assertEqual((removed, self.files()), (names[:1], sorted(names[1:])))
        done = self.verify()
        found = json.loads(done.stdout)
        self.assertEqual((done.returncode, found["begins_after"]), (0, int(names[0].rpartition(".")[2])), done.stderr)
        gone, good = found["begins_after"], found["good"]
        said = self.vault.ok("events", self.mnt, "--verify").splitlines()
        self.assertEqual(said[0], f"{good} events in order, number {gone + 1} to {gone + good}")
        self.assertEqual(said[1], f"number 1 to {gone} aren't there: they were pruned")
        self.assertEqual(said[2], f"number {found['anchored']} is recorded in the keyring: a log that ends before it would be noticed")
        self.assertLess(gone, found["anchored"])
        self.vault.umount()
        self.assertEqual(self.verify().returncode, 0)
        self.assertIn("no closed file", self.vault.ok("events", "prune", self.vault.path, "--keep", "5", *self.secret()))
        self.vault.mount()
        self.vault.rotate()
        self.assertEqual(self.verify().returncode, 0)

    def test_events_are_followed_across_a_rotation_once_each(self):
        follow = subprocess.Popen(
            [BIN, "events", self.mnt, "--follow", "--json"], env=self.vault.env, stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(follow.wait)
        self.addCleanup(follow.kill)
        seen = []
        reading = threading.Thread(target=lambda: seen.extend(follow.stdout), daemon=True)
        reading.start()
        self.vault.rotate()
        wanted = lambda: [json.loads(line)["sequence"] for line in seen]  # noqa: E731
        self.assertTrue(wait_until(lambda: len(seen) >= 3))
        for _ in range(3):
            self.rotate_log()
            self.vault.rotate()
        last = json.loads((self.vault.path / "events.jsonl").read_text().splitlines()[-1])["sequence"]
        self.assertTrue(wait_until(lambda: len(seen) >= last), wanted())
        self.assertEqual(wanted(), list(range(1, last + 1)))

    def test_times_are_local_and_held_back_events_have_their_class(self):
        self.vault.env["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
        shown = self.vault.ok("events", self.mnt)
        self.assertRegex(shown.splitlines()[0], r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \+0[12]:00  Vault Created")
        self.assertRegex(self.vault.ok("events", self.mnt, "--utc").splitlines()[0], r"^\S*Z  Vault Created")
        self.write("f", b"x", fsync=True)
        self.kms("disable-key", "--key-id", self.vault.status()["aliases"][0]["key_id"])
        for _ in range(70):
            with self.assertRaises(OSError):
                open(self.mnt / "f", "rb")
        self.vault.umount()
        shown = self.vault.ok("events", self.vault.path, *self.secret())
        self.assertRegex(shown, r"\(\d+ more were held back before this: \d+ refusals\)")
        self.assertRegex(shown.splitlines()[-1], r"^\d+ events were held back by the limit of their class: \d+ refusals$")
