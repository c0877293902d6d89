"""`rekeyfs kms serve`: AWS's protocol on a mounted vault, with AWS's own clients and with hostile ones."""

import base64
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from harness import BIN, PATIENCE, TARGET, MountedTest, UserMountTest, at_rest, quick_once, sockets_of, stopped, wait_until
from served import Served

REGION, ACCOUNT = "eu-west-1", "123456789012"
NOT_MOUNTED = 42
CLIENTS = TARGET / "oracle/venv/bin/python"
IDLE_SECONDS = 10
CONNECTIONS_MAX = 64
CALLS_MAX = 8


class Endpoint(Served):
    """An endpoint that runs, and a client of it that signs as AWS documents it, with nothing of AWS's code."""

    def __init__(self, test, vault, *options):
        self.test, self.vault = test, vault
        self.file = vault.base / "credentials"
        self.key, self.secret = self.credentials().values()
        serve = ["kms", "serve", vault.mnt, "--credentials", self.file, "--region", REGION, "--account-id", ACCOUNT]
        super().__init__(test, vault, *serve, *(options or ("--listen", "127.0.0.1:0")))
        self.url = self.address
        test.assertTrue(self.url, self.log.read_text())
        self.port = int(self.url.rsplit(":", 1)[1]) if self.url.startswith("http:") else None

    def credentials(self, *options):
        """New credentials, from the profile that is printed, as `signed` and `call` take them."""
        made = self.vault.ok("kms", "serve", "--new-credentials", "--credentials", self.file, *options)
        profile, key, secret = made.splitlines()
        self.test.assertEqual(profile, "[default]")
        return {"key": key.removeprefix("aws_access_key_id = "), "secret": secret.removeprefix("aws_secret_access_key = ")}

    def environment(self, home):
        """What AWS's clients have in their environment to use it."""
        return {
            "PATH": os.environ["PATH"], "HOME": str(home), "AWS_ENDPOINT_URL_KMS": self.url, "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_DEFAULT_REGION": REGION, "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1",
            "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "TEST_ACCOUNT": ACCOUNT,
            "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip

    def signed(self, target, parameters=None, *, key=None, secret=None, date=None, region=REGION, service="kms", headers=None):
        """Head and body of a request."""
        body = json.dumps(parameters or {}).encode()
        date = date or datetime.datetime.now(datetime.timezone.utc)
        stamp, day = date.strftime("%Y%m%dT%H%M%SZ"), date.strftime("%Y%m%d")
        fields = {"content-type": "application/x-amz-json-1.1", "host": f"127.0.0.1:{self.port}", "x-amz-date": stamp,
                  "x-amz-target": f"TrentService.{target}", **(headers or {})}  # fmt: skip
        names = ";".join(sorted(fields))
        canonical = "POST\n/\n\n" + "".join(f"{name}:{fields[name]}\n" for name in sorted(fields))
        canonical += f"\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{day}/{region}/{service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signing = f"AWS4{secret or self.secret}".encode()
        for part in scope.split("/"):
            signing = hmac.digest(signing, part.encode(), "sha256")
        signature = hmac.digest(signing, text.encode(), "sha256").hex()
        fields["authorization"] = (f"AWS4-HMAC-SHA256 Credential={key or self.key}/{scope}, SignedHeaders={names}, "
                                   f"Signature={signature}")  # fmt: skip
        fields["content-length"] = len(body)
        return fields, body

    def send(self, fields, body, line="POST / HTTP/1.1", over=None):
        """Sends one request; the status and the answer."""
        with over or self.connect() as connection:
            try:
                connection.sendall(head_of(fields, line) + body)
            except OSError:
                pass  # It may have been refused before it was whole.
            return answer_of(connection)

    def call(self, target, parameters=None, **kw):
        return self.send(*self.signed(target, parameters, **kw))

    def ok(self, target, parameters=None, **kw):
        status, answer = self.call(target, parameters, **kw)
        self.test.assertEqual(status, 200, answer)
        return answer


def head_of(fields, line="POST / HTTP/1.1"):
    """What a request is sent with before its body."""
    return (line + "\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n").encode()


def answer_of(connection):
    reader = connection.makefile("rb")
    line = reader.readline()
    if not line:
        return None, None
    length = 0
    while header := reader.readline().strip():
        name, value = header.decode().split(":", 1)
        if name.lower() == "content-length":
            length = int(value)
    body = reader.read(length)
    return int(line.split()[1]), json.loads(body) if body else None


class KmsServe(MountedTest):
    def setUp(self):
        super().setUp()
        if not (pathlib.Path(BIN).parent / "rekeyfs-console").exists():
            self.fail("rekeyfs-console isn't beside rekeyfs: build the workspace")

    def serve(self, *options):
        return Endpoint(self, self.vault, *options)

    def assertNamed(self, answered, status, name):
        self.assertEqual((answered[0], (answered[1] or {}).get("__type")), (status, name), answered)

    def test_both_documents_through_the_aws_command_and_boto3(self):
        endpoint = self.serve()
        if not CLIENTS.exists():
            self.skipTest(f"{CLIENTS} is missing: scripts/oracle.sh makes it")
        environment = endpoint.environment(self.dir)
        script = pathlib.Path(__file__).parent / "aws_clients.py"
        done = subprocess.run([CLIENTS, script], env=environment, timeout=120, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + endpoint.log.read_text())
        self.assertIn("\nOK", done.stderr)

    def test_what_is_done_here_is_done_in_the_vault(self):
        endpoint = self.serve()
        made = endpoint.ok("CreateKey", {"Description": "over there"})["KeyMetadata"]
        self.assertEqual(made["Arn"], f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{made['KeyId']}")
        here = self.kms("describe-key", "--key-id", made["KeyId"])["KeyMetadata"]
        self.assertEqual((here["Description"], here["Arn"][:12]), ("over there", "arn:rekeyfs:"))
        endpoint.ok("UpdateAlias", {"AliasName": "alias/default", "TargetKeyId": made["Arn"]})
        path = self.write("f", b"x", fsync=True)
        self.assertEqual(os.getxattr(path, "user.rekeyfs.key-id").decode(), made["KeyId"])
        status, refused = endpoint.call("ScheduleKeyDeletion", {"KeyId": made["KeyId"], "PendingWindowInDays": 7})
        self.assertEqual(status, 400, refused)

    def test_a_hostile_client_gets_nothing(self):
        endpoint = self.serve()
        before = self.kms("list-keys")["Keys"]
        fields, body = endpoint.signed("CreateKey", {})

        def changed(**kw):
            return {name: value for name, value in {**fields, **kw}.items() if value is not None}

        now = datetime.datetime.now(datetime.timezone.utc)
        minutes = lambda n: now + datetime.timedelta(minutes=n)  # noqa: E731
        missing, incomplete = "MissingAuthenticationTokenException", "IncompleteSignatureException"
        unknown, invalid = "UnrecognizedClientException", "InvalidSignatureException"
        for status, name, answered in [
            (403, missing, endpoint.send(changed(authorization=None), body)),
            (403, incomplete, endpoint.send(changed(authorization="AWS4-HMAC-SHA256 Credential=x"), body)),
            (403, incomplete, endpoint.send({**fields, "x-amz-other": "1"}, body)),
            (403, unknown, endpoint.call("CreateKey", key="RKFSNOBODYSNOBODYSNO")),
            (403, unknown, endpoint.call("CreateKey", headers={"x-amz-security-token": "t"})),
            (403, invalid, endpoint.call("CreateKey", secret="0" * 40)),
            (403, invalid, endpoint.call("CreateKey", region="us-east-1")),
            (403, invalid, endpoint.call("CreateKey", service="s3")),
            # What was heard is no use six minutes later, nor what is dated ahead.
            (403, invalid, endpoint.call("CreateKey", date=minutes(-6))),
            (403, invalid, endpoint.call("CreateKey", date=minutes(6))),
            # The same signature on another operation, other parameters, another date.
            (403, invalid, endpoint.send(changed(**{"x-amz-target": "TrentService.ScheduleKeyDeletion"}), body)),
            (403, invalid, endpoint.send(changed(**{"content-length": 3}), b"{ }")),
            (403, invalid, endpoint.send(changed(**{"x-amz-date": minutes(-1).strftime("%Y%m%dT%H%M%SZ")}), body)),
            # A page of a browser, whose name has been made to lead here.
            (403, "AccessDeniedException", endpoint.call("CreateKey", headers={"host": "rebound.example.org"})),
            (403, "AccessDeniedException", endpoint.send(fields, body, "POST http://rebound.example.org/ HTTP/1.1")),
            (404, "UnknownOperationException", endpoint.send(fields, body, "GET / HTTP/1.1")),
            (404, "UnknownOperationException", endpoint.send(fields, body, "POST /?X-Amz-Signature=x HTTP/1.1")),
            (404, "UnknownOperationException", endpoint.send(fields, body, "POST /console HTTP/1.1")),
            (413, "RequestEntityTooLargeException", endpoint.send(changed(**{"content-length": (1 << 20) + 1}), b"{}")),
            (413, "RequestEntityTooLargeException",
             endpoint.send({**changed(**{"content-length": None}), "transfer-encoding": "chunked"},
                           (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 17)),
            # Signed by one who may, and no call.
            (400, "UnknownOperationException", endpoint.call("Nonsense")),
            (400, "UnsupportedOperationException", endpoint.call("CreateGrant")),
            (400, "UnknownOperationException", endpoint.call("x", headers={"x-amz-target": "DynamoDB_20120810.ListTables"})),
            (400, "SerializationException", endpoint.call("CreateKey", headers={"content-type": "text/plain"})),
            (400, "SerializationException", endpoint.call("ListKeys", ["a", "list"])),
            (400, "ValidationException", endpoint.call("DescribeKey", {})),
        ]:  # fmt: skip
            with self.subTest(name=name):
                self.assertNamed(answered, status, name)
        self.assertEqual(self.kms("list-keys")["Keys"], before)
        for junk in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\0" * 5000, b"POST / HTTP/1.1\r\n" + b"a: b\r\n" * 9000):
            with endpoint.connect() as connection:
                try:
                    connection.sendall(junk)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1000)
                except OSError:
                    pass
        # What was refused is in its log, and neither secrets nor signatures are.
        said = endpoint.log.read_text()
        self.assertIn("refused: InvalidSignatureException", said)
        self.assertNotIn("panicked", said)
        self.assertNotIn(endpoint.secret, said)
        self.assertLess(len(said.splitlines()), 15)
        self.assertEqual(len(endpoint.ok("ListKeys")["Keys"]), len(before))

    def test_equal_calls_of_one_second_are_each_done(self):
        # SDKs send three equal calls in a loop with one signature: each of them is meant.
        endpoint = self.serve()
        request = endpoint.signed("CreateKey", {})
        made = {endpoint.send(*request)[1]["KeyMetadata"]["KeyId"] for _ in range(3)}
        self.assertEqual(len(made), 3)
        # Many at once, more than the mount's daemon serves at a time.
        with ThreadPoolExecutor(40) as pool:
            done = list(pool.map(lambda _: endpoint.call("CreateKey"), range(40)))
        self.assertEqual({status for status, _ in done}, {200}, done)
        self.assertEqual(len({answer["KeyMetadata"]["KeyId"] for _, answer in done}), 40)

    def test_slow_clients_and_many_of_them_hold_nothing_for_long(self):
        endpoint = self.serve()
        # At the same time: one of a socket in the filesystem, whose client asks and never reads.
        path = self.dir / "kms.sock"
        at_socket = self.serve("--unix", path)
        own = sockets_of(at_socket.process.pid)
        deaf = socket.socket(socket.AF_UNIX)
        self.addCleanup(deaf.close)
        deaf.connect(str(path))
        fields, body = at_socket.signed("ListAliases", headers={"host": "localhost"})
        deaf.setblocking(False)
        asked = (head_of(fields) + body) * 100
        sent = 0

        def is_stuck():
            nonlocal sent
            try:
                sent += deaf.send(asked[sent % (len(asked) // 100) :])
                return False
            except BlockingIOError:
                return True

        self.assertTrue(wait_until(lambda: is_stuck() and not wait_until(lambda: not is_stuck(), 1), 60), "it takes what nobody reads")
        self.assertGreater(sockets_of(at_socket.process.pid), own)
        before = endpoint.ok("ListKeys")
        fields, body = endpoint.signed("CreateKey", {"Description": "never whole"})
        head = head_of(fields)
        began = time.monotonic()
        slow_head, slow_body, answered = endpoint.connect(), endpoint.connect(), endpoint.connect()
        slow_head.sendall(head[:-20])
        slow_body.sendall(head + body[:5])
        # Between requests a connection is as idle as before one.
        fields, body = endpoint.signed("ListKeys")
        answered.sendall(head_of(fields) + body)
        self.assertEqual(answer_of(answered)[0], 200)
        for connection in (slow_head, slow_body, answered):
            connection.settimeout(PATIENCE)
            with connection:
                try:
                    while connection.recv(4096):
                        pass
                except ConnectionResetError:
                    pass
        self.assertLess(time.monotonic() - began, PATIENCE)
        self.assertGreater(time.monotonic() - began, IDLE_SECONDS - 2)
        self.assertEqual(endpoint.ok("ListKeys"), before)
        self.assertTrue(wait_until(lambda: sockets_of(at_socket.process.pid) == own), "it waits for a client that never reads")

    def test_many_connections_that_send_nothing_delay_no_answer(self):
        endpoint = self.serve()
        fields, body = endpoint.signed("CreateKey", {"Description": "never whole" * 1000})
        before = endpoint.ok("ListKeys")
        own = sockets_of(endpoint.process.pid)
        # Those of one who has credentials, whose bodies are waited for, and of another user.
        slow = [endpoint.connect() for _ in range(100)]
        for connection in slow:
            self.addCleanup(connection.close)
            connection.sendall(head_of(fields) + body[:5000])
        with endpoint.held_by_another_user(200, head_of(fields)):
            for _ in range(3):
                self.assertTrue(quick_once(lambda: self.assertEqual(endpoint.ok("ListKeys"), before), 2))
            self.assertGreater(sockets_of(endpoint.process.pid), own + CONNECTIONS_MAX // 2, "none of them is open any more")
            self.assertLessEqual(sockets_of(endpoint.process.pid), own + CONNECTIONS_MAX)

    def test_credentials_say_what_may_be_done_and_until_when(self):
        endpoint = self.serve()
        reader = endpoint.credentials("--read-only")
        self.assertEqual(endpoint.call("ListKeys", **reader)[0], 200)
        self.assertNamed(endpoint.call("CreateKey", **reader), 400, "AccessDeniedException")
        self.assertNamed(endpoint.call("Encrypt", {"KeyId": "alias/default", "Plaintext": "eA=="}, **reader), 400, "AccessDeniedException")
        # A line that is taken out opens nothing from then on.
        lines = endpoint.file.read_text().splitlines(True)
        self.assertEqual(stat.S_IMODE(endpoint.file.stat().st_mode), 0o600)
        endpoint.file.write_text("".join(lines[1:]))
        self.assertNamed(endpoint.call("ListKeys"), 403, "UnrecognizedClientException")
        self.assertEqual(endpoint.call("ListKeys", **reader)[0], 200)
        endpoint.file.chmod(0o640)
        self.assertNamed(endpoint.call("ListKeys", **reader), 500, "KMSInternalException")
        endpoint.file.chmod(0o600)
        self.assertEqual(endpoint.call("ListKeys", **reader)[0], 200)

    def test_a_user_uses_keys_as_their_policies_allow_and_manages_none(self):
        endpoint = self.serve()
        users = {uid: endpoint.credentials("--principal", f"uid:{uid}") for uid in (1000, 1001)}
        reader = endpoint.credentials("--principal", "uid:1000", "--read-only")
        for target, parameters in (("CreateKey", {}), ("ListKeys", {}), ("PutKeyPolicy", {"KeyId": "alias/default", "Policy": "{}"})):
            self.assertNamed(endpoint.call(target, parameters, **users[1000]), 400, "AccessDeniedException")
        made = endpoint.ok("CreateKey")["KeyMetadata"]["Arn"]
        allow = {"Effect": "Allow", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [
            {**allow, "Principal": {"AWS": f"uid:{os.geteuid()}"}, "Action": "kms:*"},
            {**allow, "Principal": {"AWS": "uid:1000"}, "Action": ["kms:Encrypt", "kms:Decrypt"]},
        ]}  # fmt: skip
        endpoint.ok("PutKeyPolicy", {"KeyId": made, "Policy": json.dumps(policy)})
        plain = base64.b64encode(b"between two services").decode()
        sealed = endpoint.ok("Encrypt", {"KeyId": made, "Plaintext": plain}, **users[1000])["CiphertextBlob"]
        self.assertEqual(endpoint.ok("Decrypt", {"CiphertextBlob": sealed}, **users[1000])["Plaintext"], plain)
        self.assertEqual(endpoint.ok("Decrypt", {"CiphertextBlob": sealed}, **reader)["Plaintext"], plain)
        self.assertNamed(endpoint.call("Encrypt", {"KeyId": made, "Plaintext": plain}, **reader), 400, "AccessDeniedException")
        self.assertNamed(endpoint.call("GenerateDataKey", {"KeyId": made, "KeySpec": "AES_256"}, **users[1000]), 400, "AccessDeniedException")
        refused = endpoint.call("Decrypt", {"CiphertextBlob": sealed}, **users[1001])
        self.assertNamed(refused, 400, "AccessDeniedException")
        self.assertNotIn("arn:rekeyfs", refused[1]["message"])
        # Each of them is an event with whom it was for, and nothing of what was encrypted is.
        lines = (self.vault.path / "events.jsonl").read_text()
        done = {(event["detail-type"], event["detail"].get("principal")) for event in map(json.loads, lines.splitlines())}
        for event in (("KMS Key Operation", "admin"), ("KMS Request", "uid:1000"), ("KMS Request", "uid:1001")):
            self.assertIn(event, done)
        self.assertNotIn(plain, lines)
        self.assertNotIn(sealed, lines)

    def test_it_follows_its_vault_through_mounts(self):
        endpoint = self.serve()
        keys = endpoint.ok("ListKeys")
        self.vault.umount()
        status, answer = endpoint.call("ListKeys")
        self.assertNamed((status, answer), 500, "KMSInternalException")
        done = self.vault.run("kms", "serve", self.vault.path, "--credentials", endpoint.file)
        self.assertRefused(done, "isn't mounted", status=NOT_MOUNTED)
        self.vault.mount()
        # The first call may find that the daemon it knew is gone; clients try again.
        self.assertTrue(wait_until(lambda: endpoint.call("ListKeys")[0] == 200))
        self.assertEqual(endpoint.ok("ListKeys"), keys)
        self.vault.kill()
        self.assertNamed(endpoint.call("ListKeys"), 500, "KMSInternalException")
        self.vault.clear_stale_mountpoint()
        # What the killed daemon left is found before what the next one writes into another runtime directory.
        left = tempfile.mkdtemp(prefix=f"rekeyfs-{os.geteuid()}.", dir="/tmp")
        self.addCleanup(shutil.rmtree, left)
        [entry] = pathlib.Path(self.vault.env["XDG_RUNTIME_DIR"]).glob("rekeyfs/*.json")
        shutil.copy(entry, left)
        self.vault.mount()
        self.assertTrue(wait_until(lambda: endpoint.call("ListKeys")[0] == 200))
        self.assertEqual(endpoint.end(), 0)

    def test_a_request_under_way_is_answered_when_it_is_told_to_end(self):
        endpoint = self.serve()
        fields, body = endpoint.signed("CreateKey", {"Description": "under way"})
        sockets = sockets_of(endpoint.process.pid)
        with endpoint.connect() as connection:
            connection.sendall(head_of(fields) + body[:-1])
            self.assertTrue(wait_until(lambda: sockets_of(endpoint.process.pid) > sockets), "not accepted")
            # It has read what there is.
            self.assertTrue(wait_until(lambda: at_rest(endpoint.process.pid)))
            endpoint.process.send_signal(signal.SIGTERM)
            self.assertTrue(wait_until(lambda: not self.accepts(endpoint)), "still accepts after SIGTERM")
            connection.sendall(body[-1:])
            status, answer = answer_of(connection)
        self.assertEqual((status, answer["KeyMetadata"]["Description"]), (200, "under way"))
        self.assertEqual(endpoint.end(), 0)

    def test_calls_whose_clients_gave_up_while_the_mount_hung_are_not_done_later(self):
        endpoint = self.serve()
        before = len(endpoint.ok("ListKeys")["Keys"])
        fields, body = endpoint.signed("CreateKey")
        with stopped(self.vault.pid):
            for _ in range(3):
                clients = [endpoint.connect() for _ in range(10)]
                for client in clients:
                    client.sendall(head_of(fields) + body)
                time.sleep(0.3)
                for client in clients:
                    client.close()
        # Eight were on their way to the mount: what becomes of those can't be known.
        made = len(endpoint.ok("ListKeys")["Keys"]) - before
        self.assertLessEqual(made, CALLS_MAX)
        time.sleep(0.3)
        made = len(endpoint.ok("ListKeys")["Keys"]) - before
        self.assertLessEqual(made, CALLS_MAX)

    def test_a_mount_that_hangs_is_said_to_in_time(self):
        endpoint = self.serve("--listen", "127.0.0.1:0", "--answer-within", "1")
        endpoint.ok("ListKeys")
        with stopped(self.vault.pid), ThreadPoolExecutor(2 * CALLS_MAX) as pool:
            began = time.monotonic()
            answered = list(pool.map(lambda _: endpoint.call("ListKeys"), range(2 * CALLS_MAX)))
            # One after another they would take 16 seconds.
            self.assertTrue(1 <= time.monotonic() - began < 2 * CALLS_MAX - 2, time.monotonic() - began)
        for one in answered:
            self.assertNamed(one, 503, "DependencyTimeoutException")
        self.assertEqual(len([one for one in answered if "may still do it" in one[1]["message"]]), CALLS_MAX)
        self.assertTrue(wait_until(lambda: endpoint.call("ListKeys")[0] == 200))

    def test_it_ends_when_it_is_told_to_while_the_mount_hangs(self):
        endpoint = self.serve()
        fields, body = endpoint.signed("ListKeys")
        with stopped(self.vault.pid):
            with endpoint.connect() as client:
                client.sendall(head_of(fields) + body)
                time.sleep(0.3)
            endpoint.process.terminate()
            self.assertEqual(endpoint.process.wait(PATIENCE), 0)

    def accepts(self, endpoint):
        try:
            endpoint.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def test_a_socket_in_the_filesystem_is_its_owners(self):
        path = self.dir / "kms.sock"
        endpoint = self.serve("--unix", path)
        self.assertEqual((endpoint.url, stat.S_IMODE(path.stat().st_mode)), (str(path), 0o600))

        def connected():
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(path))
            return connection

        fields, body = endpoint.signed("ListKeys", headers={"host": "localhost"})
        self.assertEqual(endpoint.send(fields, body, over=connected())[0], 200)
        second = self.vault.run("kms", "serve", self.mnt, "--unix", path, "--credentials", endpoint.file)
        self.assertRefused(second, "something is there")
        endpoint.process.kill()
        endpoint.process.wait()
        again = self.serve("--unix", path)
        fields, body = again.signed("ListKeys", headers={"host": "localhost"})
        self.assertEqual(again.send(fields, body, over=connected())[0], 200)
        self.assertEqual(again.end(), 0)
        self.assertFalse(path.exists())

    def test_other_hosts_are_never_served(self):
        for address in ("0.0.0.0:0", "192.0.2.1:4599", "[::]:0", "example.org:80"):
            done = self.vault.run("kms", "serve", self.mnt, "--listen", address, "--credentials", self.dir / "none")
            self.assertRefused(done, "--listen", status=2)
        done = self.vault.run("kms", "serve", self.mnt, "--listen", "127.0.0.1:0", "--credentials", self.dir / "none")
        self.assertRefused(done, "--new-credentials", status=9)

    def test_the_process_that_speaks_http_holds_no_key(self):
        endpoint = self.serve()
        endpoint.ok("ListKeys")
        process = pathlib.Path(f"/proc/{endpoint.process.pid}")
        self.assertEqual(os.path.basename(os.readlink(process / "exe")), "rekeyfs-console")
        self.assertNotEqual(endpoint.process.pid, self.vault.pid)
        opened = [os.readlink(process / "fd" / fd) for fd in os.listdir(process / "fd")]
        self.assertFalse([path for path in opened if str(self.vault.path) in path or "fuse" in path], opened)
        # It has no locked memory as those have that hold keys.
        self.assertIn("VmLck:\t       0 kB", (process / "status").read_text())


class UsersKmsServe(UserMountTest):
    def test_a_user_serves_a_vault_of_his_own(self):
        shutil.copy2(pathlib.Path(BIN).parent / "rekeyfs-console", self.home / "rekeyfs-console")
        self.vault.mount()
        endpoint = Endpoint(self, self.vault)
        self.assertEqual(endpoint.file.stat().st_uid, self.vault.uid)
        # Plaintexts pass through it: nobody of its user reads its memory.
        self.assertEqual(os.stat(f"/proc/{endpoint.process.pid}/mem").st_uid, 0)
        made = endpoint.ok("CreateKey", {"Description": "mine"})["KeyMetadata"]["KeyId"]
        listed = json.loads(self.vault.ok("kms", "list-keys", "--vault", self.mnt))["Keys"]
        self.assertIn(made, [key["KeyId"] for key in listed])
        # The program that speaks HTTP is run only if nobody else could have changed it.
        (self.home / "rekeyfs-console").chmod(0o777)
        done = self.vault.run("kms", "serve", self.mnt, "--credentials", endpoint.file)
        self.assertRefused(done, "it isn't run", status=1)
        (self.home / "rekeyfs-console").unlink()
        done = self.vault.run("kms", "serve", self.mnt, "--credentials", endpoint.file)
        self.assertRefused(done, "rekeyfs-console", status=1)
