"""The committed vaults, mounted: every version of rekeyfs reads each of their files."""

import errno
import hashlib
import json
import os
import pathlib
import stat

from harness import ROOT, MountedTest, Vault, sh, wait_until

GOLDEN = ROOT / "tests" / "golden"


class Golden(MountedTest):
    options = None

    def setUp(self):
        super().setUp()
        self.vaults = sorted(GOLDEN.glob("vault-*-*.tar"))
        self.assertEqual(len(self.vaults), 2)
        self.revoked = GOLDEN / "vault-revoked.tar"
        self.rotated = GOLDEN / "vault-rotated.tar"
        self.shared = GOLDEN / "vault-shared.tar"

    def open(self, tar, *options):
        """A copy of a committed vault, mounted; and what it should hold."""
        base = self.dir / pathlib.Path(tar).stem
        base.mkdir()
        sh(f"tar --xattrs --xattrs-include='user.*' --no-same-owner -xpf {tar}", base)
        vault = Vault(base)
        self.addCleanup(vault.close)
        expected = json.loads(tar.with_suffix(".json").read_text())
        vault.passfile.write_text(expected["passphrase"])
        vault.mount(*options)
        return vault, expected

    def compare(self, vault, expected):
        mnt = os.fsencode(vault.mnt)
        found = set()
        for directory, dirs, files in os.walk(mnt):
            found |= {os.path.relpath(os.path.join(directory, n), mnt).hex() for n in dirs + files}
        self.assertEqual(found, set(expected["tree"]))
        for path, want in expected["tree"].items():
            full = os.path.join(mnt, bytes.fromhex(path))
            st = os.lstat(full)
            if want["kind"] == "symlink":
                self.assertEqual(os.readlink(full).hex(), want["target"])
                continue
            self.assertEqual(oct(stat.S_IMODE(st.st_mode)), want["mode"], full)
            if want["kind"] == "file":
                with open(full, "rb") as f:
                    self.assertEqual(hashlib.sha256(f.read()).hexdigest(), want["sha256"], full)
                self.assertEqual((st.st_size, st.st_nlink), (want["size"], want["links"]), full)
            else:
                self.assertEqual(stat.S_ISDIR(st.st_mode), want["kind"] == "directory")
            for name, value in want.get("xattrs", {}).items():
                self.assertEqual(os.getxattr(full, bytes.fromhex(name)).hex(), value)

    def test_every_file_is_read_and_bears_its_version(self):
        for tar in [*self.vaults, self.revoked, self.rotated, self.shared]:
            vault, expected = self.open(tar, "--no-rewrap")
            self.compare(vault, expected)
            for path, want in expected["tree"].items():
                if "version" in want:
                    full = os.path.join(os.fsencode(vault.mnt), bytes.fromhex(path))
                    self.assertEqual(vault.version(full), want["version"])

    def test_each_secret_opens_it(self):
        for tar in self.vaults:
            vault, expected = self.open(tar)
            (vault.base / "keyfile").write_bytes(bytes.fromhex(expected["keyfile"]))
            (vault.base / "recovery").write_text(expected["recovery"] + "\n")
            for secret in (["--keyfile", vault.base / "keyfile"], ["--recovery-key", "--passfile", vault.base / "recovery"]):
                vault.umount()
                vault.ok("mount", vault.path, vault.mnt, *secret)
                vault.pid = vault.daemon_pid()
                self.assertEqual((vault.mnt / "version-2").stat().st_size, 5000)

    def test_it_can_be_worked_in(self):
        for tar in self.vaults:
            vault, expected = self.open(tar)
            vault.rotate()
            self.compare(vault, expected)
            vault.ok("rewrap", vault.mnt)
            new = vault.mnt / "new"
            new.write_bytes(b"written by a later version")
            files = [p for p, want in expected["tree"].items() if "version" in want]
            mnt = os.fsencode(vault.mnt)
            versions = lambda: {vault.version(os.path.join(mnt, bytes.fromhex(p))) for p in files}  # noqa: E731
            self.assertTrue(wait_until(lambda: versions() == {5}), versions())
            vault.remount()
            self.assertEqual(new.read_bytes(), b"written by a later version")
            new.unlink()
            self.compare(vault, expected)

    def test_files_of_before_follow_their_alias_through_a_manual_rotation(self):
        """They bear no tag: what they follow is what their key's only alias was, also once that was pointed elsewhere."""
        for tar in self.vaults:
            vault, expected = self.open(tar, "--no-rewrap")
            mnt = os.fsencode(vault.mnt)
            files = [os.path.join(mnt, bytes.fromhex(p)) for p, want in expected["tree"].items() if "version" in want]
            inodes = {os.stat(path).st_ino for path in files}
            self.assertFalse(any("follows" in want for want in expected["tree"].values()))
            vault.ok("rotate", "--new-key", "--alias", "alias/default", vault.mnt)
            vault.remount("--no-rewrap")
            status = json.loads(vault.ok("status", vault.mnt, "--count", "--json"))
            self.assertEqual((status["files_stale"], sum(status["files_staying"].values())), (len(inodes), 0))
            vault.ok("rotate", "--new-key", "--alias", "alias/default", vault.mnt)
            swept = json.loads(vault.ok("rewrap", vault.mnt, "--json"))
            self.assertEqual((swept["rewrapped"], swept["failed"]), (len(inodes), 0))
            described = vault.ok("kms", "describe-key", "--key-id", "alias/default", "--vault", vault.mnt)
            new = json.loads(described)["KeyMetadata"]["KeyId"]
            for path in files:
                self.assertEqual(os.getxattr(path, "user.rekeyfs.key-id").decode(), new)
                self.assertEqual(os.getxattr(path, "user.rekeyfs.alias"), b"alias/default")
            self.compare(vault, expected)

    def test_a_vault_that_was_shared_stays_so(self):
        vault, expected = self.open(self.shared)
        self.assertTrue(vault.status()["mount"]["shared"])
        (member,) = json.loads(vault.ok("hosts", vault.path, "--json"))["members"]
        self.assertEqual((member["writer"], member["holds_slot"], member["generation"]), (True, True, expected["generation"]))
        vault.umount()
        self.assertEqual(vault.run("fsck", vault.path, "--passfile", vault.passfile).returncode, 0)

    def test_a_log_of_several_files_verifies_and_is_continued(self):
        vault, _ = self.open(self.rotated)
        vault.ok("events", "rotate", vault.mnt)
        found = json.loads(vault.ok("events", vault.mnt, "--verify", "--json"))
        self.assertGreater(found["begins_after"], 0)
        self.assertEqual(len(list(vault.path.glob("events.jsonl*"))), 4)
        vault.umount()
        self.assertEqual(vault.run("fsck", vault.path, "--passfile", vault.passfile).returncode, 0)

    def test_a_vault_with_revocations_is_followed_by_a_host_that_saw_it_before_and_shuts_the_old_keyring_out(self):
        vault, expected = self.open(self.revoked, "--no-rewrap")
        self.assertEqual(vault.run("events", vault.mnt, "--verify").returncode, 0)
        self.assertEqual(vault.run("fsck", vault.mnt).returncode, 0)
        vault.umount()
        keyring = vault.path / "keyring"
        newest = keyring.read_bytes()
        made_by = {1: {"between", "reencrypted", "swept", "after"}, 2: {"after"}}
        for number, passphrase in enumerate(expected["former"], 1):
            old = (vault.base / f"keyring.before-revocation-{number}").read_bytes()
            secret = vault.base / f"secret-{number}"
            secret.write_text(passphrase)
            vault.env["XDG_STATE_HOME"] = str(vault.base / f"host-{number}")
            keyring.write_bytes(old)
            mount = ("mount", vault.path, vault.mnt, "--passfile", secret, "--read-only")
            vault.ok(*mount)
            # What was made since, the old keyring and its secret don't open; what was there before, they do.
            for path, want in expected["tree"].items():
                if want["kind"] == "file":
                    full = os.path.join(os.fsencode(vault.mnt), bytes.fromhex(path))
                    if bytes.fromhex(path).decode() in made_by[number]:
                        self.assertErrno(errno.ENOKEY, open, full, "rb")
                    else:
                        self.assertEqual(hashlib.sha256(self.read(full)).hexdigest(), want["sha256"])
            vault.umount()
            # The host takes the newer one for what it is, by the endorsements of the root keys that it replaced.
            keyring.write_bytes(newest)
            vault.mount("--read-only")
            self.compare(vault, expected)
            vault.umount()
            self.assertRefused(vault.run(*mount), "wrong passphrase", status=12)
            keyring.write_bytes(old)
            self.assertRefused(vault.run(*mount), "older", "--accept-rollback", status=41)
            keyring.write_bytes(newest)

    def test_a_vault_with_revocations_can_be_worked_in(self):
        vault, expected = self.open(self.revoked)
        moved = json.loads(vault.ok("rewrap", vault.mnt, "--json"))
        self.assertEqual((moved["failed"], moved["staying"]["pinned"], moved["staying"]["alias_gone"]), (0, 1, 1))
        status = json.loads(vault.ok("status", vault.mnt, "--count", "--json"))
        self.assertEqual(status["files_stale"], 0)
        for path, want in expected["tree"].items():
            full = os.path.join(os.fsencode(vault.mnt), bytes.fromhex(path))
            if want["kind"] == "file":
                follows, key = want["follows"], os.getxattr(full, "user.rekeyfs.key-id").decode()
                self.assertEqual(key, expected["aliases"].get(follows, want["key"]), path)
                self.assertEqual(vault.version(full), 1 if follows == "alias/imported" else 3)
        vault.remount()
        self.compare(vault, expected)
        self.assertEqual(vault.run("fsck", vault.mnt).returncode, 0)
