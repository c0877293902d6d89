"""Key backups that are kept: true after each change, whoever makes it and whatever becomes of their disk."""

import contextlib
import json
import pathlib
import subprocess
import threading
import time

import harness
from harness import NOBODY, MountedTest, UserMountTest, quick_once, wait_until

NEW = "a new passphrase"
USAGE_EXIT, WRONG_EXIT, BACKUP_EXIT = 2, 12, 46


class Kept(MountedTest):
    def setUp(self):
        super().setUp()
        self.place = self.dir / "place"
        self.place.mkdir()
        self.kept = self.place / "keys"
        self.backup_pass, self.new_pass = self.dir / "backup-pass", self.dir / "new-pass"
        self.backup_pass.write_text("the backup's\n")
        self.new_pass.write_text(NEW + "\n")
        self.under_pass = ("--backup-passfile", self.backup_pass, "--kdf-memory", "8")

    def target(self):
        return self.mnt if self.vault.pid else self.vault.path

    def keep(self, *how, to=None, run=None):
        return (run or self.vault.ok)(
            "key-backup", "keep", self.target(), "--to", to or self.kept, "--passfile", self.vault.passfile, *how
        )

    def known(self):
        return self.vault.status()["key_backup"]

    def one(self):
        (kept,) = self.known()["kept"]
        return kept

    def import_it(self, *how, backup=None, stdin=None):
        for name in ("keyring", "keyring.prev"):
            (self.vault.path / name).unlink(missing_ok=True)
        done = self.vault.run(
            "key-backup", "import", self.vault.path, backup or self.kept, "--new-passfile", self.new_pass,
            "--kdf-memory", "8", *how, stdin=stdin,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.vault.passfile.write_text(NEW + "\n")
        return done.stdout

    def test_each_change_of_the_mount_is_in_it_and_its_passphrase_opens_it(self):
        self.assertEqual(self.known(), {"exported": None, "behind_versions": None, "behind_generations": None, "kept": []})
        for _ in range(2):
            self.assertIn("no key backup", self.vault.ok("rotate", self.mnt), "each time while it is so")
        self.assertIn("has all keys", self.keep(*self.under_pass))
        self.assertEqual(self.kept.stat().st_mode & 0o777, 0o600)

        def rotate():
            self.assertEqual(self.vault.rotate()["key_backup"]["kept"][0]["state"], "current", "it is waited for")

        self.assertTrue(quick_once(rotate, 3), "no longer than it takes")
        self.assertIn("up to date", self.vault.ok("rotate", self.mnt))
        self.kms("create-key")
        self.write("f", b"all there is", fsync=True)
        self.assertEqual((self.one()["state"], self.one()["behind"], self.one()["opened_by"]), ("current", 0, "passphrase"))
        self.assertIn("up to date", self.vault.ok("status", self.mnt))
        self.assertIn(f"{self.kept}  (passphrase)  up to date", self.vault.ok("key-backup", "keep", self.mnt, "--list"))
        keys = len(self.kms("list-keys")["Keys"])
        self.vault.umount()
        # A command that changes a vault that isn't mounted writes it too.
        self.vault.rotate()
        self.assertEqual(self.one()["state"], "current")
        self.assertIn(f"`rekeyfs key-backup keep {self.vault.path} --to FILE`", self.import_it("--backup-passfile", self.backup_pass))
        self.vault.mount()
        self.assertEqual((self.read(self.mnt / "f"), len(self.kms("list-keys")["Keys"])), (b"all there is", keys))
        self.assertEqual(self.known()["kept"], [])
        self.assertEqual(self.vault.run("events", self.mnt, "--verify").returncode, 0)

    def test_for_age_recipients_an_identity_opens_it_and_nobody_is_asked_again(self):
        self.need_tools("age", "age-keygen", "ssh-keygen")
        recipients, identities = [], []
        for name in ("one", "two"):
            identity = self.dir / name
            subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
            recipients.append(subprocess.run(["age-keygen", "-y", identity], check=True, capture_output=True, text=True).stdout.strip())
            identities.append(identity)
        ssh = self.dir / "ssh"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh], check=True)
        to = [word for key in (recipients[0], ssh.with_suffix(".pub").read_text().strip()) for word in ("--recipient", key)]
        other = self.dir / "recipients"
        other.write_text(recipients[1] + "\n")
        wrong = self.keep("--recipient", "age1nonsense", run=self.vault.run)
        self.assertRefused(wrong, "--recipient", status=USAGE_EXIT)
        self.assertFalse(self.kept.exists())
        self.keep(*to, "--recipients-file", other)
        for _ in range(2):
            self.vault.rotate()
        self.write("f", b"sealed", fsync=True)
        self.assertEqual((self.one()["state"], self.one()["opened_by"]), ("current", "age"))
        self.vault.umount()
        stranger = self.dir / "stranger"
        subprocess.run(["age-keygen", "-o", stranger], check=True, capture_output=True)
        args = ("key-backup", "import", self.vault.path, self.kept, "--force", "--new-passfile", self.new_pass, "--kdf-memory", "8")
        self.assertRefused(self.vault.run(*args, "--identity", stranger), "doesn't open", status=WRONG_EXIT)
        self.assertRefused(self.vault.run(*args, "--backup-passfile", self.backup_pass), "--identity", status=USAGE_EXIT)
        for identity in (*identities, ssh):
            self.import_it("--identity", identity)
            self.vault.mount()
            self.assertEqual(self.read(self.mnt / "f"), b"sealed")
            self.vault.umount()

    def test_an_export_for_age_recipients_is_tried_checked_and_imported_by_the_identity(self):
        self.need_tools("age", "age-keygen")
        identity, stranger = self.dir / "identity", self.dir / "stranger"
        for path in (identity, stranger):
            subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
        recipient = subprocess.run(["age-keygen", "-y", identity], check=True, capture_output=True, text=True).stdout.strip()
        self.write("f", b"sealed", fsync=True)
        secret = ("--passfile", self.vault.passfile)
        said = self.vault.ok("key-backup", "export", self.mnt, self.kept, *secret, "--recipient", recipient)
        self.assertIn("an age identity of the recipients opens it", said)
        self.assertEqual((self.kept.stat().st_mode & 0o777, self.known()["behind_versions"]), (0o600, 0))
        piped = self.bytes_in(b"", "key-backup", "export", self.mnt, "-", *secret, "--recipient", recipient)
        self.assertEqual((piped.returncode, piped.stdout[:4]), (0, self.kept.read_bytes()[:4]), piped.stderr)
        refused = self.vault.run("key-backup", "export", self.mnt, self.place / "x", *secret, "--recipient", "age1no")
        self.assertRefused(refused, "--recipient", status=USAGE_EXIT)
        vault_id = self.vault.status()["vault_id"]
        self.vault.umount()
        # Without the identity a passphrase isn't asked for: there is none.
        of_it = ("--keyring", self.kept)
        for command, usage, wrong in ((("fsck", self.vault.path), 16, 8), (("unlock", "test"), USAGE_EXIT, WRONG_EXIT)):
            refused = self.vault.run(*command, *of_it, stdin="a passphrase\n")
            self.assertRefused(refused, str(self.kept), "sealed for age recipients", "--identity FILE", status=usage)
            self.assertRefused(self.vault.run(*command, *of_it, "--identity", stranger), "doesn't open", status=wrong)
        tried = json.loads(self.vault.ok("unlock", "test", *of_it, "--identity", identity, "--json"))
        self.assertEqual((tried["kind"], tried["vault_id"]), ("age", vault_id))
        self.assertIn("version 1: current", self.vault.ok("fsck", self.vault.path, *of_it, "--identity", identity))
        # One under a passphrase is tried likewise, and an identity opens nothing of it.
        paper = self.place / "paper"
        self.vault.ok("key-backup", "export", self.vault.path, paper, *secret, *self.under_pass)
        self.assertIn("it opens slot", self.vault.ok("unlock", "test", "--keyring", paper, "--passfile", self.backup_pass))
        refused = self.vault.run("unlock", "test", "--keyring", paper, "--identity", identity)
        self.assertRefused(refused, "isn't sealed for age recipients", status=WRONG_EXIT)
        self.import_it("--identity", identity)
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "f"), b"sealed")

    def test_a_stick_that_is_pulled_stops_nothing_and_is_caught_up_with(self):
        self.need_root()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "stick", self.place], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.place], stderr=subprocess.DEVNULL)
        self.keep(*self.under_pass)
        held = self.kept.read_bytes()
        subprocess.run(["umount", self.place], check=True)
        said = self.vault.ok("rotate", self.mnt)
        self.assertIn("1 version behind; can't be reached: nothing is mounted at", said)
        self.assertEqual(list(self.place.iterdir()), [], "the directory below the mount point is not the stick")
        self.assertEqual((self.one()["state"], self.one()["behind"]), ("failed", 1))
        # Full: the old backup stays whole.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "stick", self.place], check=True)
        self.kept.write_bytes(held)
        with open(self.place / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        said = self.vault.ok("rotate", self.mnt)
        self.assertIn("2 versions behind; can't be written: No space left", said)
        self.assertEqual(sorted(p.name for p in self.place.iterdir()), ["filler", "keys"])
        self.assertEqual(self.kept.read_bytes(), held)
        (self.place / "filler").unlink()
        self.vault.rotate()
        self.assertEqual(self.one()["state"], "current")

    def test_a_killed_mount_is_caught_up_with_at_the_next(self):
        self.write("f", b"needs a key", fsync=True)
        self.keep(*self.under_pass)
        turning = threading.Event()

        def rotate():
            while not turning.is_set():
                self.vault.run("rotate", self.mnt)

        for round in range(4):
            turning.clear()
            thread = threading.Thread(target=rotate)
            thread.start()
            time.sleep(0.3 + 0.13 * round)
            self.vault.kill()
            turning.set()
            thread.join()
            # Whole, whatever it is.
            done = self.vault.run("fsck", self.vault.path, "--keyring", self.kept, "--passfile", self.backup_pass)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.vault.clear_stale_mountpoint()
            self.vault.mount()
            self.assertTrue(wait_until(lambda: self.one()["state"] == "current"), self.one())

    def test_what_another_process_changes_reaches_the_mount(self):
        self.keep(*self.under_pass)
        stopped = self.vault.ok("key-backup", "keep", self.mnt, "--stop", "--passfile", self.vault.passfile)
        self.assertIn("no longer written", stopped)
        before = self.kept.read_bytes()
        self.vault.rotate()
        self.assertEqual((self.kept.read_bytes(), self.known()["kept"]), (before, []))
        refused = self.keep(*self.under_pass, run=self.vault.run)
        self.assertRefused(refused, "already", status=BACKUP_EXIT)
        self.kept.unlink()
        self.keep(*self.under_pass)
        self.vault.rotate()
        self.vault.ok("unlock", "add", self.mnt, "--passfile", self.vault.passfile, "--new-passfile", self.new_pass, "--kdf-memory", "8")
        self.assertEqual(self.one()["state"], "current")
        inside = self.keep(*self.under_pass, to=self.mnt / "keys", run=self.vault.run)
        self.assertRefused(inside, "own mount", status=BACKUP_EXIT)

    def test_an_export_by_hand_falls_behind_and_goes_through_pipes(self):
        secret = ("--passfile", self.vault.passfile)
        self.vault.ok("key-backup", "export", self.mnt, self.kept, *secret, *self.under_pass)
        self.assertEqual((self.known()["behind_versions"], self.known()["behind_generations"]), (0, 0))
        self.vault.rotate()
        said = self.vault.ok("rotate", self.mnt)
        self.assertRegex(said, r"key backup 2 versions behind \(exported 20\d\d-\d\d-\d\d\)")
        self.assertEqual(self.known()["behind_versions"], 2)
        self.write("f", b"piped", fsync=True)
        done = subprocess.run(
            '"$R" key-backup export "$M" - --passfile "$P" --backup-passfile "$B" --kdf-memory 8 | cat > "$K"',
            shell=True, env={**self.vault.env, "R": self.vault_bin(), "M": str(self.mnt), "P": str(self.vault.passfile),
                             "B": str(self.backup_pass), "K": str(self.place / "piped")}, capture_output=True, text=True,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.known()["behind_versions"], 0)
        self.vault.umount()
        piped = (self.place / "piped").read_bytes()
        args = ("key-backup", "import", self.vault.path, "-", "--kdf-memory", "8", "--new-passfile", self.new_pass, "--force")
        for how in ([], ["--backup-passfile", "-"]):
            refused = self.bytes_in(piped, *args, *how)
            self.assertEqual(refused.returncode, USAGE_EXIT, refused.stderr)
            self.assertIn(b"--backup-passfile or --backup-extpass", refused.stderr)
        (self.vault.path / "keyring").unlink()
        done = self.bytes_in(piped, *args, "--backup-passfile", self.backup_pass)
        self.assertEqual(done.returncode, 0, done.stderr)
        # A secret's line on standard input, by its name.
        done = self.vault.run("status", self.vault.path, "--passfile", "-", stdin=NEW + "\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.vault.passfile.write_text(NEW + "\n")
        merged = self.bytes_in(piped, "key-backup", "merge", self.vault.path, "-", "--passfile", self.vault.passfile,
                               "--backup-passfile", self.backup_pass)  # fmt: skip
        self.assertEqual(merged.returncode, 0, merged.stderr)
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "f"), b"piped")

    def vault_bin(self):
        return harness.BIN

    def bytes_in(self, data, *args):
        return subprocess.run([self.vault_bin(), *map(str, args)], env=self.vault.env, input=data, capture_output=True, timeout=60)


class OfAUser(UserMountTest):
    def test_a_user_keeps_a_backup_of_his_own(self):
        self.shell_ok('echo the backup > bp; mkdir place; "$R" mount vault mnt --passfile passphrase')
        self.shell_ok(
            '"$R" key-backup keep mnt --to place/keys --passfile passphrase --backup-passfile bp --kdf-memory 8; "$R" rotate mnt'
        )
        kept = pathlib.Path(self.vault.base) / "place" / "keys"
        self.assertEqual((kept.stat().st_uid, kept.stat().st_mode & 0o777), (NOBODY, 0o600))
        known = json.loads(self.shell_ok('"$R" status mnt --json'))["key_backup"]
        self.assertEqual(known["kept"][0]["state"], "current")
        # A file that another user put there stays.
        kept.unlink()
        kept.write_text("not yours")
        kept.chmod(0o600)
        self.assertIn("can't be read", self.shell_ok('"$R" rotate mnt'))
        self.assertEqual(kept.read_text(), "not yours")
        kept.unlink()
        self.shell_ok('"$R" umount mnt')
        # Root changes the user's vault: the backup stays the user's.
        uid, self.vault.uid = self.vault.uid, None
        self.vault.ok("rotate", self.vault.path, "--passfile", self.vault.passfile)
        self.vault.uid = uid
        self.assertEqual((kept.stat().st_uid, kept.stat().st_mode & 0o777), (NOBODY, 0o600))
