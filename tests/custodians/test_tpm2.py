"""The helper for TPMs against swtpm: registers that change, PINs that are wrong until the TPM locks, TPMs that are gone, cleared or
others, and who listens on the bus."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import unittest

import swtpm
from swtpm import Tpm
from test_helpers import HELPERS, PATH, SECRET, VAULT, HelperTest


class Tpm2(HelperTest):
    name = "tpm2"
    # What libtss2 reports of errors.
    noise = r"(ERROR|WARNING):.*\n"
    params = {"pcrs": "7", "pin": False}

    def setUp(self):
        super().setUp()
        if swtpm.lacking():
            self.skipTest(f"not installed: {', '.join(swtpm.lacking())}")
        self.tpm = Tpm(self, self.dir / "tpm")
        self.allowed = {"device": [self.tpm.device]}

    def unwrap(self, blob, params=None, **more):
        return self.ask("unwrap", params or self.params, self.allowed, blob=blob, **more)

    def with_pin(self, op, pin, **more):
        """What the helper answers to a person, and what it asked."""
        request = {"v": 1, "op": op, "params": {"pcrs": "7", "pin": True}, "allowed": self.allowed, "context": VAULT, "interactive": True, **more}
        done = subprocess.run(
            [HELPERS / "rekeyfs-custodian-tpm2"], input=f"{json.dumps(request)}\n{json.dumps({'v': 1, 'answer': pin})}\n",
            capture_output=True, text=True, timeout=30, env={"PATH": PATH, "LC_ALL": "C.UTF-8"}, cwd="/",
        )  # fmt: skip
        asked, answered = map(json.loads, done.stdout.splitlines())
        return answered, asked["prompt"]

    def test_a_key_is_kept_until_the_registers_change(self):
        self.assertKeepsToTheProtocol(self.params, self.allowed)
        blob, unbound = self.wrap(self.params, self.allowed), self.wrap({"pcrs": "none"}, self.allowed)
        self.assertOpens(blob, self.params, self.allowed)
        self.tpm.extend(8)
        self.assertOpens(blob, self.params, self.allowed)
        self.tpm.extend(7)
        self.assertRefused("wrong-state", self.unwrap(blob), "registers aren't what they were")
        # Another policy than the one that it was sealed under.
        for others in ({"pcrs": "none"}, {"pcrs": "8"}):
            self.assertRefused("wrong-state", self.unwrap(blob, others))
        self.assertOpens(unbound, {"pcrs": "none"}, self.allowed)
        # After a reboot they are as they were.
        self.tpm.stop()
        self.tpm.start()
        self.assertOpens(blob, self.params, self.allowed)

    def test_a_key_is_of_one_vault_and_slot(self):
        blob = self.wrap(self.params, self.allowed)
        self.assertRefused("damaged", self.unwrap(blob, context={**VAULT, "rekeyfs:id": "another"}), "no key of this vault and slot")
        raw = base64.b64decode(blob)
        for forged in (raw[:-1], raw + b"x", raw[2:], b"", raw[:40]):
            self.assertRefused("damaged", self.unwrap(base64.b64encode(forged).decode()))

    def test_a_wrong_pin_has_its_tries_and_then_the_tpm_is_locked_but_not_for_other_slots(self):
        answer, prompt = self.with_pin("wrap", "2468", secret=SECRET)
        self.assertEqual(prompt, {"what": "pin", "text": "New PIN for this slot"})
        blob, without = answer["blob"], self.wrap(self.params, self.allowed)
        self.assertEqual(self.with_pin("unwrap", "2468", blob=blob)[0], {"v": 1, "secret": SECRET})
        self.assertRefused("needs-user", self.unwrap(blob, {"pcrs": "7", "pin": True}), "PIN of this slot")
        # As if it had none.
        self.assertRefused("wrong-state", self.unwrap(blob))
        left = []
        for _ in range(3):
            answer, _ = self.with_pin("unwrap", "1357", blob=blob)
            self.assertRefused("pin", answer)
            left.append(answer["error"]["tries"])
        self.assertEqual(left, [2, 1, 0])
        # Now the right one doesn't help either.
        self.assertRefused("denied", self.with_pin("unwrap", "2468", blob=blob)[0], "tpm2_dictionarylockout --clear-lockout")
        self.assertOpens(without, self.params, self.allowed)
        self.tpm.tool("tpm2_dictionarylockout", "--clear-lockout")
        self.assertEqual(self.with_pin("unwrap", "2468", blob=blob)[0], {"v": 1, "secret": SECRET})

    def test_who_listens_on_the_bus_learns_neither_key_nor_pin(self):
        bus = swtpm.Bus(self, self.tpm)
        self.allowed = {"device": [bus.device]}
        blob = self.with_pin("wrap", "2468", secret=SECRET)[0]["blob"]
        self.assertEqual(self.with_pin("unwrap", "2468", blob=blob)[0], {"v": 1, "secret": SECRET})
        self.assertGreater(len(bus.heard), 2000)
        for secret in (base64.b64decode(SECRET), hashlib.sha256(b"2468").digest(), b"2468"):
            self.assertNotIn(secret[:16], bus.heard)

    def test_a_helper_that_is_told_to_end_leaves_nothing_in_a_tpm_without_a_resource_manager(self):
        blob = self.wrap(self.params, self.allowed)
        for commands in (3, 7):
            bus = swtpm.Bus(self, self.tpm, commands)
            request = {"v": 1, "op": "unwrap", "params": self.params, "allowed": {"device": [bus.device]}, "context": VAULT, "blob": blob}
            pipe = subprocess.PIPE
            helper = subprocess.Popen([HELPERS / "rekeyfs-custodian-tpm2"], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
            helper.stdin.write(json.dumps(request) + "\n")
            helper.stdin.flush()
            self.assertTrue(bus.silent.wait(10))
            # As rekeyfs does where another custodian was quicker.
            helper.terminate()
            bus.resumed.set()
            helper.communicate(timeout=10)
            for kind in ("handles-transient", "handles-loaded-session"):
                self.assertEqual(self.tpm.tool("tpm2_getcap", kind), "", (kind, commands))

    def test_another_tpm_or_a_cleared_one_opens_nothing_and_one_that_is_gone_is_offline(self):
        blob = self.wrap(self.params, self.allowed)
        other = Tpm(self, self.dir / "other")
        answer = self.ask("unwrap", self.params, {"device": [other.device]}, blob=blob)
        self.assertRefused("not-found", answer, "this isn't the TPM that sealed it")
        self.tpm.tool("tpm2_clear")
        self.assertRefused("not-found", self.unwrap(blob), "or the TPM was cleared")
        self.tpm.stop()
        self.assertRefused("offline", self.unwrap(blob), "doesn't answer")
        for device, kind, text in (("/dev/no-tpm", "offline", "no TPM 2.0, or its driver isn't loaded yet"), ("device:/dev/no-tpm", "offline", "there is no /dev/no-tpm"), ("cmd:x", "not-allowed", "is no path")):
            self.assertRefused(kind, self.ask("unwrap", self.params, {"device": [device]}, blob=blob), text)

    def test_the_owners_primary_key_is_used_and_what_was_sealed_before_it_opens(self):
        before = self.wrap(self.params, self.allowed)
        self.tpm.tool("tpm2_createprimary", "--hierarchy", "o", "--key-algorithm", "ecc256", "--key-context", "primary")
        self.tpm.tool("tpm2_evictcontrol", "--object-context", "primary", "0x81000001")
        self.tpm.flush()
        after = self.wrap(self.params, self.allowed)
        self.assertNotEqual(base64.b64decode(before)[:36], base64.b64decode(after)[:36])
        self.assertOpens(before, self.params, self.allowed)
        self.assertOpens(after, self.params, self.allowed)

    def test_an_owners_password_is_no_wrong_pin(self):
        before = self.wrap(self.params, self.allowed)
        self.tpm.tool("tpm2_changeauth", "--object-context", "owner", "sesame")
        self.assertRefused("denied", self.unwrap(before), "the TPM's owner has a password")
        self.tpm.tool("tpm2_createprimary", "--hierarchy", "o", "--hierarchy-auth", "sesame", "--key-algorithm", "ecc256", "--key-context", "primary")
        self.tpm.tool("tpm2_evictcontrol", "--auth", "sesame", "--object-context", "primary", "0x81000001")
        self.tpm.flush()
        self.assertOpens(self.wrap(self.params, self.allowed), self.params, self.allowed)

    def test_a_device_that_is_not_for_this_user_is_denied_and_not_offline(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to be another user")
        device = self.dir / "device"
        device.touch(0o600)
        self.dir.chmod(0o755)
        request = {"v": 1, "op": "wrap", "params": self.params, "allowed": {"device": [str(device)]}, "context": VAULT, "secret": SECRET}
        helper = self.dir / "helper"
        shutil.copy(HELPERS / "rekeyfs-custodian-tpm2", helper)
        done = subprocess.run(
            [helper], input=json.dumps(request) + "\n", capture_output=True, text=True, timeout=30, cwd="/", user=65534, group=65534, extra_groups=[]
        )
        self.assertRefused("denied", json.loads(done.stdout), "isn't for this user")

    def test_what_is_no_register_is_refused(self):
        for params in ({}, {"pcrs": "24"}, {"pcrs": "7,11"}, {"pcrs": "7", "pin": "no-such-pin"}):
            refused = self.ask("wrap", params, self.allowed, secret=SECRET)
            self.assertRefused("not-found", refused)
            self.assertNotIn("no-such-pin", str(refused))


if __name__ == "__main__":
    unittest.main()
