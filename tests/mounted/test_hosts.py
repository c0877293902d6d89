"""Hosts that share a vault: who has it, and what becomes of a host that ended without unmounting. Hosts are UTS namespaces; the
filesystem that they share is bindfs under a cluster's name. scripts/clusters.sh has clusters that exist."""

import json
import os
import signal
import subprocess
import time

from harness import MountedTest, Vault, is_gone, sh, wait_until

IN_USE = 40


class OnHost(Vault):
    """A vault as a host of this name uses it."""

    def __init__(self, host, base, path):
        self.host = host
        base.mkdir()
        super().__init__(base, vault=path)

    def command(self, *args):
        return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.host, *super().command(*args)]


class Hosts(MountedTest):
    options = None
    filesystem = "juicefs"

    def setUp(self):
        self.need_root()
        self.need_tools("bindfs", "unshare")
        super().setUp()
        (self.dir / "real").mkdir()
        self.below = self.dir / "below"
        self.below.mkdir()
        self.addCleanup(subprocess.run, ["umount", "-l", self.below], capture_output=True)
        sh(f"bindfs -o subtype={self.filesystem} real below", self.dir)
        self.assertIn(f"fuse.{self.filesystem} ", sh("cat /proc/self/mounts", self.dir))
        self.one, self.two = (self.on(name) for name in ("one", "two"))

    def on(self, name):
        vault = OnHost(name, self.dir / name, self.below / "vault")
        self.addCleanup(vault.close)
        return vault

    def hosts(self, vault):
        return json.loads(vault.ok("hosts", vault.path, "--json"))

    def lose(self, vault):
        """The host's daemon is killed; what it synced before is returned, by name."""
        vault.mount()
        with open(vault.mnt / "f", "wb") as file:
            file.write(b"synced" * 1000)
            file.flush()
            os.fsync(file.fileno())
        vault.kill()
        vault.clear_stale_mountpoint()

    def evict(self, vault, host, *options, drain=0):
        return vault.run("hosts", "evict", vault.path, host, "--passfile", vault.passfile, "--drain", drain, *options)


class WithoutFencing(Hosts):
    def test_the_host_that_has_a_vault_is_named_and_no_secret_is_asked_for(self):
        self.assertEqual(self.hosts(self.one)["hosts"], [])
        self.one.mount()
        listed = self.hosts(self.two)
        self.assertEqual((listed["shared_filesystem"], listed["fences"]), ("fuse.juicefs", False))
        self.assertEqual(
            listed["hosts"],
            [{"host": "one", "pid": self.one.pid, "command": "mount", "mount": True, "this_host": False, "holds_lock": True}],
        )
        self.assertTrue(self.hosts(self.one)["hosts"][0]["this_host"])
        self.assertIn("one: process", self.two.ok("hosts", self.two.path))
        self.assertRefused(self.two.try_mount(), "another host (one)", status=IN_USE)
        self.one.umount()
        self.two.mount()
        self.assertEqual(self.hosts(self.one)["hosts"][0]["host"], "two")

    def test_a_vault_of_a_host_that_was_lost_is_mounted_once_somebody_says_that_it_is_dead(self):
        self.lose(self.one)
        self.assertEqual([(row["host"], row["holds_lock"]) for row in self.hosts(self.two)["hosts"]], [("one", False)])
        for refused in (
            self.two.try_mount(),
            self.two.try_mount("--read-only"),
            self.two.run("rotate", self.two.path, "--passfile", self.two.passfile),
        ):
            self.assertRefused(refused, "host one ended without unmounting", "rekeyfs hosts evict", status=IN_USE)
        self.assertRefused(self.evict(self.two, "one"), "--host-is-dead", status=2)
        self.assertRefused(self.evict(self.two, "other", "--host-is-dead"), "that is host one", status=2)
        (self.dir / "wrong").write_text("wrong\n")
        wrong = self.two.run("hosts", "evict", self.two.path, "one", "--host-is-dead", "--passfile", self.dir / "wrong")
        self.assertRefused(wrong, status=12)
        # Nothing of that took it out of the way.
        self.assertRefused(self.two.try_mount(), "host one", status=IN_USE)
        done = self.evict(self.two, "one", "--host-is-dead", "--json")
        self.assertEqual((done.returncode, json.loads(done.stdout)["evicted"]), (0, "one"), done.stderr)
        self.assertEqual(self.two.events("Host Evicted")[-1]["host"], "one")
        self.two.mount()
        self.assertEqual((self.two.mnt / "f").read_bytes(), b"synced" * 1000)
        self.two.umount()
        self.two.ok("fsck", self.two.path, "--passfile", self.two.passfile)
        self.two.ok("events", self.two.path, "--verify", "--passfile", self.two.passfile)
        self.assertRefused(self.evict(self.two, "one", "--host-is-dead"), "isn't in the way", status=2)

    def test_a_host_that_is_dead_stays_in_the_way_while_its_client_may_have_something_to_send(self):
        self.lose(self.one)
        lock = self.below / "vault" / "lock"
        record = lock.read_text()
        begun = time.monotonic()
        done = self.evict(self.two, "one", "--host-is-dead", drain=3)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreaterEqual(time.monotonic() - begun, 3)
        self.assertIn("host one: waits 3 s for what its client of the cluster has still to send", done.stderr)
        lock.write_text(record)
        evicts = subprocess.Popen(
            self.two.command("hosts", "evict", self.two.path, "one", "--host-is-dead", "--passfile", self.two.passfile),
            env=self.two.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            self.assertIn("waits 60 s", evicts.stderr.readline())
            self.assertRefused(self.on("three").try_mount(), "another host (one)", status=IN_USE)
            self.assertEqual(lock.read_text(), record)
        finally:
            evicts.kill()
            evicts.communicate()
        # Whoever didn't wait to the end took nothing out of the way, and recorded nothing.
        self.assertRefused(self.two.try_mount(), "host one ended without unmounting", status=IN_USE)
        self.assertEqual(len(self.two.events("Host Evicted")), 1)

    def test_a_host_that_was_lost_while_it_waited_for_a_secret_is_in_nobodys_way(self):
        asks = subprocess.Popen(
            self.one.command("mount", self.one.path, self.one.mnt, "--extpass", "sleep 60"), env=self.one.env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            self.assertTrue(wait_until(lambda: [row["host"] for row in self.hosts(self.two)["hosts"]] == ["one"]))
            self.assertRefused(self.two.try_mount(), "another host (one)", status=IN_USE)
        finally:
            os.killpg(asks.pid, signal.SIGKILL)
            asks.wait()
        self.assertTrue(wait_until(lambda: not self.hosts(self.two)["hosts"]))
        self.assertIn('"changes":false', (self.below / "vault" / "lock").read_text())
        self.two.mount()

    def test_a_command_ends_once_another_host_has_taken_its_vault_over(self):
        """As a mount does: what it wrote later would destroy the other host's files."""
        lock = self.below / "vault" / "lock"
        self.one.mount()
        for number in range(30):
            (self.one.mnt / f"f{number}").write_bytes(b"x" * 5000)
        self.one.umount()
        self.one.rotate()
        works = subprocess.Popen(
            self.one.command("rewrap", self.one.path, "--passfile", self.one.passfile, "--max-rate", "1"), env=self.one.env,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.assertTrue(wait_until(lambda: '"changes":true' in lock.read_text()))
        theirs = lock.read_text().replace('"one"', '"two"')
        lock.write_text(theirs)
        self.assertIn("host two has taken it over", works.communicate(timeout=20)[1])
        self.assertEqual(works.returncode, -signal.SIGKILL)
        self.assertEqual(lock.read_text(), theirs)

    def test_a_daemon_that_was_killed_is_in_nobodys_way_on_its_own_host(self):
        self.lose(self.one)
        self.one.mount()
        self.one.umount()
        self.two.mount()

    def test_what_a_killed_daemon_left_is_sent_before_its_record_is_replaced(self):
        """By a command, which ends: its record says that it changed nothing until it has a secret."""
        self.need_tools("strace")
        self.lose(self.one)
        trace = self.dir / "trace"
        changes = self.one.command("rotate", self.one.path, "--passfile", self.one.passfile)
        traced = ["strace", "-f", "-qq", "-y", "-s", "200", "-o", trace, "-e", "trace=syncfs,write", *changes]
        done = subprocess.run(traced, env=self.one.env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        calls = [line.split(None, 1)[1] for line in trace.read_text().splitlines() if "syncfs(" in line or "/vault/lock>" in line]
        self.assertRegex(calls[0], r"^syncfs\(.*= 0$")
        self.assertRegex(calls[1], r'^write\(.*/vault/lock>, .*changes.*false')

    def test_a_host_that_is_stopped_is_not_evicted(self):
        self.one.mount()
        os.kill(self.one.pid, signal.SIGSTOP)
        self.addCleanup(lambda: is_gone(pid) or os.kill(pid, signal.SIGCONT))
        pid = self.one.pid
        self.assertRefused(self.evict(self.two, "one", "--host-is-dead"), "another host (one)", status=IN_USE)
        os.kill(pid, signal.SIGCONT)
        self.one.umount()
        self.assertTrue(wait_until(lambda: not self.hosts(self.two)["hosts"]))


    def test_a_mount_ends_once_another_host_has_taken_its_vault_over(self):
        """As one that was cut off sees it when it is connected again: bindfs itself lets nobody else have the lock."""
        self.one.mount()
        pid = self.one.pid
        lock = self.below / "vault" / "lock"
        ours = lock.read_text()
        for unclear in ('{"pid": 7, "ho', ours.replace('"one"', '""')):
            lock.write_text(unclear)
            self.assertFalse(wait_until(lambda: is_gone(pid), 4), unclear)
        theirs = ours.replace('"one"', '"two"')
        lock.write_text(theirs)
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        self.one.pid = None
        self.one.clear_stale_mountpoint()
        # It was killed: the other host's record stands.
        self.assertEqual(lock.read_text(), theirs)

    def test_a_mount_ends_once_another_host_has_come_and_gone(self):
        """That one, or who evicted this one, has emptied the record."""
        self.one.mount()
        pid = self.one.pid
        (self.below / "vault" / "lock").write_text("")
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        self.one.pid = None
        self.one.clear_stale_mountpoint()

    def test_a_record_that_is_not_whole_is_of_a_host_that_was_lost(self):
        self.lose(self.one)
        lock = self.below / "vault" / "lock"
        lock.write_text(lock.read_text()[:20])
        self.assertRefused(self.two.try_mount(), "host unknown ended without unmounting", status=IN_USE)
        self.assertEqual([(row["host"], row["holds_lock"]) for row in self.hosts(self.two)["hosts"]], [(None, False)])
        done = self.evict(self.two, "unknown", "--host-is-dead")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.two.mount()

    def test_a_command_that_ends_leaves_the_record_of_a_host_that_has_taken_over(self):
        self.one.mount()
        lock = self.below / "vault" / "lock"
        theirs = lock.read_text().replace('"one"', '"two"')
        lock.write_text(theirs)
        self.one.umount()
        self.assertEqual(lock.read_text(), theirs)


class WithFencing(Hosts):
    filesystem = "ceph-fuse"

    def test_a_vault_of_a_host_that_was_lost_is_mounted_where_the_cluster_keeps_that_host_out(self):
        self.lose(self.one)
        self.assertTrue(self.hosts(self.two)["fences"])
        done = self.two.try_mount()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.two.pid = self.two.daemon_pid()
        self.assertIn("host one ended without unmounting", done.stderr)
        self.assertEqual((self.two.mnt / "f").read_bytes(), b"synced" * 1000)


class OfOneHost(Hosts):
    filesystem = "bindfs"

    def test_a_disk_that_was_moved_to_another_host_is_mounted_as_ever(self):
        self.lose(self.one)
        self.assertIsNone(self.hosts(self.two)["shared_filesystem"])
        done = self.two.try_mount()
        self.assertEqual((done.returncode, "host one" in done.stderr), (0, False), done.stderr)
        self.two.pid = self.two.daemon_pid()
