"""Copies of a vault: what fsck says of them and their keyrings, and that versions stay while a copy needs them."""

import json
import os
import pty
import shutil
import subprocess

from harness import BIN, MountedTest, sh

LEFT = 4
FILES = 20


class Copies(MountedTest):
    def setUp(self):
        super().setUp()
        self.copy = self.dir / "copy"
        self.copy.mkdir()
        for number in range(FILES):
            self.write(f"f{number}", b"content %d" % number, fsync=True)

    def rotated(self):
        self.vault.rotate()
        self.vault.ok("rewrap", self.mnt)

    def fsck(self, *args, status):
        done = self.vault.run("fsck", *args, "--json", "--passfile", self.vault.passfile)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout.splitlines()[-1]), done.stdout

    def snapshot(self):
        return sorted(
            (str(path), path.lstat().st_mtime_ns, path.lstat().st_ctime_ns, path.lstat().st_size)
            for path in [self.copy, *self.copy.rglob("*")]
        )

    def test_a_keyring_read_before_a_rotation_and_a_tree_read_after_it(self):
        shutil.copy(self.vault.path / "keyring", self.copy)
        self.rotated()
        sh(f"cp -a {self.vault.path}/tree {self.copy}", self.dir)
        before = self.snapshot()
        done = self.vault.run("fsck", self.copy, "--passfile", self.vault.passfile)
        text = done.stdout
        self.assertEqual(done.returncode, LEFT)
        self.assertIn("--keyring VAULT/keyring", text)
        self.assertIn(f"{FILES} files", text)
        summary, _ = self.fsck(self.copy, "--keyring", self.copy / "keyring", status=LEFT)
        self.assertEqual([(u["version"], u["files"], u["state"]) for u in summary["unopened"]], [(2, FILES, "unknown-version")])
        summary, found = self.fsck(self.copy, "--keyring", self.vault.path / "keyring", status=LEFT)
        self.assertIn("keyring-lacks", found)
        self.assertEqual([(v["version"], v["files"]) for v in summary["versions"]], [(2, FILES)])
        self.assertEqual(summary["unopened"], [])
        self.fsck(self.copy / "tree", "--keyring", self.vault.path, status=0)
        self.assertEqual(self.snapshot(), before, "something was written to the copy")
        for name in ("keyring", "events.jsonl"):
            shutil.copy(self.vault.path / name, self.copy)
        self.fsck(self.copy, "--keyring", self.vault.path / "keyring", status=0)
        self.fsck(self.copy, status=0)

    def test_a_key_backup_checks_a_copy(self):
        self.rotated()
        sh(f"cp -a {self.vault.path}/tree {self.copy}", self.dir)
        backup = self.dir / "keys"
        self.vault.ok("key-backup", "export", self.mnt, backup, "--passfile", self.vault.passfile,
                      "--backup-passfile", self.vault.passfile, "--kdf-memory", "8")  # fmt: skip
        self.fsck(self.copy, "--keyring", backup, status=0)
        self.assertRefused(self.vault.run("fsck", self.copy, "--keyring", self.dir / "none"), "none", status=8)

    def test_files_whose_key_cannot_be_used_count_in_a_copy(self):
        sh(f"cp -a {self.vault.path}/tree {self.vault.path}/keyring {self.copy}; cp {self.vault.path}/keyring before", self.dir)
        self.rotated()
        self.vault.ok("key", "retire", self.mnt, "--key-id", "alias/default", "--below", "2", "--trim")
        # As a backup has it that leaves out what kept size and mtime.
        shutil.copy(self.vault.path / "keyring", self.copy)
        for more in ([], ["--keyring", self.vault.path / "keyring"]):
            summary, found = self.fsck(self.copy, *more, status=LEFT)
            self.assertEqual([(u["version"], u["files"], u["why"]) for u in summary["unopened"]], [(1, FILES, "trimmed")])
            self.assertEqual(found.count("key-trimmed"), FILES)
        # The keyring of before still has it.
        done = self.vault.run("fsck", self.copy, "--keyring", self.dir / "before", "--passfile", self.vault.passfile)
        self.assertNotIn("key-trimmed", done.stdout)
        self.assertIn(f"{FILES} files of key", done.stdout)

    def test_a_copy_on_a_medium_that_cannot_be_written(self):
        self.need_root()
        sh(f"cp -a {self.vault.path}/tree {self.vault.path}/keyring {self.vault.path}/events.jsonl {self.copy}", self.dir)
        sh(f"mount --bind {self.copy} {self.copy} && mount -o remount,ro,bind {self.copy}", self.dir)
        self.addCleanup(subprocess.run, ["umount", "-l", self.copy], check=False)
        self.fsck(self.copy, status=0)
        self.vault.umount()
        self.vault.ok("mount", self.copy, self.mnt, "--read-only", "--accept-rollback", "--passfile", self.vault.passfile)
        self.assertEqual(self.read(self.mnt / "f3"), b"content 3")
        self.vault.ok("umount", self.mnt)

    def test_versions_stay_while_a_checked_copy_needs_them(self):
        sh(f"cp -a {self.vault.path}/tree {self.copy}", self.dir)
        self.rotated()
        order = ["key", "retire", self.mnt, "--key-id", "alias/default", "--below", "2", "--trim"]
        done = self.vault.run(*order, "--checked-copy", self.copy)
        self.assertRefused(done, f"{FILES} files of this copy need versions below 2", "rsync --checksum", status=44)
        self.vault.umount()
        done = self.vault.run(*order[:2], self.vault.path, *order[3:], "--checked-copy", self.copy,
                              "--passfile", self.vault.passfile)  # fmt: skip
        self.assertRefused(done, f"{FILES} files of this copy need", status=44)
        self.vault.mount()
        sh(f"cp -a {self.vault.path}/tree {self.copy}", self.dir)
        done = self.vault.run(*order, "--checked-copy", self.copy)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("rsync --checksum", done.stderr)

    def test_trim_asks_on_a_terminal(self):
        self.rotated()
        order = [BIN, "key", "retire", str(self.mnt), "--key-id", "alias/default", "--below", "2", "--trim"]

        def answered(text, *more):
            ours, theirs = pty.openpty()
            os.write(ours, text.encode() + b"\n")
            done = subprocess.run([*order, *more], env=self.vault.env, stdin=theirs, capture_output=True, text=True, timeout=60)
            os.close(ours)
            os.close(theirs)
            return done

        for text in ("yes", "no", ""):
            done = answered(text)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("Type 'yes' in capital letters", done.stderr)
            self.assertIn("nothing is changed", done.stderr)
        self.assertIn("; 1 was trimmed", answered("YES").stdout)
        done = answered("", "--yes")
        self.assertEqual((done.returncode, "capital" in done.stderr), (0, False), done.stderr)
