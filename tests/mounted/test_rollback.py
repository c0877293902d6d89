"""Keyrings that someone who can write the ciphertext puts in another's place, seen by the host that knows better: wherever the
vault is moved or mounted, and whoever has an old passphrase."""

import json
import os
import pwd
import shutil
import stat
import subprocess

from harness import ROOT, TARGET, MountedTest, open_device_to_users

ROLLED_BACK, WRONG = 41, 12
NEW = "another passphrase"


class Rollback(MountedTest):
    options = None

    def setUp(self):
        super().setUp()
        self.old = self.keyring().read_bytes()

    def keyring(self, vault=None):
        return (vault or self.vault.path) / "keyring"

    def rotate(self, vault, *more, status=0):
        done = self.vault.run("rotate", vault, "--passfile", self.vault.passfile, *more)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def refused(self, vault, *words):
        done = self.vault.run("mount", vault, self.mnt, "--passfile", self.vault.passfile)
        self.assertRefused(done, "--accept-rollback", *words, status=ROLLED_BACK)
        self.assertFalse(self.vault.is_mounted())

    def test_an_old_keyring_after_a_move(self):
        self.rotate(self.vault.path)
        moved = self.dir / "moved"
        os.rename(self.vault.path, moved)
        newest = self.keyring(moved).read_bytes()
        self.keyring(moved).write_bytes(self.old)
        self.refused(moved, "older", f"in {self.vault.path}")
        self.keyring(moved).write_bytes(newest)
        self.rotate(moved)

    def test_an_old_keyring_through_a_bind_mount(self):
        self.need_root()
        bound = self.dir / "bound"
        bound.mkdir()
        self.rotate(self.vault.path)
        newest = self.keyring().read_bytes()
        subprocess.run(["mount", "--bind", self.vault.path, bound], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", bound])
        self.keyring().write_bytes(self.old)
        self.refused(bound, "older", f"in {self.vault.path}")
        # The same directory at another path is no copy: keys are changed at either.
        self.keyring().write_bytes(newest)
        self.rotate(bound)
        self.rotate(self.vault.path)
        self.keyring().write_bytes(newest)
        self.refused(bound, "older")

    def test_a_fork_of_several_generations(self):
        for _ in range(2):
            self.rotate(self.vault.path)
        mine = self.keyring().read_bytes()
        state = self.vault.env["XDG_STATE_HOME"]
        self.vault.env["XDG_STATE_HOME"] = str(self.dir / "another-host")
        self.keyring().write_bytes(self.old)
        for _ in range(5):
            self.rotate(self.vault.path)
        self.vault.env["XDG_STATE_HOME"] = state
        self.refused(self.vault.path, "doesn't come from")
        self.keyring().write_bytes(mine)
        self.rotate(self.vault.path)

    def test_a_copy_beside_its_original(self):
        copy = self.dir / "copy"
        shutil.copytree(self.vault.path, copy, symlinks=True)
        self.vault.mount()
        self.write("f", b"of the original", fsync=True)
        self.vault.umount()
        # Reading the copy takes nothing from the original, and a change of its keys says what to do.
        self.vault.ok("mount", copy, self.mnt, "--passfile", self.vault.passfile)
        done = self.vault.run("rotate", self.mnt)
        self.assertRefused(done, f"a copy of the vault in {self.vault.path}", "--accept-rollback", status=ROLLED_BACK)
        self.vault.ok("umount", self.mnt)
        self.rotate(self.vault.path)
        self.refused(copy, "older")
        self.rotate(copy, "--accept-rollback")
        for _ in range(3):
            self.rotate(copy)
        self.rotate(self.vault.path)
        # The copy's keyring is no match for the original's place.
        mine = self.keyring().read_bytes()
        for theirs in (self.keyring(copy).read_bytes(), self.old):
            self.keyring().write_bytes(theirs)
            self.refused(self.vault.path)
        self.keyring().write_bytes(mine)
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "f"), b"of the original")

    def test_another_vault_in_its_place_is_not_noticed(self):
        """One that the same secret opens: what is remembered is remembered of a vault's id."""
        base = self.dir / "second"
        base.mkdir()
        other = self.new_vault(base)
        ids = [json.loads(v.ok("status", v.path, "--json", "--passfile", v.passfile))["vault_id"] for v in (self.vault, other)]
        aside = self.dir / "aside"
        for source, target in ((self.vault.path, aside), (other.path, self.vault.path), (aside, other.path)):
            os.rename(source, target)
        self.vault.mount()
        self.assertEqual([self.vault.status()["vault_id"]], ids[1:])

    def test_a_damaged_memory_is_told_of_and_made_again(self):
        (record,) = (self.vault.base / "state" / "rekeyfs").iterdir()
        whole = record.read_bytes()
        for damaged in (b"", whole[:-1], whole.replace(b"generation", b"Generation", 1)):
            record.write_bytes(damaged)
            said = []
            for _ in range(2):
                done = self.vault.run("status", self.vault.path, "--passfile", self.vault.passfile)
                self.assertEqual(done.returncode, 0, done.stderr)
                said.append("could not be noticed" in done.stderr)
            self.assertEqual(said, [True, False])
            self.assertEqual(record.read_bytes(), whole)

    def test_what_root_and_a_user_remember_is_their_own(self):
        """An ordinary user's host memory works as root's does."""
        self.need_root()
        self.need_tools("setpriv")
        open_device_to_users(self)
        uid = pwd.getpwnam("nobody").pw_uid
        os.chmod(self.dir, 0o755)
        base = self.dir / "user"
        base.mkdir()
        vault = self.new_vault(base, uid=uid)
        old = (vault.path / "keyring").read_bytes()
        vault.ok("rotate", vault.path, "--passfile", vault.passfile)
        (record,) = (base / "state" / "rekeyfs").iterdir()
        meta = record.stat()
        self.assertEqual((record.suffix, meta.st_uid, stat.S_IMODE(record.parent.stat().st_mode)), (".seen", uid, 0o700))
        moved = base / "moved"
        os.rename(vault.path, moved)
        (moved / "keyring").write_bytes(old)
        done = vault.run("status", moved, "--passfile", vault.passfile)
        self.assertRefused(done, "older", "--accept-rollback", status=ROLLED_BACK)


class Revoked(MountedTest):
    def setUp(self):
        super().setUp()
        self.new = self.dir / "new-pass"
        self.new.write_text(NEW + "\n")
        self.write("before", b"written before", fsync=True)
        self.vault.umount()
        self.old = (self.vault.path / "keyring").read_bytes()
        self.printed = self.vault.ok(
            "unlock", "change", self.vault.path, "--revoke", "--passfile", self.vault.passfile, "--new-passfile", self.new,
            "--kdf-memory", "8",
        )  # fmt: skip

    def run_new(self, *args):
        return self.vault.run(*args, "--passfile", self.new)

    def test_the_old_keyring_and_its_passphrase(self):
        self.assertIn("reencrypt", self.printed)
        self.assertIn("every key has a new version", self.printed)
        self.assertRefused(self.vault.try_mount(), status=WRONG)
        newest = (self.vault.path / "keyring").read_bytes()
        (self.vault.path / "keyring").write_bytes(self.old)
        self.assertRefused(self.vault.try_mount(), "older", "--accept-rollback", status=ROLLED_BACK)
        (self.vault.path / "keyring").write_bytes(newest)
        self.assertEqual(self.run_new("mount", self.vault.path, self.mnt).returncode, 0)
        self.vault.pid = self.vault.daemon_pid()
        self.write("after", b"written after", fsync=True)
        self.assertEqual(self.read(self.mnt / "before"), b"written before")
        self.assertEqual(self.vault.version(self.mnt / "after"), 2)
        self.vault.ok("reencrypt", "-r", self.mnt)
        self.assertEqual(self.vault.version(self.mnt / "before"), 2)
        self.assertEqual(self.vault.run("events", self.mnt, "--verify").returncode, 0)
        self.assertEqual(self.vault.run("fsck", self.mnt).returncode, 0)
        self.vault.umount()
        # What the old keyring opens of it now: nothing.
        (self.vault.path / "keyring").write_bytes(self.old)
        self.vault.env["XDG_STATE_HOME"] = str(self.dir / "another-host")
        self.vault.mount("--read-only")
        for name in ("before", "after"):
            with self.assertRaises(OSError):
                self.read(self.mnt / name)

    def test_the_independent_reader_follows_line_and_log_across_it(self):
        python = TARGET / "python/bin/python"
        if not python.exists():
            self.skipTest(f"{python} is missing: scripts/test.sh installs what the independent reader needs")
        slots = json.loads(self.vault.ok("unlock", "list", self.vault.path, "--json"))["slots"]
        (recovery,) = (slot["id"] for slot in slots if slot["kind"] == "recovery")
        self.assertEqual(self.run_new("unlock", "remove", self.vault.path, recovery).returncode, 0)
        program = (
            "import sys, hashlib, reader; vault = reader.Vault(sys.argv[1], sys.argv[2].encode()); vault.check_events(); "
            "line = vault.line(); print(len(line), len(vault.event_keys()), len(vault.extension(7)), "
            "line[-1][1] == hashlib.sha256(open(sys.argv[1] + '/keyring.prev', 'rb').read()).digest()[:16])"
        )
        done = subprocess.run([python, "-c", program, str(self.vault.path), NEW], cwd=ROOT / "tests/golden", text=True,
                              capture_output=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        # Two saves of the revocation, two of the slot that goes; one key and one root key that were replaced.
        self.assertEqual(done.stdout.split(), ["4", "2", "32", "True"])

    def test_the_log_spans_the_change_of_its_key(self):
        self.assertEqual(self.run_new("rotate", self.vault.path).returncode, 0)
        done = self.run_new("events", self.vault.path, "--verify", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        log = self.vault.path / "events.jsonl"
        lines = log.read_text().splitlines()
        types = [json.loads(line)["detail-type"] for line in lines]
        at = types.index("Event Key Replaced")
        self.assertEqual(types[at + 1], "Event Key In Use")
        self.assertEqual(json.loads(done.stdout)["good"], len(lines))
        for changed in (0, at, at + 1):
            forged = [line.replace('"outcome":"success"', '"outcome":"failed"') if n == changed else line for n, line in enumerate(lines)]
            log.write_text("\n".join(forged) + "\n")
            self.assertRefused(self.run_new("events", self.vault.path, "--verify"), f"line {changed + 1} ", status=45)
