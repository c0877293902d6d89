"""A vault whose keyring has a ro_compat bit that this program doesn't know: every command, mounted and not, reads or is
refused, and not a byte, mode or time of the vault's directory changes."""

import errno
import json
import os
import shutil
import subprocess
import unittest
from datetime import datetime

from harness import KMS_ENVIRONMENT_EXIT, PASSPHRASE, ROOT, TARGET, MountedTest, tree_digest

UNKNOWN = 1 << 31
KEYRING_EXIT = 8


def everything(directory):
    """All below a directory, and itself, without times of last access."""
    rows = []
    for where, dirs, files in os.walk(directory):
        for path in [where, *(os.path.join(where, name) for name in files)]:
            st = os.lstat(path)
            content = b""
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    content = file.read()
            rows.append((path, st.st_mode, st.st_uid, st.st_ino, st.st_mtime_ns, st.st_ctime_ns, content))
        dirs.sort()
    return sorted(rows)


def set_ro_compat(test, vault, bits=UNKNOWN, *replaced):
    python = TARGET / "python/bin/python"
    if not python.exists():
        test.skipTest(f"{python} is missing: scripts/test.sh installs what the independent reader needs")
    script = ROOT / "tests/golden/set_ro_compat.py"
    subprocess.run([python, script, vault.path, PASSPHRASE, str(bits), *map(str, replaced)], check=True)
    # As on the host of the newer program: this one remembers another keyring of the same generation.
    shutil.rmtree(vault.base / "state" / "rekeyfs", ignore_errors=True)


class MayOnlyRead(MountedTest):
    def setUp(self):
        super().setUp()
        (self.mnt / "d").mkdir()
        self.write("d/f", b"of version 1" * 1000, fsync=True)
        self.write("g", b"g" * 5000)
        os.symlink("d/f", self.mnt / "link")
        os.setxattr(self.mnt / "g", "user.a", b"value")
        self.content = tree_digest(self.mnt)
        # No file is opened from here on: all of them stay stale.
        self.vault.rotate()
        key = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("create-alias", "--alias-name", "alias/other", "--target-key-id", key)
        self.key = self.kms("describe-key", "--key-id", "alias/default")["KeyMetadata"]["KeyId"]
        self.backup = self.dir / "backup"
        self.vault.ok("key-backup", "export", self.mnt, self.backup, "--passfile", self.vault.passfile,
                      "--backup-passfile", self.vault.passfile, "--kdf-memory", "8")  # fmt: skip
        self.vault.umount()
        # Leftovers of a change that was interrupted, and what a program that may write makes again.
        (self.vault.path / "tree" / ".tmp.leftover").write_bytes(b"x")
        (self.vault.path / "unlock-failures").write_text("2 1000 0 1\n")
        (self.vault.path / "keyring.reserve3").unlink()
        set_ro_compat(self, self.vault)
        self.before = everything(self.vault.path)
        self.run_names = set()

    def unlock(self, target):
        return ["--passfile", self.vault.passfile]

    def call(self, *command, status=None):
        self.run_names.add(command[0] if command[0] not in ("kms", "unlock", "key", "key-backup") else command[:2])
        done = self.vault.run(*command)
        self.assertNotIn("panicked", done.stderr)
        if status is not None:
            self.assertEqual(done.returncode, status, f"{command}: {done.stdout}{done.stderr}")
        self.assertEqual(everything(self.vault.path), self.before, f"{command} wrote in the vault")
        return done

    def refused(self, *command):
        done = self.call(*command, status=KMS_ENVIRONMENT_EXIT if command[0] == "kms" else KEYRING_EXIT)
        self.assertIn("0x80000000", done.stderr)
        self.assertIn("mount -o ro", done.stderr)

    def reads(self, target):
        given = self.unlock(target)
        self.call("status", target, *given, status=0)
        self.call("status", target, "--count", *given, status=0)
        self.call("events", target, *given, status=0)
        self.call("events", target, "--verify", *given, status=0)
        self.call("unlock", "list", target, status=0)
        self.call("unlock", "test", target, *self.unlock(target), status=0)
        self.call("unlock", "trust", target, *given, status=0)
        self.call("info", target, status=0)
        self.call("hosts", target, status=0)
        # The leftover is a finding.
        self.call("fsck", target, *given, status=4)
        copy = self.dir / f"backup of {target.name}"
        self.call("key-backup", "export", target, copy, "--backup-passfile", self.vault.passfile,
                  "--kdf-memory", "8", *given, status=0)  # fmt: skip
        default = ["--vault", target, *given, "--key-id"]
        for verb in ("describe-key", "get-key-rotation-status", "list-key-rotations"):
            self.call("kms", verb, *default, "alias/default", status=0)
        for verb in ("list-resource-tags", "list-key-policies", "get-key-policy"):
            self.call("kms", verb, *default, self.key, status=0)
        for verb in ("list-keys", "list-aliases"):
            self.call("kms", verb, "--vault", target, *given, status=0)
        self.call("kms", "generate-random", "--vault", target, *given, "--number-of-bytes", "8", status=0)
        # That a key was used for data would have to be kept first.
        self.refused("kms", "encrypt", *default, self.key, "--plaintext", "AAH/")
        for verb in ("generate-data-key", "generate-data-key-without-plaintext"):
            self.refused("kms", verb, *default, self.key, "--key-spec", "AES_256")
        self.call("kms", "decrypt", "--vault", target, *given, "--ciphertext-blob", "AAH/", status=254)
        # The key's material isn't imported.
        self.call("kms", "get-parameters-for-import", *default, self.key, "--wrapping-algorithm",
                  "RSAES_OAEP_SHA_256", "--wrapping-key-spec", "RSA_3072", status=254)  # fmt: skip

    def changes(self, target, mounted):
        """All that would change something. Returns those that another reason refuses first in a mount."""
        given = self.unlock(target)
        for extra in ([], ["--new-key"], ["--key-id", self.key]):
            self.refused("rotate", target, *extra, *given)
        self.refused("unlock", "add", target, *given, "--new-passfile", self.vault.passfile)
        slot = json.loads(self.vault.ok("unlock", "list", target, "--json"))["slots"][0]["id"]
        self.refused("unlock", "remove", target, slot, *given)
        self.refused("unlock", "label", target, slot, "a label", *given)
        self.refused("recover", target, *given, "--new-passfile", self.vault.passfile)
        self.refused("hosts", "evict", target, "host", "--host-is-dead", *given)
        self.refused("events", "rotate", target, *given)
        self.refused("events", "prune", target, "--keep", "0", *given)
        self.refused("unlock", "change", target, *given, "--new-passfile", self.vault.passfile)
        self.refused("unlock", "rebind", target, slot, *given)
        self.refused("unlock", "change", target, *given, "--new-passfile", self.vault.passfile, "--revoke")
        for extra in (["--force"], ["--undo"], ["--trim", "--force"]):
            self.refused("key", "retire", target, "--key-id", self.key, "--below", "2", *extra, *given)
        of = ["--vault", target, *given, "--key-id", self.key]
        self.refused("kms", "schedule-key-deletion", *of, "--pending-window-in-days", "7", "--force")
        for verb, *extra in (
            ("disable-key",),
            ("enable-key-rotation",),
            ("rotate-key-on-demand",),
            ("tag-resource", "--tags", "TagKey=a,TagValue=b"),
            ("update-key-description", "--description", "d"),
            ("put-key-policy", "--policy-name", "default", "--policy", '{"Statement": []}',
             "--bypass-policy-lockout-safety-check"),
        ):  # fmt: skip
            self.refused("kms", verb, *of, *extra)
        self.refused("kms", "create-key", "--vault", target, *given)
        self.refused("kms", "create-alias", "--vault", target, *given, "--alias-name", "alias/x",
                     "--target-key-id", self.key)  # fmt: skip
        self.refused("kms", "update-alias", "--vault", target, *given, "--alias-name", "alias/other",
                     "--target-key-id", self.key)  # fmt: skip
        self.refused("kms", "delete-alias", "--vault", target, *given, "--alias-name", "alias/other")
        # In a mount a key's state may refuse these first.
        for verb, *extra in (
            ("enable-key",),
            ("disable-key-rotation",),
            ("cancel-key-deletion",),
            ("untag-resource", "--tag-keys", "a"),
            ("delete-imported-key-material",),
            ("import-key-material", "--key-material-file", self.keyfile(), "--expiration-model",
             "KEY_MATERIAL_DOES_NOT_EXPIRE"),
        ):  # fmt: skip
            done = self.call("kms", verb, *of, *extra)
            self.assertNotEqual(done.returncode if not mounted else KEYRING_EXIT, 0, verb)
            self.assertIn(done.returncode, (KMS_ENVIRONMENT_EXIT, 254, 0) if mounted else (KMS_ENVIRONMENT_EXIT,), done.stderr)

    def keyfile(self):
        path = self.dir / "material"
        path.write_bytes(bytes(32))
        path.chmod(0o600)
        return path

    def test_unmounted_every_command_reads_or_is_refused(self):
        vault = self.vault.path
        self.call("init", vault, "--passfile", self.vault.passfile, "--no-recovery-key", status=6)
        self.refused("mount", vault, self.mnt, *self.unlock(vault))
        # Before a secret is asked for.
        self.refused("mount", vault, self.mnt, "--passfile", self.dir / "none")
        self.reads(vault)
        self.call("fsck", vault, "--keyring", vault / "keyring", *self.unlock(vault), status=4)
        self.call("inspect", self.a_lower_file(), status=0)
        self.changes(vault, mounted=False)
        self.refused("rotate", vault, "--due", *self.unlock(vault))
        self.refused("rewrap", vault, *self.unlock(vault))
        self.refused("reencrypt", "-r", vault, *self.unlock(vault))
        self.call("fsck", vault, "--repair", *self.unlock(vault), status=8)
        self.call("fsck", vault, "--quarantine", self.dir / "q", *self.unlock(vault), status=8)
        self.refused("key-backup", "import", vault, self.backup, "--force", "--backup-passfile", self.vault.passfile,
                     "--new-passfile", self.vault.passfile)  # fmt: skip
        self.refused("key-backup", "keep", vault, "--to", self.dir / "kept", "--backup-passfile", self.vault.passfile,
                     "--kdf-memory", "8", *self.unlock(vault))  # fmt: skip
        self.call("key-backup", "keep", vault, "--list", *self.unlock(vault), status=0)
        self.refused("key-backup", "merge", vault, self.backup, *self.unlock(vault))
        wrong = self.dir / "wrong"
        wrong.write_text("not it\n")
        self.call("status", vault, "--passfile", wrong, status=12)
        self.call("umount", vault)
        self.call("kms", "re-encrypt", self.a_lower_file(), "--destination-key-id", self.key)
        self.call("kms", "serve", vault, status=42)
        self.call("console", vault, status=42)
        # What is about no vault.
        wanted = self.vault.subcommands() - {"speed"} - {"kms", "unlock", "key", "key-backup"}
        for group in ("kms", "unlock", "key", "key-backup"):
            wanted |= {(group, name) for name in self.vault.subcommands(group)}
        self.assertEqual(wanted - self.run_names, set(), "commands that this test doesn't run")

    def a_lower_file(self):
        tree = self.vault.path / "tree"
        return next(p for p in tree.iterdir() if p.is_file() and not p.is_symlink() and p.name[0] != ".")

    def changes_nothing_in_files(self, mnt):
        for change in (
            lambda: open(mnt / "new", "w"),
            lambda: open(mnt / "g", "r+"),
            lambda: os.unlink(mnt / "g"),
            lambda: os.rename(mnt / "g", mnt / "h"),
            lambda: os.setxattr(mnt / "d", "user.rekeyfs.alias", b"alias/other"),
            lambda: os.chmod(mnt / "g", 0o600),
            lambda: os.mkdir(mnt / "e"),
        ):
            self.assertErrno(errno.EROFS, change)
        self.assertEqual(everything(self.vault.path), self.before)

    def test_mounted_read_only_every_command_reads_or_is_refused(self):
        self.vault.mount("-o", "ro")
        mnt = self.mnt
        self.assertEqual(tree_digest(mnt), self.content)
        self.assertEqual(self.vault.version(mnt / "g"), 1)
        self.changes_nothing_in_files(mnt)
        # Nor when the kernel lets writes pass.
        self.need_root()
        subprocess.run(["mount", "-i", "-o", "remount,rw", mnt], check=True)
        self.changes_nothing_in_files(mnt)
        self.reads(mnt)
        self.call("inspect", mnt / "g", status=0)
        self.changes(mnt, mounted=True)
        for command in (("rewrap", mnt), ("rewrap", mnt, "--adopt"), ("rewrap", mnt, "--to-alias", "alias/other"),
                        ("reencrypt", mnt / "g"), ("reencrypt", "-r", mnt),
                        ("kms", "re-encrypt", mnt / "g", "--destination-key-id", self.key),
                        ("fsck", mnt, "--repair")):  # fmt: skip
            self.assertNotEqual(self.call(*command).returncode, 0, command)
        self.refused("mount", self.vault.path, self.dir, *self.unlock(mnt))
        self.assertNotEqual(self.call("mount", self.vault.path, self.dir, "-o", "ro", *self.unlock(mnt)).returncode, 0)
        self.assertEqual(self.vault.version(mnt / "g"), 1, "the stale file was read, and is not re-wrapped")
        self.call("umount", mnt, status=0)
        self.vault.pid = None
        self.assertEqual(everything(self.vault.path), self.before)

    def test_a_kill_of_a_mount_leaves_it_as_it_is(self):
        self.vault.mount("-o", "ro")
        self.assertEqual(self.read(self.mnt / "g"), b"g" * 5000)
        self.vault.kill()
        self.vault.clear_stale_mountpoint()
        self.assertEqual(everything(self.vault.path), self.before)

    def test_a_vault_without_lock_files_is_read_all_the_same(self):
        for name in ("lock", "keyring.lock"):
            (self.vault.path / name).unlink(missing_ok=True)
        self.before = everything(self.vault.path)
        self.call("status", self.vault.path, *self.unlock(None), status=0)
        self.vault.mount("-o", "ro")
        self.assertEqual(tree_digest(self.mnt), self.content)
        self.vault.umount()
        self.assertEqual(everything(self.vault.path), self.before)

    def test_a_key_whose_date_of_deletion_has_passed_stays(self):
        """Verbs that read delete what is due first, where they may."""
        set_ro_compat(self, self.vault, 0)
        of = ["--vault", self.vault.path, *self.unlock(None)]
        key = json.loads(self.vault.ok("kms", "create-key", *of))["KeyMetadata"]["KeyId"]
        answer = self.vault.ok("kms", "schedule-key-deletion", *of, "--key-id", key, "--pending-window-in-days", "7")
        due = round(datetime.fromisoformat(json.loads(answer)["DeletionDate"]).timestamp() * 1000)
        set_ro_compat(self, self.vault, UNKNOWN, due, 1000)
        self.before = everything(self.vault.path)
        listed = self.call("kms", "list-keys", *of, status=0)
        self.assertIn(key, listed.stdout)
        self.call("status", self.vault.path, *self.unlock(None), status=0)
        self.vault.mount("-o", "ro")
        self.assertIn(key, self.vault.ok("kms", "list-keys", "--vault", self.mnt))
        self.vault.umount()
        self.assertEqual(everything(self.vault.path), self.before)
        # A program that knows all features does delete it: the test is one of something.
        set_ro_compat(self, self.vault, 0)
        self.assertNotIn(key, self.vault.ok("kms", "list-keys", *of))


if __name__ == "__main__":
    unittest.main()
