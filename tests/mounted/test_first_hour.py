"""What a newcomer meets in the first hour: every refusal names its object, the cause and what to do; and a reader that
closes standard output early, as `head` does, is no error to talk about."""

import json
import os
import subprocess

import harness
from harness import MountedTest, UserMountTest

GROUPS = ("kms", "unlock", "key", "key-backup")
PIPE_STATUS = 141


class Refusals(MountedTest):
    options = None

    def refused(self, status, *words, args, **kw):
        done = self.vault.run(*args, **kw)
        what = f"rekeyfs {' '.join(map(str, args))}\n{done.stderr}"
        self.assertEqual(done.returncode, status, what)
        self.assertEqual(done.stderr.count("\n"), 1, what)
        for word in words:
            self.assertIn(str(word), done.stderr, what)

    def test_a_wrong_place_is_refused_with_what_to_do(self):
        vault, mnt, secret = self.vault.path, self.mnt, ("--passfile", self.vault.passfile)
        full, plain, none = self.dir / "full", self.dir / "plain", self.dir / "none"
        full.mkdir()
        (full / "x").touch()
        plain.touch()
        for status, words, args in [
            (6, (none, "rekeyfs init"), ("mount", none, mnt)),
            (6, (plain, "rekeyfs init"), ("mount", plain, mnt)),
            (23, (full, "no keyring and no tree", "rekeyfs init"), ("mount", full, mnt)),
            (10, (none, "does not exist", f"mkdir {none}"), ("mount", vault, none)),
            (10, (plain, "not a directory", "name an empty one"), ("mount", vault, plain)),
            (10, (full, "not empty", "-o nonempty"), ("mount", vault, full)),
            (10, ("inside the vault", "elsewhere"), ("mount", vault, vault / "tree")),
            (6, (none, "must be there"), ("init", none / "vault")),
            (6, (plain, "name a directory that is empty"), ("init", plain)),
            (6, (full, "not empty", "new or an empty one"), ("init", full)),
            (6, (none, "name a vault's directory or its mountpoint"), ("status", none)),
            (6, (full, "name a vault's directory or its mountpoint"), ("rotate", full)),
            (2, ("--all", "is for --output prometheus", "name one TARGET"), ("status", "--all")),
            (2, ("--output-file", "is for --output prometheus"), ("status", vault, "--output-file", none)),
        ]:
            self.refused(status, *words, args=(*args, *secret))
        self.refused(42, mnt, "no vault is mounted", args=("umount", mnt))
        self.vault.mount()
        other = self.dir / "other"
        other.mkdir()
        self.refused(10, mnt, "mounted there already", "unmount it first", args=("mount", vault, mnt, *secret))
        self.refused(40, vault, "in use by", mnt, "unmount it there", args=("mount", vault, other, *secret))

    def test_an_empty_secret_is_named_with_its_option(self):
        vault, backup, secret = self.vault.path, self.dir / "backup", ("--passfile", self.vault.passfile)
        empty = self.dir / "empty"
        empty.touch()
        new = f"the new passphrase of {vault}"
        for words, args in [
            ((f"passphrase of {vault}", "--passfile or --extpass"), ("mount", vault, self.mnt)),
            ((f"{empty}: ", f"the passphrase of {vault}"), ("mount", vault, self.mnt, "--passfile", empty)),
            (("--extpass command", f"the passphrase of {vault}"), ("status", vault, "--extpass", "true")),
            (("new passphrase", "--passfile or --extpass"), ("init", self.dir / "v2")),
            (("new passphrase", "--new-passfile or --new-extpass"), ("unlock", "add", vault, *secret)),
            ((f"{empty}: ", new), ("unlock", "add", vault, *secret, "--new-passfile", empty)),
            (("--new-extpass command", new), ("unlock", "change", vault, *secret, "--new-extpass", "true")),
            (("the key backup", "--backup-passfile or --backup-extpass"), ("key-backup", "export", vault, backup, *secret)),
        ]:
            kdf = () if args[0] in ("mount", "status") else ("--kdf-memory", "8")
            self.refused(22, *words, args=(*args, *kdf))
        self.refused(9, self.dir / "none", new, args=("unlock", "add", vault, *secret, "--new-passfile", self.dir / "none"))
        self.refused(9, "--new-extpass command", f"no {new[4:]}", args=("unlock", "add", vault, *secret, "--new-extpass", "exit 3"))

    def test_a_lost_keyring_names_the_commands_that_bring_it_back_and_they_do(self):
        secret = ("--passfile", self.vault.passfile)
        backup = ("--backup-passfile", self.vault.passfile)
        self.vault.ok("rotate", self.vault.path, *secret)
        export = self.dir / "export"
        self.vault.ok("key-backup", "export", self.vault.path, export, *secret, *backup, "--kdf-memory", "8")
        (self.vault.path / "keyring").unlink()
        done = self.vault.run("status", self.vault.path, *secret)
        self.assertEqual(done.returncode, 23)
        for command in (f"cp {self.vault.path}/keyring.prev {self.vault.path}/keyring", f"key-backup import {self.vault.path} BACKUP"):
            self.assertIn(command, done.stderr)
        subprocess.run(done.stderr.split("`")[1], shell=True, check=True)
        self.vault.ok("status", self.vault.path, *secret, "--accept-rollback")
        for name in ("keyring", "keyring.prev"):
            (self.vault.path / name).unlink()
        done = self.vault.run("mount", self.vault.path, self.mnt, *secret)
        self.assertEqual(done.returncode, 23)
        command = done.stderr.split("`")[1].split()
        self.assertEqual(command[:3], ["rekeyfs", "key-backup", "import"])
        new = ("--new-passfile", self.vault.passfile, "--kdf-memory", "8")
        self.vault.ok(*command[1:-1], export, *backup, *new)
        self.vault.ok("status", self.vault.path, *secret)

    def test_a_reader_that_closes_the_pipe_is_not_talked_of(self):
        """Each command's help, and each one's own output, into a pipe that nobody reads."""
        self.vault.mount()
        file = self.write("a", b"x" * 9000, fsync=True)
        vault, mnt, secret = self.vault.path, self.mnt, ("--passfile", self.vault.passfile)
        commands = {(name,) for name in self.vault.subcommands() - set(GROUPS)}
        commands |= {(group, name) for group in GROUPS for name in self.vault.subcommands(group)}
        for command in [(), *sorted(commands)]:
            self.closed(PIPE_STATUS, *command, "--help")
        self.closed(PIPE_STATUS, "--version")
        new = ("--new-passfile", self.vault.passfile, "--kdf-memory", "8")
        backup = ("--backup-passfile", self.vault.passfile)
        self.closed(PIPE_STATUS, "key-backup", "export", mnt, self.dir / "backup", *secret, *backup, "--kdf-memory", "8")
        key = self.kms("describe-key", "--key-id", "alias/default")["KeyMetadata"]["KeyId"]
        for how in ([], ["--json"]):
            for args in [
                ("status", mnt), ("rotate", mnt), ("rewrap", mnt), ("reencrypt", file), ("fsck", mnt),
                ("inspect", file), ("events", mnt), ("unlock", "list", mnt),
            ]:  # fmt: skip
                self.closed(PIPE_STATUS, *args, *how)
        self.closed(PIPE_STATUS, "events", mnt, "--verify")
        self.closed(PIPE_STATUS, "unlock", "add", mnt, *secret, *new)
        self.closed(PIPE_STATUS, "unlock", "test", mnt, *secret)
        slot = json.loads(self.vault.ok("unlock", "list", mnt, "--json"))["slots"][0]["id"]
        self.closed(PIPE_STATUS, "unlock", "label", mnt, slot, "first", *secret)
        self.closed(PIPE_STATUS, "key", "retire", mnt, "--key-id", "alias/default", "--below", "2")
        for output in ("json", "text", "table"):
            for verb in (["list-keys"], ["list-aliases"], ["describe-key", "--key-id", key]):
                self.closed(PIPE_STATUS, "kms", *verb, "--vault", mnt, "--output", output)
        self.closed(PIPE_STATUS, "init", self.dir / "other", *secret, "--kdf-memory", "8")
        # What goes wrong is told on the other stream, and has its own status.
        self.closed(6, "status", self.dir / "none", stderr=subprocess.DEVNULL)
        self.closed(6, "status", self.dir / "none", stderr="closed")
        self.vault.umount()
        for args in (("status",), ("fsck",), ("events",), ("rotate",)):
            self.closed(PIPE_STATUS, *args, vault, *secret)
        self.assertTrue(os.path.exists(self.dir / "backup"))

    def closed(self, status, *args, stderr=subprocess.PIPE):
        read, write = os.pipe()
        os.close(read)
        try:
            done = subprocess.run(
                [harness.BIN, *map(str, args)], env=self.vault.env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=write,
                stderr=write if stderr == "closed" else stderr, text=True, timeout=60,
            )  # fmt: skip
        finally:
            os.close(write)
        what = f"rekeyfs {' '.join(map(str, args))} into a closed pipe\n{done.stderr}"
        self.assertEqual(done.returncode, status, what)
        self.assertFalse(done.stderr, what)


class RefusalsToUsers(UserMountTest):
    def test_what_fuse_refuses_a_user_says_what_helps(self):
        self.vault.base.joinpath("theirs").mkdir()
        for command, *words in [
            ("$R mount vault mnt --passfile passphrase --allow-other", "user_allow_other", "root adds that line"),
            ("$R mount vault theirs --passfile passphrase", "no write access", "choose a directory"),
        ]:
            if "allow-other" in command and self.allows_other():
                continue
            done = self.shell(command)
            self.assertEqual(done.returncode, 19, done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)
        mode = os.stat("/dev/fuse").st_mode & 0o777
        os.chmod("/dev/fuse", 0o600)
        try:
            done = self.shell("$R mount vault mnt --passfile passphrase")
        finally:
            os.chmod("/dev/fuse", mode)
        self.assertEqual(done.returncode, 19, done.stderr)
        self.assertIn("chmod 666 /dev/fuse", done.stderr)

    def allows_other(self):
        try:
            with open("/etc/fuse.conf", encoding="utf-8") as conf:
                return any(line.strip() == "user_allow_other" for line in conf)
        except OSError:
            return False
