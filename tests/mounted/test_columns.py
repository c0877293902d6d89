"""What an operator reads at a terminal: lines fit its width, a line is a file or an event, and all commands tell times alike."""

import json
import os
import re

from harness import MountedTest
from terminals import output_at_terminal

TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d\S*(?: [+-]\d\d:\d\d)?")
# 2026-11-22 03:00 +01:00
LOCAL = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d \+05:45")


class Columns(MountedTest):
    def setUp(self):
        super().setUp()
        # A zone that no machine of the tests is in.
        self.vault.env |= {"TZ": "Asia/Kathmandu" if os.path.exists("/usr/share/zoneinfo/Asia/Kathmandu") else "<+0545>-05:45",
                           "LC_ALL": "C.UTF-8"}  # fmt: skip

    def at_terminal(self, *args, columns=80):
        return output_at_terminal(self.vault, *args, columns=columns)

    def fits(self, shown, columns=80):
        for line in shown.splitlines():
            # A path, which is one word, may be longer by itself.
            self.assertTrue(len(line) <= columns or len(line.split()) <= 2, f"{len(line)} columns: {line}")
        return shown

    def test_an_event_is_a_line_that_says_what_became_what(self):
        self.vault.rotate()
        self.write("plans", b"secret", fsync=True)
        key = self.vault.status()["aliases"][0]["key_id"]
        self.kms("disable-key", "--key-id", key)
        with self.assertRaises(OSError):
            self.read(self.mnt / "plans")
        shown, said = self.at_terminal("events", self.mnt)
        log = self.vault.ok("events", self.mnt, "--json").splitlines()
        self.assertEqual(len(shown.splitlines()), len(log))
        for line in shown.splitlines():
            self.assertLessEqual(len(line), 80, line)
            self.assertRegex(line, f"^{LOCAL.pattern}  ")
            self.assertRegex(line, r"(pid \d+|…)$")
        self.assertRegex(shown, f"KMS CMK Rotation: version 1 -> 2 key {key[:8]} uid 0 …")
        self.assertRegex(shown, r'File Access Refused: open key-state file "plans" …')
        self.assertIn("--full shows them whole", said)
        self.assertIn("…", shown)
        # Whole, as a pipe has it; and where there is space for all of it.
        whole, said = self.at_terminal("events", self.mnt, "--full")
        self.assertEqual((whole, said), (self.vault.ok("events", self.mnt), ""))
        self.assertRegex(whole, rf"(?m)^\d+-\d\d-\d\d \d\d:\d\d:\d\d\.\d\d\d \+05:45  KMS CMK Rotation: version 1 -> 2 key {key} uid 0 pid \d+ generation 2$")
        self.assertNotIn("…", whole)
        wide, said = self.at_terminal("events", self.mnt, columns=250)
        self.assertEqual(("…" in wide, said), (False, ""))
        # A locale that has no ellipsis.
        self.vault.env["LC_ALL"] = "C"
        shown, _ = self.at_terminal("events", self.mnt)
        self.assertTrue(shown.isascii() and "..." in shown)

    def test_a_file_is_a_line_that_says_stale(self):
        deep = "d" * 60
        (self.mnt / deep).mkdir()
        for name in ("1", f"{deep}/2"):
            self.write(name, b"old", fsync=True)
        self.vault.rotate()
        self.write("3", b"new", fsync=True)
        self.write("4", b"")
        listed = [json.loads(line) for line in self.vault.ok("inspect", "-r", self.mnt, "--json").splitlines()]
        key = next(row["key_id"] for row in listed if row["key_id"])
        shown, said = self.at_terminal("inspect", "-r", self.mnt)
        self.assertEqual((len(shown.splitlines()), said), (len(listed), ""))
        for line in shown.splitlines():
            self.assertLessEqual(len(line), 80, line)
        for row in listed:
            (line,) = [line for line in shown.splitlines() if line.endswith(row["path"][-4:])]
            state = "empty" if row["empty"] else "stale" if row["stale"] else "current"
            before = f"- +- +{state}" if row["empty"] else rf"{key[:8]}  version {row['version']} +{state}"
            self.assertRegex(line, f"^{before} +(?:…|{re.escape(str(self.mnt))})")
        self.assertRegex(shown, "(?m)  …d*/2$")
        # What a line shows, a command takes.
        self.assertEqual(len(self.vault.ok("inspect", "-r", self.mnt, "--key", key[:8]).splitlines()), 3)
        self.assertIn("old (stale)", self.vault.ok("inspect", "-r", self.mnt), "a pipe has all that is known")
        shown, said = self.at_terminal("inspect", "-r", self.vault.path)
        self.assertEqual(len(shown.splitlines()), len(listed))
        self.assertIn("nothing is verified", said)
        self.fits(shown)
        self.assertIn(f"{key}  version 1", self.at_terminal("inspect", "-r", self.mnt, columns=150)[0])

    def test_what_is_known_of_a_vault_fits_and_its_times_are_alike(self):
        self.kms("enable-key-rotation", "--key-id", "alias/default")
        new = self.dir / "new"
        new.write_text("another passphrase\n")
        secret = ("--passfile", self.vault.passfile)
        self.vault.ok("unlock", "add", self.mnt, *secret, "--new-passfile", new, "--kdf-memory", "8", "--label", "of the laptop, in the drawer")
        backup = ("--backup-passfile", new, "--kdf-memory", "8")
        self.vault.ok("key-backup", "export", self.mnt, self.dir / "backup", *secret, *backup)
        slots = json.loads(self.vault.ok("unlock", "list", self.mnt, "--json"))["slots"]
        for command, times in (("info", 4), ("unlock list", 2), ("status", 1)):
            for columns in (80, 100):
                shown = self.fits(self.at_terminal(*command.split(), self.mnt, columns=columns)[0], columns)
                self.assertGreaterEqual(len(TIME.findall(shown)), times, shown)
                for time in TIME.findall(shown):
                    self.assertRegex(time, f"^{LOCAL.pattern}$", shown)
        shown = self.at_terminal("unlock", "list", self.mnt)[0]
        for slot in slots:
            self.assertRegex(shown, rf"(?m)^{slot['id'][:8]}  passphrase  ")
        self.assertIn(slots[1]["id"], self.at_terminal("unlock", "list", self.mnt, columns=150)[0])
        self.vault.ok("unlock", "label", self.mnt, slots[1]["id"][:8], "shorter", *secret)
        # JSON is for programs.
        self.assertRegex(slots[0]["created"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
