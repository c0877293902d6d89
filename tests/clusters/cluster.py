"""What a cluster of the battery is: servers on `srv`, and a mount on each host that asks for one."""

import contextlib
import errno
import os
import pathlib
import signal
import subprocess

from harness import is_gone, wait_until
from net import SERVER
from reader import Quirks
from suite import command


class Cluster:
    """A distributed filesystem with one set of servers. Its data, logs and mounts lie below `base`."""

    name = ""
    title = ""  # with what is known of how it is set up
    fences = False  # whether late writes of a host that was given up are kept out
    forgets_the_dead = True  # whether a host that lost power loses its locks
    quirks = Quirks()
    sends_all = False  # whether everything goes over the network, where a cluster does without in tests

    def __init__(self, base, network, tools):
        self.base = pathlib.Path(base)
        self.server = network["srv"]
        self.network = network
        self.tools = pathlib.Path(tools)
        self.logs = self.base / "log"
        self.logs.mkdir(parents=True)

    def version(self):
        """What is installed."""
        raise NotImplementedError

    def start(self):
        """Starts the servers; returns when clients can mount."""
        raise NotImplementedError

    def place(self, host):
        """The mountpoint on a host."""
        return self.base / "mnt" / host

    def mount(self, host):
        """Mounts it on a host; the mountpoint."""
        place = self.place(host)
        place.mkdir(parents=True, exist_ok=True)
        self.attach(self.network[host], place)
        if not wait_until(place.is_mount, 30):
            raise AssertionError(f"{self.name} isn't mounted at {place}")
        return place

    def mount_anew(self, host):
        """Ends the client on a host, if there is one, and starts one; the mountpoint."""
        self.unmount(self.place(host), in_order=True)

        def mounted():
            # The network may only just be back.
            try:
                return self.mount(host)
            except AssertionError as error:
                failed.append(str(error))
                return None

        failed = []
        place = wait_until(mounted, 30, 1)
        if not place:
            raise AssertionError(failed[-1])
        return place

    def attach(self, host, place):
        """Mounts it there."""
        raise NotImplementedError

    def unmount(self, place, *, in_order):
        """Ends the client that is mounted there: in order, when it has passed on what it had to write, or as a host that lost power does."""
        clients = list(self._clients(place))
        if in_order:
            with contextlib.suppress(subprocess.TimeoutExpired):
                command("umount", place, check=False, timeout=30)
            wait_until(lambda: all(map(is_gone, clients)), 30)
        for pid in clients:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not wait_until(lambda: all(map(is_gone, clients))):
            raise AssertionError(f"{self.name}'s client at {place} doesn't end")
        while f" {place} " in pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8"):
            command("umount", "-l", place)

    def _clients(self, place):
        """The processes that have it mounted there: their arguments say so. Those of a mount in the cluster name more than that."""
        for proc in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if proc.name.isdigit() and os.fsencode(place) in (proc / "cmdline").read_bytes().split(b"\0"):
                    yield int(proc.name)

    def file(self, name, text):
        """Writes a file of configuration; its path."""
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def dir(self, name):
        """Makes a directory for a daemon; its path."""
        path = self.base / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def package_version(name):
    """The version of a Debian package."""
    return command("dpkg-query", "-W", "-f", "${Version}", name).stdout


class MooseFs(Cluster):
    """A master and two chunk servers."""

    name = "MooseFS"
    forgets_the_dead = False
    title = "a master, two chunk servers, goal 1"

    def version(self):
        return package_version("moosefs-client")

    def start(self):
        paths = {name: self.dir(name) for name in ("master", "cs1", "cs2", "hd1", "hd2")}
        (paths["master"] / "metadata.mfs").write_bytes(b"MFSM NEW")
        exports = self.file("exports.cfg", "10.77.0.0/24 / rw,alldirs,admin,maproot=0:0\n")
        empty = self.file("empty.cfg", "")
        users = "WORKING_USER = root\nWORKING_GROUP = root\n"
        listen = "".join(f"{kind}_LISTEN_HOST = {SERVER}\n" for kind in ("MATOML", "MATOCS", "MATOCL"))
        master = self.file(
            "master.cfg",
            f"{users}DATA_PATH = {paths['master']}\nEXPORTS_FILENAME = {exports}\n"
            f"TOPOLOGY_FILENAME = {empty}\nIPMAP_FILENAME = {empty}\n{listen}",
        )
        self.server.run("mfsmaster", "-c", master, "start")
        for number in (1, 2):
            disks = self.file(f"disks{number}.cfg", f"{paths[f'hd{number}']}\n")
            chunks = self.file(
                f"chunks{number}.cfg",
                f"{users}DATA_PATH = {paths[f'cs{number}']}\nHDD_CONF_FILENAME = {disks}\nMASTER_HOST = {SERVER}\n"
                f"CSSERV_LISTEN_HOST = {SERVER}\nCSSERV_LISTEN_PORT = {9420 + 2 * number}\nHDD_LEAVE_SPACE_DEFAULT = 256MiB\n",
            )
            self.server.run("mfschunkserver", "-c", chunks, "start")

    def attach(self, host, place):
        host.run("mfsmount", "-H", SERVER, "-o", "mfsattrcacheto=0,mfsdirentrycacheto=0", place)

        def writable():
            """The master waits for its chunk servers."""
            made = command("dd", "if=/dev/zero", f"of={place}/probe", "bs=4k", "count=1", check=False)
            return made.returncode == 0

        if not wait_until(writable, 60, 0.5):
            raise AssertionError("MooseFS takes no data")
        (place / "probe").unlink()


class GlusterFs(Cluster):
    """One glusterd with a distributed volume of two bricks."""

    name = "GlusterFS"
    # With its defaults a host that mounts a vault after another one sees old content for a while, and then damages the event log.
    OFF = ("stat-prefetch", "quick-read", "io-cache", "open-behind", "read-ahead", "write-behind")
    title = (
        "a volume of two bricks without replicas, with `performance.` "
        + ", ".join(f"`{option}`" for option in OFF)
        + " off; mounted with `acl`, `attribute-timeout=0`, `entry-timeout=0`"
    )

    def version(self):
        return package_version("glusterfs-client")

    def start(self):
        # Bricks log where the package says.
        command("mount", "-t", "tmpfs", "tmpfs", "/var/log/glusterfs")
        pathlib.Path("/run/gluster").mkdir()
        volfile = self.file(
            "glusterd.vol",
            "volume management\n    type mgmt/glusterd\n"
            f"    option working-directory {self.dir('work')}\n    option run-directory {self.dir('run')}\n"
            f"    option transport-type socket\n    option transport.socket.bind-address {SERVER}\n"
            "    option ping-timeout 0\n    option event-threads 1\nend-volume\n",
        )
        self.server.run("glusterd", "-f", volfile, "-p", self.base / "glusterd.pid", "-l", self.logs / "glusterd.log")
        if not wait_until(lambda: self._cli("volume", "list", check=False).returncode == 0, 30, 0.5):
            raise AssertionError("glusterd doesn't answer")
        self._cli("volume", "create", "vol", *(f"{SERVER}:{self.dir(brick)}/d" for brick in ("brick1", "brick2")), "force")
        for option in self.OFF:
            self._cli("volume", "set", "vol", f"performance.{option}", "off")
        self._cli("volume", "start", "vol")

    def _cli(self, *words, check=True):
        return self.server.run("gluster", "--mode=script", f"--log-file={self.logs}/cli.log", *words, check=check)

    def attach(self, host, place):
        host.run(
            "glusterfs", f"--volfile-server={SERVER}", "--volfile-id=vol", "--acl", "-l", self.logs / f"{host.name}.log",
            "-p", self.base / f"{host.name}.pid", "--attribute-timeout=0", "--entry-timeout=0", place,
        )  # fmt: skip


CEPH = """[global]
fsid = {fsid}
mon host = [v2:{server}:3300,v1:{server}:6789]
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
osd pool default pg num = 8
osd pool default pgp num = 8
mon osd min in ratio = 0
public addr = {server}
log file = {base}/log/$name.log
admin socket = {base}/$name.$pid.asok
pid file = {base}/$name.pid
run dir = {base}
crash dir = {base}
setuser match path =
osd memory target = 939524096
bluestore block size = 8589934592
mon data avail warn = 1
mon data avail crit = 1
mon data = {base}/mon
osd data = {base}/osd
osd objectstore = bluestore
mds data = {base}/mds
mgr data = {base}/mgr
[client]
client mount timeout = 30
public addr =
client acl type = posix_acl
client oc size = 33554432
client oc max dirty = 16777216
fuse default permissions = false
pid file =
"""


class Ceph(Cluster):
    """One monitor, manager, object store and metadata server; ceph-fuse for clients."""

    name = "CephFS"
    fences = True
    title = "one monitor, OSD and MDS, pools of size 1; `ceph-fuse` with `client acl type = posix_acl` and a cache of 32 MiB, less than a large file"

    def version(self):
        return f"ceph-fuse {package_version('ceph-fuse')}"

    def start(self):
        for name in ("mon", "osd", "mds", "mgr"):
            self.dir(name)
        fsid = command("uuidgen").stdout.strip()
        self.conf = self.file("ceph.conf", CEPH.format(fsid=fsid, server=SERVER, base=self.base))
        key, caps = self.base / "mon.key", [part for who in ("mon", "osd", "mds", "mgr") for part in ("--cap", who, "allow *")]
        command("ceph-authtool", "--create-keyring", key, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        command("ceph-authtool", key, "--gen-key", "-n", "client.admin", *caps)
        monitors = f"[v2:{SERVER}:3300,v1:{SERVER}:6789]"
        command("monmaptool", "--create", "--addv", "a", monitors, "--fsid", fsid, self.base / "monmap")
        command("ceph-mon", "-c", self.conf, "--mkfs", "-i", "a", "--monmap", self.base / "monmap", "--keyring", key)
        self._server("ceph-mon", "-i", "a")
        osd = command("uuidgen").stdout.strip()
        self._ceph("osd", "new", osd)
        with open(self.base / "osd/block", "wb") as file:
            file.truncate(8 << 30)
        self._server("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._server("ceph-osd", "-i", "0")
        self._server("ceph-mds", "-i", "a")
        self._server("ceph-mgr", "-i", "a")
        self._ceph("osd", "crush", "add", "osd.0", "1.0", "host=srv", "root=default")
        for pool in ("meta", "data"):
            self._ceph("osd", "pool", "create", pool, "8")
        self._ceph("fs", "new", "vol", "meta", "data")
        if not wait_until(lambda: "active" in self._ceph("mds", "stat"), 60, 0.5):
            raise AssertionError("no MDS is active")

    def _server(self, program, *words):
        self.server.run(program, "-c", self.conf, *words)

    def _ceph(self, *words):
        return self.server.run("ceph", "-c", self.conf, "--connect-timeout", "30", *words, timeout=60).stdout

    def attach(self, host, place):
        host.run("ceph-fuse", "-c", self.conf, "-n", "client.admin", place)


class JuiceFs(Cluster):
    """Redis for metadata, a directory for objects."""

    name = "JuiceFS"
    quirks = Quirks(names_blink=True, gone=(errno.ESTALE, errno.ENOENT))
    title = (
        "redis in memory, objects in a directory; mounted with `--enable-xattr`, `--attr-cache 0`, `--entry-cache 0`, "
        "`--dir-entry-cache 0`"
    )
    META = f"redis://{SERVER}:6379/1"

    def version(self):
        return self._juice("--version").stdout.split()[2].split("+")[0]

    def _juice(self, *words, host=None):
        run = host.run if host else self.server.run
        return run("env", f"HOME={self.base}", self.tools / "juicefs/bin/juicefs", *words)

    def start(self):
        self.server.run(
            "redis-server", "--bind", SERVER, "--port", "6379", "--protected-mode", "no", "--dir", self.dir("redis"),
            "--appendonly", "no", "--save", "", "--daemonize", "yes", "--logfile", self.logs / "redis",
        )  # fmt: skip
        answers = lambda: self.server.run("redis-cli", "-h", SERVER, "ping", check=False).returncode == 0  # noqa: E731
        if not wait_until(answers, 10):
            raise AssertionError("redis doesn't answer")
        objects = ("redis", f"redis://{SERVER}:6379/2") if self.sends_all else ("file", f"{self.dir('objects')}/")
        self._juice("format", "--storage", objects[0], "--bucket", objects[1], "--trash-days", "0", self.META, "vol")

    def attach(self, host, place):
        self._juice(
            "mount", "-d", "--no-usage-report", "--enable-xattr", "--cache-dir", self.dir(f"cache-{host.name}"), "--cache-size",
            "256", "--attr-cache", "0", "--entry-cache", "0", "--dir-entry-cache", "0", "--log", self.logs / host.name,
            self.META, place, host=host,
        )  # fmt: skip


CLUSTERS = {kind.__name__.lower(): kind for kind in (MooseFs, GlusterFs, Ceph, JuiceFs)}
