"""Who must get nothing: markup in all that a vault can hold, a browser without the token, a token that is used again."""

import functools
import json
import os
import re

from browser import BrowserTest, Ground, directory, expect, field
from walks import every_page

# What breaks out of a text, of an attribute, of a script; what a link could do; an escape sequence; a mark that turns the
# direction of writing; characters beyond the basic plane.
MARKUP = '<script>alert("x")</script>'
ATTRIBUTE = '"><img src=x onerror=alert(1)>'
SCRIPT = "javascript:alert(1)"
TAG = "javascript:alert"
STRANGE = "𝔘𝔫𝔦😀 \u202eturned \x1b[31mred &lt;b&gt; {{7*7}}"
SHOWN = r"𝔘𝔫𝔦😀 \u{202e}turned \u{1b}[31mred &lt;b&gt; {{7*7}}"
# A label has no control characters, a policy neither these nor others than Latin-1.
LABEL = "𝔘𝔫𝔦😀 &lt;b&gt; javascript:alert(1)"
POLICY = (
    '{"Version": "2012-10-17", "Id": "</pre></textarea>' + MARKUP.replace('"', "'") + '", "Statement": [{"Sid": "'
    + ATTRIBUTE.replace('"', "'") + '", "Effect": "Allow", "Principal": {"AWS": "uid:0"}, "Action": "kms:*", "Resource": "*"}]}'
)  # fmt: skip


@functools.cache
def hostile():
    """A vault full of markup, in a directory that is some."""
    base = directory() / ATTRIBUTE / MARKUP.replace("/", "\u2215")
    base.mkdir(parents=True)
    ground = Ground(base=base)
    tag = f"TagKey={TAG},TagValue=𝔘"
    ground.keys = [
        ground.kms("create-key", "--description", text, "--policy", POLICY, "--tags", tag)["KeyMetadata"]["KeyId"]
        for text in (MARKUP, ATTRIBUTE, STRANGE)
    ]  # fmt: skip
    ground.kms("create-alias", "--alias-name", "alias/javascript/alert", "--target-key-id", ground.keys[0])
    vault = ground.vault
    for text in (MARKUP, ATTRIBUTE, LABEL):
        secrets = ["--passfile", vault.passfile, "--new-passfile", vault.passfile]
        vault.ok("unlock", "add", vault.path, *secrets, "--label", text, "--kdf-memory", "8")
    # The log names the directory whose alias is set.
    for text in (MARKUP.replace("/", "\u2215"), ATTRIBUTE, STRANGE):
        (vault.mnt / text).mkdir()
        os.setxattr(vault.mnt / text, "user.rekeyfs.alias", b"alias/javascript/alert")
        (vault.mnt / text / "file").write_text("secret")
    return ground


class Hostile(BrowserTest):
    def on(self):
        return hostile()

    def test_markup_is_text_on_every_page(self):
        seen = ""
        for address in every_page(self.page, self.ground.console.base):
            seen += self.page.locator("body").inner_text()
            self.assertEqual(self.page.locator("img, iframe, object, embed, base, script:not([src])").count(), 0, address)
            for link in self.page.locator("a[href], form[action]").evaluate_all("found => found.map(e => e.href || e.action)"):
                self.assertTrue(link.startswith(self.ground.console.origin + "/s/"), link)
        for raw in ("\x1b", "\u202e"):
            self.assertNotIn(raw, seen)
        for key, text in zip(self.ground.keys, (MARKUP, ATTRIBUTE, SHOWN)):
            self.visit(f"keys/{key}")
            expect(self.section("General configuration")).to_contain_text(text)
            expect(self.section("Tags")).to_contain_text(TAG)
        for page, texts in (("activity", (ATTRIBUTE, SHOWN)), ("vault", (MARKUP, ATTRIBUTE, LABEL))):
            self.visit(page)
            for text in texts:
                expect(self.page.get_by_role("main")).to_contain_text(text)

    def test_markup_that_came_through_would_do_nothing_and_be_noticed(self):
        for markup in (ATTRIBUTE, "<iframe src=javascript:alert(1)></iframe>", '<p style="color: red">', "<img src=http://192.0.2.1/x>"):
            with self.page.expect_console_message(lambda message: "breaks the policy" in message.text):
                self.page.evaluate("markup => document.body.insertAdjacentHTML('beforeend', markup)", markup)
        self.assertNotIn("dialog", " ".join(self.troubles))
        self.assertGreaterEqual(len(self.troubles), 4)
        self.troubles.clear()

    def test_a_policy_of_markup_goes_through_its_form_unchanged(self):
        key = self.ground.keys[1]
        self.visit(f"keys/{key}/policy")
        self.choose("Edit", self.page.get_by_role("main"))
        self.assertEqual(json.loads(field(self.page, "Key policy").input_value()), json.loads(POLICY))
        self.choose("Save changes")
        self.assertEqual(json.loads(self.ground.kms("get-key-policy", "--key-id", key)["Policy"]), json.loads(POLICY))
        self.page.go_back()
        field(self.page, "Key policy").fill(POLICY)
        self.choose("Save changes")
        self.assertEqual(self.ground.kms("get-key-policy", "--key-id", key)["Policy"], POLICY)

    def test_what_is_asked_for_is_text_too(self):
        for text in (MARKUP, ATTRIBUTE, SCRIPT, STRANGE):
            self.visit("keys")
            field(self.page, "Filter keys").fill(text)
            field(self.page, "Filter keys").press("Enter")
            self.page.wait_for_url(re.compile("filter="))
            self.visit("keys/create")
            field(self.page, "Alias (optional)").fill(text)
            self.choose("Create key", self.page.get_by_role("main"))
            expect(self.page.get_by_role("alert")).to_be_visible()
            self.assertEqual(self.page.locator("img, script:not([src])").count(), 0)
        image = "%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E"
        for path in ("keys/%3Cscript%3Ealert(1)%3C/script%3E", image, f"keys?managed={image}", f"activity?event={image}"):
            self.visit(path)
            self.assertEqual(self.page.locator("img, script:not([src])").count(), 0)


class Tokens(BrowserTest):
    def test_a_browser_without_the_token_gets_one_sentence(self):
        console = self.ground.console
        other = self.open(signed_in=False)
        for path in ("keys", "vault", "activity", "keys/create", ""):
            answer = other.goto(console.base + path)
            self.assertEqual(answer.status, 403, path)
            text = other.locator("body").inner_text()
            self.assertIn("rekeyfs console", text)
            self.assertNotIn("Key ID", text)
        # The login's address was used up.
        for address in (console.login, console.origin + "/login", console.origin + "/login?token=", console.origin + "/"):
            answer = other.goto(address)
            self.assertIn(answer.status, (403, 404), address)
            self.assertEqual(other.context.cookies(), [])

    def test_who_signs_out_is_out(self):
        console = self.ground.serve().sign_in()
        page = self.open(console)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.wait_for_load_state()
        self.assertEqual(page.goto(console.base + "keys").status, 403)
        again = self.open(console)
        self.assertNotIn("Key ID", again.locator("body").inner_text())

    def test_a_page_may_look_and_not_touch_where_the_console_is_read_only(self):
        console = self.ground.serve("--read-only").sign_in()
        page = self.open(console)
        for address in every_page(page, console.base):
            forms = page.locator("main form[method=post]").count()
            self.assertEqual(forms, 0, address)
            expect(page.locator("body")).to_contain_text(re.compile("read.only", re.IGNORECASE))
        expect(page.get_by_role("link", name="Create key")).to_have_count(0)
        token = page.evaluate("fetch('keys/create', {method: 'POST', body: 'alias=x'}).then(answer => answer.status)")
        self.assertEqual(token, 405)
