"""The event log and the vault in the console."""

import json
import re

from browser import BrowserTest, Ground, expect, field


class Activity(BrowserTest):
    def rows(self):
        return self.page.get_by_role("table", name="Events", exact=True).get_by_role("row")

    def test_what_was_done_is_at_the_top_and_can_be_filtered(self):
        key = self.ground.key("seen-in-the-log")
        self.visit(f"keys/{key}")
        self.choose("Rotate now", self.section("Key rotation"))
        self.choose("Activity")
        self.assertHeading("Activity")
        expect(self.rows().nth(1)).to_contain_text("KMS CMK Rotation")
        for name, wanted, seen, unseen in (
            ("Event", "rotation", "KMS CMK Rotation", "CreateAlias"),
            ("Key", key, "CreateAlias", "Vault Mounted"),
            ("Who", "0", "CreateAlias", "nothing has this"),
            ("From", "2999-01-01", None, "CreateAlias"),
            ("To", "2001-01-01", None, "CreateAlias"),
        ):  # fmt: skip
            with self.subTest(filter=name):
                self.visit("activity")
                field(self.page, name).fill(wanted)
                self.choose("Filter")
                self.page.wait_for_url(re.compile(r"\?"))
                expect(field(self.page, name)).to_have_value(wanted)
                if seen:
                    expect(self.rows().filter(has_text=seen).first).to_be_visible()
                expect(self.rows().filter(has_text=unseen)).to_have_count(0)
        self.visit("activity?from=nonsense")
        field(self.page, "From").fill("nonsense")
        self.choose("Filter")
        self.assertSays("no time", "alert")
        expect(field(self.page, "From")).to_have_value("nonsense")

    def test_it_goes_to_older_events_and_back(self):
        key = self.ground.key("with-many-events")
        for _ in range(60):
            self.ground.kms("update-key-description", "--key-id", key, "--description", "x")
        self.choose("Activity")
        first = self.rows().nth(1).inner_text()
        self.choose("Older")
        self.page.wait_for_url(re.compile(r"\?"))
        self.assertNotEqual(self.rows().nth(1).inner_text(), first)
        self.choose("Newer")
        expect(self.rows().nth(1)).to_have_text(re.compile(re.escape(first.split("\t")[0])))

    def test_the_log_is_verified_and_a_changed_line_is_found(self):
        self.ground = Ground()
        page = self.page = self.open()
        self.choose("Activity")
        self.choose("Verify the log")
        expect(page.get_by_role("main")).to_contain_text(re.compile("intact|verified|nothing is missing", re.IGNORECASE))
        log = self.ground.vault.path / "events.jsonl"
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join([lines[0].replace("Vault Created", "Vault Creaked"), *lines[1:]]))
        self.choose("Verify the log")
        expect(page.get_by_role("alert").or_(page.get_by_role("status").filter(has_text="changed"))).to_contain_text("line 1")


class TheVault(BrowserTest):
    def test_it_says_what_is_mounted_and_how_it_is_unlocked(self):
        vault = self.ground.vault
        slots = [slot["id"] for slot in json.loads(vault.ok("unlock", "list", vault.mnt, "--json"))["slots"]]
        self.choose("Vault")
        main = self.page.get_by_role("main")
        self.assertHeading("Vault")
        for text in (str(vault.path), str(vault.mnt), "aes-256-gcm", "passphrase", slots[0][:8], "never exported"):
            expect(main).to_contain_text(text)
