"""docs/cli-abi.md holds: commands, options and statuses are those of tests/golden/abi.json, the table of statuses is the program's,
and what --json prints keeps to docs/schemas."""

import json
import re
import subprocess
import sys

from harness import BIN, ROOT, TARGET, MountedTest

PYTHON = TARGET / "python" / "bin" / "python"
GOLDEN = ROOT / "tests" / "golden"


class Surface(MountedTest):
    options = None

    def test_no_command_option_or_status_is_gone_and_none_is_unrecorded(self):
        done = subprocess.run([sys.executable, GOLDEN / "abi.py", BIN], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_the_page_has_the_statuses_of_the_program(self):
        page = (ROOT / "docs" / "cli-abi.md").read_text()
        for heading, command in (("status", []), ("status of `kms`", ["kms"])):
            table = page.partition(f"| {heading} | means |\n")[2].partition("\n\n")[0]
            promised = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)
            shown = self.vault.ok(*command, "--help").partition("Exit status")[2].partition("\n")[2]
            # A line that goes on is wrapped to the width of the help.
            entries = re.sub(r"\n +(?![\d ])", " ", shown).splitlines()
            self.assertEqual(promised, [tuple(line.split(None, 1)) for line in entries if line.strip()])


class Json(MountedTest):
    """Each command that has --json, on a vault in which something happened."""

    def setUp(self):
        super().setUp()
        if not PYTHON.exists() or subprocess.run([PYTHON, "-c", "import jsonschema"], check=False).returncode:
            self.skipTest("jsonschema is not in target/python; scripts/test.sh installs it")

    def assert_keeps_to(self, schema, printed):
        done = subprocess.run(
            [PYTHON, GOLDEN / "validate.py", schema], input=printed, capture_output=True, text=True, check=False
        )
        self.assertEqual((done.returncode, done.stdout), (0, "\n"), f"{schema}: {done.stderr}\n{printed}")

    def test_what_is_printed_keeps_to_its_schema(self):
        here, mnt, pw = self.dir, self.mnt, ["--passfile", self.vault.passfile]
        cheap = ["--kdf-memory", "8"]
        new = ["--new-passfile", self.vault.passfile, *cheap]
        for name in ("1", "2"):
            self.write(name, b"content", fsync=True)
        (mnt / "empty").touch()

        def check(schema, *args, status=0):
            done = self.vault.run(*args, "--json")
            self.assertEqual(done.returncode, status, done.stderr)
            self.assert_keeps_to(schema, done.stdout)
            return json.JSONDecoder().raw_decode(done.stdout)[0]

        check("init-or-recovery-key", "init", here / "another", *pw, *cheap)
        check("info", "info", mnt)
        check("hosts", "hosts", mnt)
        check("speed", "speed")
        check("rotate", "rotate", mnt)
        self.kms("enable-key-rotation", "--key-id", "alias/default")
        check("rotate-due", "rotate", mnt, "--due")
        check("status", "status", mnt, "--count")
        refused = check("key-retire-refused", "key", "retire", mnt, "--key-id", "alias/default", "--below", "2", status=44)
        self.assertEqual(len(refused["files"]), 2)
        check("rewrap", "rewrap", mnt)
        check("key-retire", "key", "retire", mnt, "--key-id", "alias/default", "--below", "2")
        check("reencrypt", "reencrypt", "-r", mnt)
        check("inspect", "inspect", mnt / "1", mnt / "empty", self.vault.lower(mnt / "2"))
        check("events-verify", "events", mnt, "--verify")
        check("events-rotate", "events", "rotate", mnt)
        check("events-prune", "events", "prune", mnt, "--keep", "0")
        check("unlock-list", "unlock", "list", mnt)
        check("unlock-test", "unlock", "test", mnt, *pw)
        check("unlock-trust", "unlock", "trust", mnt, *pw)
        slot = check("unlock-add", "unlock", "add", mnt, *pw, *new, "--label", "second")["added"]
        check("unlock-label", "unlock", "label", mnt, slot, "third", *pw)
        check("unlock-list", "unlock", "list", mnt)
        slot = check("unlock-change", "unlock", "change", mnt, "--slot", slot, *pw, *new)["added"]
        check("unlock-remove", "unlock", "remove", mnt, slot, *pw)
        check("key-backup-export", "key-backup", "export", mnt, here / "keys", *pw, "--backup-passfile", self.vault.passfile, *cheap)
        kept = ["--to", here / "kept", *pw]
        check("key-backup-keep", "key-backup", "keep", mnt, *kept, "--backup-passfile", self.vault.passfile, *cheap)
        check("key-backup-keep-list", "key-backup", "keep", mnt, "--list")
        check("status", "status", mnt)
        check("key-backup-keep-stop", "key-backup", "keep", mnt, "--stop", *kept)
        key = self.kms("create-key", "--description", "archive")["KeyMetadata"]["KeyId"]
        self.kms("enable-key-rotation", "--key-id", key)
        self.kms("schedule-key-deletion", "--key-id", key, "--pending-window-in-days", "7")
        check("status", "status", mnt)
        lower = self.vault.lower(mnt / "1")
        check("umount", "umount", mnt)
        vault = self.vault.path
        check("mount", "mount", vault, mnt, *pw)
        self.vault.umount()
        check("status", "status", vault, *pw)
        # Damage, as a finding.
        with open(lower, "r+b") as file:
            file.seek(2000)
            file.write(b"damage")
        done = self.vault.run("fsck", vault, *pw, "--json")
        *findings, summary = done.stdout.splitlines()
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assert_keeps_to("fsck-finding", "\n".join(findings))
        self.assert_keeps_to("fsck", summary)
        check("key-backup-merge", "key-backup", "merge", vault, here / "keys", *pw, "--backup-passfile", self.vault.passfile)
        imported = check("import-or-recovery-key", "key-backup", "import", vault, here / "keys", "--force",
                         "--backup-passfile", self.vault.passfile, *new)  # fmt: skip
        self.assertEqual(imported["keys"], 2)

    def test_recovery_and_revocation(self):
        vault = self.dir / "another"
        done = self.vault.run("init", vault, "--passfile", self.vault.passfile, "--kdf-memory", "8", "--json")
        made, end = json.JSONDecoder().raw_decode(done.stdout)
        self.assertEqual(made["vault"], str(vault))
        recovery = self.dir / "recovery"
        recovery.write_text(json.loads(done.stdout[end:])["recovery_key"])
        new = ["--new-passfile", self.vault.passfile, "--kdf-memory", "8", "--json"]
        self.assert_keeps_to("recover", self.vault.ok("recover", vault, "--passfile", recovery, *new))
        printed = self.vault.ok("unlock", "change", vault, "--passfile", self.vault.passfile, "--revoke", *new)
        self.assert_keeps_to("revoke-or-recovery-key", printed)
