"""Vaults that the machine's TPM opens (swtpm): unattended, by a PIN, and by the passphrase whatever becomes of the TPM."""

import json
import sys

import harness
from custodian_host import OFFLINE, UNREAD, WRONG, CustodianTest
from harness import ROOT
from terminals import Terminal

sys.path.append(str(ROOT / "tests/custodians"))

import swtpm  # noqa: E402


class Tpms(CustodianTest):
    wanted = "rekeyfs-custodian-tpm2"

    def setUp(self):
        super().setUp()
        if swtpm.lacking():
            self.skipTest(f"not installed: {', '.join(swtpm.lacking())}")
        self.tpm = swtpm.Tpm(self, self.dir / "tpm")
        self.conf.write_text(f"tpm2 device={self.tpm.device}\n")

    def add(self, *more):
        return self.vault.ok("unlock", "add", self.vault.path, "--tpm2", *self.secret, *more).split()[1]

    def mounted(self):
        self.vault.pid = self.vault.daemon_pid()
        self.vault.umount()

    def test_a_tpm_opens_a_vault_unattended_and_the_passphrase_where_it_does_not(self):
        slot = self.add()
        listed = json.loads(self.vault.ok("unlock", "list", self.vault.path, "--json", *self.secret))["slots"][-1]
        self.assertEqual((listed["id"], listed["params"]), (slot, {"pcrs": "7", "pin": False}))
        self.vault.ok("mount", self.vault.path, self.mnt)
        self.write("file", b"content", fsync=True)
        self.mounted()
        self.tpm.extend(7)
        self.assertRefused(self.unattended(), f"slot {slot} (tpm2): its custodian finds the machine in another state", "unlock rebind", status=WRONG)
        self.vault.ok("unlock", "rebind", self.vault.path, slot, *self.secret)
        self.vault.ok("mount", self.vault.path, self.mnt)
        self.mounted()
        self.tpm.tool("tpm2_clear")
        self.assertRefused(self.unattended(), "the TPM was cleared", status=WRONG)
        self.tpm.stop()
        self.assertRefused(self.unattended(), "can't be reached", status=OFFLINE)
        self.conf.write_text("tpm2 device=/dev/no-tpm\n")
        self.assertRefused(self.unattended(), "its driver isn't loaded yet", status=OFFLINE)
        self.vault.mount()
        self.assertEqual((self.mnt / "file").read_bytes(), b"content")

    def test_a_helper_that_is_killed_while_it_speaks_with_a_tpm_leaves_the_passphrase(self):
        self.add("--pcrs", "none")
        for commands in (1, 5, 9):
            with self.subTest(commands):
                # A bus on which the TPM falls silent after so many commands.
                bus = swtpm.Bus(self, self.tpm, commands)
                self.conf.write_text(f"tpm2 device={bus.device}\n")
                self.assertSurvivesAKill(bus.silent.is_set, bus.resumed.set)
                self.tpm.flush()
        self.conf.write_text(f"tpm2 device={self.tpm.device}\n")
        self.vault.ok("mount", self.vault.path, self.mnt)
        self.vault.pid = self.vault.daemon_pid()

    def test_a_pin_is_typed_and_a_wrong_one_counted(self):
        add = Terminal(self, [harness.BIN, "unlock", "add", self.vault.path, "--tpm2", "--pin", "--pcrs", "7+11", *self.secret], self.vault.env)
        for question in ("New PIN for this slot: ", "asks: PIN of this slot: "):
            add.wait_for(question)
            add.type_secret("2468")
        self.assertEqual(add.ended(), 0, add.shown)
        self.assertRefused(self.unattended(), "needs a PIN", "at a terminal", status=UNREAD)
        mount = Terminal(self, [harness.BIN, "mount", self.vault.path, self.mnt], self.vault.env)
        mount.wait_for("PIN of this slot: ")
        mount.type_secret("no-such-pin")
        mount.wait_for("refuses the PIN (2 tries are left)")
        mount.wait_for("PIN of this slot: ", 2)
        mount.type_secret("2468")
        self.assertEqual(mount.ended(), 0, mount.shown)
        self.assertNotIn("no-such-pin", mount.shown)
        self.vault.pid = self.vault.daemon_pid()
