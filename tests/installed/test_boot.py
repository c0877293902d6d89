"""Mounts under a real systemd: at boot, on demand, rotated, killed, stuck, and at shutdown. One machine, two boots."""

import json
import os
import stat
import time
import unittest

from machine import Machine

EXAMPLES = "/usr/share/doc/rekeyfs/examples"
PASSPHRASE = "a passphrase for the tests\n"

READS_AT_BOOT = """\
[Unit]
Requires=rekeyfs@data.service
After=rekeyfs@data.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/cp /srv/data/file /root/read-at-boot
[Install]
WantedBy=multi-user.target
"""

# Stands for a program that nobody has put into an order: it has a file open when the machine is shut down, and writes to it
# after the mount was asked to end.
HOLDER = """#!/bin/bash
cd /srv/data
exec 3>held
echo first >&3
trap 'sleep 1 3>&-; echo last words >&3; exit' TERM
touch /run/holder-is-ready
while :; do sleep 0.1 3>&-; done
"""


class TestSystemd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = machine = Machine("TestSystemd")
        cls.addClassCleanup(machine.close)
        cls.open_device_to_users()
        names = ("data", "wrong", "hidden", "auto", "timed")
        for name in names:
            machine.write(f"/etc/credstore/rekeyfs.{name}", PASSPHRASE, 0o600)
            machine.write(
                f"/etc/rekeyfs/{name}.conf", f"VAULT=/srv/vault-{name}\nMOUNTPOINT=/srv/{name}\nOPTIONS=--allow-other --no-rewrap\n"
            )
        machine.ok("set -e;" + "".join(map(cls.make_vault, names)))
        machine.write("/etc/credstore/rekeyfs.wrong", "another passphrase\n", 0o600)
        os.unlink(machine.path("/etc/credstore/rekeyfs.hidden"))
        machine.write("/etc/fstab", "/srv/vault-auto /srv/auto fuse.rekeyfs passfile=/etc/credstore/rekeyfs.auto,allow_other,"
                      "noauto,nofail,x-systemd.automount,x-systemd.idle-timeout=1 0 0\n")  # fmt: skip
        machine.write("/etc/systemd/system/reads-at-boot.service", READS_AT_BOOT)
        machine.write("/usr/local/bin/holder", HOLDER, 0o755)
        # Its rotation fell due while the machine was off; the day on which it last ran is the time of this file.
        stamp = "/var/lib/systemd/timers/stamp-rekeyfs-rotate@timed.timer"
        machine.write("/etc/systemd/system/rekeyfs-rotate@timed.timer.d/at-once.conf", "[Timer]\nRandomizedDelaySec=0\n")
        machine.ok(f"mkdir -p $(dirname {stamp}); touch --date='40 days ago' {stamp}")
        machine.ok("systemctl enable rekeyfs@data rekeyfs@wrong rekeyfs@timed rekeyfs-rotate@data.timer rekeyfs-rotate@timed.timer "
                   "reads-at-boot")  # fmt: skip
        machine.boot()

    @staticmethod
    def make_vault(name):
        """The commands that make one with a file in it."""
        secret = f"--passfile /etc/credstore/rekeyfs.{name}"
        return (
            f"mkdir -p /srv/{name}; rekeyfs init /srv/vault-{name} {secret} --kdf-memory 8 --no-recovery-key;"
            f"rekeyfs mount /srv/vault-{name} /srv/{name} {secret}; echo of {name} > /srv/{name}/file; rekeyfs umount /srv/{name};"
        )

    @classmethod
    def open_device_to_users(cls):
        """The machine has this host's device, where no udev may have opened it to users."""
        mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
        if not mode & stat.S_IWOTH:
            os.chmod("/dev/fuse", 0o666)
            cls.addClassCleanup(os.chmod, "/dev/fuse", mode)

    def show(self, unit, *properties):
        """Properties of a unit, as a dictionary."""
        printed = self.machine.ok(f"systemctl show {unit} --property={','.join(properties)}")
        return dict(line.split("=", 1) for line in printed.splitlines())

    def wait_for(self, unit, **properties):
        """Waits until the unit's properties are these."""
        lines = "; ".join(
            f'[ "$(systemctl show {unit} --value --property={name})" = "{value}" ] || exit 1' for name, value in properties.items()
        )
        self.machine.wait_until(f"({lines})")

    def mounts(self, mountpoint):
        return [line for line in self.machine.ok("cat /proc/mounts").splitlines() if f" {mountpoint} fuse.rekeyfs " in line]

    def version(self, mountpoint):
        return json.loads(self.machine.ok(f"rekeyfs status {mountpoint} --json"))["aliases"][0]["version"]

    def test_a_service_after_the_mount_reads_from_it_at_boot(self):
        self.assertEqual(self.machine.read("/root/read-at-boot"), "of data\n")
        shown = self.show("rekeyfs@data", "ActiveState", "StatusText", "ActiveEnterTimestampMonotonic")
        self.assertEqual(shown["ActiveState"], "active")
        self.assertEqual(shown["StatusText"], "/srv/vault-data is mounted at /srv/data")
        started = self.show("reads-at-boot", "ExecMainStartTimestampMonotonic")["ExecMainStartTimestampMonotonic"]
        self.assertGreater(int(started), int(shown["ActiveEnterTimestampMonotonic"]), "it waited for READY=1")

    def test_a_wrong_passphrase_fails_once_and_says_why(self):
        shown = self.show("rekeyfs@wrong", "ActiveState", "Result", "ExecMainStatus", "NRestarts", "StatusText")
        self.assertEqual(shown["ActiveState"], "failed")
        self.assertEqual((shown["Result"], shown["ExecMainStatus"], shown["NRestarts"]), ("exit-code", "12", "0"))
        self.assertEqual(shown["StatusText"], "/srv/vault-wrong: wrong passphrase")
        said = self.machine.journal("rekeyfs@wrong")
        self.assertEqual(said.count("/srv/vault-wrong: wrong passphrase"), 1, said)

    def test_a_killed_daemon_comes_back(self):
        before = self.show("rekeyfs@data", "MainPID", "NRestarts")
        self.machine.ok("echo synced > /srv/data/synced; sync /srv/data/synced; systemctl kill --signal=KILL rekeyfs@data")
        self.wait_for("rekeyfs@data", NRestarts=int(before["NRestarts"]) + 1, ActiveState="active")
        self.assertEqual(self.machine.ok("cat /srv/data/synced"), "synced\n")
        self.assertEqual(len(self.mounts("/srv/data")), 1, "the dead mount is gone")
        self.assertNotEqual(self.show("rekeyfs@data", "MainPID")["MainPID"], before["MainPID"])

    def test_a_daemon_that_does_not_answer_is_replaced(self):
        dropin = "/run/systemd/system/rekeyfs@data.service.d/watchdog.conf"
        self.machine.ok(f"mkdir -p $(dirname {dropin}); printf '[Service]\\nWatchdogSec=3s\\nRestartSec=100ms\\n' > {dropin}; "
                        "systemctl daemon-reload; systemctl restart rekeyfs@data")  # fmt: skip
        before = int(self.show("rekeyfs@data", "NRestarts")["NRestarts"])
        # It answers for longer than it may be silent.
        self.machine.ok("sleep 4.5")
        self.assertEqual(int(self.show("rekeyfs@data", "NRestarts")["NRestarts"]), before)
        self.machine.ok("kill -STOP $(systemctl show --value --property=MainPID rekeyfs@data)")
        self.wait_for("rekeyfs@data", NRestarts=before + 1, ActiveState="active")
        self.assertIn("Failed with result 'watchdog'", self.machine.journal("rekeyfs@data"))
        self.assertEqual(self.machine.ok("cat /srv/data/file"), "of data\n")
        self.machine.ok(f"rm {dropin}; systemctl daemon-reload; systemctl reset-failed rekeyfs@data")

    def test_the_rotation_of_a_mount(self):
        before = self.version("/srv/data")
        self.machine.ok("systemctl start rekeyfs-rotate@data")
        self.assertEqual(self.version("/srv/data"), before + 1)
        timer = self.show("rekeyfs-rotate@data.timer", "ActiveState", "NextElapseUSecRealtime")
        self.assertEqual(timer["ActiveState"], "active", "it was started with the mount")
        self.assertTrue(timer["NextElapseUSecRealtime"])
        self.machine.ok(f"mkdir -p /run/systemd/system/rekeyfs-rotate@data.service.d; "
                        f"cp {EXAMPLES}/rewrap.conf /run/systemd/system/rekeyfs-rotate@data.service.d; systemctl daemon-reload; "
                        "systemctl start rekeyfs-rotate@data")  # fmt: skip
        inspected = json.loads(self.machine.ok("rekeyfs inspect /srv/data/file --json"))
        self.assertEqual(inspected["version"], before + 2, "the mount re-wraps nothing by itself, so the sweep did")
        # A vault that isn't mounted stays so.
        self.assertNotEqual(self.machine.run("systemctl start rekeyfs-rotate@hidden").returncode, 0)
        self.assertEqual(self.mounts("/srv/hidden"), [])

    def wait_for_version(self, mountpoint, least):
        """Waits until a rotation has made this version, or a later one; returns the version that is current then."""
        end = time.monotonic() + 90
        while (version := self.version(mountpoint)) < least:
            self.assertLess(time.monotonic(), end, f"{mountpoint} has version {version}")
            time.sleep(0.2)
        return version

    def test_a_rotation_that_fell_due_is_made_by_the_timer_and_the_next_one_at_its_time(self):
        self.assertEqual(self.wait_for_version("/srv/timed", 2), 2)
        self.wait_for("rekeyfs-rotate@timed", ActiveState="inactive")
        shown = self.show("rekeyfs-rotate@timed", "Result", "TriggeredBy")
        self.assertEqual(shown, {"Result": "success", "TriggeredBy": "rekeyfs-rotate@timed.timer"})
        # What comes next by the calendar, which has each second now.
        self.machine.write("/etc/systemd/system/rekeyfs-rotate@timed.timer.d/soon.conf",
                           "[Timer]\nOnCalendar=\nOnCalendar=*:*:*\nAccuracySec=1ms\n")  # fmt: skip
        self.machine.ok("systemctl daemon-reload; systemctl restart rekeyfs-rotate@timed.timer")
        self.wait_for_version("/srv/timed", 3)
        self.machine.ok("systemctl stop rekeyfs-rotate@timed.timer")
        self.wait_for("rekeyfs-rotate@timed", ActiveState="inactive")
        self.assertEqual(self.show("rekeyfs-rotate@timed", "Result")["Result"], "success")
        version = self.version("/srv/timed")
        events = [json.loads(line) for line in self.machine.ok("rekeyfs events /srv/timed --json").splitlines()]
        rotated = [event["detail"]["version"] for event in events if event["detail-type"] == "KMS CMK Rotation"]
        self.assertEqual(rotated, list(range(2, version + 1)))
        # New files use the new version, and those of the old one can be read.
        self.machine.ok("echo new > /srv/timed/new")
        self.assertEqual(json.loads(self.machine.ok("rekeyfs inspect /srv/timed/new --json"))["version"], version)
        self.assertEqual(self.machine.ok("cat /srv/timed/file"), "of timed\n")

    def need_automounts(self):
        if not os.path.exists("/dev/autofs"):
            self.skipTest("this host has no /dev/autofs")

    def test_a_mount_on_demand_and_its_end(self):
        self.need_automounts()
        self.assertEqual(self.mounts("/srv/auto"), [])
        self.assertEqual(self.machine.ok("cat /srv/auto/file"), "of auto\n")
        self.assertEqual(len(self.mounts("/srv/auto")), 1)
        self.machine.wait_until("! grep ' /srv/auto fuse.rekeyfs ' /proc/mounts")
        self.assertEqual(self.machine.ok("cat /srv/auto/file"), "of auto\n", "and again")

    def test_a_missing_credential_is_named_by_the_line_that_loads_it(self):
        name = "rekeyfs@lacking"
        self.machine.write("/etc/rekeyfs/lacking.conf", "VAULT=/srv/vault-wrong\nMOUNTPOINT=/srv/wrong\n")
        self.assertNotEqual(self.machine.run(f"systemctl start {name}").returncode, 0)
        shown = self.show(name, "ExecMainStatus", "StatusText")
        self.assertEqual(shown["ExecMainStatus"], "9")
        for part in (f"{name}.service has no credential rekeyfs.lacking", "LoadCredential=rekeyfs.lacking", "/etc/credstore/rekeyfs.lacking;"):
            self.assertIn(part, shown["StatusText"])

    def test_a_vault_that_is_not_there_is_told_in_the_status(self):
        name = "rekeyfs@nowhere"
        self.machine.write("/etc/rekeyfs/nowhere.conf", "VAULT=/srv/nowhere\nMOUNTPOINT=/srv/wrong\n")
        self.assertNotEqual(self.machine.run(f"systemctl start {name}").returncode, 0)
        shown = self.show(name, "ExecMainStatus", "StatusText")
        self.assertEqual(shown["ExecMainStatus"], "6")
        self.assertIn("/srv/nowhere: no such directory", shown["StatusText"])

    def test_an_encrypted_credential(self):
        made = self.machine.run(
            f"mkdir -p /etc/credstore.encrypted; echo '{PASSPHRASE.strip()}' | "
            "systemd-creds encrypt --name=rekeyfs.hidden - /etc/credstore.encrypted/rekeyfs.hidden"
        )
        self.assertEqual(made.returncode, 0, made.stderr)
        refused = self.machine.run("systemctl start rekeyfs@hidden")
        self.assertNotEqual(refused.returncode, 0, "it has no credential that it may read")
        self.assertEqual(self.show("rekeyfs@hidden", "ExecMainStatus")["ExecMainStatus"], "9")
        self.machine.ok(f"mkdir -p /run/systemd/system/rekeyfs@hidden.service.d; sed s/rekeyfs.data/rekeyfs.hidden/ "
                        f"{EXAMPLES}/encrypted-credential.conf > /run/systemd/system/rekeyfs@hidden.service.d/encrypted.conf; "
                        "systemctl daemon-reload; systemctl start rekeyfs@hidden")  # fmt: skip
        self.assertEqual(self.machine.ok("cat /srv/hidden/file"), "of hidden\n")
        self.machine.ok("systemctl stop rekeyfs@hidden")
        self.assertEqual(self.mounts("/srv/hidden"), [])

    def test_the_example_of_a_mount_unit(self):
        self.need_automounts()
        self.machine.ok(
            "mkdir -p /srv/plain; for unit in mount automount; do sed 's,/srv/vault,/srv/vault-hidden,; s,rekeyfs.data,unit,' "
            f"{EXAMPLES}/srv-plain.$unit > /run/systemd/system/srv-plain.$unit; done; "
            f"(umask 077; echo '{PASSPHRASE.strip()}' > /etc/credstore/unit); systemctl daemon-reload; systemctl start srv-plain.automount"
        )
        self.assertEqual(self.mounts("/srv/plain"), [])
        self.assertEqual(self.machine.ok("cat /srv/plain/file"), "of hidden\n")
        self.machine.ok("systemctl stop srv-plain.automount srv-plain.mount")
        self.assertEqual(self.mounts("/srv/plain"), [])
        # umount(8) doesn't wait for the daemon, which empties the lock when everything is on disk.
        self.machine.wait_until("test -e /srv/vault-hidden/lock -a ! -s /srv/vault-hidden/lock")

    def test_a_users_own_mount(self):
        self.machine.ok("useradd --create-home ann; loginctl enable-linger ann")
        self.machine.wait_until("test -S /run/user/$(id -u ann)/systemd/private")
        # Its manager has begun; what it starts and stops by itself comes first.
        self.machine.run("systemctl --user is-system-running --wait", user="ann")
        secret = ".config/rekeyfs/docs.passphrase"
        self.machine.ok(
            f"mkdir -p .config/rekeyfs docs; (umask 077; echo pass > {secret}); "
            "printf 'VAULT=%s\\nMOUNTPOINT=%s\\n' ~/vault ~/docs > .config/rekeyfs/docs.conf; "
            f"rekeyfs init vault --passfile {secret} --kdf-memory 8 --no-recovery-key; systemctl --user start rekeyfs@docs",
            user="ann",
        )
        done = self.machine.run("echo hers > docs/file; rekeyfs status docs && systemctl --user is-active rekeyfs@docs", user="ann")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + self.machine.journal()[-4000:])
        self.machine.ok("systemctl --user stop rekeyfs@docs", user="ann")
        self.assertEqual(self.machine.ok("ls docs", user="ann"), "")

    def test_zz_a_shutdown_loses_nothing_of_a_program_that_still_writes(self):
        """The last: the machine is shut down, and booted again."""
        self.machine.ok("systemd-run --quiet --unit=holder /usr/local/bin/holder")
        self.machine.wait_until("test -e /run/holder-is-ready")
        self.machine.ok("echo unsynced > /srv/data/unsynced")
        self.machine.poweroff()
        self.assertEqual(self.machine.read("/srv/vault-data/lock"), "", "no process holds the vault")
        self.assertIn("Vault Unmounted", self.machine.read("/srv/vault-data/events.jsonl").splitlines()[-1])
        os.unlink(self.machine.path("/root/read-at-boot"))
        self.machine.boot()
        self.assertEqual(self.machine.read("/root/read-at-boot"), "of data\n")
        self.assertEqual(self.machine.ok("cat /srv/data/unsynced"), "unsynced\n")
        self.assertEqual(self.machine.ok("cat /srv/data/held"), "first\nlast words\n")
        self.machine.ok("rekeyfs fsck /srv/data")
