"""Keys in the console: the list, creating, aliases, policies, tags, and what takes a key out of use."""

import errno
import json
import os
import re

from browser import BrowserTest, expect, field, named, row_of
from harness import stopped

DENY_OWNER = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "uid:12345"}, "Action": "kms:*", "Resource": "*"}]}'
ALLOW_ALL = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}]}'


class Keys(BrowserTest):
    def key(self, *args):
        """A key that only this test has, with an alias; its page is open."""
        self.name = re.sub("^test_", "", self._testMethodName)[:60]
        key = self.ground.key(self.name, *args)
        self.visit(f"keys/{key}")
        self.assertHeading(self.name)
        return key

    def file_under(self, alias):
        """A file that is wrapped under the alias of its directory."""
        directory = self.ground.mnt / alias
        directory.mkdir()
        os.setxattr(directory, "user.rekeyfs.alias", f"alias/{alias}".encode())
        path = directory / "file"
        path.write_text("what is in it")
        with open(path, "rb") as f:
            os.fsync(f.fileno())
        return path

    def test_a_key_is_created_with_what_was_typed(self):
        self.choose("Create key")
        self.assertHeading("Create key")
        field(self.page, "Alias (optional)").fill("made-here")
        field(self.page, "Description").fill("Löhne <b> & \"co\"")
        field(self.page, "Key policy (optional)").fill(ALLOW_ALL)
        field(self.page, "Tags (optional)").fill("team=payroll\nstage=test")
        self.choose("Create key", self.page.get_by_role("main"))
        self.assertHeading("made-here")
        key = re.search(r"keys/([0-9a-f-]{36})", self.page.url)[1]
        made = self.ground.kms("describe-key", "--key-id", "alias/made-here")["KeyMetadata"]
        self.assertEqual((made["KeyId"], made["Description"]), (key, "Löhne <b> & \"co\""))
        self.assertEqual(self.ground.kms("get-key-policy", "--key-id", key)["Policy"], ALLOW_ALL)
        tags = self.ground.kms("list-resource-tags", "--key-id", key)["Tags"]
        self.assertEqual({tag["TagKey"]: tag["TagValue"] for tag in tags}, {"team": "payroll", "stage": "test"})
        expect(self.page.get_by_role("main")).to_contain_text("Löhne <b> & \"co\"")

    def test_a_refused_key_keeps_what_was_typed(self):
        before = len(self.ground.kms("list-keys")["Keys"])
        self.visit("keys/create")
        field(self.page, "Alias (optional)").fill("default")
        field(self.page, "Description").fill("typed before")
        self.choose("Create key", self.page.get_by_role("main"))
        self.assertSays("already", "alert")
        expect(field(self.page, "Alias (optional)")).to_have_value("default")
        expect(field(self.page, "Description")).to_have_value("typed before")
        self.assertEqual(len(self.ground.kms("list-keys")["Keys"]), before)

    def test_the_list_is_filtered_by_alias_id_description_and_tag(self):
        key = self.key("--description", "of a wanted kind", "--tags", "TagKey=dept,TagValue=found-by-tag")
        rows = self.page.get_by_role("row").filter(has=named(self.page, self.name))
        others = named(self.page, "default")
        for wanted in (self.name[:-3], key[:8], "a Wanted kind", "found-by-tag"):
            with self.subTest(wanted=wanted):
                self.visit("keys")
                expect(others).to_be_visible()
                found = field(self.page, "Filter keys")
                found.fill(wanted)
                found.press("Enter")
                self.page.wait_for_url(re.compile("filter="))
                expect(rows).to_be_visible()
                expect(others).not_to_be_visible()
                expect(field(self.page, "Filter keys")).to_have_value(wanted)
        self.visit("keys?filter=nothing-has-this")
        expect(rows).not_to_be_visible()

    def test_the_list_follows_what_is_typed(self):
        self.key()
        self.visit("keys")
        expect(named(self.page, "default")).to_be_visible()
        field(self.page, "Filter keys").press_sequentially(self.name)
        expect(named(self.page, "default")).not_to_be_visible()
        expect(named(self.page, self.name)).to_be_visible()

    def test_aliases_are_created_pointed_elsewhere_and_deleted(self):
        key, other = self.key(), self.ground.key("the-other-key")
        aliases = self.section("Aliases")
        field(aliases, "Alias name").fill("second-name")
        self.choose("Create alias", aliases)
        row = row_of(self.section("Aliases"), "second-name")
        expect(row).to_be_visible()
        self.assertEqual(self.target("second-name"), key)
        # One that is there already is refused, and what was typed is kept.
        field(self.section("Aliases"), "Alias name").fill("second-name")
        self.choose("Create alias", self.section("Aliases"))
        self.assertSays("already", "alert")
        expect(field(self.section("Aliases"), "Alias name")).to_have_value("second-name")
        self.visit(f"keys/{key}")
        self.choose("Point elsewhere", row)
        self.page.get_by_role("combobox", name="Key", exact=True).select_option(value=other)
        self.choose("Point alias at key")
        self.assertEqual(self.target("second-name"), other)
        self.visit(f"keys/{other}")
        self.choose("Delete", row)
        # Nothing yet: the page asks.
        self.assertEqual(self.target("second-name"), other)
        self.choose("Delete alias")
        self.assertIsNone(self.target("second-name"))

    def target(self, alias):
        found = [a["TargetKeyId"] for a in self.ground.kms("list-aliases")["Aliases"] if a["AliasName"] == f"alias/{alias}"]
        return found[0] if found else None

    def test_the_description_and_tags_are_changed(self):
        key = self.key("--description", "before")
        self.choose("Edit description", self.section("General configuration"))
        field(self.page, "Description").fill("after")
        self.choose("Save changes", self.page.get_by_role("main"))
        expect(self.section("General configuration")).to_contain_text("after")
        tags = self.section("Tags")
        field(tags, "Tag key").fill("team")
        field(tags, "Tag value").fill("payroll")
        self.choose("Add tag", tags)
        expect(row_of(self.section("Tags"), "team")).to_contain_text("payroll")
        field(self.section("Tags"), "Tag key").fill("aws:no")
        self.choose("Add tag", self.section("Tags"))
        self.assertSays("aws:", "alert")
        self.visit(f"keys/{key}")
        self.choose("Remove tag team", self.section("Tags"))
        expect(self.section("Tags")).not_to_contain_text("payroll")
        self.assertEqual(self.ground.kms("list-resource-tags", "--key-id", key)["Tags"], [])
        self.assertEqual(self.ground.kms("describe-key", "--key-id", key)["KeyMetadata"]["Description"], "after")

    def test_a_policy_is_refused_beside_its_text(self):
        key = self.key()
        policy = self.ground.kms("get-key-policy", "--key-id", key)["Policy"]
        for text, says in ((DENY_OWNER, "MalformedPolicyDocumentException"), ('{"Version": "x", ', "MalformedPolicyDocumentException")):
            self.visit(f"keys/{key}/policy")
            self.choose("Edit", self.page.get_by_role("main"))
            field(self.page, "Key policy").fill(text)
            self.choose("Save changes")
            self.assertSays(says, "alert")
            expect(field(self.page, "Key policy")).to_have_value(text)
            self.assertEqual(self.ground.kms("get-key-policy", "--key-id", key)["Policy"], policy)
        field(self.page, "Key policy").fill(ALLOW_ALL)
        self.choose("Save changes")
        expect(self.page.get_by_role("alert")).not_to_be_visible()
        self.assertEqual(self.ground.kms("get-key-policy", "--key-id", key)["Policy"], ALLOW_ALL)

    def test_the_policy_is_copied(self):
        key = self.key("--policy", ALLOW_ALL)
        self.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.visit(f"keys/{key}/policy")
        self.page.get_by_role("button", name="Copy", exact=True).click()
        self.page.wait_for_function("wanted => navigator.clipboard.readText().then(text => text.includes(wanted))", arg="2012-10-17")
        copied = self.page.evaluate("navigator.clipboard.readText()")
        self.assertEqual(json.loads(copied), json.loads(ALLOW_ALL))

    def test_a_second_click_rotates_no_second_time(self):
        key = self.key()
        button = self.page.get_by_role("button", name="Rotate now", exact=True)
        twice = "button => new Promise(done => { button.click(); setTimeout(() => { button.click(); setTimeout(done, 300); }, 300); })"
        # The answer comes after both clicks.
        with stopped(self.ground.vault.pid):
            button.evaluate(twice)
        self.assertSays("was rotated")
        self.assertEqual(len(self.ground.kms("list-key-rotations", "--key-id", key)["Rotations"]), 1)

    def test_a_disabled_key_closes_its_files_until_it_is_enabled(self):
        key = self.key()
        path = self.file_under(self.name)
        self.page.reload()
        self.choose("Disable key", self.section("Status"))
        # The page says what it will do, in files, and has done nothing.
        expect(self.page.get_by_role("main")).to_contain_text(re.compile(r"1 file\b"))
        self.choose("Cancel")
        self.assertHeading(self.name)
        self.assertEqual(path.read_text(), "what is in it")
        self.choose("Disable key", self.section("Status"))
        self.choose("Disable key", self.page.get_by_role("main"))
        expect(self.section("General configuration")).to_contain_text("Disabled")
        with self.assertRaises(OSError) as refused:
            path.read_text()
        self.assertEqual(refused.exception.errno, errno.ENOKEY)
        self.choose("Enable key", self.section("Status"))
        expect(self.section("General configuration")).to_contain_text("Enabled")
        self.assertEqual(path.read_text(), "what is in it")
        self.assertEqual(self.ground.state(key), "Enabled")

    def test_deletion_is_refused_for_files_then_scheduled_and_cancelled(self):
        key = self.key()
        path = self.file_under(self.name)
        self.page.reload()
        self.choose("Schedule key deletion", self.section("Status"))
        field(self.page, "Waiting period (days)").fill("8")
        self.choose("Schedule key deletion", self.page.get_by_role("main"))
        self.assertSays("1 file", "alert")
        expect(field(self.page, "Waiting period (days)")).to_have_value("8")
        self.assertEqual(self.ground.state(key), "Enabled")
        path.unlink()
        self.choose("Schedule key deletion", self.page.get_by_role("main"))
        expect(self.section("General configuration")).to_contain_text("Pending deletion")
        self.assertEqual(self.ground.state(key), "PendingDeletion")
        self.choose("Cancel key deletion", self.section("Status"))
        expect(self.section("General configuration")).to_contain_text("Disabled")
        self.assertEqual(self.ground.state(key), "Disabled")

    def test_a_service_managed_key_is_shown_and_not_changed(self):
        self.choose("Service managed keys")
        self.choose("rekeyfs/tree")
        self.assertHeading("rekeyfs/tree")
        expect(self.section("Key rotation")).to_contain_text("1095")
        forms = self.page.get_by_role("main").locator("form[method=post]")
        self.assertEqual(forms.count(), 0)
