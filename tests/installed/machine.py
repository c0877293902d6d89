"""A Debian machine of one's own: a root directory without toolchain or source, with rekeyfs installed from its package,
that boots a real systemd in a container (systemd-nspawn). Standard library only; root.

    machine = Machine("name")         # rekeyfs is installed in it
    machine.boot()
    machine.ok("rekeyfs init /srv/vault --passfile /root/pass --kdf-memory 8")
    machine.ok("systemctl start rekeyfs@x.service")
    machine.run("rekeyfs status /mnt", user="ann").returncode
    machine.poweroff()                # as an operator does; machine.kill() pulls the plug
    machine.boot()                    # the same disk again
    machine.close()

The base of all machines (debootstrap's) is kept as an archive below target, so that only the first run needs the network.
Environment: REKEYFS_DEB (the package; without it, the newest in target/debian), REKEYFS_INSTALLED_DIR (where machines
are made; default target/installed).
"""

import hashlib
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BASE = pathlib.Path(os.environ.get("REKEYFS_INSTALLED_DIR", TARGET / "installed"))
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
# What a server has; nothing that rekeyfs depends on or recommends, since apt is to find that.
PACKAGES = ["systemd", "systemd-sysv", "libpam-systemd", "dbus", "man-db", "bash-completion", "zsh", "fish"]
# What apt will want, put into its cache beforehand.
FETCHED = ["fuse3", "libtss2-esys-3.0.2-0", "libtss2-mu0", "libtss2-tctildr0", "ca-certificates"]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotRun(Exception):
    """What this host lacks."""


def check_host():
    """Raises CannotRun where no machine can be made."""
    if os.geteuid() != 0:
        raise CannotRun("it needs root")
    for program in ("debootstrap", "systemd-nspawn", "nsenter", "tar"):
        if not shutil.which(program):
            raise CannotRun(f"there is no {program} here")
    if not os.path.exists("/dev/fuse"):
        raise CannotRun("there is no /dev/fuse here")


def package():
    """The package that is tested."""
    if named := os.environ.get("REKEYFS_DEB"):
        return pathlib.Path(named).resolve()
    made = sorted((TARGET / "debian").glob("rekeyfs_*.deb"), key=lambda deb: deb.stat().st_mtime)
    if not made:
        raise CannotRun("there is no package in target/debian; scripts/package.sh makes it")
    return made[-1]


def helper_package(custodian):
    """The package of a helper of custodians, which scripts/package.sh puts beside it."""
    beside = package().parent
    made = sorted(beside.glob(f"rekeyfs-custodian-{custodian}_*.deb"), key=lambda deb: deb.stat().st_mtime)
    if not made:
        raise AssertionError(f"there is no package rekeyfs-custodian-{custodian} in {beside}; scripts/package.sh makes it")
    return made[-1]


def quiet(*command, **kw):
    """Runs a command of this host; an error shows what it printed."""
    done = subprocess.run(
        [*map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", **kw,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"exit status {done.returncode}: {shlex.join(map(str, command))}\n{done.stdout[-3000:]}")
    return done.stdout


def base_archive():
    """The archive of the base system; makes it where it isn't there yet."""
    wanted = hashlib.sha256(repr((SUITE, MIRROR, PACKAGES, FETCHED)).encode()).hexdigest()[:12]
    archive = BASE / f"base-{SUITE}-{wanted}.tar"
    if archive.exists():
        return archive
    BASE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="base-", dir=BASE) as made:
        root = pathlib.Path(made) / "root"
        began = time.monotonic()
        print(f"        making a Debian {SUITE} (once) ...", flush=True)
        try:
            quiet("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root, MIRROR)
            # Its dependencies come with it into apt's cache.
            quiet("chroot", root, "env", "-i", f"PATH={PATH}", "apt-get", "-qq", "install", "--download-only", *FETCHED)
        except AssertionError as error:
            raise CannotRun(f"debootstrap could not make a Debian {SUITE}: {error}") from error
        quiet("tar", "-C", root, "-cf", f"{archive}.new", "--xattrs", "--numeric-owner", ".")
        os.rename(f"{archive}.new", archive)
        print(f"        ... made in {time.monotonic() - began:.0f} s", flush=True)
    return archive


class Machine:
    """A machine with a disk of its own. It is off until `boot`."""

    def __init__(self, name, *, installed=True):
        check_host()
        archive = base_archive()
        BASE.mkdir(parents=True, exist_ok=True)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=BASE))
        self.root = self.dir / "root"
        self.root.mkdir(mode=0o755)
        self.console = self.dir / "console"
        self.nspawn = None
        self.leader = None
        try:
            quiet("tar", "-C", self.root, "-xf", archive, "--xattrs", "--numeric-owner")
            (self.root / "etc/hostname").write_text("machine\n")
            # A machine is booted for a moment: nothing needs dates of files, and reads of manual pages no index.
            if installed:
                self.install()
        except BaseException:
            self.close()
            raise

    # -- its disk --

    def path(self, path):
        """Where a file of the machine lies on this host."""
        return self.root / str(path).lstrip("/")

    def write(self, path, text, mode=0o644):
        """Writes a file of the machine, and the directories above it."""
        at = self.path(path)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)
        at.chmod(mode)

    def read(self, path):
        return self.path(path).read_text()

    def copy_in(self, source, path):
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, self.path(path))

    def install(self, deb=None):
        """Installs the package, as a user does; what it needs is for apt to find."""
        deb = pathlib.Path(deb or package())
        self.copy_in(deb, f"/root/{deb.name}")
        return self.ok(f"DEBIAN_FRONTEND=noninteractive apt-get -qq -y install /root/{deb.name}", timeout=300)

    # -- its life --

    def boot(self, wait=60):
        """Turns it on; returns when systemd says that it is up (or degraded), with that word."""
        assert self.nspawn is None, "it is on already"
        command = ["systemd-nspawn", "--quiet", "-D", self.root, "--boot", "--bind=/dev/fuse", "--register=no"]
        # Where this host has it: for mounts on demand.
        if os.path.exists("/dev/autofs"):
            command.append("--bind=/dev/autofs")
        # Where no systemd runs on this host there is none to make a scope for it.
        if not os.path.isdir("/run/systemd/system"):
            command.append("--keep-unit")
        with open(self.console, "ab") as console:
            self.nspawn = subprocess.Popen(
                [*map(str, command)], stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + wait
        while time.monotonic() < end:
            if self.nspawn.poll() is not None:
                raise AssertionError(f"it did not boot:\n{self.console_tail()}")
            self.leader = self.leader or self._init()
            if self.leader:
                state = self.run("systemctl is-system-running", timeout=30).stdout.strip()
                if state in ("running", "degraded", "maintenance"):
                    return state
            time.sleep(0.1)
        raise AssertionError(f"it is not up after {wait} s:\n{self.console_tail()}")

    def _init(self):
        """The machine's first process, as this host numbers it."""
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")
        try:
            found = children.read_text().split()
            if found and pathlib.Path(f"/proc/{found[0]}/comm").read_text().strip() == "systemd":
                return int(found[0])
        except OSError:
            pass
        return None

    def poweroff(self, wait=90):
        """Shuts it down, as an operator does; returns how many seconds that took."""
        began = time.monotonic()
        self.run("systemctl --no-block poweroff")
        try:
            self.nspawn.wait(wait)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it is not down after {wait} s:\n{self.console_tail()}") from None
        self.nspawn = self.leader = None
        return time.monotonic() - began

    def kill(self):
        """Turns it off at once."""
        if self.nspawn is None:
            return
        if self.leader:
            # With the first process the kernel kills all others of its namespace.
            try:
                os.kill(self.leader, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            self.nspawn.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.nspawn.pid, signal.SIGKILL)
            self.nspawn.wait()
        self.nspawn = self.leader = None

    def close(self):
        """Turns it off and throws it away."""
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def console_tail(self):
        return self.console.read_text(errors="replace")[-3000:]

    # -- commands in it --

    def run(self, command, *, user=None, timeout=120, stdin=None):
        """Runs a shell command in it: where it is on, beside its services, as a login would; else in its directory alone.
        A daemon that the command leaves behind lives on."""
        inside = ["env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", "TERM=dumb"]
        if user:
            inside += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env"]
            command = f'export PATH={PATH} LANG=C.UTF-8 XDG_RUNTIME_DIR=/run/user/$(id -u); cd; {command}'
        else:
            inside += ["HOME=/root"]
        inside += ["bash", "-o", "pipefail", "-c", command]
        if self.leader:
            # Its own mounts, processes, names: all that a process of it sees.
            entered = ["nsenter", f"--target={self.leader}", "--all", *inside]
        else:
            entered = ["systemd-nspawn", "--quiet", "-D", str(self.root), "--bind=/dev/fuse", "--register=no", "--pipe"]
            if not os.path.isdir("/run/systemd/system"):
                entered.append("--keep-unit")
            entered += inside
        return subprocess.run(
            entered, timeout=timeout, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip

    def ok(self, command, **kw):
        """What a command prints; an error that shows all where it fails."""
        done = self.run(command, **kw)
        if done.returncode:
            raise AssertionError(f"exit status {done.returncode}: {command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout

    def journal(self, unit=None):
        """The journal's messages since this boot."""
        return self.ok("journalctl --boot --output=cat --no-pager" + (f" --unit={shlex.quote(unit)}" if unit else ""))

    def wait_until(self, command, seconds=90):
        """Waits until a command succeeds in it; so long only if it never will."""
        end = time.monotonic() + seconds
        while (done := self.run(command)).returncode:
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {command}\n{done.stdout}{done.stderr}")
            time.sleep(0.2)
