"""A lost keyring: back from a key backup, or from keyring.prev by hand as the message says."""

import errno
import json
import re
import shutil

from harness import PASSPHRASE, MountedTest

NEW = "a new passphrase"
BACKUP_EXIT, VAULT_EXIT, WRONG_EXIT, IN_USE_EXIT = 46, 6, 12, 40


class Backup(MountedTest):
    def setUp(self):
        super().setUp()
        self.backup = self.dir / "key-backup"
        self.backup_pass, self.new_pass = self.dir / "backup-pass", self.dir / "new-pass"
        self.backup_pass.write_text("the backup's\n")
        self.new_pass.write_text(NEW + "\n")

    def export(self, *args):
        return self.vault.run(
            "key-backup", "export", self.vault.path, self.backup, "--passfile", self.vault.passfile,
            "--backup-passfile", self.backup_pass, "--kdf-memory", "8", *args,
        )  # fmt: skip

    def restore(self, *args):
        return self.vault.run(
            "key-backup", "import", self.vault.path, self.backup, "--backup-passfile", self.backup_pass,
            "--new-passfile", self.new_pass, "--kdf-memory", "8", *args,
        )  # fmt: skip

    def test_a_vault_whose_keyring_is_lost_is_read_again(self):
        self.write("f", b"all there is", fsync=True)
        self.vault.rotate()
        self.write("g", b"and more", fsync=True)
        # Also while mounted it asks for a secret of the vault.
        wrong = self.vault.run(
            "key-backup", "export", self.mnt, self.backup, "--extpass", "echo no", "--backup-passfile", self.backup_pass
        )
        self.assertRefused(wrong, status=WRONG_EXIT)
        self.assertFalse(self.backup.exists())
        done = self.export("--json")
        self.assertEqual((done.returncode, json.loads(done.stdout)["keys"]), (0, 2), done.stderr)
        self.assertEqual(self.backup.stat().st_mode & 0o777, 0o600)
        self.assertRefused(self.export(), "already", status=BACKUP_EXIT)

        self.assertRefused(self.restore(), "mounted", status=IN_USE_EXIT)
        self.vault.umount()
        self.assertRefused(self.restore(), "--force", status=VAULT_EXIT)
        (self.vault.path / "keyring").unlink()
        (self.vault.path / "keyring.prev").unlink()
        done = self.restore()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Recovery key", done.stdout)
        self.assertRefused(self.vault.try_mount(), status=WRONG_EXIT)
        self.vault.passfile.write_text(NEW + "\n")
        self.vault.mount()
        self.assertEqual((self.read(self.mnt / "f"), self.read(self.mnt / "g")), (b"all there is", b"and more"))
        self.assertEqual(self.vault.run("events", self.mnt, "--verify").returncode, 0)

    def test_an_older_backup_says_what_is_lost(self):
        self.write("old", b"old", fsync=True)
        self.assertEqual(self.export().returncode, 0)
        self.vault.rotate()
        self.write("new", b"new", fsync=True)
        self.vault.umount()
        (self.vault.path / "keyring").write_bytes(b"torn to pieces")
        done = self.restore()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("older than the last keyring known", done.stdout)
        self.assertIn("kept as keyring.replaced-by-", done.stdout)
        self.vault.passfile.write_text(NEW + "\n")
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "old"), b"old")
        with self.assertRaises(OSError):
            self.read(self.mnt / "new")

    def test_after_an_import_a_check_finds_nothing(self):
        self.write("f", b"all there is", fsync=True)
        self.vault.rotate()
        self.assertEqual(self.export().returncode, 0)
        self.vault.umount()
        self.assertTrue((self.vault.path / "keyring.prev").exists())
        self.assertEqual(self.restore("--force").returncode, 0)
        self.vault.passfile.write_text(NEW + "\n")
        done = self.vault.run("fsck", self.vault.path, "--passfile", self.vault.passfile)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("nothing found", done.stdout)

    def test_after_an_import_in_place_the_vault_may_be_moved_copied_and_recovered_and_the_old_keyring_may_not_come_back(self):
        self.write("f", b"all there is", fsync=True)
        self.assertEqual(self.export().returncode, 0)
        self.vault.rotate()
        self.vault.umount()
        old = (self.vault.path / "keyring").read_bytes()
        done = self.restore("--force")
        self.assertEqual(done.returncode, 0, done.stderr)
        recovery = self.dir / "recovery"
        recovery.write_text(re.search(r"([A-Z2-7]{7}-){7}[A-Z2-7]{7}", done.stdout)[0])
        self.vault.passfile.write_text(NEW + "\n")
        secret = ("--passfile", self.vault.passfile)
        # Like a snapshot or a backup that is looked into.
        copy = self.dir / "copy"
        shutil.copytree(self.vault.path, copy, symlinks=True)
        self.vault.ok("mount", copy, self.mnt, "--read-only", *secret)
        self.assertEqual(self.read(self.mnt / "f"), b"all there is")
        self.vault.ok("umount", self.mnt)
        self.assertRefused(self.vault.run("rotate", copy, *secret), "copy of the vault in", status=41)
        shutil.rmtree(copy)
        moved = self.dir / "moved"
        self.vault.path.rename(moved)
        self.vault.path = moved
        new = self.dir / "newest-pass"
        new.write_text("the third\n")
        self.vault.ok("recover", moved, "--passfile", recovery, "--new-passfile", new, "--kdf-memory", "8")
        self.vault.passfile.write_text("the third\n")
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "f"), b"all there is")
        self.vault.rotate()
        self.vault.umount()
        (moved / "keyring").write_bytes(old)
        old_pass = self.dir / "old-pass"
        old_pass.write_text(PASSPHRASE + "\n")
        refused = self.vault.run("mount", moved, self.mnt, "--passfile", old_pass)
        self.assertRefused(refused, "older", status=41)

    def test_another_vaults_backup_is_refused_where_no_keyring_says_which_vault_this_is(self):
        self.write("f", b"all there is", fsync=True)
        self.assertEqual(self.export().returncode, 0)
        self.vault.umount()
        (self.dir / "other").mkdir()
        other, mine, vault = self.new_vault(self.dir / "other"), self.backup, self.vault.path
        self.backup, self.vault.path = self.dir / "others", other.path
        self.assertEqual(self.export().returncode, 0)
        self.vault.path = vault
        for name in ("keyring", "keyring.prev"):
            (vault / name).unlink()
        self.assertRefused(self.restore(), "made with other keys than this vault's: 1 of 1 name", "--unproven", status=BACKUP_EXIT)
        self.assertFalse((vault / "keyring").exists())
        self.backup = mine
        done = self.restore()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1 of 1 name in the root directory open", done.stdout)
        self.vault.passfile.write_text(NEW + "\n")
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "f"), b"all there is")

    def test_an_import_into_a_copy_is_said_to_be_one_and_leaves_the_vault_alone(self):
        self.write("f", b"all there is", fsync=True)
        self.assertEqual(self.export().returncode, 0)
        self.vault.umount()
        vault, copy = self.vault.path, self.dir / "copy"
        shutil.copytree(vault, copy, symlinks=True)
        self.vault.path = copy
        done = self.restore("--force", "--json")
        self.assertEqual(json.JSONDecoder().raw_decode(done.stdout)[0]["copy_of"], str(vault), done.stderr)
        self.assertIn(f"this is a copy of the vault in {vault}: ", self.restore("--force").stdout)
        self.vault.path = vault
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "f"), b"all there is")

    def test_a_lost_version_is_never_made_again_and_comes_back_by_a_merge(self):
        self.write("old", b"old", fsync=True)
        self.vault.rotate()
        self.write("new", b"new", fsync=True)
        self.vault.umount()
        keyring = self.vault.path / "keyring"
        found = self.dir / "found"
        shutil.copy(keyring, found)
        shutil.copy(self.vault.path / "keyring.prev", keyring)
        self.vault.mount("--accept-rollback")
        for rotated in (False, True):
            if rotated:
                self.vault.rotate()
                self.write("later", b"later", fsync=True)
            with self.assertRaises(OSError) as refused:
                self.read(self.mnt / "new")
            self.assertEqual(refused.exception.errno, errno.ENOKEY)
            self.assertIn(", lost", self.vault.ok("inspect", self.mnt / "new"))
            done = self.vault.run("fsck", self.mnt)
            self.assertEqual(done.returncode, 4, done.stdout)
            self.assertIn("key-backup merge", done.stdout)
        self.assertEqual(self.vault.version(self.mnt / "later"), 3)
        done = self.vault.run("key-backup", "merge", self.vault.path, found, "--passfile", self.vault.passfile)
        self.assertRefused(done, "unmount it")
        self.vault.umount()
        taken = self.dir / "quarantine"
        self.vault.run("fsck", self.vault.path, "--passfile", self.vault.passfile, "--quarantine", taken)
        done = self.vault.run(
            "key-backup", "merge", self.vault.path, found, "--passfile", self.vault.passfile, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([one["version"] for one in json.loads(done.stdout)["versions"]], [2])
        self.vault.mount()
        for name in ("old", "new", "later"):
            self.assertEqual(self.read(self.mnt / name), name.encode())
        self.assertEqual(self.vault.run("fsck", self.mnt).returncode, 0)

    def test_keyring_prev_by_hand_as_the_message_says(self):
        self.write("f", b"kept", fsync=True)
        self.vault.rotate()
        self.vault.umount()
        keyring, prev = self.vault.path / "keyring", self.vault.path / "keyring.prev"
        keyring.write_bytes(keyring.read_bytes()[:-1])
        self.assertRefused(self.vault.try_mount(), "keyring.prev", "--accept-rollback", status=8)
        shutil.copy(prev, self.dir / "safe-place")
        shutil.copy(prev, keyring)
        self.assertRefused(self.vault.try_mount(), "older", status=41)
        self.vault.mount("--accept-rollback")
        self.assertEqual(self.read(self.mnt / "f"), b"kept")
        types = [json.loads(line)["detail-type"] for line in (self.vault.path / "events.jsonl").read_text().splitlines()]
        self.assertIn("Keyring Rollback Noticed", types)
        self.assertIn("Keyring Rollback Accepted", types)
