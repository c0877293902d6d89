"""rekeyfs inspect -r: the files of a key or version, stale or unusable ones, of a mount and of ciphertext."""

import json
import os
import subprocess
import unittest

from harness import BIN, MountedTest


class Inspect(MountedTest):
    def setUp(self):
        super().setUp()
        for name in ("d", "d/e", "d/e/f"):
            (self.mnt / name).mkdir()
        self.old = {str(self.write(name, b"old", fsync=True)) for name in ("1", "d/2", "d/e/3", "d/e/f/4 \n\xe9")}
        self.vault.rotate()
        self.new = {str(self.write(name, b"new", fsync=True)) for name in ("5", "d/e/6")}
        self.empty = {str(self.write("d/empty", b""))}
        os.symlink("5", self.mnt / "link")
        os.mkfifo(self.mnt / "d" / "fifo")
        # A re-wrap at the next use would move them.
        self.assertEqual(self.listed("--version", "1"), self.old)

    def listed(self, *args, top=None):
        done = self.vault.run("inspect", "-r", top or self.mnt, "-0", *args)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        paths = done.stdout.split("\0")
        self.assertEqual(paths.pop(), "")
        self.assertEqual(len(paths), len(set(paths)))
        return set(paths)

    def lower(self, paths):
        return {str(self.vault.lower(path)) for path in paths}

    def test_files_are_chosen_by_key_version_and_state(self):
        key = self.kms("describe-key", "--key-id", "alias/default")["KeyMetadata"]["KeyId"]
        other = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.assertEqual(self.listed(), self.old | self.new | self.empty)
        self.assertEqual(self.listed("--stale"), self.old)
        self.assertEqual(self.listed("--version", "2"), self.new)
        self.assertEqual(self.listed("--version", "2", "--stale"), set())
        self.assertEqual(self.listed("--unusable"), set())
        for named in (key, key[:8], "alias/default"):
            self.assertEqual(self.listed("--key", named), self.old | self.new)
        self.assertEqual(self.listed("--key", other), set())
        self.assertEqual(self.listed("--key", key[:8], "--version", "1", top=self.mnt / "d" / "e"),
                         {path for path in self.old if "/d/e/" in path})
        self.assertRefused(self.vault.run("inspect", "-r", self.mnt, "--key", "alias/none"), "alias/none", status=44)
        lines = self.vault.ok("inspect", "-r", self.mnt, "--stale", "--json").splitlines()
        rows = [json.loads(line) for line in lines]
        self.assertEqual({row["path"] for row in rows}, self.old)
        self.assertEqual({(row["version"], row["stale"], row["state"]) for row in rows}, {(1, True, "old")})
        self.assertEqual(len(self.vault.ok("inspect", "-r", self.mnt, "--stale").splitlines()), len(self.old))
        self.kms("disable-key", "--key-id", key)
        self.assertEqual(self.listed("--unusable"), self.old | self.new)

    def test_ciphertext_is_listed_mounted_or_not(self):
        tree = self.vault.path / "tree"
        old, new = self.lower(self.old), self.lower(self.new)
        for top in (self.vault.path, tree):
            self.assertEqual(self.listed("--version", "1", top=top), old)
            self.assertEqual(self.listed("--stale", top=top), old)
            self.assertEqual(self.listed("--unusable", top=top), set())
        self.vault.umount()
        self.assertEqual(self.listed("--version", "1", top=tree), old)
        key = json.loads(self.vault.ok("inspect", next(iter(new)), "--json"))["key_id"]
        self.assertEqual(self.listed("--key", key[:6], "--version", "2", top=self.vault.path), new)
        self.assertRefused(self.vault.run("inspect", "-r", tree, "--stale"), "mount the vault", status=1)
        self.assertRefused(self.vault.run("inspect", "-r", tree, "--key", "alias/default"), "only a mount", status=44)

    def test_a_reader_that_goes_away_ends_it_silently(self):
        # More than the pipe holds: what waits in it when the reader goes away was written with success.
        for number in range(300):
            self.write(f"a name of some length {number}", b"x")
        for how in ("-0", "--json", None):
            command = [BIN, "inspect", "-r", str(self.mnt), *([how] if how else [])]
            running = subprocess.Popen(
                command, env=self.vault.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pipesize=4096
            )  # fmt: skip
            running.stdout.read(1)
            running.stdout.close()
            self.assertEqual((running.wait(30), running.stderr.read()), (141, b""))
            running.stderr.close()


if __name__ == "__main__":
    unittest.main()
