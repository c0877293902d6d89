"""The ends and beginnings of keys on a mounted vault: retirement, deletion, imported material, manual rotation."""

import base64
import errno
import json
import os
import shutil
import subprocess

from harness import MountedTest, wait_until


class KeyLifecycle(MountedTest):
    def retire(self, *args):
        key = ("--key-id", "alias/default")
        return self.vault.run("key", "retire", self.mnt, *key, *args)

    def test_versions_are_retired_after_the_rewrap_and_opened_again(self):
        path = self.write("file", b"x" * 10_000, fsync=True)
        lower = self.vault.lower(path)
        backup = self.dir / "backup"
        shutil.copyfile(lower, backup)
        self.vault.rotate()
        self.assertRefused(self.retire("--below", "2"), "1 file needs versions below 2", "rekeyfs rewrap", status=44)
        self.assertRefused(self.retire("--below", "3"), "current version 2", status=44)
        self.vault.ok("rewrap", self.mnt)
        done = self.retire("--below", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("copies of the vault", done.stderr)
        self.assertEqual(self.read(path), b"x" * 10_000)
        self.vault.umount()
        shutil.copyfile(backup, lower)
        self.vault.mount()
        self.assertErrno(errno.ENOKEY, open, path, "rb")
        done = self.retire("--below", "2", "--undo")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.read(path), b"x" * 10_000)
        # --force asks for the secret, though the vault is mounted.
        force = ("--below", "2", "--trim", "--force")
        wrong = self.dir / "wrong"
        wrong.write_text("wrong\n")
        self.assertRefused(self.retire(*force, "--passfile", wrong), status=12)
        self.assertEqual(self.read(path), b"x" * 10_000)
        lost = self.write("late", b"under version two", fsync=True)
        with open(lower, "r+b") as file:
            file.write(backup.read_bytes()[:1024])
        done = self.retire(*force, "--passfile", self.vault.passfile, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["trimmed"], 1)
        self.assertEqual(self.read(lost), b"under version two")

    def test_a_deletion_is_refused_with_the_count_and_shown_by_status(self):
        files = [self.write(f"file{n}", b"x" * 5000, fsync=True) for n in range(3)]
        old = os.getxattr(files[0], "user.rekeyfs.key-id").decode()
        said = self.assertKmsError("ConflictException", "schedule-key-deletion", "--key-id", old)
        self.assertIn(f"3 files need key {old}", said)
        self.assertEqual(self.read(files[0]), b"x" * 5000)
        renewed = json.loads(self.vault.ok("rotate", self.mnt, "--new-key", "--json"))
        self.assertEqual((renewed["old_key_id"], renewed["alias"]), (old, "alias/default"))
        self.assertRegex(renewed["dated_alias"], r"^alias/default-\d{8}$")
        self.vault.ok("rewrap", self.mnt)
        self.kms("schedule-key-deletion", "--key-id", old, "--pending-window-in-days", "7")
        self.assertIn(f"key {old[:8]} is deleted", self.vault.ok("status", self.mnt))
        for path in files:
            self.assertEqual(os.getxattr(path, "user.rekeyfs.key-id").decode(), renewed["new_key_id"])
            self.assertEqual(self.read(path), b"x" * 5000)

    def test_imported_material_wraps_expires_and_comes_back(self):
        material = self.dir / "material"
        material.write_bytes(os.urandom(32))
        key = self.kms("create-key", "--origin", "EXTERNAL")["KeyMetadata"]
        self.assertEqual(key["KeyState"], "PendingImport")
        key = key["KeyId"]
        self.kms("create-alias", "--alias-name", "alias/imported", "--target-key-id", key)
        os.mkdir(self.mnt / "dir")
        alias = (self.mnt / "dir", "user.rekeyfs.alias", b"alias/imported")
        self.assertErrno(errno.ENOKEY, os.setxattr, *alias)
        forever = ("--expiration-model", "KEY_MATERIAL_DOES_NOT_EXPIRE")
        of_file = ("import-key-material", "--key-id", key, "--key-material-file")
        self.kms(*of_file, material, *forever)
        os.setxattr(*alias)
        path = self.write("dir/file", b"under imported material", fsync=True)
        self.kms("delete-imported-key-material", "--key-id", key)
        self.assertErrno(errno.ENOKEY, open, path, "rb")
        self.assertErrno(errno.ENOKEY, open, self.mnt / "dir/new", "wb")
        other = self.dir / "other"
        other.write_bytes(os.urandom(32))
        self.assertKmsError("IncorrectKeyMaterialException", *of_file, other, *forever)
        soon = str(int(os.stat(self.dir).st_mtime) + 10**9)
        self.assertKmsError("ValidationException", *of_file, material, "--valid-to", soon)
        self.kms(*of_file, material, *forever)
        self.assertEqual(self.read(path), b"under imported material")
        # New material waits for a rotation; the file moves to it.
        self.kms(*of_file, other, *forever, "--import-type", "NEW_KEY_MATERIAL")
        self.kms("rotate-key-on-demand", "--key-id", key)
        self.assertEqual(self.read(path), b"under imported material")
        wait_until(lambda: os.getxattr(path, "user.rekeyfs.key-version") == b"2")

    def test_wrapped_material_is_taken_as_the_aws_cli_gives_it(self):
        self.need_tools("openssl")
        key = self.kms("create-key", "--origin", "EXTERNAL")["KeyMetadata"]["KeyId"]
        got = self.kms(
            "get-parameters-for-import", "--key-id", key,
            "--wrapping-algorithm", "RSAES_OAEP_SHA_256", "--wrapping-key-spec", "RSA_4096",
        )  # fmt: skip
        names = {name: self.dir / name for name in ("public", "token", "plain", "wrapped")}
        names["public"].write_bytes(base64.b64decode(got["PublicKey"]))
        names["token"].write_bytes(base64.b64decode(got["ImportToken"]))
        names["plain"].write_bytes(os.urandom(32))
        wrap = (
            "openssl pkeyutl -encrypt -in plain -out wrapped -inkey public -keyform DER -pubin "
            "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256"
        )
        subprocess.run(wrap.split(), cwd=self.dir, check=True, capture_output=True)
        answer = self.kms(
            "import-key-material", "--key-id", key, "--expiration-model", "KEY_MATERIAL_DOES_NOT_EXPIRE",
            "--import-token", f"fileb://{names['token']}",
            "--encrypted-key-material", f"fileb://{names['wrapped']}",
        )  # fmt: skip
        self.assertEqual(len(answer["KeyMaterialId"]), 64)
        self.assertEqual(self.kms("describe-key", "--key-id", key)["KeyMetadata"]["KeyState"], "Enabled")
