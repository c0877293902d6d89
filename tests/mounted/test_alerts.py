"""The example alerts (packaging/prometheus/rekeyfs.rules.yml), evaluated by Prometheus' own promtool on series as
`rekeyfs status --output prometheus` prints them: each fires when it should, and nothing fires beside it."""

import json
import os
import re
import shutil
import subprocess
import time

from harness import ROOT, TARGET, MountedTest

RULES = ROOT / "packaging" / "prometheus" / "rekeyfs.rules.yml"
# scripts/test.sh puts it there, out of Debian's package.
PROMTOOL = shutil.which("promtool") or str(TARGET / "tools" / "promtool" / "usr" / "bin" / "promtool")
SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)")
SCRAPED = 'instance="host:9100",job="node"'
MINUTE, HOUR, DAY = 60, 3600, 86400


def spelled(seconds):
    """A time as promtool reads it."""
    return f"{seconds // MINUTE}m"


class Alerts(MountedTest):
    def setUp(self):
        if not os.access(PROMTOOL, os.X_OK):
            self.skipTest("promtool isn't installed: scripts/test.sh does")
        super().setUp()
        self.whose = f'vault="{self.vault.status()["vault_id"]}"'

    def promtool(self, *args, stdin=None):
        done = subprocess.run([PROMTOOL, *map(str, args)], input=stdin, capture_output=True, text=True, cwd=self.dir)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def series(self, *args):
        """What Prometheus has of a run of the command: the values by series, without those of other mounts of this machine.
        Promtool's time begins at 0, so times are counted from now on."""
        text = self.vault.ok("status", *args, "--output", "prometheus")
        self.assertNotIn("error", self.promtool("check", "metrics", stdin=text))
        now, found = time.time(), {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name, labels, value = SAMPLE.fullmatch(line).groups()
                if self.whose not in labels:
                    continue
                value = float(value) - (now if name.endswith("_timestamp_seconds") else 0)
                found[f"{name}{{{labels},{SCRAPED}}}"] = f"{value:f}+0x"
        # The collector's own, of a file that is written each minute.
        found[f'node_textfile_mtime_seconds{{file="/var/lib/prometheus/node-exporter/rekeyfs.prom",{SCRAPED}}}'] = "0+{step}x"
        return found

    def changed(self, series, change):
        """The series with other values, by a pattern that finds one of them."""
        changed = dict(series)
        for pattern, value in change.items():
            found = [name for name in series if re.match(pattern, name)]
            self.assertEqual(len(found), 1, f"{pattern}: {found}")
            changed[found[0]] = value
        return changed

    def evaluate(self, cases):
        """Has promtool evaluate cases of (name, series, step, {time: labels of the alerts that fire})."""
        files = []
        for at, (name, series, step, expected) in enumerate(cases):
            count = max(expected) // step
            tests = [
                {"expr": 'ALERTS{alertstate="firing"}', "eval_time": spelled(when), "exp_samples": [
                    {"labels": f'ALERTS{{alertstate="firing",{labels}}}', "value": 1} for labels in firing
                ]}
                for when, firing in expected.items()
            ]  # fmt: skip
            values = [{"series": each, "values": value.format(step=step) + str(count)} for each, value in series.items()]
            file = self.dir / f"{at}-{name}.json"
            file.write_text(json.dumps({
                "rule_files": [str(RULES)], "evaluation_interval": spelled(step),
                "tests": [{"name": name, "interval": spelled(step), "input_series": values, "promql_expr_test": tests}],
            }))  # fmt: skip
            files.append(file)
        self.promtool("test", "rules", *files)

    def test_each_alert_fires_when_it_should_and_no_other_one_does(self):
        self.promtool("check", "rules", RULES)
        self.vault.ok("key-backup", "export", self.mnt, self.dir / "backup", "--passfile", self.vault.passfile,
                      "--backup-passfile", self.vault.passfile, "--kdf-memory", "8")  # fmt: skip
        self.write("a", b"x" * 5000, fsync=True)
        [alias] = [alias for alias in self.vault.status()["aliases"] if alias["alias"] == "alias/default"]
        self.kms("enable-key-rotation", "--key-id", alias["key_id"])
        doomed = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("schedule-key-deletion", "--key-id", doomed, "--pending-window-in-days", "7")
        self.vault.ok("key-backup", "export", self.mnt, self.dir / "backup2", "--passfile", self.vault.passfile,
                      "--backup-passfile", self.vault.passfile, "--kdf-memory", "8")  # fmt: skip
        healthy = self.series(self.mnt)
        whose = f'{self.whose},mountpoint="{self.mnt}",{SCRAPED}'
        of_alias = f'alias="alias/default",{whose}'
        of_key = f'key_id="{alias["key_id"]}",{of_alias}'

        def summed(labels):
            """Of rules that gather series: their labels have no job."""
            return labels.replace(',job="node"', "")

        cases = [("healthy", healthy, MINUTE, {6 * HOUR: []})]

        def case(name, change, before, after, labels, *, step=MINUTE, severity="warning", series=healthy):
            """The alert doesn't fire at the time `before`, and does at `after`, both in seconds."""
            fires = [f'alertname="{name}",severity="{severity}",{labels}']
            cases.append((name, self.changed(series, change), step, {before: [], after: fires}))

        case("RekeyfsDamage", {r'rekeyfs_damage_total.*part="page"': "0+0x9 1+0x"}, 9 * MINUTE, 10 * MINUTE,
             f'part="page",{whose}', severity="critical")  # fmt: skip
        case("RekeyfsUnusableFiles", {'rekeyfs_files_unusable.*why="disabled"': "3+0x"}, 9 * MINUTE, 10 * MINUTE,
             f'why="disabled",{whose}')  # fmt: skip
        case("RekeyfsRotationOverdue", {"rekeyfs_key_next_rotation_timestamp_seconds.*alias=.alias/default": "0+0x"}, HOUR + 10 * MINUTE,
             HOUR + 12 * MINUTE, of_key)  # fmt: skip
        case("RekeyfsTimerRotationOverdue", {r"rekeyfs_key_version_created_timestamp_seconds.*alias=.alias/default": "0+0x",
             "rekeyfs_key_deletion_timestamp_seconds": "99999999+0x"}, 35 * DAY + HOUR,
             35 * DAY + 2 * HOUR, summed(of_alias), step=HOUR)  # fmt: skip
        case("RekeyfsKeyBackupBehind", {"rekeyfs_key_backup_lag_versions": "1+0x"}, HOUR - MINUTE, HOUR, whose)
        case("RekeyfsKeyBackupBehind", {"rekeyfs_key_backups_failing": "1+0x"}, HOUR - MINUTE, HOUR, whose)
        case("RekeyfsNoKeyBackup", {"rekeyfs_key_backup_known": "0+0x"}, DAY - 10 * MINUTE, DAY, whose, step=10 * MINUTE)
        old = {name.replace('use="current"', 'use="old"'): value for name, value in healthy.items() if name.startswith("rekeyfs_files{")}
        case("RekeyfsFilesOnOldVersions", {"rekeyfs_key_deletion_timestamp_seconds": "99999999+0x"}, 30 * DAY - HOUR, 30 * DAY,
             summed(of_key), step=HOUR, series={**healthy, **old})  # fmt: skip
        case("RekeyfsRewrapFails", {'rekeyfs_rewrap_files_total.*outcome="failed"': "0+1x"}, 6 * HOUR - 10 * MINUTE,
             6 * HOUR + 10 * MINUTE, f'outcome="failed",{whose}', step=10 * MINUTE)  # fmt: skip
        case("RekeyfsKeyDeletionNear", {"rekeyfs_key_deletion_timestamp_seconds": f"{4 * DAY}+0x"}, DAY - HOUR, DAY + HOUR,
             f'key_id="{doomed}",alias="",{whose}', step=10 * MINUTE)  # fmt: skip
        for waits in ("rekeyfs_events_waiting", "rekeyfs_events_lost"):
            case("RekeyfsEventsWaiting", {waits: "1+0x"}, 4 * MINUTE, 5 * MINUTE, whose, severity="critical")
        case("RekeyfsLowerSpace", {"rekeyfs_lower_free_bytes": "4+0x", "rekeyfs_lower_size_bytes": "100+0x"}, 9 * MINUTE,
             10 * MINUTE, whose)  # fmt: skip
        case("RekeyfsLowerInodes", {"rekeyfs_lower_free_inodes": "4+0x", "rekeyfs_lower_inodes": "100+0x"}, 9 * MINUTE,
             10 * MINUTE, whose)  # fmt: skip
        case("RekeyfsMetricsOld", {"node_textfile_mtime_seconds": "0+0x"}, 15 * MINUTE, 16 * MINUTE,
             f'file="/var/lib/prometheus/node-exporter/rekeyfs.prom",{SCRAPED}')  # fmt: skip
        # A filesystem without a bound of inodes.
        unbounded = {"rekeyfs_lower_free_inodes": "0+0x", "rekeyfs_lower_inodes": "0+0x"}
        cases.append(("no bound of inodes", self.changed(healthy, unbounded), MINUTE, {HOUR: []}))

        def down(name, args, labels):
            cases.append((name, self.series(*args), MINUTE, {2 * MINUTE: [], 4 * MINUTE: [f'alertname="{name}",severity="critical",{labels}']}))

        self.vault.kill()
        down("RekeyfsDown", ["--all", self.vault.path], whose)
        self.vault.ok("umount", self.mnt)
        down("RekeyfsDown", ["--all", self.vault.path], f'{self.whose},mountpoint="",{SCRAPED}')
        # The directory on which the vault's disk would be mounted.
        gone = self.dir / "gone"
        gone.mkdir()
        out = self.dir / "rekeyfs.prom"
        done = self.vault.run("status", "--all", gone, "--output", "prometheus", "--output-file", out)
        self.assertNotEqual(done.returncode, 0)
        missing = f'rekeyfs_expected_up{{vault="",mountpoint="",path="{gone}"}}'
        self.assertIn(f"{missing} 0\n", out.read_text())
        labels = f'vault="",mountpoint="",path="{gone}",{SCRAPED}'
        cases.append(("RekeyfsVaultMissing", {f"rekeyfs_expected_up{{{labels}}}": "0+0x"}, MINUTE,
                      {2 * MINUTE: [], 4 * MINUTE: [f'alertname="RekeyfsVaultMissing",severity="critical",{labels}']}))  # fmt: skip

        alerts = re.findall(r"alert: (\w+)", RULES.read_text())
        self.assertEqual(set(alerts), {name for name, *_ in cases if name.startswith("Rekeyfs")}, "each alert has a case")
        self.evaluate(cases)
