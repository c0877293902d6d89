"""Hosts of a cluster that share a vault: which one writes it, what happens to them, and who takes over."""

import contextlib
import os
import pathlib
import socket
import subprocess
import threading
import time

import harness
from harness import is_gone, is_killed, wait_until
from reader import Mapped, Reader
from suite import command
from writer import DISABLED, ENABLED, STILL, content

LEASE = 10
# A machine that is busy may be a little late.
LATE = 5
# Until a cluster has given a host up, or a program that waited for one goes on.
PATIENCE = 240


class HostVault(harness.Vault):
    """A vault as a host of the cluster uses it."""

    def __init__(self, host, base, path):
        self.host = host
        base.mkdir(parents=True)
        super().__init__(base, vault=path)

    def command(self, *args):
        return self.host.command(*super().command(*args))


class Member:
    """A host with its mount of the vault, and a reader there. The first one makes the vault."""

    def __init__(self, cluster, name, work, writer, seed, first):
        self.name, self.cluster = name, cluster
        self.host = cluster.network[name]
        self.below = cluster.mount(name)
        # Another host has made it.
        if not first:
            wait_until((self.below / "history/keyring").exists)
        self.vault = HostVault(self.host, work / name, self.below / "history")
        self.reader = Reader(self.vault.mnt, writer, seed, cluster.quirks)
        self.trouble = self.reader.trouble
        # Who holds this has no look of the reader under way.
        self.turn = threading.RLock()

    @property
    def pid(self):
        """The daemon."""
        return self.vault.pid

    @contextlib.contextmanager
    def quiet(self):
        """Nobody uses the mount."""
        with self.turn:
            self.reader.let_go()
            yield

    def read(self):
        """Mounts it as a reader."""
        self.vault.mount("--shared", "--read-only")
        self.trouble.settle(None)

    def umount(self):
        """Unmounts it in order."""
        self.trouble.settle("unmounted")
        with self.quiet():
            self.vault.umount()

    def clear(self):
        """The daemon has ended; its mountpoint is cleared."""
        pid, self.vault.pid = self.vault.pid, None
        if pid is not None and not wait_until(lambda: is_gone(pid)):
            raise AssertionError(f"the mount of {self.name} was killed and doesn't end")
        self.vault.clear_stale_mountpoint()
        with self.quiet():
            pass

    def abort(self):
        """Ends what waits for a daemon that was killed, and waits itself for a cluster that doesn't answer."""
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            numbers = [line.split()[2].split(":")[1] for line in mounts if line.split()[4] == str(self.vault.mnt)]
        control = pathlib.Path("/sys/fs/fuse/connections")
        if not any(control.iterdir()):
            command("mount", "-t", "fusectl", "none", control)
        for number in numbers:
            (control / number / "abort").write_text("1", encoding="utf-8")

    def kill(self):
        """Kills the daemon; its client of the cluster lives."""
        self.vault.kill()
        self.clear()

    def lose_power(self):
        """Kills the daemon and the client of the cluster."""
        self.kill()
        self.cluster.unmount(self.below, in_order=False)

    def client_anew(self):
        """Ends the client of the cluster, if there is one, and starts one."""
        self.cluster.mount_anew(self.name)

    def signal(self, number):
        """To the daemon, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def is_alive(self):
        """Whether the daemon is."""
        return self.pid is not None and not is_killed(self.pid)

    def goes_on(self, key=ENABLED):
        """Whether what is never changed is read, or can be looked up while its key is disabled."""
        path = self.vault.mnt.joinpath(*STILL)
        with contextlib.suppress(OSError):
            return path.stat().st_size == 5000 if key == DISABLED else path.read_bytes() == content(0, 5000)
        return False

    def mapped(self):
        """A program there that has mapped what is never changed."""
        return Mapped(self.vault.mnt)

    def digest(self):
        """What is in the vault, as this host sees it, but for the records of hosts, which beat."""
        # What the others' clients have is with the cluster then.
        command("sync", "-f", self.below)
        listed = command(
            "find", self.vault.path, "(", "-path", "*/hosts", "-o", "-name", "lock", ")", "-prune", "-o", "-type", "f",
            "-exec", "sha256sum", "{}", "+",
        ).stdout  # fmt: skip
        return sorted(line.split(str(self.vault.path))[-1] + line[:64] for line in listed.splitlines())


def in_a_thread(action):
    """Begins it; a function that waits for it, and raises what it raised."""
    failed = []

    def run():
        try:
            action()
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join():
        thread.join(PATIENCE)
        if thread.is_alive():
            raise AssertionError("a command doesn't end")
        if failed:
            raise failed[0]

    return join


class Journal:
    """The log of a run: what is done, what daemons log, and at the end what the writer did, with times."""

    def __init__(self, path):
        self._file = open(path, "w", encoding="utf-8", buffering=1)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        place = pathlib.Path("/run/systemd/journal/socket")
        place.parent.mkdir(parents=True, exist_ok=True)
        self._socket.bind(str(place))
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, text):
        """For people who wait, too."""
        print(f"  {text}", flush=True)
        self.note(text)

    def note(self, text, at=None):
        """Notes that, as of now if no other time is given."""
        self._file.write(f"{time.monotonic() if at is None else at:.3f} {text}\n")

    def _listen(self):
        while True:
            fields = self._socket.recv(1 << 16).decode(errors="replace").splitlines()
            kept = [field.split("=", 1)[1] for field in fields if field.startswith(("MESSAGE=", "REKEYFS_MOUNTPOINT="))]
            self.note(f"daemon: {' @ '.join(kept)}")
