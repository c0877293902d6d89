"""Vaults that a token opens (SoftHSM2): unattended, by a PIN that is typed, and by the passphrase whatever becomes of the token, of its
PIN and of the helper."""

import json
import pathlib
import shutil
import sys

import harness
from custodian_host import OFFLINE, UNREAD, WRONG, CustodianTest
from harness import ROOT
from terminals import Terminal

sys.path.append(str(ROOT / "tests/custodians"))

import softhsm  # noqa: E402


class Tokens(CustodianTest):
    wanted = "rekeyfs-custodian-pkcs11"

    def setUp(self):
        super().setUp()
        if softhsm.lacking():
            self.skipTest(f"not installed: {', '.join(softhsm.lacking())}")
        keys = self.dir / "hsm"
        keys.mkdir()
        self.token = softhsm.Token(keys)
        self.token.make_aes()
        self.vault.env |= self.token.environment
        self.allow(f"file={self.token.pin_file}")

    def allow(self, *words):
        self.conf.write_text(" ".join(["pkcs11", f"module={self.token.library}", "env=SOFTHSM2_CONF", *words]) + "\n")

    def add(self, *more):
        return self.vault.ok("unlock", "add", self.vault.path, "--pkcs11", self.token.uri(), *self.secret, *more).split()[1]

    def test_a_token_opens_a_vault_unattended_and_the_passphrase_where_it_does_not(self):
        slot = self.add("--label", "hsm")
        listed = json.loads(self.vault.ok("unlock", "list", self.vault.path, "--json", *self.secret))["slots"][-1]
        self.assertEqual((listed["id"], listed["params"]), (slot, {"uri": self.token.uri(), "mechanism": "aes-gcm", "id": "01"}))
        self.vault.ok("mount", self.vault.path, self.mnt)
        self.vault.pid = self.vault.daemon_pid()
        self.write("file", b"content", fsync=True)
        self.assertEqual(self.vault.events("Vault Mounted")[-1]["slot-id"], slot)
        self.vault.umount()
        self.token.pin_file.write_text("no-such-pin\n")
        self.assertRefused(self.unattended(), f"slot {slot} (pkcs11): its custodian refuses the PIN", "wrong; correct it there", status=WRONG)
        self.assertRefused(self.unattended(), "(1 try is left)", status=WRONG)
        self.assertRefused(self.unattended(), "one more wrong PIN locks it", "at a terminal", status=UNREAD)
        self.token.tries.write_text("3")
        self.assertRefused(self.unattended(), "doesn't let you", "locked after too many wrong ones", status=WRONG)
        self.token.tries.unlink()
        self.token.pin_file.write_text(softhsm.PIN + "\n")
        self.token.delete()
        self.assertRefused(self.unattended(), "no key kek with id 01 on the token t1", status=WRONG)
        shutil.rmtree(self.token.tokens)
        self.token.tokens.mkdir()
        self.assertRefused(self.unattended(), "can't be reached", "the token t1 isn't there", status=OFFLINE)
        self.conf.write_text("pkcs11 module=/usr/lib/other.so\n")
        self.assertRefused(self.unattended(), "the library /usr/lib/other.so can't be loaded", status=UNREAD)
        self.vault.mount()
        self.assertEqual((self.mnt / "file").read_bytes(), b"content")

    def test_a_helper_that_is_killed_in_any_phase_leaves_the_passphrase(self):
        self.add()
        there = pathlib.Path(f"{self.token.orders}.there")
        for phase in ("Initialize", "Login", "Decrypt"):
            with self.subTest(phase):
                self.token.orders.write_text(phase)
                there.unlink(missing_ok=True)
                self.assertSurvivesAKill(lambda: there.exists() and there.read_text())
        self.token.orders.unlink()
        self.vault.ok("mount", self.vault.path, self.mnt)
        self.vault.pid = self.vault.daemon_pid()

    def test_a_pin_is_typed_where_no_file_has_it(self):
        self.allow()
        add = Terminal(self, [harness.BIN, "unlock", "add", self.vault.path, "--pkcs11", self.token.uri(), *self.secret], self.vault.env)
        # It wraps, and unwraps what it has wrapped.
        for times in (1, 2):
            add.wait_for("The custodian pkcs11 asks: PIN of the token t1: ", times)
            add.type_secret(softhsm.PIN)
        self.assertEqual(add.ended(), 0, add.shown)
        self.assertRefused(self.unattended(), "needs a PIN", "at a terminal", status=UNREAD)
        mount = Terminal(self, [harness.BIN, "mount", self.vault.path, self.mnt], self.vault.env)
        mount.wait_for("PIN of the token t1: ")
        mount.type_secret("no-such-pin")
        mount.wait_for("PIN of the token t1 (the last one was wrong): ")
        mount.type_secret(softhsm.PIN)
        self.assertEqual(mount.ended(), 0, mount.shown)
        self.assertNotIn("no-such-pin", mount.shown)
        self.vault.pid = self.vault.daemon_pid()

    def test_a_wrong_pin_of_a_file_is_typed_at_a_terminal_and_tried_once(self):
        self.add()
        self.token.pin_file.write_text("no-such-pin\n")
        mount = Terminal(self, [harness.BIN, "mount", self.vault.path, self.mnt], self.vault.env)
        mount.wait_for(f"refuses the PIN: token t1: that in {self.token.pin_file} is wrong")
        mount.wait_for("PIN of the token t1 (the last one was wrong): ")
        self.assertEqual(self.token.tries.read_text(), "1")
        mount.type_secret("nor this one")
        mount.wait_for("(1 try is left): token t1: it is wrong")
        mount.wait_for("PIN of the token t1 (one more wrong PIN locks it): ")
        self.assertEqual(self.token.tries.read_text(), "2")
        mount.type_secret(softhsm.PIN)
        self.assertEqual(mount.ended(), 0, mount.shown)
        self.assertEqual((mount.shown.count("no-such-pin"), mount.shown.count("nor this one"), self.token.tries.read_text()), (0, 0, "0"))
        self.vault.pid = self.vault.daemon_pid()
        self.vault.umount()
        # Nobody is there: it is told, and that is all.
        self.assertRefused(self.unattended(), "correct it there", status=WRONG)
        self.assertEqual(self.token.tries.read_text(), "1")
        add = Terminal(self, [harness.BIN, "unlock", "add", self.vault.path, "--pkcs11", self.token.uri(), *self.secret], self.vault.env)
        # It wraps, and unwraps what it has wrapped.
        for question in ("PIN of the token t1 (one more wrong PIN locks it): ", "PIN of the token t1: "):
            add.wait_for(question)
            add.type_secret(softhsm.PIN)
        self.assertEqual(add.ended(), 0, add.shown)
        self.assertIn("custodian pkcs11: it refuses the PIN (1 try is left)", add.shown)

    def test_a_library_that_crashes_at_its_end_opens_the_vault(self):
        self.add()
        self.token.orders.write_text("CrashesAtItsEnd")
        self.mount_unattended()

    def test_a_uri_with_a_pin_or_a_library_is_refused_and_not_repeated(self):
        before = (self.vault.path / "keyring").read_bytes()
        for query in ("pin-value=471147", "module-path=/evil.so", "pin-source=file:/x"):
            done = self.vault.run("unlock", "add", self.vault.path, "--pkcs11", f"{self.token.uri()}?{query}", *self.secret)
            self.assertRefused(done, "--pkcs11", "custodians.conf names the module", status=2)
            self.assertNotIn("471147", done.stderr)
        # A module that is said in another way is no more on the list.
        evil = json.dumps({"uri": self.token.uri(), "module": "/evil.so"})
        done = self.vault.run("unlock", "add", self.vault.path, "--plugin", "pkcs11", "--params", evil, *self.secret)
        self.assertRefused(done, "module is /evil.so, which custodians.conf doesn't have", status=UNREAD)
        self.assertEqual((self.vault.path / "keyring").read_bytes(), before)
