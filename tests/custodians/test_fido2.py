"""The helper for FIDO2 keys against the programs of fido2-tools, with keys that fido2_device.c plays: PINs and touches, keys that are
unplugged, others, blocked or silent, and vaults and programs that say what they shouldn't."""

import base64
import json
import os
import pathlib
import subprocess
import sys
import time
import unittest

import fido2
from fido2 import PIN, Keys
from test_helpers import HELPERS, PATH, SECRET, VAULT, HelperTest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Fido2(HelperTest):
    name = "fido2"

    def setUp(self):
        super().setUp()
        if fido2.lacking():
            self.skipTest(f"not installed: {', '.join(fido2.lacking())}")
        self.keys = Keys(self.dir)
        self.path = f"{self.keys.programs}:{PATH}"

    def asked(self, op, params, *answers, interactive=True, **more):
        """What the helper answers to a person who gives these PINs, and what it asked."""
        request = {"v": 1, "op": op, "params": params, "allowed": {}, "context": VAULT, "interactive": interactive, **more}
        given = list(answers)
        helper = subprocess.Popen(
            [HELPERS / "rekeyfs-custodian-fido2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={"PATH": self.path, "LC_ALL": "C.UTF-8", "HOME": str(self.dir)}, cwd="/", start_new_session=True,
        )  # fmt: skip
        with helper:
            helper.stdin.write(json.dumps(request) + "\n")
            helper.stdin.flush()
            prompts = []
            for line in helper.stdout:
                said = json.loads(line)
                if "prompt" not in said:
                    break
                prompts.append((said["prompt"]["what"], said["prompt"]["text"]))
                answer = given.pop(0) if said["prompt"]["what"] == "pin" else ""
                helper.stdin.write(json.dumps({"v": 1, "answer": answer}) + "\n")
                helper.stdin.flush()
            helper.stdin.close()
            self.assertEqual((helper.stdout.read(), helper.stderr.read(), given), ("", "", []))
        self.assertEqual(helper.returncode, 0)
        return said, prompts

    def made(self, *pins, **wanted):
        """Parameters and blob of a new slot."""
        answer, _ = self.asked("wrap", wanted, *pins, secret=SECRET)
        self.assertIn("blob", answer, answer)
        self.keys.steps()
        return answer["params"], answer["blob"]

    def unwrap(self, params, blob, *pins, **more):
        return self.asked("unwrap", params, *pins, blob=blob, **more)[0]

    def test_a_key_is_kept_by_pin_and_touch(self):
        self.keys.make()
        answer, prompts = self.asked("wrap", {}, PIN, secret=SECRET)
        self.assertEqual([what for what, _ in prompts], ["pin", "touch", "touch"], prompts)
        self.assertIn("(Example Key", prompts[0][1])
        # fido2-cred tries without a PIN first.
        self.assertEqual(self.keys.steps(), ["list", "info", "make", "make with pin", "touch", "compute with pin", "touch"])
        params = answer["params"]
        self.assertEqual({name: params[name] for name in ("rp", "pin", "touch")}, {"rp": "rekeyfs", "pin": True, "touch": True})
        self.assertEqual(sorted(params), ["credential", "pin", "rp", "salt", "touch"])
        # Nothing that could be taken for a path, which custodians.conf would have to have.
        for name in ("credential", "salt"):
            self.assertRegex(params[name], "^[0-9a-f]{64}$")
        answer, prompts = self.asked("unwrap", params, PIN, blob=answer["blob"])
        self.assertEqual((answer, [what for what, _ in prompts]), ({"v": 1, "secret": SECRET}, ["pin", "touch"]))
        self.assertEqual(self.keys.steps(), ["list", "look", "info", "compute with pin", "touch"])

    def test_what_is_stored_is_what_the_formats_page_says(self):
        key = self.keys.make(pin=None)
        params, blob = self.made()
        # The independent reader's; the key computes with its second half, as there is no PIN.
        python = pathlib.Path(os.environ.get("TESTS_PYTHON") or ROOT / "target/python/bin/python")
        if not python.exists():
            self.skipTest("the packages of the independent reader aren't installed; scripts/test.sh does it")
        (credential,) = key.glob("*.credential")
        script = f"""
import base64, hashlib, hmac, sys
sys.path.insert(0, {str(ROOT / "tests/golden")!r})
import rekeyfs_format as f
secret = hmac.digest(bytes.fromhex({credential.read_bytes()[32:].hex()!r}), bytes.fromhex({params["salt"]!r}), "sha256")
context = f.custody_context({VAULT["rekeyfs:vault"]!r}, {VAULT["rekeyfs:id"]!r}).encode()
print(base64.b64encode(f.xopen(f.derive(secret, b"fido2-wrap"), context, base64.b64decode({blob!r}))).decode())
"""
        done = subprocess.run([python, "-c", script], capture_output=True, text=True)
        self.assertEqual((done.stdout.strip(), done.stderr), (SECRET, ""))

    def test_a_slot_that_needs_a_person_asks_nothing_of_a_key_without_one(self):
        self.keys.make()
        params, blob = self.made(PIN)
        self.assertRefused("needs-user", self.unwrap(params, blob, interactive=False), "it takes the PIN")
        without, blob_without = self.made(PIN, pin=False)
        self.assertRefused("needs-user", self.unwrap(without, blob_without, interactive=False), "it takes a touch")
        self.assertRefused("needs-user", self.asked("wrap", {}, interactive=False, secret=SECRET)[0], "takes a touch")
        self.assertEqual(self.keys.steps(), [])

    def test_a_slot_without_pin_and_touch_opens_unattended_and_tells_slots_apart(self):
        self.keys.make()
        params, blob = self.made(PIN, pin=False, touch=False)
        self.assertEqual(self.unwrap(params, blob, interactive=False), {"v": 1, "secret": SECRET})
        self.assertEqual(self.keys.steps(), ["list", "look", "compute"])
        for name in VAULT:
            context = {**VAULT, name: VAULT[name].replace("1", "3").replace("2", "3").replace("unlock", "key-store")}
            self.assertRefused("damaged", self.unwrap(params, blob, interactive=False, context=context))
        changed = base64.b64encode(base64.b64decode(blob)[:-1] + b"x").decode()
        for other in (changed, blob[:-4], base64.b64encode(b"x").decode()):
            self.assertRefused("damaged", self.unwrap(params, other, interactive=False))
        other_salt = {**params, "salt": bytes(32).hex()}
        self.assertRefused("damaged", self.unwrap(other_salt, blob, interactive=False))
        # With its PIN a key computes something else.
        self.assertRefused("damaged", self.unwrap({**params, "pin": True}, blob, PIN))

    def test_the_key_that_has_the_credential_is_found_wherever_it_is_plugged_in(self):
        self.keys.make("hidraw0", pin=None)
        params, blob = self.made()
        self.keys.unplug()
        self.assertRefused("offline", self.unwrap(params, blob), "plug it in")
        self.keys.make("hidraw0")
        self.assertRefused("not-found", self.unwrap(params, blob), "isn't this slot's")
        self.keys.make("hidraw1", pin="9753")
        self.assertRefused("not-found", self.unwrap(params, blob), "none of the FIDO2 keys")
        self.keys.plug("hidraw0", "hidraw7")
        (self.keys.sockets / "hidraw7/closed").touch()
        self.assertRefused("offline", self.unwrap(params, blob), "can't be opened")
        (self.keys.sockets / "hidraw7/closed").unlink()
        self.keys.steps()
        self.assertEqual(self.unwrap(params, blob), {"v": 1, "secret": SECRET})
        self.assertEqual(self.keys.steps(), ["list", "look", "look", "look", "compute", "touch"])

    def test_of_several_keys_one_is_named_for_a_new_slot(self):
        self.keys.make("hidraw0")
        self.keys.make("hidraw1", pin="9753")
        refused = self.asked("wrap", {}, secret=SECRET)[0]
        self.assertRefused("unsupported", refused, "several FIDO2 keys are plugged in (hidraw0 (Example Key")
        for name in ("hidraw1", "/dev/hidraw1"):
            answer, _ = self.asked("wrap", {"authenticator": name}, "9753", secret=SECRET)
            self.assertNotIn("authenticator", answer["params"])
        for name in ("hidraw2", "-L", "/etc/shadow", "../hidraw0", ""):
            self.assertRefused("offline", self.asked("wrap", {"authenticator": name}, secret=SECRET)[0], "it isn't plugged in; there are: hidraw0")
        # In a slot it chooses nothing.
        params, blob = self.made(PIN, authenticator="hidraw0")
        self.assertEqual(self.unwrap({**params, "authenticator": "hidraw1"}, blob, PIN)["secret"], SECRET)

    def test_a_wrong_pin_is_tried_once_and_counted_until_the_key_is_blocked(self):
        key = self.keys.make()
        params, blob = self.made(PIN)
        for left in (7, 6):
            refused = self.unwrap(params, blob, "1111")
            self.assertRefused("pin", refused, "it is wrong")
            self.assertEqual(refused["error"]["tries"], left)
            self.assertEqual(self.keys.steps().count("compute with pin"), 1)
        self.assertRefused("denied", self.unwrap(params, blob, "1111"), "unplug it, plug it in again")
        self.assertRefused("denied", self.unwrap(params, blob, PIN), "unplug it, plug it in again")
        self.keys.unplug()
        self.keys.plug()
        self.assertEqual(self.unwrap(params, blob, PIN)["secret"], SECRET)
        (key / "tries").write_text("2")
        refused, prompts = self.asked("unwrap", params, "1111", blob=blob)
        self.assertIn(", 2 tries left", prompts[0][1])
        self.assertEqual(refused["error"]["tries"], 1)
        self.assertRefused("denied", self.unwrap(params, blob, "1111"), "blocked after too many")
        self.keys.steps()
        # Nobody is asked for a PIN that isn't tried.
        self.assertRefused("denied", self.unwrap(params, blob), "only a reset")
        self.assertEqual(self.keys.steps(), ["list", "look", "info"])

    def test_what_can_be_no_pin_is_not_tried(self):
        key = self.keys.make()
        params, blob = self.made(PIN)
        for pin in ("123", "1" * 64, "12\n34", "12\x0034", "ééé" * 11):
            refused = self.unwrap(params, blob, pin)
            self.assertRefused("pin", refused, "it was not tried")
            self.assertNotIn(pin, refused["error"]["message"])
        self.assertEqual(self.keys.steps().count("compute with pin"), 0)
        (key / "pin").write_text("é" * 31)
        self.assertEqual(self.unwrap(params, blob, "é" * 31)["secret"], SECRET)

    def test_a_touch_that_does_not_come_needs_somebody(self):
        key = self.keys.make(pin=None)
        params, blob = self.made()
        for how, kind, text in (
            ("never", "needs-user", "nobody touched the FIDO2 key in time"), ("refuse", "denied", "refused"), ("unplug", "offline", "plug it in again"),
        ):  # fmt: skip
            (key / "touch").write_text(how)
            self.assertRefused(kind, self.unwrap(params, blob), text)
            self.assertRefused(kind, self.asked("wrap", {}, secret=SECRET)[0], text)

    def test_a_key_that_changed_its_mind_about_pins_is_another_state(self):
        key = self.keys.make(pin=None)
        params, blob = self.made()
        (key / "always-uv").touch()
        self.assertRefused("wrong-state", self.unwrap(params, blob), "has changed since the slot was made")
        (key / "pin").write_text(PIN)
        refused, _ = self.asked("wrap", {"pin": False}, secret=SECRET)
        self.assertRefused("unsupported", refused, "does nothing without its PIN")
        (key / "no-hmac-secret").touch()
        self.assertRefused("unsupported", self.asked("wrap", {}, secret=SECRET)[0], "hmac-secret")

    def test_without_the_programs_it_names_their_package(self):
        self.path = "/nonexistent"
        self.assertRefused("missing", self.asked("wrap", {}, secret=SECRET)[0], "fido2-token isn't installed; install fido2-tools")

    def test_a_slot_says_neither_a_device_nor_another_relying_party_nor_an_option(self):
        self.keys.make(pin=None)
        params, blob = self.made()
        huge = bytes(1024).hex()
        for changed in (
            {"rp": "ssh:"}, {"rp": "rekeyfs\n00"}, {"rp": ["rekeyfs"]}, {"credential": "-x"}, {"credential": "0000\nssh:\n0000"},
            {"credential": "\x1b[2J"}, {"credential": huge}, {"credential": ""}, {"salt": "0000"}, {"salt": "--help"}, {"pin": "false"}, {"touch": None},
        ):  # fmt: skip
            refused = self.unwrap({**params, **changed}, blob)
            self.assertRefused("damaged", refused, "none of a slot's")
            self.assertLess(len(refused["error"]["message"]), 60)
        self.assertEqual(self.keys.steps(), [])
        longest = {**params, "credential": bytes(1023).hex(), "device": "/etc/shadow"}
        self.assertRefused("not-found", self.unwrap(longest, blob), "isn't this slot's")

    def program(self, name, script):
        path = self.keys.programs / name
        path.unlink()
        path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{script}\n")
        path.chmod(0o755)

    def test_programs_that_say_something_else_give_no_key(self):
        self.keys.make(pin=None)
        params, blob = self.made()
        key = base64.b64encode(bytes(32)).decode()
        for script, kind, text in (
            ("print('x' * 100_000)", "internal", "more than 64 KiB"),
            ("", "internal", "something else than its manual says"),
            ("sys.stdout.buffer.write(bytes(range(256)) * 9)", "internal", "something else"),
            (f"print('{key}\\nssh:\\n{key}\\n{key}\\n{key}')", "internal", "something else"),
            (f"print('{key}\\nrekeyfs\\n{key}\\n{key}\\n{key[:-4]}')", "internal", "something else"),
            (f"print('{key}\\nrekeyfs\\n{key}\\n{key}\\n{key}')", "damaged", "no key of this vault and slot"),
            ("sys.exit('\\x1b[2J FIDO_ERR_PIN_INVALID, she said')", "internal", "she said"),
            ("os.kill(os.getpid(), 9)", "internal", "doesn't say why"),
        ):  # fmt: skip
            # It knows the credential, whatever it says then.
            self.program("fido2-assert", f"if '-h' not in sys.argv: sys.exit(0)\n{script}")
            refused = self.unwrap(params, blob)
            self.assertRefused(kind, refused, text)
        for script in ("print('/dev/hidraw0')", "print('-d: vendor=0x1, product=0x2 (x)')", "print('/etc/x: vendor=0x1')", "sys.stdout.buffer.write(bytes([255]) * 99)"):
            self.program("fido2-token", script)
            self.assertRefused("offline", self.unwrap(params, blob), "no FIDO2 key is plugged in")
        self.program("fido2-token", "for n in range(500): print(f'/dev/hidraw{n}: vendor=0x1, product=0x2 (x)')")
        self.program("fido2-assert", f"open({str(self.dir / 'calls')!r}, 'a').write('x'); sys.exit('fido2-assert: FIDO_ERR_NO_CREDENTIALS')")
        self.assertRefused("not-found", self.unwrap(params, blob), "none of the FIDO2 keys")
        self.assertEqual((self.dir / "calls").read_text(), "x" * 16)

    def test_no_secret_is_an_argument_or_a_variable_of_a_program(self):
        key = self.keys.make()
        params, blob = self.made(PIN)
        (key / "touch").write_text("hang")
        request = {"v": 1, "op": "unwrap", "params": params, "allowed": {}, "context": VAULT, "interactive": True, "blob": blob}
        lines = [json.dumps(line) + "\n" for line in (request, {"v": 1, "answer": PIN}, {"v": 1, "answer": ""})]
        helper = subprocess.Popen(
            [HELPERS / "rekeyfs-custodian-fido2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PATH": self.path}, start_new_session=True
        )
        with helper:
            helper.stdin.write("".join(lines))
            helper.stdin.flush()
            end = time.monotonic() + 10
            while "touch" not in self.keys.steps() and time.monotonic() < end:
                time.sleep(0.02)
            children = pathlib.Path(f"/proc/{helper.pid}/task/{helper.pid}/children").read_text().split()
            self.assertEqual(len(children), 1)
            said = b"".join(pathlib.Path(f"/proc/{children[0]}/{what}").read_bytes() for what in ("cmdline", "environ"))
            self.assertIn(b"/dev/hidraw0", said)
            for secret in (PIN, SECRET, blob, *(text for name in ("credential", "salt") for text in (params[name], base64.b64encode(bytes.fromhex(params[name])).decode()))):
                self.assertNotIn(secret.encode(), said)
            os.killpg(helper.pid, 9)


if __name__ == "__main__":
    unittest.main()
