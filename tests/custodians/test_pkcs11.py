"""The helper for PKCS#11 against SoftHSM2 and the token of NSS: AES-GCM and RSA-OAEP, PINs that are wrong and locked, tokens and keys that are gone or are
others."""

import base64
import concurrent.futures
import json
import os
import shutil
import subprocess
import unittest

import nss
import softhsm
from softhsm import Token
from test_helpers import HELPERS, PATH, SECRET, VAULT, HelperTest


class Pkcs11(HelperTest):
    name = "pkcs11"
    noise = "a library that prints what nobody asked for\n"

    def setUp(self):
        super().setUp()
        if softhsm.lacking():
            self.skipTest(f"not installed: {', '.join(softhsm.lacking())}")
        self.token = Token(self.dir)
        self.environment = self.token.environment
        self.allowed = self.token.words
        self.params = {"uri": self.token.uri()}

    def wrap_all(self, params=None, allowed=None):
        """The blob, and the parameters that are kept."""
        answer = self.ask("wrap", params or self.params, allowed or self.allowed, secret=SECRET)
        self.assertIn("blob", answer, answer)
        return answer["blob"], answer["params"]

    def unwrap(self, blob, params, allowed=None, **more):
        return self.ask("unwrap", params, allowed or self.allowed, blob=blob, **more)

    def test_an_aes_key_keeps_a_key_and_authenticates_what_it_is_for(self):
        self.token.make_aes()
        self.assertKeepsToTheProtocol(self.params, self.allowed)
        blob, params = self.wrap_all()
        self.assertEqual(params, {**self.params, "mechanism": "aes-gcm", "id": "01"})
        self.assertEqual(len(base64.b64decode(blob)), 60)
        self.assertOpens(blob, params, self.allowed)
        self.assertNotEqual(blob, self.wrap_all()[0], "an IV of its own each time")
        other = {"rekeyfs:vault": "33333333-3333-4333-8333-333333333333", "rekeyfs:use": "unlock", "rekeyfs:id": "x"}
        self.assertRefused("damaged", self.unwrap(blob, params, context=other))
        # Parameters are nobody's word before the slot opens.
        for wrong, kind in (({"mechanism": "rsa-oaep-sha1"}, "not-found"), ({"mechanism": "none"}, "unsupported"), ({"id": "02"}, "not-found"), ({"id": "x"}, "damaged")):
            self.assertRefused(kind, self.unwrap(blob, {**params, **wrong}))

    def test_an_rsa_key_keeps_a_key_with_what_it_is_for_inside(self):
        self.token.make_rsa()
        self.assertKeepsToTheProtocol(self.params, self.allowed)
        blob, params = self.wrap_all()
        # SoftHSM2 does OAEP with SHA-1 alone, and says so when it is asked for SHA-256.
        self.assertEqual(params, {**self.params, "mechanism": "rsa-oaep-sha1", "id": "02"})
        self.assertOpens(blob, params, self.allowed)
        self.assertRefused("damaged", self.unwrap(blob, params, context={"rekeyfs:id": "another"}))

    def test_two_keys_of_a_name_are_told_apart_by_type_and_id(self):
        self.token.make_aes()
        self.token.make_rsa()
        self.assertRefused("not-found", self.ask("wrap", self.params, self.allowed, secret=SECRET), "there are 2 of key kek")
        for rest, mechanism in (("object=kek;type=secret-key", "aes-gcm"), ("id=%02", "rsa-oaep-sha1"), ("object=kek;id=%01", "aes-gcm")):
            _, params = self.wrap_all({"uri": self.token.uri(rest)})
            self.assertEqual(params["mechanism"], mechanism)

    def test_a_key_that_is_gone_or_another_of_its_label_opens_nothing(self):
        self.token.make_aes()
        blob, params = self.wrap_all()
        self.token.delete()
        self.assertRefused("not-found", self.unwrap(blob, params), "no key kek with id 01 on the token t1")
        self.token.make_aes(number="02")
        self.assertRefused("not-found", self.unwrap(blob, params), "no key kek with id 01")
        self.token.delete()
        self.token.make_aes()
        self.assertRefused("damaged", self.unwrap(blob, params), "key kek with id 01 on the token t1")

    def test_a_token_that_is_gone_is_offline_and_another_of_its_label_is_not_it(self):
        self.token.make_aes()
        blob, params = self.wrap_all()
        shutil.move(self.token.tokens, self.dir / "away")
        self.token.tokens.mkdir()
        self.assertRefused("offline", self.unwrap(blob, params), "the token t1 isn't there; plug it in")
        self.token.make("t2")
        self.assertRefused("offline", self.unwrap(blob, params), "t1 isn't there")
        self.token.make("t1")
        self.assertRefused("not-found", self.unwrap(blob, params), "no key kek with id 01 on the token t1")
        self.token.make("t1")
        self.assertRefused("not-found", self.unwrap(blob, params), "2 tokens are t1")

    def test_a_wrong_pin_is_tried_once_and_the_last_try_is_a_persons(self):
        self.token.make_aes()
        blob, params = self.wrap_all()
        self.token.pin_file.write_text("no-such-pin\n")
        refused = self.unwrap(blob, params)
        self.assertRefused("pin", refused, f"that in {self.token.pin_file} is wrong")
        self.assertEqual((self.token.tries.read_text(), "tries" in refused["error"]), ("1", False))
        refused = self.unwrap(blob, params)
        self.assertRefused("pin", refused)
        self.assertEqual((self.token.tries.read_text(), refused["error"]["tries"]), ("2", 1))
        # However often it is asked now.
        for _ in range(2):
            self.assertRefused("needs-user", self.unwrap(blob, params), "one more wrong PIN locks it; so that of its file wasn't tried")
        self.assertEqual(self.token.tries.read_text(), "2")
        self.token.tries.write_text("3")
        self.assertRefused("denied", self.unwrap(blob, params), "locked after too many wrong ones")
        self.token.tries.write_text("1")
        self.token.pin_file.write_text("1234\n")
        self.assertOpens(blob, params, self.allowed)
        self.assertEqual(self.token.tries.read_text(), "0")
        self.assertNotIn("no-such-pin", str(refused))

    def test_slots_of_one_token_that_are_asked_about_at_once_do_not_spend_the_last_try_together(self):
        self.token.make_aes()
        blob, params = self.wrap_all()
        self.token.pin_file.write_text("no-such-pin\n")
        self.token.tries.write_text("1")
        self.token.orders.write_text("SlowLogin")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: self.unwrap(blob, params), range(4)))
        kinds = sorted(answer["error"]["kind"] for answer in answers)
        self.assertEqual((kinds, self.token.tries.read_text()), (["needs-user"] * 3 + ["pin"], "2"))

    def test_a_library_that_hangs_or_crashes_at_its_end_takes_no_answer_with_it(self):
        self.token.make_aes()
        blob, params = self.wrap_all()
        for order in ("HangsAtItsEnd", "CrashesAtItsEnd"):
            with self.subTest(order):
                self.token.orders.write_text(order)
                self.assertOpens(blob, params, self.allowed)
                self.assertOpens(*self.wrap_all(), self.allowed)
                self.assertRefused("not-found", self.unwrap(blob, {**params, "id": "02"}), "no key kek with id 02")
                self.token.pin_file.write_text("4321\n")
                self.assertRefused("pin", self.unwrap(blob, params))
                self.token.pin_file.write_text("1234\n")

    def test_a_token_that_draws_its_own_iv_is_decrypted_with_that(self):
        self.token.make_aes()
        self.token.orders.write_text("OwnIv")
        blob, params = self.wrap_all()
        self.assertEqual(base64.b64decode(blob)[:12], b"drawn within")
        self.assertOpens(blob, params, self.allowed)
        self.token.orders.unlink()
        self.assertOpens(blob, params, self.allowed)

    def test_a_wrong_pin_of_a_file_is_not_tried_again_where_a_person_can_type_it(self):
        self.token.make_aes()
        blob, params = self.wrap_all()
        self.token.pin_file.write_text("4321\n")
        refused = self.unwrap(blob, params)
        self.assertRefused("pin", refused)
        self.assertEqual((refused["error"]["stored"], self.token.tries.read_text()), (True, "1"))
        answers, prompt = self.typed("1234", blob, params, ask_pin=True)
        self.assertEqual((answers, prompt["text"]), ({"v": 1, "secret": SECRET}, "PIN of the token t1 (the last one was wrong)"))
        self.assertEqual(self.token.tries.read_text(), "0")
        answers, _ = self.typed("9999", blob, params, ask_pin=True)
        self.assertRefused("pin", answers, "t1: it is wrong")
        self.assertNotIn("stored", answers["error"])
        # The last try is a person's, and so is what is said of it.
        self.token.tries.write_text("2")
        answers, prompt = self.typed("9999", blob, params)
        self.assertIn("so that of its file wasn't tried", prompt["text"])
        self.assertRefused("denied", answers, "the PIN was wrong, and is locked now")

    def typed(self, pin, blob, params, **more):
        """What the helper answers to a person, and what it asked."""
        request = {"v": 1, "op": "unwrap", "params": params, "allowed": self.allowed, "context": VAULT, "blob": blob, "interactive": True, **more}
        done = subprocess.run(
            [HELPERS / "rekeyfs-custodian-pkcs11"], input=f"{json.dumps(request)}\n{json.dumps({'v': 1, 'answer': pin})}\n",
            capture_output=True, text=True, timeout=30, env={"PATH": PATH, **self.environment}, cwd="/",
        )  # fmt: skip
        asked, answered = map(json.loads, done.stdout.splitlines())
        return answered, asked["prompt"]

    def test_a_file_of_windows_has_the_same_pin_and_one_without_any_is_said_to_be_empty(self):
        self.token.make_aes()
        blob, params = self.wrap_all()
        for text in ("1234\r\n", "1234", "\ufeff1234\r\n"):
            self.token.pin_file.write_text(text)
            self.assertOpens(blob, params, self.allowed)
        self.token.pin_file.write_text("\n")
        self.assertRefused("not-found", self.unwrap(blob, params), f"{self.token.pin_file}: its first line is empty")
        self.assertEqual(self.token.tries.read_text(), "0", "nothing of it was tried")

    def test_a_pin_goes_to_the_token_of_its_files_name_alone(self):
        self.token.make_aes()
        blob, params = self.wrap_all()
        self.token.make("t2")
        elsewhere = {**params, "uri": "pkcs11:token=t2;object=kek"}
        self.assertRefused("needs-user", self.unwrap(blob, elsewhere), "PIN of the token t2")
        self.assertFalse(self.token.tries.exists() and self.token.tries.read_text() != "0")
        self.assertRefused("needs-user", self.unwrap(blob, params, {"module": self.allowed["module"]}), "PIN of the token t1")
        self.token.pin_file.chmod(0o644)
        self.assertRefused("not-allowed", self.unwrap(blob, params), "its mode 644 lets others use it")
        self.token.pin_file.unlink()
        self.assertRefused("not-found", self.unwrap(blob, params), "the PIN's file")

    def test_a_pins_file_of_root_is_nothing_to_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to be another user")
        self.token.make_aes()
        blob, params = self.wrap_all()
        self.dir.chmod(0o755)
        own = self.dir / "own" / "t1.pin"
        own.parent.mkdir()
        own.write_text("1234\n")
        own.chmod(0o600)
        subprocess.run(["chown", "-R", "65534:65534", own.parent, self.token.tokens], check=True)
        helper = self.dir / "helper"
        shutil.copy(HELPERS / "rekeyfs-custodian-pkcs11", helper)

        def ask(files):
            allowed = {**self.allowed, "file": [str(file) for file in files]}
            request = {"v": 1, "op": "unwrap", "params": params, "allowed": allowed, "context": VAULT, "blob": blob}
            done = subprocess.run(
                [helper], input=json.dumps(request) + "\n", capture_output=True, text=True, timeout=30, cwd="/",
                env={"PATH": PATH, **self.environment}, user=65534, group=65534, extra_groups=[],
            )  # fmt: skip
            return json.loads(done.stdout)

        self.assertEqual(ask([self.token.pin_file, own]), {"v": 1, "secret": SECRET})
        self.assertRefused("needs-user", ask([self.token.pin_file]), "PIN of the token t1")

    def test_nothing_of_a_vault_says_which_library_is_loaded_or_which_pin_is_used(self):
        self.token.make_aes()
        for query in ("module-path=/evil.so", "pin-value=no-such-pin", "pin-source=file:/etc/shadow"):
            refused = self.ask("wrap", {"uri": f"{self.token.uri()}?{query}"}, self.allowed, secret=SECRET)
            self.assertRefused("not-allowed", refused, "custodians.conf names the module")
            self.assertNotIn("no-such-pin", str(refused))
        evil = {**self.params, "module": "/evil.so"}
        self.assertRefused("not-allowed", self.ask("wrap", evil, self.allowed, secret=SECRET), "no module=/evil.so")
        self.assertRefused("not-allowed", self.ask("wrap", self.params, {}, secret=SECRET), "names no library")
        self.assertRefused("not-allowed", self.ask("wrap", self.params, {"module": ["x.so"]}, secret=SECRET), "isn't absolute")
        self.assertRefused("missing", self.ask("wrap", self.params, {"module": ["/nowhere.so"]}, secret=SECRET), "can't be loaded")
        # The token is another library's.
        self.wrap_all(allowed={**self.allowed, "module": ["/nowhere.so", *self.allowed["module"]]})
        for uri in ("pkcs11:object=kek", "pkcs11:token=t1", "pkcs11:token=t1;object=kek;slot-id=0", "kek"):
            self.assertRefused("not-found", self.ask("wrap", {"uri": uri}, self.allowed, secret=SECRET), "its uri")


class Nss(HelperTest):
    name = "pkcs11"

    def setUp(self):
        super().setUp()
        if nss.lacking():
            self.skipTest(f"not installed: {', '.join(nss.lacking())}")
        self.token = nss.Token(self.dir)

    def test_an_rsa_key_is_used_with_sha_256_where_the_token_can(self):
        self.token.make("--keypairgen", "rsa:2048", "02")
        params, allowed = {"uri": self.token.uri()}, self.token.words
        self.assertKeepsToTheProtocol(params, allowed)
        answer = self.ask("wrap", params, allowed, secret=SECRET)
        self.assertEqual(answer["params"], {**params, "mechanism": "rsa-oaep-sha256", "id": "02"})
        self.assertOpens(answer["blob"], answer["params"], allowed)
        other = self.ask("unwrap", answer["params"], allowed, blob=answer["blob"], context={"rekeyfs:id": "another"})
        self.assertRefused("damaged", other)
        # The slot says which it was, and no other is tried.
        with_sha1 = {**answer["params"], "mechanism": "rsa-oaep-sha1"}
        self.assertIn("error", self.ask("unwrap", with_sha1, allowed, blob=answer["blob"]))
        self.token.pin_file.write_text("4321\n")
        self.assertRefused("pin", self.ask("unwrap", answer["params"], allowed, blob=answer["blob"]), "is wrong; correct it there")

    def test_a_token_that_tells_a_wrong_length_for_gcm_has_no_slot_made(self):
        self.token.make("--keygen", "AES:32", "01")
        refused = self.ask("wrap", {"uri": self.token.uri()}, self.token.words, secret=SECRET)
        self.assertRefused("unsupported", refused, "BufferTooSmall")


if __name__ == "__main__":
    unittest.main()
