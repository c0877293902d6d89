"""The keys of a vault used for data, asked on the control socket as a program does that serves others."""

import base64
import json
import os
import pathlib
import socket

from harness import MountedTest, UserMountTest, wait_until
from test_may_only_read import set_ro_compat
from test_secrets import where

USER, MALLORY = "uid:4001", "uid:4002"
SECRET = b"a secret that lies in no file"


def ask(vault, message):
    """The mount's answer to a request of the control protocol."""
    (path,) = pathlib.Path(vault.env["XDG_RUNTIME_DIR"]).glob("rekeyfs/*.sock")
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        # A socket's address has at most 108 bytes.
        client.connect(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        client.sendall(json.dumps({"protocol": 1, "message": message}).encode() + b"\n")
        with client.makefile("rb") as answers:
            return json.loads(answers.readline())["message"]


class Data:
    def do(self, operation, principal=None, **parameters):
        """What an operation came to: its answer, or the name of the error."""
        call = {"operation": operation, **parameters}
        reply = ask(self.vault, {"ask": "kms", "call": call, **({"principal": principal} if principal else {})})
        self.assertEqual(reply["reply"], "kms", reply)
        return reply["answer"] if reply["outcome"] == "done" else reply["error"]["name"]

    def encrypted(self, key="alias/default", **more):
        answer = self.do("Encrypt", key_id=key, plaintext=base64.b64encode(SECRET).decode(), **more)
        return answer["CiphertextBlob"] if isinstance(answer, dict) else answer

    def decrypted(self, blob, **more):
        answer = self.do("Decrypt", ciphertext_blob=blob, **more)
        return base64.b64decode(answer["Plaintext"]) if isinstance(answer, dict) else answer

    def key_id(self, alias="alias/default"):
        return self.kms("describe-key", "--key-id", alias)["KeyMetadata"]["KeyId"]


class DataOfAMount(Data, MountedTest):
    def test_what_was_encrypted_before_rotations_and_remounts_is_decrypted(self):
        old = self.encrypted()
        self.vault.rotate()
        new = self.encrypted(encryption_context={"purpose": "test"})
        self.write("file", b"contents", fsync=True)
        for _ in range(2):
            self.assertEqual(self.decrypted(old), SECRET)
            self.assertEqual(self.decrypted(new, encryption_context={"purpose": "test"}), SECRET)
            self.assertEqual(self.decrypted(new), "InvalidCiphertextException")
            self.vault.remount()
        versions = [event["version"] for event in self.vault.events("KMS Request") if event["outcome"] == "success"]
        self.assertEqual(versions, [1, 2, 1, 2, 1, 2])
        self.assertIn('"good"', self.vault.ok("events", self.mnt, "--verify", "--json"))

    def test_a_disabled_key_decrypts_nothing_and_the_others_do(self):
        blob, key = self.encrypted(), self.key_id()
        other = self.kms("create-key")["KeyMetadata"]["KeyId"]
        others = self.encrypted(other)
        self.kms("disable-key", "--key-id", key)
        self.assertEqual(self.decrypted(blob), "DisabledException")
        self.assertEqual(self.encrypted(), "DisabledException")
        self.assertEqual(self.decrypted(others), SECRET)
        self.kms("enable-key", "--key-id", key)
        self.assertEqual(self.decrypted(blob), SECRET)

    def test_a_wrapped_data_key_of_a_file_is_no_blob(self):
        """Nobody who may decrypt data opens files by it: a slot of a file, put into the form of a blob, is refused."""
        path = self.write("file", b"contents", fsync=True)
        blob = base64.b64decode(self.encrypted())
        slot = self.read(self.vault.lower(path))[:512]
        self.assertEqual(slot[32:52], blob[21:41], "the same version wraps the one and encrypts the other")
        forged = base64.b64encode(blob[:41] + slot[64:136]).decode()
        self.assertEqual(self.decrypted(forged), "InvalidCiphertextException")

    def test_a_key_that_encrypted_data_is_deleted_and_retired_by_force_alone(self):
        key = self.kms("create-key")["KeyMetadata"]["KeyId"]
        blob = self.encrypted(key)
        self.vault.rotate("--key-id", key)
        self.assertIn("has encrypted data outside of files", self.assertKmsError("ConflictException", "schedule-key-deletion", "--key-id", key))
        retire = ["key", "retire", self.mnt, "--key-id", key, "--below", "2"]
        for trim in ([], ["--trim", "--yes"]):
            self.assertRefused(self.vault.run(*retire, *trim), "since version 1", "--force", status=44)
        self.assertEqual(self.decrypted(blob), SECRET)
        self.vault.ok(*retire, "--force", "--passfile", self.vault.passfile)
        self.assertEqual(self.decrypted(blob), "KMSInvalidStateException")
        self.vault.ok(*retire, "--undo")
        self.assertEqual(self.decrypted(blob), SECRET)
        self.kms("schedule-key-deletion", "--key-id", key, "--force", "--passfile", self.vault.passfile)
        self.assertEqual(self.decrypted(blob), "KMSInvalidStateException")

    def test_a_user_uses_keys_as_their_policies_say_and_administers_none(self):
        key = self.key_id()
        policy = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"uid:{os.getuid()}"}, "Action": "kms:*", "Resource": "*"},
            {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*"},
        ]}  # fmt: skip
        self.kms("put-key-policy", "--key-id", key, "--policy", json.dumps(policy))
        blob = self.encrypted()
        self.assertEqual(self.encrypted(principal="admin")[:8], blob[:8])
        self.assertEqual(self.decrypted(blob, principal=USER), SECRET)
        made = self.do("GenerateDataKey", USER, key_id=key, key_spec="AES_256")
        self.assertEqual(self.decrypted(made["CiphertextBlob"]), base64.b64decode(made["Plaintext"]))
        denied = "AccessDeniedException"
        self.assertEqual(self.encrypted(principal=USER), denied)
        self.assertEqual(self.decrypted(blob, principal=MALLORY), denied)
        for operation, parameters in (
            ("DescribeKey", {"key_id": key}), ("DisableKey", {"key_id": key}),
            ("ScheduleKeyDeletion", {"key_id": key, "pending_window_in_days": 7}),
        ):  # fmt: skip
            self.assertEqual(self.do(operation, USER, **parameters), denied)
        self.assertEqual(self.do("DescribeKey", "admin", key_id=key)["KeyMetadata"]["KeyState"], "Enabled")
        said = [(e["event-name"], e.get("principal"), e["outcome"]) for e in self.vault.events("KMS Request")]
        self.assertEqual(said, [
            ("Encrypt", None, "success"), ("Encrypt", "admin", "success"), ("Decrypt", USER, "success"),
            ("GenerateDataKey", USER, "success"), ("Decrypt", None, "success"), ("Encrypt", USER, "refused"),
            ("Decrypt", MALLORY, "refused"), ("DescribeKey", USER, "refused"), ("DisableKey", USER, "refused"),
            ("ScheduleKeyDeletion", USER, "refused"), ("DescribeKey", "admin", "success"),
        ])  # fmt: skip
        log = (self.vault.path / "events.jsonl").read_text()
        self.assertNotIn(base64.b64encode(SECRET).decode(), log)
        for nobody in ("root", "uid:-1", "", "uid:4294967295"):
            asked = {"ask": "kms", "call": {"operation": "DescribeKey", "key_id": key}, "principal": nobody}
            self.assertEqual(ask(self.vault, asked)["kind"], "bad-request", nobody)


class DataInMemory(Data, MountedTest):
    def test_data_leave_the_mounts_memory_once_they_are_answered(self):
        self.need_root()
        data = os.urandom(1000)
        text = base64.b64encode(data)
        blob = self.do("Encrypt", key_id="alias/default", plaintext=text.decode())["CiphertextBlob"]
        self.assertEqual(self.decrypted(blob), data)
        made = self.do("GenerateDataKey", key_id="alias/default", number_of_bytes=1000)["Plaintext"]
        again = self.do("ReEncrypt", ciphertext_blob=blob, destination_key_id="alias/default")["CiphertextBlob"]
        # Often: the allocator writes over most of what is freed and wasn't wiped.
        for _ in range(32):
            self.assertEqual(self.decrypted(again), data)
        # Of each the middle: the beginning of what is freed is written over by the allocator.
        secret = {"data": data, "text": text, "key": base64.b64decode(made), "text of the key": made.encode()}
        parts = {role: whole[500:532] for role, whole in secret.items()}

        def left():
            found = where(self.vault.daemon_pid(), {**parts, "vault": os.fsencode(self.vault.path)})
            self.assertTrue(found.pop("vault"), "the scan doesn't work")
            return {role: [region.name for region in places] for role, places in found.items()}

        # The answer is sent before it is wiped.
        wait_until(lambda: not any(left().values()))
        self.assertEqual(left(), dict.fromkeys(parts, []))


class DataOfAReadOnlyMount(Data, MountedTest):
    options = None

    def test_a_vault_that_may_only_be_read_decrypts_and_encrypts_where_that_changes_nothing(self):
        self.vault.mount()
        fresh = self.kms("create-key")["KeyMetadata"]["KeyId"]
        blob = self.encrypted()
        self.vault.umount()
        set_ro_compat(self, self.vault)
        before = (self.vault.path / "keyring").read_bytes()
        self.vault.mount("-o", "ro")
        self.assertEqual(self.decrypted(blob), SECRET)
        self.assertEqual(self.decrypted(self.encrypted()), SECRET)
        call = {"operation": "Encrypt", "key_id": fresh, "plaintext": "AAAA", "encryption_algorithm": None}
        refused = ask(self.vault, {"ask": "kms", "call": call})
        self.assertEqual((refused["reply"], refused["kind"]), ("refused", "keyring-damaged"), refused)
        self.assertEqual((self.vault.path / "keyring").read_bytes(), before)


class DataOfAUser(Data, UserMountTest):
    def test_a_users_mount_encrypts_for_its_owner(self):
        self.vault.mount()
        blob = self.encrypted()
        self.assertEqual(self.decrypted(blob), SECRET)


class DataOfTheCommandLine(Data, MountedTest):
    def verb(self, *args):
        """The answer of a verb, of the mount or of the vault that isn't mounted."""
        unlock = [] if self.vault.is_mounted() else ["--passfile", self.vault.passfile]
        printed = self.vault.ok("kms", *args, "--vault", self.vault.path, *unlock)
        return json.loads(printed) if printed else None

    def mounted(self, wanted):
        if self.vault.is_mounted() != wanted:
            (self.vault.mount if wanted else self.vault.umount)()

    def test_the_verbs_encrypt_and_decrypt_whether_the_vault_is_mounted_or_not(self):
        plain, file = self.dir / "plain", self.dir / "blob"
        plain.write_bytes(SECRET)
        context = ["--encryption-context", "purpose=test,place=here"]
        encrypt = ["encrypt", "--key-id", "alias/default", "--plaintext", f"fileb://{plain}", *context]
        decrypt = ["decrypt", "--ciphertext-blob", f"fileb://{file}", *context]
        for encrypting, decrypting in ((True, False), (False, True)):
            self.mounted(encrypting)
            file.write_bytes(base64.b64decode(self.verb(*encrypt)["CiphertextBlob"]))
            self.mounted(decrypting)
            self.assertEqual(base64.b64decode(self.verb(*decrypt)["Plaintext"]), SECRET)
        # As AWS's pages have it.
        text = self.vault.ok("kms", *decrypt, "--output", "text", "--query", "Plaintext", "--vault", self.mnt)
        self.assertEqual(base64.b64decode(text), SECRET)
        self.assertKmsError("InvalidCiphertextException", *decrypt[:3])
        self.assertKmsError("DryRunOperationException", *encrypt, "--dry-run")

    def test_the_verbs_make_data_keys_and_random_bytes_and_re_encrypt_blobs(self):
        made = self.verb("generate-data-key", "--key-id", "alias/default", "--key-spec", "AES_256")
        blob = made["CiphertextBlob"]
        self.assertEqual(self.verb("decrypt", "--ciphertext-blob", blob)["Plaintext"], made["Plaintext"])
        only = self.verb("generate-data-key-without-plaintext", "--key-id", "alias/default", "--number-of-bytes", "20")
        self.assertEqual(set(only), {"CiphertextBlob", "KeyId", "KeyMaterialId"})
        self.assertEqual(len(base64.b64decode(self.verb("generate-random", "--number-of-bytes", "20")["Plaintext"])), 20)
        other = self.verb("create-key")["KeyMetadata"]
        moved = self.verb("re-encrypt", "--ciphertext-blob", blob, "--destination-key-id", other["KeyId"])
        self.assertEqual(moved["KeyId"], other["Arn"])
        self.assertEqual(self.verb("decrypt", "--ciphertext-blob", moved["CiphertextBlob"])["Plaintext"], made["Plaintext"])
        path = self.write("file", b"contents", fsync=True)
        self.vault.ok("kms", "re-encrypt", path, "--destination-key-id", other["KeyId"])
        self.assertEqual(os.getxattr(path, "user.rekeyfs.key-id").decode(), other["KeyId"])
