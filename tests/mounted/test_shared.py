"""Vaults that several hosts share: members, their leases, and what becomes of a mount whose lease is over. Hosts are UTS namespaces, the
filesystem that they share is bindfs under a cluster's name, as in test_hosts.py; leases of a fraction of a second, and stops between a check and its
call, are in tests/lease.rs."""

import json
import os
import signal
import subprocess

from harness import is_gone, is_killed, wait_until
from test_hosts import IN_USE, Hosts

LEASE = 10
# A kernel and a machine that is busy may be a little late.
LATE = 5


class Shared(Hosts):
    def features(self, vault):
        return json.loads(vault.ok("info", vault.path, "--json"))["features"]

    def members(self, vault):
        return [(row["host"], row["writer"], row["holds_slot"]) for row in self.hosts(vault)["members"]]

    def pid_of_bindfs(self):
        return int(subprocess.run(["pgrep", "-f", f"bindfs .*{self.dir.name}|bindfs .*real below"], capture_output=True, text=True).stdout.split()[0])

    def test_a_vault_that_was_shared_once_stays_so_and_has_one_writer(self):
        self.assertNotIn("shared", self.features(self.one))
        self.one.mount()
        self.assertEqual((self.features(self.one), self.hosts(self.two)["members"], self.one.status()["mount"]["shared"]), ([], [], False))
        self.assertFalse((self.one.path / "hosts").exists())
        self.one.umount()
        self.one.mount("--shared")
        self.assertEqual(self.features(self.two), ["shared"])
        self.assertTrue(self.one.status()["mount"]["shared"])
        self.assertIn(", shared)", self.one.ok("status", self.one.mnt))
        self.assertEqual(self.members(self.two), [("one", True, True)])
        self.assertRegex(self.two.ok("hosts", self.two.path), r"one: process \d+ in slot 00 writes, renewed its lease \d+ s ago")
        self.assertRefused(self.two.try_mount("--shared"), "another host (one)", status=IN_USE)
        (self.one.mnt / "f").write_text("of one")
        before = self.hosts(self.two)["members"][0]
        self.assertEqual(self.one.rotate()["new_version"], 2)
        self.assertTrue(wait_until(lambda: self.hosts(self.two)["members"][0]["beat"] > before["beat"], LEASE))
        self.assertTrue(wait_until(lambda: self.hosts(self.two)["members"][0]["generation"] > before["generation"], LEASE))
        self.one.umount()
        self.assertEqual(self.members(self.two), [])
        # Without the option, too; the bit was set once.
        self.two.mount()
        self.assertTrue(self.two.status()["mount"]["shared"])
        self.assertEqual(self.members(self.one), [("two", True, True)])
        self.assertEqual((self.two.mnt / "f").read_text(), "of one")
        self.assertEqual(len(self.two.events("Vault Shared")), 1)
        self.two.umount()
        # Nobody is waited for.
        self.assertEqual(self.two.rotate()["new_version"], 3)
        self.assertEqual(self.two.events("Keyring Change Unconfirmed"), [])
        self.two.ok("fsck", self.two.path, "--passfile", self.two.passfile)
        self.two.ok("events", self.two.path, "--verify", "--passfile", self.two.passfile)

    def test_bytes_that_nobody_with_the_key_wrote_end_no_mount(self):
        self.one.mount("--shared")
        pid, slot = self.one.pid, self.below / "vault" / "hosts" / "00"
        record = slot.read_bytes()
        slot.write_bytes(record[:100] + b"x" + record[101:])
        # The next renewal puts it right.
        self.assertTrue(wait_until(lambda: slot.read_bytes()[100:101] != b"x", LEASE))
        self.assertFalse(is_gone(pid))
        self.assertEqual(self.members(self.two), [("one", True, True)])

    def serve(self, vault):
        """Mounts it shared in the foreground; where its lines go."""
        log = vault.base / "log"
        with open(log, "wb") as out:
            daemon = subprocess.Popen(
                vault.command("mount", vault.path, vault.mnt, "--passfile", vault.passfile, "--shared", "--foreground"),
                env=vault.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        self.addCleanup(daemon.wait, 30)
        self.addCleanup(daemon.kill)
        self.assertTrue(wait_until(vault.is_mounted), log.read_text())
        vault.pid = daemon.pid
        return log

    def test_a_mount_that_is_stopped_or_whose_storage_hangs_is_dead_when_its_lease_is_over(self):
        stops, hangs, storage = self.vault, self.one, self.pid_of_bindfs()
        stops.mount("--shared")
        log = self.serve(hangs)
        for vault in (stops, hangs):
            with open(vault.mnt / "f", "wb") as file:
                file.write(b"synced" * 1000)
                file.flush()
                os.fsync(file.fileno())
        pid, other = stops.pid, hangs.pid
        os.kill(pid, signal.SIGSTOP)
        os.kill(storage, signal.SIGSTOP)
        try:
            self.assertTrue(wait_until(lambda: is_gone(pid) and is_killed(other), LEASE + LATE))
        finally:
            os.kill(storage, signal.SIGCONT)
        self.assertTrue(wait_until(lambda: is_gone(other), LATE))
        # Before that, for the killed process says nothing.
        self.assertRegex(log.read_text(), r"WARN .*/vault: its lease hasn't been renewed for \d\.\d s, .* is killed in \d\.\d s")
        for vault in (stops, hangs):
            vault.pid = None
            vault.clear_stale_mountpoint()
        # The same host goes on by itself.
        stops.mount()
        self.assertEqual((stops.mnt / "f").read_bytes(), b"synced" * 1000)
        self.assertRefused(self.two.try_mount(), "host one ended without unmounting", status=IN_USE)

    def test_a_mount_whose_storage_hangs_for_less_than_its_lease_says_so_and_goes_on(self):
        """It hangs until that is told, which is before the lease is over; a machine that is too busy to go on then tries again."""
        for attempt in range(3):
            vault = self.on(f"slow{attempt}")
            log, storage = self.serve(vault), self.pid_of_bindfs()
            os.kill(storage, signal.SIGSTOP)
            try:
                told = wait_until(lambda: "is killed in" in log.read_text(), LEASE)
            finally:
                os.kill(storage, signal.SIGCONT)
            went_on = told and wait_until(lambda: is_gone(vault.pid) or "goes on" in log.read_text())
            if went_on and not is_gone(vault.pid):
                self.assertRegex(log.read_text(), r"NOTICE .*: its lease is renewed, and this mount goes on")
                (vault.mnt / "f").write_text("afterwards")
                return
            vault.pid = None
            vault.clear_stale_mountpoint()
            (self.below / "vault" / "lock").write_text("")
        self.fail("it never went on")
