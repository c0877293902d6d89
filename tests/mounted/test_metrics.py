"""What a monitoring system reads (docs/metrics.md): through the control socket, of dead mounts, by other users."""

import errno
import json
import os
import re
import subprocess
import time

from harness import ROOT, TARGET, MountedTest, UserMountTest, as_user

# With the packages of scripts/test.sh.
PYTHON = os.environ.get("TESTS_PYTHON", str(TARGET / "python" / "bin" / "python"))
LINE = re.compile(r'(\w+)\{((?:\w+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\\n]|\\["\\n])*)"')
PARSE = """
import json, sys
from prometheus_client.parser import text_string_to_metric_families as families
print(json.dumps([[s.name, s.labels, s.value, f.type, f.documentation] for f in families(sys.stdin.read()) for s in f.samples]))
"""


def parse(text):
    """All samples: name, labels, value."""
    found = []
    for line in text.splitlines():
        if not line.startswith("# "):
            name, labels, value = LINE.fullmatch(line).groups()
            found.append((name, dict(LABEL.findall(labels)), float(value)))
    return found


class Metrics(MountedTest):
    def text(self, *args):
        return self.vault.ok("status", *(args or (self.mnt,)), "--output", "prometheus")

    def value(self, name, samples=None, **labels):
        """The value of the one sample with these labels; None if there is none."""
        samples = parse(self.text()) if samples is None else samples
        found = [value for named, has, value in samples if named == name and labels.items() <= has.items()]
        self.assertLessEqual(len(found), 1, f"{name} {labels}: {found}")
        return found[0] if found else None

    def test_counters_move_with_what_they_count(self):
        before = parse(self.text())
        self.write("a", b"x" * 5000, fsync=True)
        self.write("b", b"y" * 3000, fsync=True)
        rotated = self.vault.ok("rotate", self.mnt)
        key = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", rotated).group()
        self.assertErrno(errno.ENODATA, os.getxattr, self.mnt / "a", "user.none")
        after = parse(self.text())

        def moved(name, **labels):
            return (self.value(name, after, **labels) or 0) - (self.value(name, before, **labels) or 0)

        self.assertEqual(self.value("rekeyfs_up", after), 1)
        self.assertEqual(moved("rekeyfs_written_bytes_total"), 8000)
        self.assertEqual(moved("rekeyfs_request_duration_seconds_count", operation="create"), 2)
        self.assertEqual(moved("rekeyfs_request_duration_seconds_count", operation="fsync"), 2)
        self.assertEqual(moved("rekeyfs_request_errors_total", operation="getxattr", errno="ENODATA"),
                         moved("rekeyfs_request_duration_seconds_count", operation="getxattr"))  # fmt: skip
        self.assertGreater(moved("rekeyfs_request_duration_seconds_sum", operation="fsync"), 0)
        self.assertEqual(moved("rekeyfs_keyring_generation"), 1)
        of_key = {"key_id": key, "alias": "alias/default"}
        self.assertEqual(self.value("rekeyfs_files", after, version="1", use="old", **of_key), 2)
        self.assertEqual(self.value("rekeyfs_files", after, version="2", use="current", **of_key), 0)
        self.assertEqual(self.value("rekeyfs_files_stale", after), 2)
        made = self.value("rekeyfs_key_version_created_timestamp_seconds", after, version="2", **of_key)
        self.assertLess(abs(made - time.time()), 120)
        self.assertLess(abs(self.value("rekeyfs_process_start_time_seconds", after) - time.time()), 120)
        self.assertIsNone(self.value("rekeyfs_files_counted_timestamp_seconds", after))

        self.vault.ok("rewrap", self.mnt)
        after = parse(self.text(self.mnt, "--count"))
        self.assertEqual(self.value("rekeyfs_rewrap_files_total", after, outcome="rewrapped"), 2)
        self.assertEqual(self.value("rekeyfs_files", after, version="2", use="current", **of_key), 2)
        self.assertLess(abs(self.value("rekeyfs_files_counted_timestamp_seconds", after) - time.time()), 120)
        with open(self.mnt / "a", "rb"):
            self.assertEqual(self.value("rekeyfs_open_files"), 1)
        below = os.statvfs(self.vault.path)
        self.assertEqual(self.value("rekeyfs_lower_size_bytes"), below.f_blocks * below.f_frsize)

    def test_damage_and_a_disabled_key_are_counted_even_where_the_event_log_holds_them_back(self):
        self.write("a", b"x" * 5000, fsync=True)
        self.write("b", b"y" * 5000, fsync=True)
        lower = self.vault.lower(self.mnt / "a")
        self.vault.remount()
        with open(lower, "r+b") as file:
            file.seek(4096 + 100)
            file.write(b"damage")
        for _ in range(80):
            with open(self.mnt / "a", "rb", buffering=0) as file:
                self.assertErrno(errno.EIO, os.pread, file.fileno(), 4096, 4096)
        samples = parse(self.text())
        damage = self.value("rekeyfs_damage_total", samples, part="page")
        # The kernel asks again for a page that it could not have.
        self.assertGreaterEqual(damage, 80)
        self.assertEqual(self.value("rekeyfs_damage_total", samples, part="header"), 0)
        self.assertGreaterEqual(self.value("rekeyfs_events_held_back_total", samples), damage - 60)
        self.assertEqual(self.value("rekeyfs_request_errors_total", samples, operation="read", errno="EIO"), damage)

        key = json.loads(self.vault.ok("status", self.mnt, "--json"))["aliases"][0]["key_id"]
        self.kms("disable-key", "--key-id", key)
        for _ in range(3):
            self.assertErrno(errno.ENOKEY, os.open, self.mnt / "b", os.O_RDONLY)
        samples = parse(self.text())
        self.assertEqual(self.value("rekeyfs_refused_opens_total", samples, reason="key-state"), 3)
        # Only one of them was opened in this mount.
        self.assertEqual(self.value("rekeyfs_files_unusable", samples, why="disabled"), 1)
        self.assertEqual(self.value("rekeyfs_request_errors_total", samples, operation="open", errno="ENOKEY"), 3)

    def test_the_parser_of_prometheus_reads_what_this_one_does(self):
        self.write('quo"te', b"x")
        self.vault.ok("rotate", self.mnt)
        if subprocess.run([PYTHON, "-c", "import prometheus_client"], capture_output=True).returncode:
            self.skipTest("prometheus_client isn't installed: scripts/test.sh does")
        text = self.text()
        parsed = json.loads(subprocess.run([PYTHON, "-c", PARSE], input=text, stdout=subprocess.PIPE, text=True, check=True).stdout)
        self.assertEqual([(name, labels, value) for name, labels, value, *_ in parsed], parse(text))
        for name, _, _, kind, help_text in parsed:
            self.assertIn(kind, ("gauge", "counter", "histogram"), name)
            self.assertTrue(help_text, name)
            self.assertEqual(kind == "counter", name.endswith("_total"), name)

    def test_the_example_alerts_are_yaml_with_a_summary_and_a_severity_each(self):
        if subprocess.run([PYTHON, "-c", "import yaml"], capture_output=True).returncode:
            self.skipTest("PyYAML isn't installed: scripts/test.sh does")
        rules = ROOT / "packaging" / "prometheus" / "rekeyfs.rules.yml"
        load = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))"
        loaded = json.loads(subprocess.run([PYTHON, "-c", load, rules], stdout=subprocess.PIPE, text=True, check=True).stdout)
        [group] = loaded["groups"]
        for rule in group["rules"]:
            self.assertEqual(rule.keys() - {"for"}, {"alert", "expr", "labels", "annotations"})
            self.assertIn(rule["labels"]["severity"], ("warning", "critical"))
            self.assertEqual(rule["annotations"].keys(), {"summary", "description"})
            self.assertIsInstance(rule["expr"], str)

    def test_a_dead_mount_and_a_vault_that_is_not_mounted_are_down(self):
        vault_id = json.loads(self.vault.ok("status", self.mnt, "--json"))["vault_id"]
        ours = {"vault": vault_id, "mountpoint": str(self.mnt)}
        self.assertEqual(self.value("rekeyfs_up", parse(self.text("--all")), **ours), 1)
        # The mount is told of once, whatever else names it.
        samples = parse(self.text("--all", self.mnt, self.vault.path))
        self.assertEqual(self.value("rekeyfs_up", samples, vault=vault_id), 1)
        self.vault.kill()
        samples = parse(self.text("--all", self.vault.path))
        ours_only = [(name, labels, value) for name, labels, value in samples if labels["vault"] == vault_id]
        expected = ("rekeyfs_expected_up", {**ours, "path": str(self.vault.path)}, 0)
        self.assertEqual(ours_only, [("rekeyfs_up", ours, 0), expected])
        refused = self.vault.run("status", self.mnt, "--output", "prometheus")
        self.assertNotEqual(refused.returncode, 0)
        self.vault.ok("umount", self.mnt)

        out = self.dir / "rekeyfs.prom"
        missing = self.dir / "none"
        done = self.vault.run("status", "--all", self.vault.path, missing, "--output", "prometheus", "--output-file", out)
        self.assertNotEqual(done.returncode, 0)
        [line] = done.stderr.splitlines()
        self.assertIn(str(missing), line)
        samples = parse(out.read_text())
        self.assertEqual(self.value("rekeyfs_up", samples, vault=vault_id, mountpoint=""), 0)
        self.assertGreater(self.value("rekeyfs_lower_free_bytes", samples, vault=vault_id), 0)
        self.assertIsNone(self.value("rekeyfs_keyring_generation", samples, vault=vault_id), "no secret was given")
        with_secret = parse(self.text(self.vault.path, "--passfile", self.vault.passfile))
        self.assertEqual(self.value("rekeyfs_keyring_generation", with_secret, vault=vault_id), 1)
        self.assertEqual([name for name in os.listdir(self.dir) if name.startswith(".")], [], "nothing unfinished is left")

        # Each reason once, also where the file can't be written.
        absent = self.dir / "no/file.prom"
        done = self.vault.run("status", "--all", missing, self.dir, "--output", "prometheus", "--output-file", absent)
        self.assertNotEqual(done.returncode, 0)
        said = [line.removeprefix("rekeyfs: ").split(":")[0] for line in done.stderr.splitlines()]
        self.assertEqual(said, [str(missing), str(self.dir), str(absent)])

    def test_what_should_be_mounted_is_up_or_down_whatever_became_of_it(self):
        def expected(path, args=None):
            done = self.vault.run("status", "--all", *(args or [path]), "--output", "prometheus")
            found = [(labels, value) for name, labels, value in parse(done.stdout) if name == "rekeyfs_expected_up"]
            return [(labels["vault"] != "", labels["mountpoint"], value) for labels, value in found if labels["path"] == str(path)]

        up = [(True, str(self.mnt), 1)]
        for path in (self.vault.path, self.mnt, self.mnt / "."):
            self.assertEqual(expected(path), up)
        self.assertEqual(expected(self.mnt, [self.dir / "none", self.mnt, self.mnt]), up, "beside one that is none")
        self.assertEqual(self.value("rekeyfs_expected_up", parse(self.text())), None, "only beside --all")
        self.vault.umount()
        self.assertEqual(expected(self.vault.path), [(True, "", 0)])
        # The mountpoint of a mount that is gone, and of the vault's disk.
        for path in (self.mnt, self.dir / "none"):
            self.assertEqual(expected(path), [(False, "", 0)])

    def test_how_far_the_key_backup_is_behind_shows(self):
        samples = parse(self.text())
        self.assertEqual(self.value("rekeyfs_key_backup_known", samples), 0)
        self.assertIsNone(self.value("rekeyfs_key_backup_lag_generations", samples))
        self.vault.ok("key-backup", "export", self.mnt, self.dir / "backup", "--passfile", self.vault.passfile,
                      "--backup-passfile", self.vault.passfile, "--kdf-memory", "8")  # fmt: skip
        samples = parse(self.text())
        self.assertEqual(self.value("rekeyfs_key_backup_known", samples), 1)
        self.assertEqual(self.value("rekeyfs_key_backup_lag_versions", samples), 0)
        before = self.value("rekeyfs_key_backup_lag_generations", samples)
        self.vault.ok("rotate", self.mnt)
        samples = parse(self.text())
        self.assertEqual(self.value("rekeyfs_key_backup_lag_versions", samples), 1)
        self.assertEqual(self.value("rekeyfs_key_backup_lag_generations", samples), before + 1)
        self.assertEqual(self.value("rekeyfs_key_backups_failing", samples), 0)

    def test_options_that_do_not_fit_are_refused(self):
        for args in (["--all"], [self.mnt, "--all", "--output", "json"], [self.mnt, "--output-file", self.dir / "f"],
                     [self.mnt, "--output", "text", "--output-file", self.dir / "f"],
                     ["--all", "--count", "--output", "prometheus"]):  # fmt: skip
            self.assertEqual(self.vault.run("status", *args).returncode, 2, args)
        self.assertFalse((self.dir / "f").exists())


class OfUsers(UserMountTest):
    def test_root_sees_the_mount_of_a_user_and_another_user_does_not(self):
        # Without a runtime directory of the session it lies where root looks too.
        self.shell_ok("unset XDG_RUNTIME_DIR; $R mount vault mnt --passfile passphrase")
        self.addCleanup(self.shell, "unset XDG_RUNTIME_DIR; $R umount mnt")

        def ups(text):
            return [line for line in text.splitlines() if line.startswith("rekeyfs_up{") and str(self.mnt) in line]

        [up] = ups(self.shell_ok("unset XDG_RUNTIME_DIR; $R status --all --output prometheus"))
        self.assertTrue(up.endswith(" 1"), up)
        of_root = subprocess.run([self.bin, "status", "--all", "--output", "prometheus"], capture_output=True, text=True)
        self.assertEqual(ups(of_root.stdout), [up], of_root.stderr)
        others = as_user(f"{self.bin} status --all --output prometheus", uid=NOT_NOBODY)
        self.assertEqual((others.returncode, others.stdout), (0, ""), others.stderr)
        refused = as_user(f"{self.bin} status {self.mnt} --output prometheus", uid=NOT_NOBODY)
        self.assertNotEqual(refused.returncode, 0)
        self.assertEqual(refused.stdout, "")


NOT_NOBODY = 12345
