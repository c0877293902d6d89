"""Vaults that a FIDO2 key opens, by PIN and touch at a terminal and by nothing without a person, and by the passphrase whatever becomes of
the key, of its PIN and of the helper. No key is there: tests/custodians/fido2.py has what stands for one."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys

import harness
from custodian_host import BUILT, OFFLINE, UNREAD, WRONG, CustodianTest, install_helper, lay_over
from harness import PASSPHRASE, ROOT, UserMountTest
from terminals import Terminal

sys.path.append(str(ROOT / "tests/custodians"))

import fido2  # noqa: E402
from fido2 import PIN  # noqa: E402

#: The first directory in which helpers look for programs.
PROGRAMS = "/usr/local/sbin"
UNATTENDED = ("--plugin", "fido2", "--params", '{"pin":false,"touch":false}')
#: A helper that a test kills isn't ended by rekeyfs before.
PATIENT = ("--custodian-timeout", "5m")


class Fido2(CustodianTest):
    wanted = "rekeyfs-custodian-fido2"

    def setUp(self):
        super().setUp()
        if fido2.lacking():
            self.skipTest(f"not installed: {', '.join(fido2.lacking())}")
        usb = self.dir / "usb"
        usb.mkdir()
        self.keys = fido2.Keys(usb)
        lay_over(self, PROGRAMS)
        for program in fido2.PROGRAMS:
            shutil.copy(self.keys.programs / program, PROGRAMS)
        self.conf.write_text("fido2\n")
        self.key = self.keys.make()

    def terminal(self, *args):
        return Terminal(self, [harness.BIN, *args], self.vault.env)

    def add(self, *options, pin=PIN, pins=2, vault=None):
        """The id of a new slot."""
        vault = vault or self.vault
        add = Terminal(self, [harness.BIN, "unlock", "add", vault.path, *(options or ["--fido2"]), "--passfile", vault.passfile], vault.env)
        for times in range(1, pins + 1):
            add.wait_for("The custodian fido2 asks: PIN of the FIDO2 key (Example Key", times)
            add.type_secret(pin)
        self.assertEqual(add.ended(), 0, add.shown)
        self.assertNotIn(pin, add.shown)
        self.keys.steps()
        return re.search(r"slot (\S+) \(fido2\) is added", add.shown).group(1)

    def at_terminal(self):
        return self.terminal("mount", self.vault.path, self.mnt)

    def mounted(self, terminal):
        self.assertEqual(terminal.ended(), 0, terminal.shown)
        self.vault.pid = self.vault.daemon_pid()

    def test_pin_and_touch_at_a_terminal_open_a_vault_and_nothing_does_without_a_person(self):
        slot = self.add("--fido2", "--label", "key")
        (listed,) = self.custodians()
        self.assertEqual((listed["id"], listed["label"], listed["custodian"]), (slot, "key", "fido2"))
        self.assertEqual(sorted(listed["params"]), ["credential", "pin", "rp", "salt", "touch"])
        self.assertRefused(self.unattended(), f"slot {slot} (fido2): its custodian needs a PIN or a touch", "at a terminal", status=UNREAD)
        self.assertEqual(self.keys.steps(), [], "nothing was asked of the key")
        mount = self.at_terminal()
        mount.wait_for("PIN of the FIDO2 key (Example Key \\u{1b}[2J): ")
        mount.type_secret("zebra 1357")
        mount.wait_for("refuses the PIN (7 tries are left)")
        mount.wait_for("PIN of the FIDO2 key", 2)
        mount.type_secret(PIN)
        mount.wait_for("The custodian fido2 asks: Touch the FIDO2 key", 2)
        self.mounted(mount)
        self.assertNotIn("zebra 1357", mount.shown)
        self.assertNotIn("\x1b[2J", mount.shown)
        self.assertEqual(self.keys.steps().count("compute with pin"), 2)
        self.write("file", b"content", fsync=True)
        self.assertEqual(self.vault.events("Vault Mounted")[-1]["slot-id"], slot)
        self.vault.umount()
        test = self.terminal("unlock", "test", self.vault.path, "--custodian", "fido2")
        test.wait_for("PIN of the FIDO2 key")
        test.type_secret(PIN)
        self.assertEqual(test.ended(), 0, test.shown)

    def test_a_key_that_is_unplugged_or_silent_or_blocked_leaves_the_passphrase(self):
        slot = self.add()
        for how, said in (
            ("unplugged", "can't be reached: no FIDO2 key is plugged in"), ("another", "has no such key: the FIDO2 key that is plugged in isn't this slot's"),
            ("never", "needs a PIN or a touch: computing the slot's secret: nobody touched the FIDO2 key in time"), ("blocked", "doesn't let you use the key"),
        ):  # fmt: skip
            with self.subTest(how):
                if how in ("unplugged", "another"):
                    self.keys.unplug()
                if how == "another":
                    self.keys.make("hidraw1")
                if how == "never":
                    (self.key / "touch").write_text("never")
                if how == "blocked":
                    (self.key / "tries").write_text("0")
                mount = self.at_terminal()
                if how == "never":
                    mount.wait_for("PIN of the FIDO2 key")
                    mount.type_secret(PIN)
                mount.wait_for(f"slot {slot} (fido2): its custodian {said}")
                mount.wait_for("assphrase of ")
                mount.type_secret(PASSPHRASE)
                self.mounted(mount)
                self.vault.umount()
                if how in ("unplugged", "another"):
                    shutil.rmtree(self.keys.sockets / "hidraw1", ignore_errors=True)
                    self.keys.plug()
        (self.key / "touch").unlink()
        (self.key / "tries").unlink()
        self.conf.write_text("")
        self.assertRefused(self.unattended(), "custodians.conf has no line", status=UNREAD)

    def test_a_slot_without_pin_and_touch_opens_unattended_while_the_key_is_there(self):
        # Making it takes the PIN once; using it doesn't.
        slot = self.add(*UNATTENDED, pins=1)
        self.mount_unattended()
        self.vault.umount()
        self.keys.unplug()
        self.assertRefused(self.unattended(), f"slot {slot} (fido2): its custodian can't be reached", "plug it in", status=OFFLINE)
        self.keys.plug("hidraw0", "hidraw5")
        self.mount_unattended()

    def test_a_helper_that_is_killed_in_any_phase_leaves_the_passphrase(self):
        self.add()
        for phase in ("list", "look", "info", "compute with pin", "touch"):
            with self.subTest(phase):
                self.keys.stop_at(phase)
                mount = self.terminal("mount", self.vault.path, self.mnt, *PATIENT)
                if phase in ("compute with pin", "touch"):
                    mount.wait_for("PIN of the FIDO2 key")
                    mount.type_secret(PIN)
                self.kill_helper()
                mount.wait_for("signal")
                mount.wait_for("assphrase of ")
                self.keys.goes_on()
                mount.type_secret(PASSPHRASE)
                self.mounted(mount)
                self.vault.umount()
        mount = self.at_terminal()
        mount.wait_for("PIN of the FIDO2 key")
        mount.type_secret(PIN)
        self.mounted(mount)

    def kill_helper(self):
        self.assertTrue(harness.wait_until(self.keys.stopped))
        os.kill(self.keys.stopped(), signal.SIGKILL)

    def test_a_helper_that_is_killed_while_a_slot_is_made_makes_none(self):
        before = (self.vault.path / "keyring").read_bytes()
        for phase, pins in (("list", 0), ("make", 1), ("make with pin", 1), ("compute with pin", 1), ("look", 1)):
            with self.subTest(phase):
                self.keys.stop_at(phase)
                add = self.terminal("unlock", "add", self.vault.path, "--fido2", *self.secret, *PATIENT)
                for times in range(1, pins + 1):
                    add.wait_for("PIN of the FIDO2 key", times)
                    add.type_secret(PIN)
                self.kill_helper()
                self.assertEqual(add.ended(), UNREAD, add.shown)
                self.assertIn("custodian fido2: it broke down: its helper ended with signal", add.shown)
                self.assertEqual((self.vault.path / "keyring").read_bytes(), before)
        self.keys.goes_on()
        self.add()

    def test_a_rebinding_takes_the_key_that_is_plugged_in_then(self):
        old = self.add("--fido2", "--label", "key")
        self.keys.unplug()
        self.keys.make("hidraw1", pin="97531")
        rebind = self.terminal("unlock", "rebind", self.vault.path, "key", *self.secret)
        for times in (1, 2):
            rebind.wait_for("PIN of the FIDO2 key", times)
            rebind.type_secret("97531")
        self.assertEqual(rebind.ended(), 0, rebind.shown)
        (new,) = self.custodians()
        self.assertEqual((new["label"], new["id"] == old), ("key", False))
        mount = self.at_terminal()
        mount.wait_for("PIN of the FIDO2 key")
        mount.type_secret("97531")
        self.mounted(mount)

    def test_a_revocation_leaves_each_slot_with_its_own_key_or_names_it(self):
        gone = self.file_slot("one")
        absent = self.add("--fido2", "--label", "absent")
        self.keys.unplug()
        self.keys.make("hidraw1")
        self.add("--fido2", "--label", "here")
        # It opens the slot, has a new one made, and tries that.
        self.assertIn(f"slot {absent} is dropped", self.revoked(gone, pins=3))
        self.assertEqual([slot["label"] for slot in self.custodians()], ["here"])
        self.keys.plug()
        self.add("--fido2=hidraw0", "--label", "absent")
        self.assertNotIn("is dropped", self.revoked(self.file_slot("two"), pins=6))
        for label, name, other in (("here", "hidraw1", "hidraw0"), ("absent", "hidraw0", "hidraw1")):
            with self.subTest(label):
                (slot,) = [slot["id"] for slot in self.custodians() if slot["label"] == label]
                self.keys.unplug(name)
                done = self.vault.run("unlock", "test", self.vault.path, "--custodian", slot)
                self.assertRefused(done, status=UNREAD)
                refused = self.terminal("unlock", "test", self.vault.path, "--custodian", slot)
                self.assertEqual(refused.ended(), WRONG, refused.shown)
                self.assertIn("isn't this slot's", refused.shown)
                self.keys.plug(name)
                self.keys.unplug(other)
                test = self.terminal("unlock", "test", self.vault.path, "--custodian", slot)
                test.wait_for("PIN of the FIDO2 key")
                test.type_secret(PIN)
                self.assertEqual(test.ended(), 0, test.shown)
                self.keys.plug(other)

    def file_slot(self, name):
        """A slot of a passphrase, to be removed."""
        path = self.dir / name
        path.write_text(f"{name} that nobody knows\n")
        add = ("unlock", "add", self.vault.path, "--new-passfile", path, "--kdf-memory", "8", *self.secret)
        return self.vault.ok(*add).split()[1]

    def revoked(self, slot, pins):
        revoke = self.terminal("unlock", "remove", self.vault.path, slot, "--revoke", *self.secret)
        for times in range(1, pins + 1):
            revoke.wait_for("PIN of the FIDO2 key", times)
            revoke.type_secret(PIN)
        self.assertEqual(revoke.ended(), 0, revoke.shown)
        return revoke.shown

    def change_slots(self, vault, change):
        """Writes the keyring again with what `change` makes of its slots, and returns these as they were."""
        keyring = vault.path / "keyring"
        raw = keyring.read_bytes()
        length = struct.unpack("<I", raw[14:18])[0]
        header = json.loads(raw[18 : 18 + length])
        before = json.loads(json.dumps(header["slots"]))
        header["slots"] = change(header["slots"])
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        keyring.write_bytes(raw[:14] + struct.pack("<I", len(text)) + text + raw[18 + length :])
        return before

    def test_a_slot_that_was_copied_or_changed_opens_nothing(self):
        self.add(*UNATTENDED, pins=1)
        good = (self.vault.path / "keyring").read_bytes()
        # Another vault's, made by the same key.
        (self.dir / "other").mkdir()
        other = harness.Vault(self.dir / "other")
        other.env["XDG_STATE_HOME"] = self.vault.env["XDG_STATE_HOME"]
        self.add(*UNATTENDED, pins=1, vault=other)
        theirs = [slot for slot in self.change_slots(other, lambda slots: slots) if slot["type"] == "custodian"]
        self.change_slots(self.vault, lambda slots: [slot for slot in slots if slot["type"] != "custodian"] + theirs)
        self.assertRefused(self.unattended(), "finds the wrapped key changed, or another key's", status=WRONG)

        def refused(*texts, status, **params):
            (self.vault.path / "keyring").write_bytes(good)
            self.change_slots(self.vault, lambda slots: [{**slot, "params": {**slot["params"], **params}} if slot["type"] == "custodian" else slot for slot in slots])
            done = self.unattended()
            self.assertRefused(done, *texts, status=status)
            self.assertNotIn("\x1b", done.stderr)

        # What the key computes is the same with a touch.
        refused("needs a PIN or a touch", status=UNREAD, touch=True)
        refused("finds the wrapped key changed", status=WRONG, salt=bytes(32).hex())
        self.keys.steps()
        for credential in ("-x", "--help", "00\nssh:\n00", "\x1b[2J", "0" * 4000, "", "000"):
            refused("its parameter credential is none of a slot's", status=WRONG, credential=credential)
        refused("its parameter rp is none of a slot's", status=WRONG, rp="ssh:")
        refused("is none of a slot's", status=WRONG, pin="false")
        self.assertEqual(self.keys.steps(), [])
        refused("which custodians.conf doesn't have", status=UNREAD, device="/dev/sda")
        # And what isn't in the slot's own words is authenticated all the same.
        refused("no custodian opened it", status=WRONG, authenticator="hidraw0")
        (self.vault.path / "keyring").write_bytes(good)
        # A slot that needs a touch doesn't come to need none.
        self.vault.ok("unlock", "remove", self.vault.path, self.custodians()[0]["id"], *self.secret)
        self.add("--plugin", "fido2", "--params", '{"pin":false}', pins=1)
        good = (self.vault.path / "keyring").read_bytes()
        self.change_slots(self.vault, lambda slots: [{**slot, "params": {**slot["params"], "touch": False}} if slot["type"] == "custodian" else slot for slot in slots])
        self.assertRefused(self.unattended(), "no custodian opened it", status=WRONG)
        (self.vault.path / "keyring").write_bytes(good)
        self.vault.mount()


class OfAUser(UserMountTest):
    def test_a_user_opens_own_vaults_by_a_key(self):
        helper = BUILT / Fido2.wanted
        if fido2.lacking() or not helper.exists():
            self.skipTest(f"not installed or built: {', '.join(fido2.lacking()) or helper.name}")
        install_helper(self, helper)
        lay_over(self, PROGRAMS)
        usb = self.vault.base / "usb"
        usb.mkdir()
        keys = fido2.Keys(usb)
        for program in fido2.PROGRAMS:
            shutil.copy(keys.programs / program, PROGRAMS)
        keys.make()
        subprocess.run(["chown", "-R", str(self.vault.uid), usb], check=True)
        self.shell_ok("mkdir -p -m 0700 .config/rekeyfs; echo fido2 > .config/rekeyfs/custodians.conf")
        add = ("unlock", "add", self.vault.path, "--fido2=hidraw0", "--passfile", self.vault.passfile)
        for command, times in ((add, 2), (("mount", self.vault.path, self.mnt), 1)):
            setpriv, *rest = self.vault.command(*command)
            terminal = Terminal(self, [shutil.which(setpriv), *rest], self.vault.env)
            for time in range(1, times + 1):
                terminal.wait_for("PIN of the FIDO2 key", time)
                terminal.type_secret(PIN)
            self.assertEqual(terminal.ended(), 0, terminal.shown)
        self.vault.pid = self.vault.daemon_pid()
