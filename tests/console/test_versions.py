"""Versions in the console: rotate, count, re-wrap with its progress, retire, restore, trim."""

import os
import re

from browser import BrowserTest, Ground, expect, field, row_of


class Versions(BrowserTest):
    FILES = 60

    def on(self):
        # A sweep goes through all files of a vault: one of its own.
        return Ground()

    def setUp(self):
        super().setUp()
        self.name = re.sub("^test_", "", self._testMethodName)[:60]
        self.key = self.ground.key(self.name)
        self.directory = self.ground.mnt / self.name
        self.directory.mkdir()
        os.setxattr(self.directory, "user.rekeyfs.alias", f"alias/{self.name}".encode())
        for at in range(self.FILES):
            (self.directory / str(at)).write_text("x")
        self.visit(f"keys/{self.key}")

    def row(self, version):
        return row_of(self.section("Versions"), str(version))

    def on_version(self, version):
        """How many of the files have this version in their header."""
        return sum(os.getxattr(path, "user.rekeyfs.key-version") == str(version).encode() for path in self.directory.iterdir())

    def stale(self):
        """How many of the files a sweep has to move; looking at them doesn't have them moved."""
        shown = self.ground.vault.ok("inspect", "-r", self.directory, "--stale", "-0")
        return shown.count("\0")

    def rotate(self):
        self.choose("Rotate now", self.section("Key rotation"))
        expect(self.section("Key rotation").get_by_role("table", name="Rotation history")).to_contain_text("On demand")

    def test_a_rotated_key_has_its_files_counted_and_moved(self):
        expect(self.row(1)).to_be_visible()
        self.rotate()
        expect(self.row(2)).to_contain_text("current")
        self.choose("Count files", self.section("Versions"))
        expect(self.row(1)).to_contain_text(f"{self.FILES}")
        self.choose("Re-wrap files", self.section("Versions"))
        expect(self.row(2)).to_contain_text(f"{self.FILES}")
        self.assertEqual((self.stale(), self.on_version(2)), (0, self.FILES))

    def test_a_sweep_shows_its_progress_and_stops_when_it_is_told_to(self):
        self.rotate()
        self.choose("Count files", self.section("Versions"))
        field(self.section("Versions"), "Files a second, at most (optional)").fill("10")
        self.choose("Re-wrap files", self.section("Versions"))
        progress = self.page.get_by_role("progressbar")
        expect(progress).to_be_visible()
        # It is shown as it goes, without anyone asking.
        seen = progress.evaluate("progress => progress.value")
        self.page.wait_for_function("seen => document.querySelector('progress').value > seen", arg=seen)
        self.choose("Stop", self.section("Versions"))
        expect(progress).not_to_be_visible()
        left = self.stale()
        self.assertTrue(0 < left < self.FILES, left)
        # What is left is moved the next time.
        self.choose("Re-wrap files", self.section("Versions"))
        expect(self.row(2)).to_contain_text(f"{self.FILES}")
        self.assertEqual(self.stale(), 0)

    def test_what_was_typed_meanwhile_stays_when_a_sweep_ends(self):
        self.rotate()
        field(self.section("Versions"), "Files a second, at most (optional)").fill("10")
        self.choose("Re-wrap files", self.section("Versions"))
        expect(self.page.get_by_role("progressbar")).to_be_visible()
        typed = field(self.section("Aliases"), "Alias name")
        typed.fill("half-a-na")
        expect(self.section("Versions")).to_contain_text("Reload the page to see what came of it")
        expect(typed).to_have_value("half-a-na")
        typed.fill("")
        self.page.reload()
        expect(self.section("Versions")).to_contain_text(f"{self.FILES} re-wrapped")

    def test_versions_are_retired_restored_and_trimmed_once_no_file_needs_them(self):
        self.rotate()
        self.choose("Retire…", self.section("Versions"))
        expect(self.page.get_by_role("main")).to_contain_text(f"{self.FILES} files")
        self.choose("Retire versions")
        self.assertSays(f"{self.FILES} files", "alert")
        self.choose("Cancel")
        self.ground.vault.ok("rewrap", self.ground.mnt)
        self.choose("Retire…", self.section("Versions"))
        self.choose("Retire versions")
        expect(self.row(1)).to_contain_text("retired")
        self.choose("Restore", self.section("Versions"))
        expect(self.row(1)).not_to_contain_text("retired")
        self.choose("Retire…", self.section("Versions"))
        self.choose("Retire versions")
        self.choose("Trim…", self.section("Versions"))
        expect(self.row(1)).not_to_be_visible()
        self.choose("Trim versions")
        expect(self.row(1)).to_contain_text("trimmed")
        status = self.ground.vault.status()
        versions = next(key for key in status["keys"] if key["key_id"] == self.key)["versions"]
        self.assertEqual([(v["version"], v["has_material"]) for v in versions], [(1, False), (2, True)])
