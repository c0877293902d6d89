"""What the console's tests share: one Chromium, a console that is signed in, pages that are watched.

A page is watched for what none may do: a dialog, a script's error, a breach of its Content-Security-Policy, a request to another
place, an answer of status 500 or above."""

import atexit
import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest
from urllib.parse import urlsplit

from harness import BASE, Vault
from playwright.sync_api import expect, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
# For what the page waits for: the machine may be busy.
# More than a busy machine takes for what comes at all.
PATIENCE_MS = 60_000
# Whatever breaks the policy tells the console of it; a page's own script couldn't hide it.
WATCH = "addEventListener('securitypolicyviolation', e => console.error('breaks the policy: ' + e.violatedDirective + ' ' + e.blockedURI))"
ENDED = contextlib.ExitStack()
atexit.register(ENDED.close)


@functools.cache
def chromium():
    """The browser, for all tests."""
    expect.set_options(timeout=PATIENCE_MS)
    playwright = sync_playwright().start()
    ENDED.callback(playwright.stop)
    # Tests run as root, who has no sandbox.
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
    ENDED.callback(browser.close)
    return browser


class Console:
    """A `rekeyfs console` on a mount."""

    def __init__(self, vault, *options):
        self.log = vault.base / "console-log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                vault.command("console", vault.mnt, *options), env=vault.env, cwd=vault.base,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.login = self.process.stdout.readline().strip()
        assert self.login.startswith("http://127.0.0.1:"), self.log.read_text()
        self.origin = "http://" + urlsplit(self.login).netloc
        self.base, self.session = None, None

    def sign_in(self):
        """Uses the token up. Contexts have this session from then on."""
        context = chromium().new_context()
        page = context.new_page()
        page.goto(self.login)
        path = re.match(r"/s/[^/]+/", urlsplit(page.url).path)
        assert path, page.url
        self.base, self.session = self.origin + path[0], context.storage_state()
        context.close()
        return self

    def end(self):
        self.process.terminate()
        status = self.process.wait(20)
        self.process.stdout.close()
        return status


def directory():
    """A directory until the run ends."""
    BASE.mkdir(parents=True, exist_ok=True)
    made = pathlib.Path(tempfile.mkdtemp(prefix="console-", dir=BASE))
    ENDED.callback(shutil.rmtree, made, ignore_errors=True)
    return made


class Ground:
    """A mounted vault and a console on it, until the run ends."""

    def __init__(self, *mount_options, base=None):
        self.dir = base or directory()
        self.vault = Vault(self.dir)
        ENDED.callback(self.vault.close)
        self.vault.mount(*mount_options)
        self.mnt = self.vault.mnt
        self.console = self.serve().sign_in()

    def serve(self, *options):
        console = Console(self.vault, *options)
        ENDED.callback(console.end)
        return console

    def kms(self, *args):
        printed = self.vault.ok("kms", *args, "--vault", self.mnt)
        return json.loads(printed) if printed.strip() else None

    def key(self, alias, *args):
        """A new key with an alias; its id."""
        key = self.kms("create-key", *args)["KeyMetadata"]["KeyId"]
        self.kms("create-alias", "--alias-name", f"alias/{alias}", "--target-key-id", key)
        return key

    def state(self, key):
        return self.kms("describe-key", "--key-id", key)["KeyMetadata"]["KeyState"]


@functools.cache
def shared():
    """The ground of most tests: they make keys of their own on it."""
    return Ground()


class BrowserTest(unittest.TestCase):
    """A test with a page, `self.page`, that is signed in at the console of `self.ground`."""

    script = True

    def setUp(self):
        if not os.path.exists("/dev/fuse"):
            self.skipTest("no /dev/fuse: nothing can be mounted here")
        self.troubles = []
        self.ground = self.on()
        self.page = self.open()

    def on(self):
        return shared()

    def tearDown(self):
        self.assertEqual(self.troubles, [])

    def open(self, console=None, *, signed_in=True):
        """A new page, in a context of its own, at the list of keys if it is signed in."""
        console = console or self.ground.console
        session = console.session if signed_in else None
        context = chromium().new_context(storage_state=session, java_script_enabled=self.script)
        self.addCleanup(context.close)
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(WATCH)
        page = context.new_page()
        self.watch(page, console.origin)
        if signed_in:
            page.goto(console.base + "keys")
        return page

    def watch(self, page, origin):
        def trouble(text):
            self.troubles.append(f"{page.url}: {text}")

        def dialog(shown):
            trouble(f"dialog: {shown.message}")
            shown.dismiss()

        def console(message):
            # A refusal has a status, which Chromium tells too.
            if message.type in ("error", "warning") and not re.search(r"responded with a status of 4\d\d", message.text):
                trouble(f"{message.type}: {message.text}")

        def request(asked):
            if not asked.url.startswith(origin + "/"):
                trouble(f"a request to {asked.url}")

        page.on("dialog", dialog)
        page.on("console", console)
        page.on("pageerror", lambda error: trouble(f"script: {error}"))
        page.on("request", request)
        page.on("response", lambda answer: answer.status >= 500 and trouble(f"status {answer.status} of {answer.url}"))

    # -- what the tests do on a page --

    def visit(self, path):
        return self.page.goto(self.ground.console.base + path)

    def section(self, name):
        return self.page.get_by_role("region", name=name, exact=True)

    def press(self, found):
        """Clicks, and waits for the page to which that leads."""
        with self.page.expect_navigation():
            found.click()

    def fill(self, found, text):
        found.fill(text)

    def select(self, found, value):
        found.select_option(value=value)

    def check(self, found, on):
        found.set_checked(on)

    def choose(self, name, within=None):
        """Presses the link or button of this name."""
        self.press(named(within or self.page, name))

    def assertSays(self, text, role="status"):
        """The page has a message with these words."""
        expect(self.page.get_by_role(role).filter(has_text=text)).to_be_visible()

    def assertHeading(self, name):
        expect(self.page.get_by_role("heading", level=1)).to_have_text(name)


def field(within, name):
    """The field of this name that takes text. (A section may have a field's name.)"""
    roles = [within.get_by_role(role, name=name, exact=True) for role in ("textbox", "searchbox", "spinbutton")]
    return functools.reduce(lambda found, other: found.or_(other), roles)


def named(within, name):
    """The link or button of this name; in a row of a table, its name says of what the row is, too. (What leads to a list may be on a
    page twice: the first one.)"""
    kinds = [within.get_by_role(role, name=name, exact=True) for role in ("link", "button")]
    begins = re.compile("^" + re.escape(name).replace("/", r"\x2f") + ": ")
    kinds += [within.get_by_role(role, name=begins) for role in ("link", "button")]
    return functools.reduce(lambda found, other: found.or_(other), kinds).first


def row_of(within, name):
    """The row of a table that has a cell with just this text."""
    return within.get_by_role("row").filter(has=within.page.get_by_role("cell", name=name, exact=True))
