"""Hosts as network and UTS namespaces on a bridge: `srv` for a cluster's servers, `h1`, `h2` and so on for its clients. All of them see
one tree of files, so that a test can look at every host's mount.

Runs in a network and mount namespace of its own (scripts/clusters.sh), where addresses and names are free."""

import pathlib
import subprocess

from suite import command

SERVER = "10.77.0.2"
# How many hosts for clients there are if nobody says how many.
CLIENTS = 3


class Host:
    """One host: programs run in its namespaces."""

    def __init__(self, name):
        self.name = name
        self._uts = pathlib.Path("/run/uts") / name
        self._uts.parent.mkdir(exist_ok=True)
        self._uts.touch()
        command("unshare", f"--uts={self._uts}", "hostname", name)

    def command(self, *words):
        """The words of a command that runs these on the host."""
        return ["nsenter", f"--net=/run/netns/{self.name}", f"--uts={self._uts}", *map(str, words)]

    def run(self, *words, **how):
        """Runs a program on the host; AssertionError if it fails."""
        return command(*self.command(*words), **how)

    def daemon(self, *words, log, **how):
        """A server on the host, which stays in the foreground: its process."""
        with open(log, "ab") as out:
            return subprocess.Popen(
                self.command(*words), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **how
            )

    def limit(self, gbit):
        """Lets the host's cable carry no more than so many Gbit/s in each direction."""
        shaped = ("root", "tbf", "rate", f"{gbit}gbit", "burst", "512kb", "latency", "50ms")
        command("tc", "qdisc", "add", "dev", f"v-{self.name}", *shaped)
        command(*self.command("tc", "qdisc", "add", "dev", "eth0", *shaped))

    def link(self, *, up):
        """Plugs the host's cable in, or pulls it out."""
        command("ip", "link", "set", f"v-{self.name}", "up" if up else "down")


class Network:
    """The bridge with its hosts; goes with the namespace."""

    def __init__(self, clients=CLIENTS):
        addresses = {"srv": SERVER, **{f"h{n}": f"10.77.0.{10 + n}" for n in range(1, clients + 1)}}
        # What daemons leave in /run isn't the machine's, and namespaces are kept there by name.
        command("mount", "-t", "tmpfs", "tmpfs", "/run")
        command("ip", "link", "set", "lo", "up")
        command("ip", "link", "add", "cluster", "type", "bridge")
        command("ip", "addr", "add", "10.77.0.1/24", "dev", "cluster")
        command("ip", "link", "set", "cluster", "up")
        self.hosts = {}
        for name, address in addresses.items():
            command("ip", "netns", "add", name)
            command("ip", "link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            command("ip", "link", "set", f"v-{name}", "master", "cluster", "up")
            for words in (["addr", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
                command("ip", "-n", name, *words)
            self.hosts[name] = Host(name)

    def __getitem__(self, name):
        return self.hosts[name]
