"""What a mount in the foreground tells the service manager that started it: a socket of the test's own stands for systemd's."""

import contextlib
import signal
import socket
import subprocess
import time

import harness
from harness import PATIENCE, MountedTest, Vault, is_gone, stopped, wait_until

PERIOD = 0.4


class Manager:
    """The manager's end of sd_notify(3): collects what it is told."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.messages = []

    def env(self, vault, watchdog=None):
        env = {**vault.env, "NOTIFY_SOCKET": str(self.path)}
        return {**env, "WATCHDOG_USEC": str(int(watchdog * 1e6))} if watchdog else env

    def hear(self, seconds=0):
        """All lines that are there or come within this time. What a process has told is there once it has ended."""
        end, heard = time.monotonic() + seconds, []
        with contextlib.suppress(TimeoutError, BlockingIOError):
            while True:
                self.socket.settimeout(max(end - time.monotonic(), 0))
                heard += self.socket.recv(4096).decode().splitlines()
        self.messages += heard
        return heard

    def wait_for(self, line):
        end = time.monotonic() + PATIENCE
        while line not in self.messages:
            left = end - time.monotonic()
            assert left > 0, f"{line} did not come: {self.messages}"
            self.hear(min(left, 0.05))
        return self.messages


class Managed(MountedTest):
    """A test with a manager, of a vault that isn't mounted."""

    options = None

    def setUp(self):
        super().setUp()
        self.manager = Manager(self.dir / "notify")
        self.addCleanup(self.manager.socket.close)


class ServiceManager(Managed):
    def start(self, *options, vault=None, passfile=None, watchdog=None):
        vault = vault or self.vault
        secret = () if "--extpass" in options else ("--passfile", passfile or vault.passfile)
        command = [harness.BIN, "mount", "-f", vault.path, vault.mnt, *secret, *options]
        daemon = subprocess.Popen(
            list(map(str, command)), env=self.manager.env(vault, watchdog), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.addCleanup(daemon.stderr.close)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        return daemon

    def assertEnds(self, daemon, status=0):
        """It ends with this status; a failure shows what it said."""
        ended = daemon.wait(PATIENCE)
        self.assertEqual(ended, status, daemon.stderr.read() if ended != status else "")

    def test_ready_when_the_mount_serves_and_stopping_when_it_is_unmounted(self):
        daemon = self.start()
        told = self.manager.wait_for("READY=1")
        self.assertEqual(told[0], f"STATUS=opening {self.vault.path}")
        self.assertIn(f"STATUS={self.vault.path} is mounted at {self.mnt}", told)
        # Whatever is done after READY=1 is done in the mount.
        self.write("file", b"in the mount", fsync=True)
        self.vault.lower(self.mnt / "file")
        self.assertNotIn("STOPPING=1", told)
        self.assertNotIn("WATCHDOG=1", told, "nobody asked for it")
        daemon.send_signal(signal.SIGTERM)
        self.manager.wait_for("STOPPING=1")
        self.assertEnds(daemon)
        self.manager.hear()
        self.assertEqual(self.manager.messages.count("READY=1"), 1)
        self.assertFalse(self.vault.is_mounted())

    def test_stopping_when_someone_else_unmounts(self):
        daemon = self.start()
        self.manager.wait_for("READY=1")
        self.vault.ok("umount", self.mnt)
        self.manager.wait_for("STOPPING=1")
        self.assertEnds(daemon)

    def test_a_failure_is_told_with_its_status_and_is_never_ready(self):
        wrong = self.dir / "wrong"
        wrong.write_text("not that\n")
        daemon = self.start(passfile=wrong)
        self.assertEnds(daemon, harness.WRONG_PASSPHRASE_EXIT)
        self.manager.hear()
        self.assertIn("wrong passphrase", self.manager.messages[-1])
        self.assertNotIn("READY=1", self.manager.messages)

    def test_no_helper_can_speak_in_its_name(self):
        seen = self.dir / "environment"
        self.start("--extpass", f"env > {seen}; cat {self.vault.passfile}", watchdog=20)
        self.manager.wait_for("READY=1")
        names = {line.split("=")[0] for line in seen.read_text().splitlines()}
        self.assertIn("PATH", names)
        self.assertEqual(names & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}, set())

    def test_a_mount_in_the_background_is_not_the_service(self):
        self.vault.env = self.manager.env(self.vault, PERIOD)
        self.vault.mount()
        self.assertEqual(self.manager.hear(PERIOD), [])

    def test_the_watchdog_is_told_at_half_its_time_also_once_detached(self):
        daemon = self.start(watchdog=PERIOD)
        self.manager.wait_for("READY=1")
        self.assertTrue(wait_until(lambda: self.manager.hear(PERIOD * 5).count("WATCHDOG=1") >= 5, step=0))
        with open(self.mnt / "held", "w", encoding="ascii") as held:
            subprocess.run(["umount", "-l", self.mnt], check=True)
            self.manager.hear(0.05)
            # It can't be asked by its path, and serves on.
            self.assertTrue(wait_until(lambda: "WATCHDOG=1" in self.manager.hear(PERIOD * 3), step=0))
            held.write("still served")
        self.assertEnds(daemon)

    def test_a_mount_that_does_not_answer_tells_the_watchdog_nothing_and_can_be_killed(self):
        """Its lower filesystem is another mount, whose daemon is stopped: the session waits for that, and the thread that
        asks waits for the session."""
        self.vault.mount()
        below = self.vault.pid
        place = self.dir / "upper"
        place.mkdir()
        (self.mnt / "upper").mkdir()
        upper = Vault(place, vault=self.mnt / "upper" / "vault")
        self.addCleanup(upper.close)
        daemon = self.start(vault=upper, watchdog=PERIOD)
        self.manager.wait_for("WATCHDOG=1")
        with stopped(below):
            # What was asked before may be told after.
            self.assertTrue(wait_until(lambda: "WATCHDOG=1" not in self.manager.hear(PERIOD * 3), step=0))
            self.assertNotIn("WATCHDOG=1", self.manager.hear(PERIOD * 3))
            daemon.kill()
            self.assertTrue(wait_until(lambda: is_gone(daemon.pid)), "a process that waits for its own mount")
        upper.clear_stale_mountpoint()
