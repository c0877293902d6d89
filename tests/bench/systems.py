"""The filesystems that are compared. Each peer runs with the options that its own documentation gives for speed; the
class says which. All lie side by side on one lower filesystem."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

PASSWORD = "benchmark"


def command(*words, env=None, stdin=None):
    """Runs a command and returns what it printed; its failure is an error that says what it said."""
    # A file, not a pipe: a daemon that the command leaves behind would hold the pipe open. No timeout: Python would look
    # every 50 ms whether it is over; who measures arms a limit.
    with tempfile.TemporaryFile("w+") as out:
        done = subprocess.run(
            [str(word) for word in words], env={**os.environ, **(env or {})}, check=False,
            input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=out, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        out.seek(0)
        said = out.read()
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: exit status {done.returncode}: {said.strip()[-800:]}")
    return said


class Native:
    """The lower filesystem itself. It has no caches of its own, so a remount changes nothing."""

    name = "native"
    needs = ()
    options = ""
    #: Compared only where its program is given.
    extra = False
    #: In how many rounds it takes part at most.
    rounds = 1000
    #: Of which kinds of applications it takes part; none: all.
    kinds = ()

    def __init__(self, base, tools):
        self.base = pathlib.Path(base) / self.name
        self.lower = self.base / "lower"
        self.root = self.base / "mnt"
        self.tools = tools
        for directory in (self.lower, self.root):
            directory.mkdir(parents=True)
        self.passfile = self.base / "passphrase"
        self.passfile.write_text(f"{PASSWORD}\n")
        self.create()
        self.mount()

    @classmethod
    def available(cls, tools):
        """Whether its programs are here."""
        return all(shutil.which(program) or program in tools for program in cls.needs)

    def version(self):
        """What the report calls it."""
        return f"Linux {os.uname().release}"

    def create(self):
        """Makes the filesystem."""

    def mount(self):
        """Brings it up at `root`."""

    def umount(self):
        """Takes it down; what was written is on the lower filesystem."""

    def end(self):
        """Takes it down for good."""
        self.umount()

    def renew(self):
        """Begins again with an empty filesystem, whatever state the old one is in."""
        if os.path.ismount(self.root):
            subprocess.run(["umount", "--force", "--lazy", self.root], check=False, capture_output=True)
        shutil.rmtree(self.base)
        self.__init__(self.base.parent, self.tools)

    def remount(self):
        """Empties its caches and the kernel's caches of it; those of the lower filesystem stay warm."""
        self.umount()
        self.mount()


class Mounted(Native):
    """What is taken down with umount(8)."""

    def umount(self):
        for _ in range(200):
            if subprocess.run(["umount", self.root], check=False, capture_output=True).returncode == 0:
                break
            time.sleep(0.02)
        else:
            raise RuntimeError(f"{self.name}: can't be unmounted")


class Rekeyfs(Mounted):
    """With its defaults."""

    name = "rekeyfs"
    needs = ("rekeyfs",)

    def environment(self):
        return {"XDG_RUNTIME_DIR": str(self.base / "run"), "XDG_STATE_HOME": str(self.base / "state")}

    def _run(self, *words):
        for directory in ("run", "state"):
            (self.base / directory).mkdir(mode=0o700, exist_ok=True)
        return command(self.tools[self.needs[0]], *words, env=self.environment())

    def version(self):
        return self._run("--version").strip()

    def create(self):
        self.vault = self.lower / "vault"
        self._run("init", self.vault, "--passfile", self.passfile, "--kdf-memory", "8", "--no-recovery-key")

    def mount(self):
        self._run("mount", self.vault, self.root, "--passfile", self.passfile, *self.options.split())

    def umount(self):
        self._run("umount", self.root)

    def rotate(self):
        """A rotation of the mounted vault, and the seconds it took."""
        began = time.perf_counter()
        self._run("rotate", self.root)
        return time.perf_counter() - began

    def rewrap(self):
        """A sweep over all files, and the seconds it took."""
        began = time.perf_counter()
        self._run("rewrap", self.root)
        return time.perf_counter() - began


    def memory(self):
        """Bytes of memory that the daemon has resident, and the most it ever had."""
        lines = dict(line.split(":", 1) for line in (daemon(self.vault) / "status").read_text().splitlines())
        return tuple(int(lines[key].split()[0]) << 10 for key in ("VmRSS", "VmHWM"))

    def processor_time(self):
        """Nanoseconds that the threads of the daemon have run, the ended ones excluded."""
        threads = (daemon(self.vault) / "task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)


class NullCipher(Rekeyfs):
    """rekeyfs built with `--features null-cipher`: what its own code costs without encryption."""

    name = "rekeyfs-null"
    needs = ("rekeyfs-null",)
    extra = True


class AllowOther(Rekeyfs):
    """As other users are let in: the kernel then checks permissions, for which it asks for attributes."""

    name = "rekeyfs --allow-other"
    options = "--allow-other"


class NoWriteback(Rekeyfs):
    """Each write is a request."""

    name = "rekeyfs --no-writeback"
    options = "--no-writeback"


class Gocryptfs(Mounted):
    """`-noprealloc` saves one fallocate a write (its manual page names it for speed), `-kernel_cache` keeps what was read
    in the kernel when a file is opened again. Its cipher is AES-GCM, which `gocryptfs -speed` finds fastest where the
    processor has AES instructions. What encrypts less (`-plaintextnames`, `-deterministic-names`) isn't taken. The
    scrypt cost only matters to mounting."""

    name = "gocryptfs"
    needs = ("gocryptfs",)
    options = "-noprealloc -kernel_cache"

    def version(self):
        return command("gocryptfs", "-version").split(";")[0].strip()

    def create(self):
        command("gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", self.passfile, self.lower)

    def mount(self):
        options = self.options.split()
        command("gocryptfs", "-q", "-nosyslog", *options, "-passfile", self.passfile, self.lower, self.root)


class Securefs(Mounted):
    """The lite format (4, its default and fastest). `--noflock` saves a lock for each open, `--attr-timeout` keeps
    attributes for longer than 30 s. FUSE's own options are, says its help, only for testing: none is taken."""

    name = "securefs"
    needs = ("securefs",)
    options = "--noflock --attr-timeout 3600"

    def version(self):
        # Debian's build doesn't know its own version.
        return "securefs " + command("dpkg-query", "-W", "-f", "${Version}", "securefs")

    def create(self):
        command("securefs", "create", "--format", "4", "--pass", PASSWORD, "--rounds", "1", self.lower)

    def mount(self):
        command("securefs", "mount", "-b", "--noflock", "--attr-timeout", "3600", "--pass", PASSWORD,
                "--log", self.base / "log", self.lower, self.root)  # fmt: skip
        _await_mount(self.root)


class Encfs(Mounted):
    """`big_writes` lets the kernel hand over more than 4 KiB at once (FUSE 2 needs to be told), `kernel_cache` keeps what
    was read in the kernel when a file is opened again. `--standard` is faster than `--paranoia`."""

    name = "encfs"
    needs = ("encfs",)
    options = "--standard -o big_writes,kernel_cache"

    def version(self):
        return re.search(r"version ([0-9.]+)", command("encfs", "--version"))[0].replace("version", "EncFS")

    def create(self):
        """The first mount makes it."""

    def mount(self):
        words = ("encfs", "-S", self.lower, self.root, *self.options.split())
        command(*words, stdin=f"{PASSWORD}\n")


class Cryfs(Mounted):
    """AES-256-GCM, which is faster than its default where the processor has AES instructions. Each mount computes a
    scrypt of some 20 s that no option weakens, and a round has eight mounts: so it takes part in the first only."""

    name = "cryfs"
    needs = ("cryfs",)
    rounds = 1
    options = "--cipher aes-256-gcm"

    def version(self):
        return command("cryfs", "--version", env=self._env()).splitlines()[0].replace("Version ", "")

    @staticmethod
    def _env():
        return {"CRYFS_FRONTEND": "noninteractive", "CRYFS_NO_UPDATE_CHECK": "true"}

    def mount(self):
        env = {**self._env(), "HOME": str(self.base)}
        command("cryfs", "--cipher", "aes-256-gcm", self.lower, self.root, env=env, stdin=f"{PASSWORD}\n")


class Passthrough(Mounted):
    """libfuse's example in C++, without encryption: what FUSE alone costs. With its defaults, which cache all that the
    kernel offers; `--clone-fd` gained nothing that noise wouldn't hide."""

    name = "passthrough_hp"
    needs = ("passthrough_hp",)

    def version(self):
        return "passthrough_hp of libfuse " + self.tools.get("libfuse", "")

    def mount(self):
        command(self.tools[self.needs[0]], *self.options.split(), self.lower, self.root)
        _await_mount(self.root)


class RekeyfsWithoutXattrs(Rekeyfs):
    """As securefs, which has no extended attributes: the kernel asks once and never again."""

    name = "rekeyfs-no-xattrs"
    options = "--no-xattrs"
    kinds = ("listing",)


class PassthroughOfSyncs(Passthrough):
    """Where the disk is waited for, the null FUSE daemon, which has none, says nothing."""

    kinds = ("database",)


class NullFuse(Mounted):
    """`crates/null-fuse`: files in memory, each request answered at once. What it costs is the kernel's interface. Its two
    threads sleep between requests. It mounts again by itself, with its files."""

    name = "null-fuse"
    needs = ("null-fuse",)

    def version(self):
        return "files in memory"

    def create(self):
        words = (self.tools[self.needs[0]], *self.options.split(), self.root)
        self.server = subprocess.Popen(words, stdin=subprocess.DEVNULL)

    def mount(self):
        _await_mount(self.root)

    def end(self):
        self.server.terminate()
        self.server.wait()
        self.umount()

    def renew(self):
        self.server.kill()
        self.server.wait()
        super().renew()


class NullFusePolling(NullFuse):
    """As rekeyfs waits for requests, in small: one thread, which polls, or runs on its caller's core."""

    name = "null-fuse-poll"
    options = "--poll"


def daemon(path):
    """The directory in /proc of the process that was given this path."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(path).encode() in (process / "cmdline").read_bytes().split(b"\0"):
                return process
    raise RuntimeError(f"{path}: no process has it mounted")


def _await_mount(root):
    for _ in range(500):
        if os.path.ismount(root):
            return
        time.sleep(0.01)
    raise RuntimeError(f"{root}: not mounted after 5 s")


#: What applications are measured on.
APP_SYSTEMS = (Rekeyfs, RekeyfsWithoutXattrs, Gocryptfs, Securefs, PassthroughOfSyncs, NullFuse, NullFusePolling, Native)
SYSTEMS = (Rekeyfs, NullCipher, Gocryptfs, Securefs, Encfs, Cryfs, Passthrough, Native)
