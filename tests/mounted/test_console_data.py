"""What the console shows of a vault's data: files by version, work on all files, the audit log, the vault itself. Each number is
compared with what the commands say."""

import html
import http.client
import json
import os
import re
from html.parser import HTMLParser
from urllib.parse import urlencode, urlsplit

from harness import MountedTest, wait_until
from served import Served


class Page(HTMLParser):
    """A page's text, tables, links, forms and messages."""

    def __init__(self, status, headers, body):
        super().__init__()
        self.status, self.headers, self.body = status, headers, body
        self.rows, self.links, self.said, self.forms, self.tags = [], {}, {"alert": "", "status": ""}, [], set()
        self._row = self._link = None
        self._depth, self._roles, self._words = 0, [], []
        self.feed(body)
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        if tag == "tr":
            self._row = []
        elif tag in ("td", "th") and self._row is not None:
            self._row.append("")
        elif tag == "a":
            self._link = attrs.get("href")
        elif tag == "form":
            self.forms.append(attrs)
        if tag not in ("input", "meta", "link", "rect", "br"):
            self._roles.append(attrs.get("role"))

    def handle_endtag(self, tag):
        if tag == "tr" and self._row:
            self.rows.append([" ".join(cell.split()) for cell in self._row])
            self._row = None
        elif tag == "a":
            self._link = None
        if tag not in ("input", "meta", "link", "rect", "br") and self._roles:
            self._roles.pop()

    def handle_data(self, data):
        if self._row:
            self._row[-1] += " " + data
        if self._link and data.strip():
            self.links[data.strip()] = self._link
        for role in ("alert", "status"):
            if role in self._roles:
                self.said[role] += data
        self._words.append(data)

    def row(self, first):
        """The row whose first cell is this."""
        return next(row for row in self.rows if row[0] == str(first))


class Browser(Served):
    """A session with a console that runs on a vault's mount."""

    def __init__(self, test, vault, *options):
        super().__init__(test, vault, "console", vault.mnt, *options)
        test.assertTrue(self.address.startswith("http://127.0.0.1:"), self.log.read_text())
        self.host, self.cookie = urlsplit(self.address).netloc, None
        answer = self.ask("GET", self.address.removeprefix(f"http://{self.host}"))
        self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        self.base = re.match(r"/s/[^/]+/", answer.headers["Location"])[0]
        self.secret = re.search(r'name="csrf" value="([^"]+)"', self.get("keys").body)[1]

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.host, timeout=60)
        headers = {"Cookie": self.cookie} if self.cookie else {}
        if body is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{self.host}"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        page = Page(answer.status, answer.headers, answer.read().decode())
        connection.close()
        return page

    def get(self, path, **query):
        """A page below the session's, or one to which a page's link leads."""
        path = html.unescape(path) if path.startswith("/") else self.base + path
        return self.ask("GET", path + ("?" + urlencode(query) if query else ""))

    def post(self, path, **fields):
        """What a form leads to."""
        answer = self.ask("POST", self.base + path, urlencode({"csrf": self.secret, **fields}))
        return self.ask("GET", answer.headers["Location"].split("#")[0]) if answer.status == 303 else answer

    def json(self, path, **query):
        return json.loads(self.get(path, **query).body)


class Console(MountedTest):
    FILES = 40

    def key(self):
        return next(a["key_id"] for a in self.vault.status()["aliases"] if a["alias"] == "alias/default")

    def files(self, version):
        """How many files `status` says that a version of the default key has."""
        key = self.key()
        return sum(v["files"] for v in self.vault.status()["versions"] if (v["key_id"], v["version"]) == (key, version))

    def filled(self, files=FILES):
        for at in range(files):
            self.write(f"file {at}", b"x")
        return self.key()

    def test_files_are_counted_and_moved_and_old_versions_end(self):
        key, browser = self.filled(), Browser(self, self.vault)
        page = f"keys/{key}"
        self.vault.rotate()
        shown = browser.post(f"{page}/count")
        self.assertIn(f"Count: {self.FILES} files counted.", shown.said["status"])
        self.assertIn(f"{self.FILES} files", shown.row(1)[3])
        self.assertEqual((shown.row(1)[2], shown.row(2)[2]), ("old", "current"))
        self.assertEqual(self.files(1), self.FILES)
        self.assertIn("changes since then are included", shown.text)
        self.assertIn(f"version 1: {self.FILES} files", browser.get("keys").text)

        asked = browser.get(f"{page}/versions/retire")
        self.assertIn(f"{self.FILES} files under versions before 2", asked.text)
        refused = browser.post(f"{page}/versions/retire", below="2")
        self.assertEqual(refused.status, 400)
        said = self.vault.run("key", "retire", self.mnt, "--key-id", key, "--below", "2").stderr
        self.assertIn(f"{self.FILES} files", refused.said["alert"])
        self.assertIn(" ".join(refused.said["alert"].split())[:60], " ".join(said.split()))
        self.assertIn('value="2"', refused.body)
        for below, why in (("", "no number"), ("-1", "no number"), ("9", "give --below 2:"), ("<b>", "no number")):
            answer = browser.post(f"{page}/versions/trim", below=below)
            self.assertEqual(answer.status, 400)
            self.assertIn(why, answer.said["alert"])

        shown = browser.post(f"{page}/rewrap")
        self.assertIn(f"{self.FILES} re-wrapped", shown.said["status"])
        self.assertIn(f"{self.FILES} files", shown.row(2)[3])
        self.assertEqual((self.files(1), self.files(2)), (0, self.FILES))
        self.assertEqual(browser.post(f"{page}/versions/retire", below="2").row(1)[2], "unusable (retired)")
        self.assertEqual(browser.post(f"{page}/versions/restore").row(1)[2], "old")
        trimmed = browser.post(f"{page}/versions/trim", below="2")
        self.assertEqual(trimmed.row(1)[2], "unusable (trimmed)")
        self.assertIn("of 1 version the material was deleted", trimmed.said["status"])
        self.assertEqual(len(self.vault.events("Key Versions Retired")), 3)

    def test_a_re_wrap_under_way_is_shown_and_stopped_and_a_second_one_refused(self):
        files = 150
        key, browser = self.filled(files), Browser(self, self.vault)
        page = f"keys/{key}"
        self.vault.rotate()
        for wrong in ("0", "-1", "x"):
            refused = browser.post(f"{page}/rewrap", rate=wrong)
            self.assertEqual(refused.status, 400)
            self.assertIn("Files a second:", refused.said["alert"])
            self.assertIn(f'name="rate" min="1" max="4294967295" value="{wrong}"', refused.body)
        shown = browser.post(f"{page}/rewrap", rate="10")
        self.assertIn("Re-wrap began.", shown.said["status"])
        self.assertIn("progress", shown.tags)
        number = re.search(r"jobs\?id=(\d+)", shown.body)[1]
        self.assertTrue(wait_until(lambda: browser.json("jobs", id=number).get("total")))
        now = browser.json("jobs", id=number)
        self.assertEqual((now["running"], now["total"]), (True, files))
        self.assertIn(f"of {files} files seen", now["text"])
        self.assertEqual(browser.get("jobs", id=int(number) + 1).status, 404)
        for form in ("rewrap", "count"):
            refused = browser.post(f"{page}/{form}")
            self.assertEqual(refused.status, 503)
            self.assertIn("Re-wrap: it is under way already", refused.said["alert"])
        browser.post(f"{page}/stop")
        self.assertTrue(wait_until(lambda: not browser.json("jobs", id=number)["running"]))
        shown = browser.get(page)
        self.assertIn("stopped before the end", shown.text)
        self.assertNotIn("progress", shown.tags)
        # The daemon stops too.
        ended = lambda: self.vault.events("Re-wrap Sweep Ended")  # noqa: E731
        self.assertTrue(wait_until(ended))
        self.assertEqual(ended()[0]["complete"], False)
        self.assertTrue(0 < ended()[0]["rewrapped"] < files)
        # And so it does when the console ends.
        browser.post(f"{page}/rewrap", rate="10")
        self.assertEqual(browser.end(), 0)
        self.assertTrue(wait_until(lambda: len(ended()) == 2))
        self.assertEqual(ended()[1]["complete"], False)

    def test_the_audit_log_is_paged_and_filtered_as_the_command_filters_it(self):
        key, browser = self.key(), Browser(self, self.vault)
        (self.mnt / "plan <b>").write_bytes(b"x")
        self.kms("disable-key", "--key-id", key)
        with self.assertRaises(OSError):
            (self.mnt / "plan <b>").read_bytes()
        self.kms("enable-key", "--key-id", key)

        def logged(*filters):
            return [json.loads(line) for line in self.vault.ok("events", self.mnt, "--json", *filters).splitlines()]

        for query, filters in (
            ({}, ()),
            ({"event": "disablekey"}, ("--event", "DisableKey")),
            ({"key": key[:8]}, ("--key", key)),
            ({"key": "alias/default"}, ("--key", key)),
            ({"who": "0"}, ("--who", "0")),
            ({"who": "4711"}, ("--who", "4711")),
            ({"from": "2020", "to": "2999-01-01"}, ("--since", "2020")),
            ({"to": "2001"}, ("--until", "2001")),
        ):
            with self.subTest(query):
                events = logged(*filters)
                shown = browser.get("activity", **query)
                rows = [row for row in shown.rows if row and row[0].startswith("20") and len(row) == 5]
                self.assertEqual(shown.status, 200)
                self.assertEqual(len(rows), len(events))
                self.assertIn(f"{len(events)} event", shown.said["status"])
                for row, event in zip(rows, reversed(events), strict=True):
                    self.assertIn(event["detail-type"], row[1])
                    self.assertIn(event["detail"].get("key-id") or "", row[2])
        refused = browser.get("activity", event="refused")
        self.assertIn("file: plan <b>", refused.text)
        self.assertNotIn("plan <b>", refused.body)
        wrong = browser.get("activity", **{"from": "nonsense"})
        self.assertEqual(wrong.status, 400)
        self.assertIn("no time", wrong.said["alert"])
        self.assertIn('value="nonsense"', wrong.body)

        verified = browser.get("activity", verify="1")
        self.assertIn("The log is intact.", verified.said["status"])
        lines = self.vault.ok("events", self.mnt, "--verify").splitlines()
        self.assertIn(lines[0].split(",")[0].split(" ", 1)[1], verified.said["status"])
        log = self.vault.path / "events.jsonl"
        text = log.read_text()
        log.write_text(text.replace("Vault Created", "Vault Creaked", 1))
        told = self.vault.run("events", self.mnt, "--verify")
        broken = browser.get("activity", verify="1")
        self.assertIn("line 1 doesn't follow", broken.said["alert"])
        self.assertIn("line 1 doesn't follow", told.stderr)
        self.assertIn("may be forged: line 1 doesn't follow", broken.text)

    def test_thousands_of_events_come_in_pages_each_once(self):
        key, browser = self.key(), Browser(self, self.vault)
        for at in range(5):
            self.kms("update-key-description", "--key-id", key, "--description", str(at))
        log = self.vault.path / "events.jsonl"
        line = log.read_text().splitlines()[-1]
        # Lines that nobody vouches for are told as such, and there are as many as the log has.
        with open(log, "a") as out:
            out.writelines(line + "\n" for _ in range(3000))
        total = len(log.read_text().splitlines())

        def shown(page):
            return [row for row in page.rows if len(row) == 5 and row[0].startswith("20")]

        page = newest = browser.get("activity")
        self.assertIn(f"{total} events", page.said["status"])
        self.assertNotIn("Newer", page.links)
        for _ in range(3):
            self.assertEqual(len(shown(page)), 50)
            page = browser.get(page.links["Older"])
        # Three pages are before this one, and none of their events is on two.
        self.assertIn(f"before={total - 199}", page.links["Older"])
        oldest = browser.get("activity", before="31")
        self.assertEqual((len(shown(oldest)), "Older" in oldest.links), (min(30, total), False))
        self.assertIn("Vault Created", shown(oldest)[-1][1])
        for _ in range(3):
            page = browser.get(page.links["Newer"])
        self.assertEqual((page.rows, "Newer" in page.links), (newest.rows, False))

    def test_the_vault_is_shown_as_the_commands_show_it(self):
        self.filled()
        browser = Browser(self, self.vault)
        slot = json.loads(self.vault.ok("unlock", "list", self.mnt, "--json"))["slots"][0]
        status = self.vault.status()
        shown = browser.get("vault")
        for text in (
            status["vault_id"], str(self.vault.path), str(self.mnt), status["suite"], slot["id"], slot["kind"],
            "never exported", "writable", f"default version 1 (current): {self.FILES} files",
        ):  # fmt: skip
            self.assertIn(text, shown.text)
        lower = os.statvfs(self.vault.path)
        size = re.search(r"of ([\d.]+) (\w)iB free", shown.text)
        self.assertAlmostEqual(float(size[1]) * 1024 ** " KMGTPE".index(size[2]), lower.f_blocks * lower.f_frsize, delta=lower.f_blocks * lower.f_frsize * 0.1)
        self.kms("disable-key", "--key-id", self.key())
        self.assertIn(f"disabled: {self.FILES} files", browser.get("vault").text)

    def test_a_console_that_is_read_only_shows_all_and_takes_no_form(self):
        key = self.filled()
        self.vault.rotate()
        browser = Browser(self, self.vault, "--read-only")
        for path in (f"keys/{key}", "activity", "vault"):
            shown = browser.get(path)
            self.assertEqual(shown.status, 200)
            posts = [form["action"] for form in shown.forms if form.get("method") == "post"]
            self.assertEqual(posts, [browser.base + "sign-out"])
        for form in ("count", "rewrap", "stop", "versions/retire", "versions/trim", "versions/restore"):
            self.assertEqual(browser.post(f"keys/{key}/{form}", below="2").status, 405)
        for form in ("retire", "trim"):
            self.assertEqual(browser.get(f"keys/{key}/versions/{form}").status, 404)
        self.assertIn("The log is intact.", browser.get("activity", verify="1").said["status"])
        self.assertEqual(self.files(2), 0)
