"""Ways into a vault: labels of unlock slots, trying a secret, and coming back in with the recovery key."""

import json
import os
import re
import shutil
import subprocess

import harness
from harness import PASSPHRASE, ROOT, TARGET, WRONG_PASSPHRASE_EXIT, MountedTest, sh, wait_until

RECOVERY_KEY = re.compile(r"\b(?:[A-Z2-7]{7}-){7}[A-Z2-7]{7}\b")
KDF = ("--kdf-memory", "8")


class Unlock(MountedTest):
    def setUp(self):
        super().setUp()
        self.secret = ("--passfile", self.vault.passfile)

    def file(self, name, text):
        path = self.dir / name
        path.write_text(text + "\n")
        return path

    def slots(self, *args, target=None):
        return json.loads(self.vault.ok("unlock", "list", target or self.vault.path, "--json", *args))["slots"]

    def add(self, name, *args):
        """Adds a passphrase, which is its label too."""
        new = ("--new-passfile", self.file(name, f"the passphrase {name}"), *KDF)
        printed = self.vault.ok("unlock", "add", self.vault.path, "--label", name, *self.secret, *new, *args)
        return printed.split()[1]

    def recovery_key(self):
        printed = self.vault.ok("unlock", "add", self.vault.path, *self.secret, "--new-recovery-key")
        return self.file("recovery", RECOVERY_KEY.search(printed)[0])

    def slot_that_opens(self, *secret):
        return json.loads(self.vault.ok("unlock", "test", self.vault.path, "--json", *secret))["slot_id"]

    # -- labels --

    def test_the_target_may_be_left_out_where_others_arguments_follow_it(self):
        slot = self.slots()[0]["id"]
        self.vault.env["REKEYFS_VAULT"] = str(self.mnt)
        self.vault.ok("unlock", "label", slot[:6], "by the variable", *self.secret)
        self.assertEqual(self.slots()[0]["label"], "by the variable")
        del self.vault.env["REKEYFS_VAULT"]
        self.vault.ok("unlock", "label", "by the variable", "by the directory", *self.secret, cwd=self.mnt)
        self.assertEqual(self.slots()[0]["label"], "by the directory")
        self.assertRefused(self.vault.run("unlock", "label", "a", "b", *self.secret), "neither a vault nor inside a mount", status=6)
        backup, there = self.dir / "backup", ("--backup-passfile", self.vault.passfile)
        self.vault.ok("key-backup", "export", self.mnt, backup, *self.secret, *there, *KDF)
        self.vault.umount()
        self.vault.env["REKEYFS_VAULT"] = str(self.vault.path)
        self.vault.ok("key-backup", "merge", backup, *self.secret, *there)
        self.vault.ok("key-backup", "import", backup, "--force", *there, "--new-passfile", self.vault.passfile, *KDF)
        self.vault.mount()

    def test_labels_are_shown_where_the_keyring_is_open_and_name_slots(self):
        laptop = self.add("laptop")
        shown = lambda *args, **kw: [slot["label"] for slot in self.slots(*args, **kw)]  # noqa: E731
        self.assertEqual(shown(), [None, "laptop"], "through the mount, which is asked")
        self.assertEqual(shown(target=self.mnt), [None, "laptop"])
        self.assertIn("laptop; Argon2id", self.vault.ok("unlock", "list", self.mnt))
        self.vault.umount()
        listing = json.loads(self.vault.ok("unlock", "list", self.vault.path, "--json"))
        self.assertEqual((listing["labels_known"], [s["label"] for s in listing["slots"]]), (False, [None, None]))
        self.assertEqual(shown(*self.secret), [None, "laptop"])
        asked = self.vault.ok("unlock", "list", self.vault.path, "--labels", stdin=PASSPHRASE + "\n")
        self.assertIn("laptop", asked)
        self.vault.ok("unlock", "label", self.vault.path, "laptop", "old laptop", *self.secret)
        self.vault.ok("unlock", "label", self.vault.path, self.slots()[0]["id"][:6], "first", *self.secret)
        self.assertEqual(shown(*self.secret), ["first", "old laptop"])
        # A changed slot keeps its label, an empty text takes one away.
        self.vault.ok(
            "unlock", "change", self.vault.path, *self.secret, "--slot", "old laptop", "--new-passfile", self.file("n", "another one"), *KDF
        )  # fmt: skip
        self.assertEqual(shown(*self.secret), ["first", "old laptop"])
        self.vault.ok("unlock", "label", self.vault.path, "first", "", *self.secret)
        self.assertEqual(shown(*self.secret), [None, "old laptop"])
        self.assertNotIn(laptop, [slot["id"] for slot in self.slots()])
        self.vault.ok("unlock", "remove", self.vault.path, "old laptop", *self.secret)
        self.assertEqual(len(self.slots()), 1)
        for name in ("keyring", "events.jsonl"):
            self.assertNotIn(b"laptop", (self.vault.path / name).read_bytes(), f"{name}: labels are sealed")

    def test_a_label_that_is_none_and_a_slot_that_is_not_plain_are_refused(self):
        self.add("one")
        self.vault.ok("unlock", "label", self.vault.path, self.slots()[0]["id"], "one", *self.secret)
        refused = lambda *args: self.vault.run("unlock", *args, *self.secret)  # noqa: E731
        for label in ("a\x1b[31m", "x" * 65, "a\nb"):
            self.assertRefused(refused("label", self.vault.path, "one", label), "label", status=2)
        done = refused("remove", self.vault.path, "one")
        self.assertRefused(done, "several slots", *(slot["id"] for slot in self.slots()), status=2)
        self.assertRefused(refused("remove", self.vault.path, "nobody"), "nobody", "unlock list", status=2)
        self.assertEqual(len(self.slots()), 2)

    def test_a_mount_keeps_labels_given_beside_it_and_the_independent_reader_reads_them(self):
        python = TARGET / "python/bin/python"
        self.add("safe: 世界")
        self.vault.rotate()
        self.vault.umount()
        self.assertEqual([slot["label"] for slot in self.slots(*self.secret)], [None, "safe: 世界"])
        if not python.exists():
            self.skipTest(f"{python} is missing: scripts/test.sh installs what the independent reader needs")
        self.vault.ok("unlock", "remove", self.vault.path, self.slots()[0]["id"], "--passfile", self.dir / "safe: 世界")
        script = ROOT / "tests/golden/reader.py"
        dump = subprocess.run(
            [python, script, "--dump", self.vault.path, "the passphrase safe: 世界"], capture_output=True, text=True, check=True
        )  # fmt: skip
        self.assertEqual(json.loads(dump.stdout)["slot_labels"], {self.slots()[0]["id"]: "safe: 世界"})

    # -- new passphrases --

    def test_a_weak_passphrase_is_warned_of_and_taken_and_a_good_one_isn_t(self):
        vault = self.dir / "accounts"
        weak = ("--passfile", self.file("weak", "accounts2024"))
        done = self.vault.run("init", vault, *weak, *KDF)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (0, 1), done.stderr)
        self.assertRegex(done.stderr, rf"^rekeyfs: the new passphrase of {vault} is weak: about 10\^\d+ guesses find it")
        self.assertNotIn("accounts2024", done.stderr + done.stdout)
        done = self.vault.run("unlock", "add", vault, *weak, "--new-extpass", "echo password", *KDF)
        self.assertEqual(done.returncode, 0)
        self.assertIn("weak", done.stderr)
        backup = ("key-backup", "export", vault, self.dir / "backup", *weak, "--backup-passfile", self.file("b", "hunter2"), *KDF)
        self.assertIn(f"key backup {self.dir / 'backup'} is weak", self.vault.run(*backup).stderr)
        good = ("--new-extpass", "head -c 24 /dev/urandom | base64")
        self.assertEqual(self.vault.run("unlock", "add", vault, *weak, *good, *KDF).stderr, "")
        self.assertEqual(self.vault.run("unlock", "test", vault, *weak).stderr, "", "only a new one is looked at")

    def test_init_prints_what_comes_next_ready_to_be_pasted(self):
        place = self.dir / "it's here"
        place.mkdir()
        passfile = place / "the secret"
        shutil.copy(self.vault.passfile, passfile)
        mounted = self.dir / "mounted here"
        mounted.mkdir()
        made = self.vault.ok("init", "it's here/my vault", "--passfile", passfile, *KDF, "--no-recovery-key")
        commands = [line.strip() for line in made.splitlines() if line.startswith("    rekeyfs ")]
        self.assertEqual([command.split()[1] for command in commands], ["mount", "key-backup"])
        values = {"MOUNTPOINT": "'mounted here'", "FILE": "'my backup'"}
        for command in commands:
            for name, value in values.items():
                command = command.replace(f" {name} ", f" {value} ")
            more = f" --backup-passfile '{self.vault.passfile}' --kdf-memory 8" if "key-backup" in command else ""
            sh(f'rekeyfs() {{ "{harness.BIN}" "$@"; }}; {command}{more}', self.dir, **self.vault.env)
        self.assertTrue(os.path.ismount(mounted))
        self.vault.ok("umount", mounted)
        self.assertTrue((self.dir / "my backup").exists())

    # -- trying a secret --

    def test_trying_a_secret_names_its_slot_and_changes_nothing(self):
        self.add("laptop")
        first, second = (slot["id"] for slot in self.slots())
        everything = lambda: {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in self.vault.path.iterdir() if p.is_file()}  # noqa: E731
        before = everything()
        for mounted in (True, False):
            if not mounted:
                self.vault.umount()
                before = everything()
            self.assertEqual(self.slot_that_opens(*self.secret), first)
            self.assertEqual(self.slot_that_opens("--passfile", self.dir / "laptop"), second)
            said = self.vault.ok("unlock", "test", self.vault.path, "--passfile", self.dir / "laptop")
            self.assertRegex(said, rf"it opens slot {second} \(passphrase, laptop\), in \d+\.\d\d s")
            wrong = self.vault.run("unlock", "test", self.vault.path, "--extpass", "echo wrong")
            self.assertRefused(wrong, "wrong passphrase", status=WRONG_PASSPHRASE_EXIT)
            no_key_file = self.file("keyfile", "x" * 31)
            wrong = self.vault.run("unlock", "test", self.vault.path, "--keyfile", no_key_file)
            self.assertRefused(wrong, "no key file", status=WRONG_PASSPHRASE_EXIT)
            self.assertEqual(everything(), before)

    def test_the_log_says_which_slot_mounted_and_what_kind_of_secret_failed(self):
        self.vault.umount()
        (self.dir / "keyfile").write_bytes(os.urandom(32))
        self.vault.run("mount", self.vault.path, self.mnt, "--extpass", "echo wrong")
        self.vault.ok("unlock", "add", self.vault.path, *self.secret, "--new-keyfile", self.dir / "keyfile", "--label", "the stick")
        self.vault.ok("mount", self.vault.path, self.mnt, "--keyfile", self.dir / "keyfile")
        self.vault.pid = self.vault.daemon_pid()
        log = self.vault.path / "events.jsonl"
        lines = lambda kind: [  # noqa: E731
            event["detail"] for event in map(json.loads, log.read_text().splitlines()) if event["detail-type"] == kind
        ]
        self.assertTrue(wait_until(lambda: len(lines("Vault Mounted")) == 2))
        mounted = lines("Vault Mounted")[-1]
        self.assertEqual((mounted["slot-id"], mounted["slot-kind"]), (self.slots()[1]["id"], "keyfile"))
        (failed,) = lines("Unlock Failed")
        self.assertEqual((failed["attempts"], failed["secret-kind"]), (1, "passphrase"))
        self.assertNotIn("the stick", log.read_text())

    # -- recovery --

    def recover(self, recovery, *args):
        return self.vault.run("recover", self.vault.path, "--passfile", recovery, *args, *KDF)

    def test_a_forgotten_passphrase_is_replaced_in_one_command(self):
        recovery, new = self.recovery_key(), self.file("new", "a passphrase that is known")
        old = self.slots()[0]["id"]
        self.vault.ok("unlock", "label", self.vault.path, old, "desk", *self.secret)
        for mounted in (True, False):
            if not mounted:
                self.vault.umount()
                new = self.file("new", "a passphrase of later")
            done = self.recover(recovery, "--new-passfile", new)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(f"slot {old} (passphrase, desk) is removed", done.stdout)
            self.assertIn("--new-recovery-key", done.stdout)
            slots = self.slots("--passfile", new)
            self.assertEqual(sorted(slot["kind"] for slot in slots), ["passphrase", "recovery"])
            self.assertEqual([slot["label"] for slot in slots if slot["kind"] == "passphrase"], ["desk"])
            self.assertRefused(self.vault.run("unlock", "test", self.vault.path, *self.secret), status=WRONG_PASSPHRASE_EXIT)
            for name in ("keyring", "keyring.prev"):
                self.assertNotIn(old.encode(), (self.vault.path / name).read_bytes())
            old = next(slot["id"] for slot in slots if slot["kind"] == "passphrase")
        shutil.copy(new, self.vault.passfile)
        self.vault.mount()

    def test_a_recovery_key_is_replaced_with_it_and_shown_once(self):
        recovery, new = self.recovery_key(), self.file("new", "a passphrase that is known")
        done = self.recover(recovery, "--new-passfile", new, "--new-recovery-key", "--label", "now")
        self.assertEqual(done.returncode, 0, done.stderr)
        fresh = self.file("fresh", RECOVERY_KEY.search(done.stdout)[0])
        self.assertEqual(len(self.slots()), 2)
        self.slot_that_opens("--passfile", new)
        self.slot_that_opens("--recovery-key", "--passfile", fresh)
        self.assertRefused(
            self.vault.run("unlock", "test", self.vault.path, "--recovery-key", "--passfile", recovery), status=WRONG_PASSPHRASE_EXIT
        )
        self.assertEqual([slot["label"] for slot in self.slots("--passfile", new)], ["now", None])

    def test_recovery_asks_which_of_several_passphrases_is_forgotten(self):
        recovery, new = self.recovery_key(), self.file("new", "a passphrase that is known")
        self.add("laptop")
        before = (self.vault.path / "keyring").read_bytes()
        done = self.recover(recovery, "--new-passfile", new)
        self.assertRefused(done, "several passphrases", "--slot", "laptop", status=2)
        recovery_slot = next(slot["id"] for slot in self.slots() if slot["kind"] == "recovery")
        self.assertRefused(self.recover(recovery, "--slot", recovery_slot, "--new-passfile", new), "--new-recovery-key", status=2)
        self.assertRefused(self.recover(new, "--new-passfile", new), "recovery key", status=14)
        self.assertEqual((self.vault.path / "keyring").read_bytes(), before)
        done = self.recover(recovery, "--slot", "laptop", "--new-passfile", new)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.slot_that_opens(*self.secret)
        self.assertRefused(self.vault.run("unlock", "test", self.vault.path, "--passfile", self.dir / "laptop"), status=12)

    def test_a_recovery_that_is_killed_leaves_the_ways_in_of_before_or_of_after(self):
        self.vault.umount()
        recovery = self.recovery_key()
        for number, delay in enumerate((0.02, 0.05, 0.08, 0.12, 0.2, 0.3)):
            new = self.file(f"new-{number}", f"a passphrase of round {number}")
            args = [*map(str, ("recover", self.vault.path, "--passfile", recovery, "--new-passfile", new, *KDF))]
            # SIGKILL: nothing is cleaned up.
            subprocess.run(["timeout", "-s", "KILL", str(delay), harness.BIN, *args], env=self.vault.env, cwd=self.dir, capture_output=True)
            ways = [self.vault.run("unlock", "test", self.vault.path, "--passfile", p).returncode for p in (self.vault.passfile, new)]
            self.assertEqual(sorted(ways), [0, WRONG_PASSPHRASE_EXIT], f"killed after {delay} s")
            self.slot_that_opens("--recovery-key", "--passfile", recovery)
            if ways[1] == 0:
                shutil.copy(new, self.vault.passfile)

    def test_changing_with_the_recovery_key_points_at_recover(self):
        recovery, new = self.recovery_key(), self.file("new", "a passphrase that is known")
        args = ("--recovery-key", "--passfile", recovery, "--new-passfile", new, *KDF)
        self.assertRefused(self.vault.run("unlock", "change", self.vault.path, *args), "rekeyfs recover", status=2)
