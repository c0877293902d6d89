"""Vaults that AWS KMS opens: LocalStack's KMS, where scripts/oracle.sh has put that, and an endpoint of rekeyfs' own. One
LocalStack serves all tests of this file."""

import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import harness
from custodian_host import OFFLINE, UNREAD, WRONG, CustodianTest
from harness import PASSPHRASE, ROOT, wait_until
from test_kms_serve import ACCOUNT, CLIENTS, REGION, Endpoint

sys.path.append(str(ROOT / "tests/oracle"))
from localstack import Server  # noqa: E402


class AwsKms(CustodianTest):
    wanted = "rekeyfs-custodian-aws-kms"

    def setUp(self):
        super().setUp()
        self.credentials = self.conf.parent / "aws-credentials"

    def allow(self, *words, profile="aws_access_key_id = AKIDTEST\naws_secret_access_key = test\n"):
        self.credentials.write_text(f"[default]\n{profile}")
        self.credentials.chmod(0o600)
        self.conf.write_text(f"aws-kms file={self.credentials} {' '.join(words)}\n")

    def change_slot(self, **params):
        """Writes other parameters into the header's slot, as anybody can who can write the vault."""
        keyring = self.vault.path / "keyring"
        raw = keyring.read_bytes()
        length = struct.unpack_from("<I", raw, 14)[0]
        header = json.loads(raw[18 : 18 + length])
        (slot,) = [slot for slot in header["slots"] if slot["type"] == "custodian"]
        slot["params"].update(params)
        text = json.dumps(header, separators=(",", ":")).encode()
        keyring.write_bytes(raw[:14] + struct.pack("<I", len(text)) + text + raw[18 + length :])
        return raw


class OnLocalStack(AwsKms):
    region = "eu-central-1"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = None
        if CLIENTS.exists():
            place = pathlib.Path(tempfile.mkdtemp(prefix="rekeyfs-localstack-"))
            cls.addClassCleanup(shutil.rmtree, place, True)
            cls.server = Server(place, python=CLIENTS)
            cls.server.__enter__()
            cls.addClassCleanup(cls.server.__exit__)

    def setUp(self):
        super().setUp()
        if self.server is None:
            self.skipTest(f"{CLIENTS} is missing: scripts/oracle.sh makes it")
        self.allow(f"endpoint={self.server.url}", f"region={self.region}")
        self.key = self.kms("CreateKey")["KeyMetadata"]["Arn"]

    def kms(self, operation, **parameters):
        """LocalStack looks at a signature's scope, and not at the signature."""
        scope = f"test/20200101/{self.region}/kms/aws4_request"
        headers = {"X-Amz-Target": f"TrentService.{operation}", "Content-Type": "application/x-amz-json-1.1",
                   "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}  # fmt: skip
        request = urllib.request.Request(self.server.url, json.dumps(parameters).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")

    def add_slot(self, key):
        return self.vault.ok("unlock", "add", self.vault.path, "--aws-kms", key, *self.secret).split()[1]

    def test_a_vault_mounts_unattended_by_an_alias_that_is_pointed_elsewhere_later(self):
        self.kms("CreateAlias", AliasName=f"alias/{self.dir.name}", TargetKeyId=self.key)
        slot = self.add_slot(f"alias/{self.dir.name}")
        (listed,) = self.custodians()
        self.assertEqual(listed["params"], {"key": self.key})
        self.kms("UpdateAlias", AliasName=f"alias/{self.dir.name}", TargetKeyId=self.kms("CreateKey")["KeyMetadata"]["KeyId"])
        self.mount_unattended()
        self.write("file", b"content", fsync=True)
        self.assertEqual(self.vault.events("Vault Mounted")[-1]["slot-id"], slot)
        self.vault.umount()
        # As a line of fstab has it done, where no variable of the caller's counts.
        of_mount = self.dir / "mount.fuse.rekeyfs"
        of_mount.symlink_to(harness.BIN)
        command = [of_mount, self.vault.path, self.mnt, "-o", "custodian=aws-kms"]
        subprocess.run(command, env=self.vault.env, stdin=subprocess.DEVNULL, check=True)
        self.vault.pid = self.vault.daemon_pid()

    def test_each_way_in_which_kms_fails_is_told_and_the_passphrase_still_opens_the_vault(self):
        slot = self.add_slot(self.key)

        def refused(status, *words, args=()):
            done = self.unattended(*args)
            lines = [line for line in done.stderr.splitlines() if f"slot {slot} (aws-kms)" in line]
            self.assertEqual((done.returncode, len(lines)), (status, 1), done.stderr)
            for word in words:
                self.assertIn(word, lines[0])
            self.assertFalse(self.vault.is_mounted())

        self.kms("DisableKey", KeyId=self.key)
        refused(WRONG, "has disabled the key", "is disabled", "have it enabled")
        self.assertRefused(self.vault.run("unlock", "add", self.vault.path, "--aws-kms", self.key, *self.secret), "custodian aws-kms: it", "disabled", status=WRONG)
        self.kms("EnableKey", KeyId=self.key)
        self.kms("ScheduleKeyDeletion", KeyId=self.key, PendingWindowInDays=7)
        refused(WRONG, "has disabled the key", "pending deletion")
        self.kms("CancelKeyDeletion", KeyId=self.key)
        self.kms("EnableKey", KeyId=self.key)
        good = self.change_slot(key=self.kms("CreateKey")["KeyMetadata"]["Arn"])
        refused(WRONG, "another key's", "IncorrectKey")
        (self.vault.path / "keyring").write_bytes(good)
        self.allow(f"endpoint={self.server.url}", profile="ec2_metadata_service_endpoint = http://127.0.0.1:9\n")
        refused(WRONG, "doesn't let you", "there are no credentials")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.allow(f"endpoint=http://127.0.0.1:{free.getsockname()[1]}")
        refused(OFFLINE, "can't be reached")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            self.allow(f"endpoint=http://127.0.0.1:{silent.getsockname()[1]}")
            refused(OFFLINE, "no answer in 1 s", args=("--custodian-timeout", "1s"))
            # Killed while it waits for its server.
            killed = threading.Thread(target=self.kill_helper)
            killed.start()
            refused(UNREAD, "signal: 9")
            killed.join()
        self.assertEqual(self.unattended(stdin=PASSPHRASE + "\n").returncode, 0)
        self.vault.pid = self.vault.daemon_pid()
        self.assertEqual(self.vault.events("Unlock Failed")[-1]["slot-id"], slot)
        self.vault.umount()
        self.allow(f"endpoint={self.server.url}")
        self.mount_unattended()

    def kill_helper(self):
        def running():
            for entry in pathlib.Path("/proc").iterdir():
                try:
                    if entry.name.isdigit() and (entry / "exe").readlink().name == self.wanted:
                        return int(entry.name)
                except OSError:
                    pass
            return None

        if wait_until(running):
            time.sleep(0.3)
            os.kill(running(), signal.SIGKILL)

    def test_a_header_leads_the_helper_nowhere(self):
        seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                seen.append(self.path)
                self.send_error(500)

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.addCleanup(server.shutdown)
            slot = self.add_slot(self.key)
            url = f"http://127.0.0.1:{server.server_port}"
            for params in ({"endpoint": url}, {"other": f"{url}/"}, {"file": "/etc/shadow"}, {"region": "us-east-1"}):
                good = self.change_slot(**params)
                self.assertRefused(self.unattended(), slot, "isn't allowed on this host", status=UNREAD)
                (self.vault.path / "keyring").write_bytes(good)
            good = self.change_slot(key=self.key.replace(self.region, "us-east-1"))
            self.assertRefused(self.unattended(), slot, "region=us-east-1", status=UNREAD)
            (self.vault.path / "keyring").write_bytes(good)
            server.shutdown()
        self.assertEqual(seen, [])
        self.mount_unattended()


class Stalling:
    """A way to an endpoint that gives so many bytes of its answers, or those to so many requests, and then says nothing more."""

    def __init__(self, test, port, *, byte=None, requests=None):
        self.port, self.left, self.requests = port, byte, requests
        self.silent = threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.open = [self.socket]
        test.addCleanup(self.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                near, _ = self.socket.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                return
            self.open += [near, far]
            for way in ((near, far, self.asked), (far, near, self.answered)):
                threading.Thread(target=self.carry, args=way, daemon=True).start()

    def carry(self, source, target, seen):
        try:
            while data := source.recv(1 << 16):
                passed = seen(data)
                target.sendall(passed)
                if len(passed) < len(data):
                    self.silent.set()
        except OSError:
            pass

    def asked(self, data):
        if self.requests is not None and data.startswith(b"POST"):
            self.requests -= 1
            if self.requests < 0:
                return b""
        return data

    def answered(self, data):
        if self.left is None:
            return data
        data, self.left = data[: self.left], max(0, self.left - len(data))
        return data

    def close(self):
        for each in self.open:
            each.close()


class OnAnEndpointOfRekeyfs(AwsKms):
    def setUp(self):
        super().setUp()
        # A vault of its own, which keeps the key of the other.
        (self.dir / "keeper").mkdir()
        self.keeper = self.new_vault(self.dir / "keeper")
        self.keeper.mount()
        self.endpoint = Endpoint(self, self.keeper)
        self.key = self.endpoint.ok("CreateKey")["KeyMetadata"]["Arn"]
        self.assertIn(f":{REGION}:{ACCOUNT}:", self.key)
        profile = f"aws_access_key_id = {self.endpoint.key}\naws_secret_access_key = {self.endpoint.secret}\n"
        self.allow(f"endpoint={self.endpoint.url}", profile=profile)

    def test_one_vault_keeps_the_key_of_another_and_a_rotation_replaces_the_slot(self):
        add = ("unlock", "add", self.vault.path, "--aws-kms", self.key, "--label", "kms", *self.secret)
        old = self.vault.ok(*add).split()[1]
        (listed,) = self.custodians()
        self.assertRegex(listed["key_version"], "^[0-9a-f]{64}$")
        self.mount_unattended()
        self.vault.umount()
        self.assertEqual([slot["id"] for slot in self.custodians()], [old])
        self.endpoint.ok("RotateKeyOnDemand", {"KeyId": self.key})
        # DescribeKey has a second. Where it takes longer, a later mount sees the rotation.
        for _ in range(8):
            self.mount_unattended()
            (new,) = self.custodians()
            if new["id"] != old:
                break
            self.vault.umount()
        self.assertNotEqual((new["id"], new["key_version"]), (old, listed["key_version"]))
        self.assertEqual(new["label"], "kms")
        self.vault.umount()
        self.mount_unattended()
        self.assertEqual([slot["id"] for slot in self.custodians()], [new["id"]])

    def test_a_keyring_sealed_by_someone_else_under_the_same_kms_key_is_refused(self):
        self.vault.ok("unlock", "add", self.vault.path, "--aws-kms", self.key, *self.secret)
        self.assertRefusesSomeoneElses("aws-kms")

    def test_a_helper_that_is_killed_in_any_phase_leaves_the_passphrase(self):
        self.vault.ok("unlock", "add", self.vault.path, "--aws-kms", self.key, *self.secret)
        profile = self.credentials.read_text().split("\n", 1)[1]
        # Decrypt is not asked, not answered, answered in part; then DescribeKey isn't answered, for which the key isn't kept back for long.
        phases = (({"requests": 0}, True), ({"byte": 0}, True), ({"byte": 30}, True), ({"requests": 1}, False))
        for stalls, told in phases:
            with self.subTest(stalls):
                way = Stalling(self, self.endpoint.port, **stalls)
                self.allow(f"endpoint={way.url}", profile=profile)
                self.assertSurvivesAKill(way.silent.is_set, told=told)
        self.allow(f"endpoint={self.endpoint.url}", profile=profile)
        self.mount_unattended()

    def test_a_signature_of_another_secret_is_refused(self):
        self.vault.ok("unlock", "add", self.vault.path, "--aws-kms", self.key, *self.secret)
        self.allow(f"endpoint={self.endpoint.url}", profile=f"aws_access_key_id = {self.endpoint.key}\naws_secret_access_key = x\n")
        self.assertRefused(self.unattended(), "InvalidSignature", status=WRONG)
