"""The log of a mount in a real journal: fields, priorities, and a journal that restarts or is stuck."""

import json
import time
import unittest

from test_package import MNT, PASS, VAULT, InstalledTest


class TestJournal(InstalledTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.make_vault()

    def entries(self, *matches):
        """The messages of rekeyfs in the journal, oldest first."""
        self.machine.ok("journalctl --sync")
        printed = self.machine.ok(f"journalctl -t rekeyfs -o json {' '.join(matches)}")
        return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]

    def test_a_quiet_mount_is_in_the_journal_with_its_fields(self):
        self.machine.ok(f"mount {MNT}")
        self.machine.ok(f"rekeyfs rotate {MNT}")
        self.machine.ok(f"umount {MNT}")
        deadline = time.monotonic() + 90
        while not any("unmounted" in entry["MESSAGE"] for entry in self.entries(f"REKEYFS_VAULT={VAULT}")):
            self.assertLess(time.monotonic(), deadline, "the end of the mount is not in the journal")
            time.sleep(0.1)
        entries = self.entries(f"REKEYFS_MOUNTPOINT={MNT}", "-p", "notice")
        self.assertTrue(all(entry["PRIORITY"] == "5" for entry in entries), entries)
        rotated = [entry for entry in entries if "a key was rotated" in entry["MESSAGE"]][-1]
        found = self.entries(f"REKEYFS_KEY={rotated['REKEYFS_KEY']}", f"REKEYFS_VERSION={rotated['REKEYFS_VERSION']}")
        self.assertIn(rotated["MESSAGE"], [entry["MESSAGE"] for entry in found])

    def test_a_service_s_lines_have_fields_and_its_unit(self):
        self.machine.ok(f"systemd-run --unit=plain rekeyfs mount --foreground {VAULT} {MNT} --passfile {PASS}")
        self.machine.ok(f"for i in $(seq 200); do mountpoint -q {MNT} && break; sleep 0.1; done; systemctl stop plain")
        entries = self.entries("_SYSTEMD_UNIT=plain.service", f"REKEYFS_VAULT={VAULT}")
        # A warning of what this machine limits may come before.
        messages = [entry["MESSAGE"] for entry in entries if entry["MESSAGE"].startswith("NOTICE")]
        self.assertTrue(messages[0].startswith("NOTICE mounted "), messages)
        self.assertTrue(messages[-1].startswith("NOTICE unmounted (SIGTERM) "), messages)

    def test_a_journal_that_restarts_gets_the_next_line_and_a_stuck_one_is_not_waited_for(self):
        self.machine.ok(f"mount {MNT}")
        self.addCleanup(self.machine.ok, f"umount {MNT}")
        rotations = lambda: sum("a key was rotated" in entry["MESSAGE"] for entry in self.entries())  # noqa: E731
        before = rotations()
        self.machine.ok("systemctl restart systemd-journald")
        self.machine.ok(f"rekeyfs rotate {MNT}")
        deadline = time.monotonic() + 90
        while rotations() != before + 1:
            self.assertLess(time.monotonic(), deadline, "the rotation is not in the journal")
            time.sleep(0.1)
        # However this ends: nothing works on a machine whose journal is stopped.
        self.addCleanup(self.machine.run, "systemctl kill --kill-whom=main --signal=CONT systemd-journald")
        self.machine.ok("systemctl kill --kill-whom=main --signal=STOP systemd-journald")
        began = time.monotonic()
        try:
            self.machine.ok(f"for i in $(seq 20); do rekeyfs rotate {MNT} >/dev/null; done; echo x > {MNT}/f", timeout=60)
        finally:
            self.machine.ok("systemctl kill --kill-whom=main --signal=CONT systemd-journald")
        self.assertLess(time.monotonic() - began, 30)


if __name__ == "__main__":
    unittest.main()
