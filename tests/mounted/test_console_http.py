"""`rekeyfs console`: who gets in, and what it refuses, on the wire. What a browser shows is tests/console's."""

import html
import os
import pathlib
import re
import shlex
import shutil
import socket
import tempfile
import time
import unittest
from urllib.parse import urlencode

from harness import BIN, PATIENCE, MountedTest, UserMountTest, as_user, quick_once, sockets_of, stopped, wait_until
from served import Served

PROGRAM = pathlib.Path(BIN).parent / "rekeyfs-console"
NOT_MOUNTED, NOT_ANSWERED = 42, 20
IDLE_SECONDS = 10
CONNECTIONS_MAX = 64
BODY_MAX = 256 << 10
FORM = "application/x-www-form-urlencoded"
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
}  # fmt: skip


class Answer:
    def __init__(self, connection):
        reader = connection.makefile("rb")
        self.status, self.headers, self.cookies = int((reader.readline().split() or [0, 0])[1]), {}, []
        while header := reader.readline().strip():
            name, value = header.decode().split(":", 1)
            self.headers[name.lower()] = value.strip()
            if name.lower() == "set-cookie":
                self.cookies.append(value.strip())
        self.body = reader.read(int(self.headers.get("content-length", 0))).decode()


class Console(Served):
    """A console that runs, and a client that sends what it is told to, byte by byte."""

    def __init__(self, test, vault, *options, target=None):
        self.test = test
        super().__init__(test, vault, "console", target or vault.mnt, *options)
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/login\?token=([\w-]{43}))", self.address)
        test.assertTrue(found, self.address + self.log.read_text())
        self.port, self.login, self.token = int(found[1]), found[2], found[3]
        self.host = f"127.0.0.1:{self.port}"
        self.path = self.cookie = self.secret = None

    def head(self, method, path, headers):
        fields = {"Host": self.host, **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()

    def send(self, method, path, body=b"", **headers):
        """One request, which has these headers and no others. Each answer has what all answers have."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if method == "POST":
            headers = {"Content-Length": len(body), **headers}
        with self.connect() as connection:
            try:
                connection.sendall(self.head(method, path, headers) + body)
            except OSError:
                pass  # It may have been refused before it was whole.
            answer = Answer(connection)
        self.test.assertEqual({name: answer.headers.get(name) for name in HEADERS}, HEADERS, f"{method} {path}: {answer.status}")
        return answer

    def sign_in(self):
        answer = self.send("GET", self.login)
        self.test.assertEqual(answer.status, 303, answer.body)
        self.path = answer.headers["location"].removesuffix("keys")
        self.test.assertRegex(self.path, r"^/s/[\w-]{43}/$")
        [cookie] = answer.cookies
        self.cookie, *attributes = cookie.split("; ")
        self.test.assertEqual(attributes, [f"Path={self.path}", "HttpOnly", "SameSite=Strict"])
        self.test.assertNotIn(self.path.split("/")[2], self.cookie)
        self.secret = re.search(r'name="csrf" value="([\w-]{43})"', self.get("keys").body)[1]
        return self

    def get(self, page, **headers):
        return self.send("GET", self.path + page, **{"Cookie": self.cookie, **headers})

    def post(self, page, fields=None, **headers):
        """A form as a browser sends it from a page of the console; what is changed about that is in the headers."""
        body = urlencode({"csrf": self.secret, **(fields or {})}).encode()
        usual = {"Cookie": self.cookie, "Origin": "null", "Sec_Fetch_Site": "same-origin", "Content_Type": FORM}
        return self.send("POST", self.path + page, body, **{**usual, **headers})


class ConsoleHttp(MountedTest):
    def setUp(self):
        super().setUp()
        if not PROGRAM.exists():
            self.fail("rekeyfs-console isn't beside rekeyfs: build the workspace")

    def console(self, *options):
        return Console(self, self.vault, *options)

    def keys(self):
        return [key["KeyId"] for key in self.kms("list-keys")["Keys"]]

    def assertDenied(self, answer, status=403):
        """A page that says why in a sentence, and nothing of the vault."""
        self.assertEqual(answer.status, status, answer.body)
        self.assertRegex(answer.body, r'role="alert"')
        for key in self.keys():
            self.assertNotIn(key, answer.body)
        self.assertNotIn(str(self.vault.path), answer.body)

    def test_a_token_opens_one_session(self):
        console = self.console()
        for path in ("/", "/keys", "/s/", "/s//keys", f"/s/{console.token}/keys", "/login", "/login?token=", f"/login?token={console.token[:-1]}",
                     f"/login?token={console.token}x", f"/login?x={console.token}"):  # fmt: skip
            self.assertDenied(console.send("GET", path))
        # A browser that fetches ahead doesn't use it up.
        self.assertDenied(console.send("GET", console.login, Sec_Purpose="prefetch;prerender"))
        console.sign_in()
        self.assertIn(self.keys()[0], console.get("keys").body)
        again = console.send("GET", console.login)
        self.assertDenied(again)
        self.assertIn("rekeyfs console", again.body)
        self.assertEqual(again.cookies, [])
        self.assertEqual(console.get("keys").status, 200)
        said = console.log.read_text()
        for secret in (console.token, console.cookie.split("=")[1], console.secret, console.path.split("/")[2]):
            self.assertNotIn(secret, said)
            for file in ("cmdline", "environ"):
                self.assertNotIn(secret.encode(), pathlib.Path(f"/proc/{console.process.pid}/{file}").read_bytes())
        self.assertEqual(console.end(), 0)

    def test_a_session_takes_both_its_path_and_its_cookie(self):
        console = self.console().sign_in()
        name = console.cookie.split("=")[0]
        wrong = "A" * 43
        for path, cookie in [
            (console.path, None), (console.path, ""), (console.path, f"{name}={wrong}"), (console.path, f"other={console.cookie.split('=')[1]}"),
            (f"/s/{wrong}/", console.cookie), ("/s//", console.cookie), ("/", console.cookie), (console.path.upper(), console.cookie),
        ]:  # fmt: skip
            with self.subTest(path=path, cookie=cookie):
                self.assertDenied(console.send("GET", path + "keys", Cookie=cookie))
        # A second cookie of the name, which another server of this host may give the browser, keeps nobody out.
        self.assertEqual(console.get("keys", Cookie=f"{name}={wrong}; {console.cookie}").status, 200)

    def test_only_names_of_the_loopback_are_served(self):
        console = self.console().sign_in()
        for host in ("rebound.example.org", f"rebound.example.org:{console.port}", "0.0.0.0", f"{console.host}@example.org", "", None):
            self.assertDenied(console.get("keys", Host=host))
        for host in ("localhost", f"localhost:{console.port}", "[::1]:80"):
            self.assertEqual(console.get("keys", Host=host).status, 200, host)
        refused = self.vault.run("console", self.mnt, "--listen", "0.0.0.0:0")
        self.assertRefused(refused, "other hosts would reach it", status=2)

    def test_a_form_comes_from_a_page_of_the_session(self):
        console = self.console().sign_in()
        before, own = self.keys(), f"http://{console.host}"
        for headers in [
            {"Origin": "http://example.org"}, {"Origin": "http://example.org", "Sec_Fetch_Site": None},
            {"Origin": f"http://127.0.0.1:{console.port + 1}", "Sec_Fetch_Site": "same-site"},
            {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": "none"},
            {"Sec_Fetch_Site": None}, {"Origin": None, "Sec_Fetch_Site": None}, {"Origin": own, "Sec_Fetch_Site": "cross-site"},
            {"Origin": own.replace("http:", "https:"), "Sec_Fetch_Site": None}, {"Cookie": None},
        ]:  # fmt: skip
            with self.subTest(headers=headers):
                self.assertDenied(console.post("keys/create", {"description": "foreign"}, **headers))
        for secret in ("", console.secret[:-1], console.token, console.path.split("/")[2]):
            self.assertDenied(console.post("keys/create", {"csrf": secret}))
        self.assertDenied(console.post("sign-out", {"csrf": ""}))
        body = urlencode({"description": "no secret"}).encode()
        usual = {"Cookie": console.cookie, "Origin": own}
        self.assertDenied(console.send("POST", console.path + "keys/create", body, Content_Type=FORM, **usual))
        whole = urlencode({"csrf": console.secret}).encode()
        for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x", None):
            self.assertDenied(console.send("POST", console.path + "keys/create", whole, Content_Type=kind, **usual), 415)
        self.assertEqual(self.keys(), before)
        # By its origin, where a browser doesn't say from which site a request comes.
        made = console.send("POST", console.path + "keys/create", whole, Content_Type=FORM + "; charset=utf-8", **usual)
        self.assertEqual(made.status, 303, made.body)
        [key] = set(self.keys()) - set(before)
        self.assertEqual(made.headers["location"], f"{console.path}keys/{key}")

    def test_a_get_changes_nothing_and_a_post_shows_nothing(self):
        console = self.console().sign_in()
        key = self.keys()[0]
        for page in ("rotate", "rotation", "tags", "tags/remove", "enable", "deletion/cancel", "aliases"):
            answer = console.get(f"keys/{key}/{page}")
            self.assertDenied(answer, 405)
            self.assertEqual(answer.headers["allow"], "POST")
        for page in ("keys", f"keys/{key}", f"keys/{key}/policy", "login"):
            self.assertEqual(console.post(page).status, 404 if page == "login" else 405, page)
        for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "HEAD", "x"):
            self.assertIn(console.send(method, console.path + "keys", Cookie=console.cookie).status, (404, 405), method)
        self.assertDenied(console.get("sign-out"), 405)
        none = "00000000-0000-0000-0000-000000000000"
        for page in ("", "nothing", "keys/", "keys/x", f"keys/{key}/", f"keys/{key}/nothing", f"keys/{none}", "keys/..%2f", "%00", "keys/%3Cscript%3E"):
            answer = console.get(page)
            self.assertEqual(answer.status, 404, page)
            self.assertNotIn("<script>", answer.body)

    def test_what_is_too_long_or_too_slow_is_not_read(self):
        console = self.console().sign_in()
        before = self.keys()
        usual = {"Cookie": console.cookie, "Origin": f"http://{console.host}", "Content-Type": FORM}
        create = console.path + "keys/create"
        announced = console.send("POST", create, b"csrf=", **{**usual, "Content-Length": BODY_MAX + 1})
        self.assertDenied(announced, 413)
        self.assertDenied(console.post("keys/create", {"description": "x" * BODY_MAX}), 413)
        chunks = (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 5
        with console.connect() as connection:
            connection.sendall(console.head("POST", create, {**usual, "Transfer-Encoding": "chunked"}) + chunks)
            self.assertDenied(Answer(connection), 413)
        longest = console.post("keys/create", {"policy": "x" * (BODY_MAX - 1000)})
        self.assertEqual(longest.status, 400)
        self.assertIn("at most 32768 are taken", longest.body)
        began = time.monotonic()
        with console.connect() as slow_body, console.connect() as slow_head:
            slow_body.sendall(console.head("POST", create, {**usual, "Content-Length": 100}) + b"csrf=")
            slow_head.sendall(console.head("GET", console.path, {})[:-2])
            # Others are served meanwhile.
            self.assertEqual(console.get("keys").status, 200)
            self.assertDenied(Answer(slow_body), 408)
            slow_head.settimeout(PATIENCE)
            try:
                while slow_head.recv(4096):
                    pass
            except ConnectionResetError:
                pass
        self.assertLess(time.monotonic() - began, PATIENCE)
        self.assertEqual(self.keys(), before)
        for junk in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\0" * 5000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 9000):
            with console.connect() as connection:
                try:
                    connection.sendall(junk)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1000)
                except OSError:
                    pass
        self.assertNotIn("panicked", console.log.read_text())
        self.assertLess(len(console.log.read_text().splitlines()), 15)

    def test_a_console_that_is_read_only_changes_nothing(self):
        console = self.console("--read-only").sign_in()
        keys, key = self.keys(), self.keys()[0]
        described = self.kms("describe-key", "--key-id", key)
        for page in ("keys", f"keys/{key}", f"keys/{key}/policy", "keys?managed=service"):
            shown = console.get(page)
            self.assertEqual(shown.status, 200)
            self.assertIn("Read-only", shown.body)
            self.assertNotRegex(shown.body.split("<main")[1], r'<form[^>]*method="post"')
        posts = ["keys/create", *(f"keys/{key}/{page}" for page in (
            "description", "aliases", "aliases/move", "aliases/delete", "policy/edit", "rotation", "rotate", "tags", "tags/remove", "enable",
            "disable", "deletion", "deletion/cancel", "material"))]  # fmt: skip
        for page in posts:
            answer = console.post(page, {"description": "x", "name": "x", "key": "x"})
            self.assertEqual((answer.status, answer.headers.get("allow")), (405, "GET"), page)
            self.assertIn("read-only", answer.body)
        for page in ("keys/create", *(f"keys/{key}/{page}" for page in ("description", "policy/edit", "disable", "deletion", "material"))):
            self.assertEqual(console.get(page).status, 404, page)
        self.assertEqual((self.keys(), self.kms("describe-key", "--key-id", key)), (keys, described))
        self.assertEqual(console.post("sign-out").status, 200)
        self.assertDenied(console.get("keys"))

    def test_nobody_comes_back_after_signing_out(self):
        console = self.console().sign_in()
        self.assertEqual(console.post("sign-out").status, 200)
        self.assertDenied(console.get("keys"))
        self.assertDenied(console.post("keys/create"))
        self.assertDenied(console.send("GET", console.login))

    def test_it_ends_after_signing_out_and_its_port_is_free(self):
        console = self.console().sign_in()
        self.assertEqual(console.process.poll(), None)
        began = time.monotonic()
        self.assertEqual(console.post("sign-out").status, 200)
        # The page that says so gets its style.
        style = re.search(r'href="(/[^"]+\.css)"', console.send("GET", "/").body)[1]
        with console.connect() as connection:
            connection.sendall(console.head("GET", style, {}))
            self.assertEqual(Answer(connection).status, 200)
        self.assertEqual(console.process.wait(10), 0)
        self.assertLess(time.monotonic() - began, 10)
        self.assertIn("the browser signed out", console.log.read_text())
        again = Console(self, self.vault, "--listen", console.host).sign_in()
        self.assertEqual(again.get("keys").status, 200)

    def test_many_connections_that_send_nothing_delay_no_page(self):
        console = self.console().sign_in()
        own = sockets_of(console.process.pid)
        head = console.head("GET", f"{console.path}keys", {"Cookie": "x" * 100})
        idle = [console.connect() for _ in range(200)]
        for connection in idle:
            self.addCleanup(connection.close)
            connection.sendall(head[:50])
        with console.held_by_another_user(200, head):
            for _ in range(3):
                self.assertTrue(quick_once(lambda: self.assertEqual(console.get("keys").status, 200), 2))
            self.assertGreater(sockets_of(console.process.pid), own + CONNECTIONS_MAX // 2, "none of them is open any more")
            self.assertLessEqual(sockets_of(console.process.pid), own + CONNECTIONS_MAX)

    def test_what_a_form_was_refused_for_is_beside_it_with_what_was_typed(self):
        console = self.console().sign_in()
        key, typed = self.keys()[0], '<b>"typed" &amp;</b>'
        refused = console.post(f"keys/{key}/policy/edit", {"policy": typed})
        self.assertEqual(refused.status, 400)
        self.assertIn("MalformedPolicyDocumentException: ", refused.body)
        self.assertIn("&lt;b&gt;&quot;typed&quot; &amp;amp;&lt;/b&gt;</textarea>", refused.body)
        self.assertNotIn("<b>", refused.body)
        # Once more than once: a message is shown on the next page, and on no other.
        done = console.post(f"keys/{key}/description", {"description": "one\r\ntwo\x1b\u202e"})
        self.assertEqual(done.status, 303)
        self.assertEqual(self.kms("describe-key", "--key-id", key)["KeyMetadata"]["Description"], "one\ntwo\x1b\u202e")
        shown = [console.get(f"keys/{key}").body for _ in range(2)]
        self.assertEqual(["The description was changed." in page for page in shown], [True, False])
        self.assertIn(r"one\ntwo\u{1b}\u{202e}", shown[1])

    def test_a_page_that_is_out_of_date_does_what_it_says_or_nothing(self):
        console = self.console().sign_in()
        targets = lambda: {alias["AliasName"]: alias["TargetKeyId"] for alias in self.kms("list-aliases")["Aliases"]}  # noqa: E731
        key = targets()["alias/default"]
        # Somebody switched off what the page shows as switched on: to save the page switches it on.
        self.kms("disable-key-rotation", "--key-id", key)
        form = {"was": "365", "automatic": "on", "days": "365"}
        self.assertEqual(console.post(f"keys/{key}/rotation", form).status, 303)
        status = self.kms("get-key-rotation-status", "--key-id", key)
        self.assertTrue(status["KeyRotationEnabled"])
        # What is so already isn't done again, which would begin the period again.
        time.sleep(0.01)
        self.assertEqual(console.post(f"keys/{key}/rotation", {**form, "was": ""}).status, 303)
        self.assertIn("Nothing was changed", console.get(f"keys/{key}").body)
        self.assertEqual(self.kms("get-key-rotation-status", "--key-id", key), status)
        # An alias that points at another key by now.
        other = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("create-alias", "--alias-name", "alias/moved", "--target-key-id", other)
        for page, fields in (("aliases/delete", {}), ("aliases/move", {"key": key})):
            refused = console.post(f"keys/{key}/{page}", {"alias": "alias/moved", **fields})
            self.assertEqual(refused.status, 404, page)
            self.assertIn("alias/moved doesn't point at this key", refused.body)
        self.assertEqual(targets()["alias/moved"], other)
        self.assertEqual(console.post(f"keys/{other}/aliases/delete", {"alias": "alias/moved"}).status, 303)
        self.assertNotIn("alias/moved", targets())

    def test_the_command_that_a_page_has_can_be_pasted(self):
        console = self.console().sign_in()
        key = self.kms("create-key")["KeyMetadata"]["KeyId"]
        [command] = re.findall("<code>(rekeyfs [^<]*)</code>", console.get(f"keys/{key}/deletion").body)
        self.vault.ok(*shlex.split(html.unescape(command))[1:], "--passfile", self.vault.passfile)
        self.assertEqual(self.kms("describe-key", "--key-id", key)["KeyMetadata"]["KeyState"], "PendingDeletion")

    def test_it_follows_its_vault_through_mounts_and_ends_while_the_mount_hangs(self):
        console = self.console().sign_in()
        self.vault.umount()
        gone = console.get("keys")
        self.assertEqual(gone.status, 503)
        self.assertRegex(gone.body, "isn't mounted|no daemon listens")
        self.assertRefused(self.vault.run("console", self.vault.path), "isn't mounted", status=NOT_MOUNTED)
        self.vault.mount()
        self.assertTrue(wait_until(lambda: console.get("keys").status == 200))
        with stopped(self.vault.pid):
            with console.connect() as client:
                client.sendall(console.head("GET", console.path + "keys", {"Cookie": console.cookie}))
                time.sleep(0.3)
            console.process.terminate()
            self.assertEqual(console.process.wait(PATIENCE), 0)


class AnotherUser(MountedTest):
    """Root's mount, open to others: its console is root's."""

    options = ("--allow-other",)

    def test_another_user_starts_none_for_it(self):
        self.need_root()
        self.need_tools("setpriv")
        home = pathlib.Path(tempfile.mkdtemp(prefix="rekeyfs-test-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, home, ignore_errors=True)
        home.chmod(0o755)
        for program in (pathlib.Path(BIN), PROGRAM):
            shutil.copy2(program, home / program.name)
        os.chmod(self.mnt, 0o777)
        for parent in (self.dir, self.vault.base):
            os.chmod(parent, 0o755)
        if as_user(f"cd {self.mnt}").returncode:
            self.skipTest("the directory of the tests can't be reached by other users")
        for target in (self.mnt, self.vault.path):
            done = as_user(f"exec {home}/rekeyfs console {target}", env={**self.vault.env, "XDG_RUNTIME_DIR": ""})
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(done.stdout, "")
        done = as_user(f"exec {home}/rekeyfs console {self.mnt}", env={**self.vault.env, "XDG_RUNTIME_DIR": ""})
        self.assertEqual(done.returncode, NOT_ANSWERED, done.stderr)


class OwnConsole(UserMountTest):
    """A user's console of his own mount."""

    def test_a_user_manages_his_own_keys(self):
        shutil.copy2(PROGRAM, self.home / "rekeyfs-console")
        self.vault.mount()
        console = Console(self, self.vault).sign_in()
        made = console.post("keys/create", {"alias": "mine"})
        self.assertEqual(made.status, 303, made.body)
        aliases = self.shell_ok("$R kms list-aliases --vault mnt --output text")
        self.assertIn("alias/mine", aliases)


if __name__ == "__main__":
    unittest.main()
