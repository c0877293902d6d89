"""What the mounted tests share: a vault of one's own, mounts that always come down, system calls that
Python's os module lacks. Standard library only.

A test never depends on chance, nor on how busy the machine is:
- What comes by itself is waited for with `wait_until(condition)`: it polls, and `PATIENCE` is more than any machine takes.
- What is to be quick is measured with `quick_once`: one of several runs has to be. What a test does to be early enough it checks:
  the state that it wanted to meet, and not the time that it has slept.
- What has to stay as it is, is looked at over a time (`stays`): a busy machine hides a fault there, and never makes one.
- Damage changes what it hits: `flipped`, not a byte that may be there already.

Environment: REKEYFS (the binary; default target/release/rekeyfs), REKEYFS_TEST_DIR (where vaults and
mountpoints are made; default a directory under target/, so that it is a disk and not a tmpfs).
"""

import contextlib
import ctypes
import hashlib
import json
import os
import pathlib
import re
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BIN = os.environ.get("REKEYFS", str(TARGET / "release" / "rekeyfs"))
BASE = pathlib.Path(os.environ.get("REKEYFS_TEST_DIR", TARGET / "mounted-tests"))
PASSPHRASE = "the tests' passphrase"
WRONG_PASSPHRASE_EXIT = 12
# Of the verbs of `rekeyfs kms`, as of the aws command, where the vault can't be had; other commands say why by theirs.
KMS_ENVIRONMENT_EXIT = 253
# A user without rights, but with a name: fusermount3 wants one.
NOBODY = pwd.getpwnam("nobody").pw_uid

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result


def renameat2(old, new, flags):
    checked(libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), ctypes.c_uint(flags)))


def fallocate(fd, mode, offset, length):
    checked(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


# More than anything takes that happens at all, on a busy machine too.
PATIENCE = 60


def wait_until(condition, seconds=PATIENCE, step=0.05):
    """The first true value of `condition()`, or its last value once the time is over. A time of one's own is for what is
    skipped if it doesn't come."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


def stays(condition, seconds):
    """Whether a condition holds all the time."""
    return not wait_until(lambda: not condition(), seconds)


def quick_once(action, seconds):
    """Whether one of several runs of an action takes less than this time: it is for the time that an action needs by itself,
    and the others may have been held up by whatever else the machine did."""

    def quick():
        began = time.monotonic()
        action()
        return time.monotonic() - began < seconds

    return wait_until(quick, step=0)


def flipped(data, at):
    """A copy with another byte there, whatever it is."""
    changed = bytearray(data)
    changed[at] ^= 0xFF
    return bytes(changed)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def sh(command, cwd, timeout=300, **env):
    """Runs a shell command; its output, or an error that shows it."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=cwd, env={**os.environ, **env}, timeout=timeout,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"exit status {done.returncode}: {command}\n{done.stdout.decode(errors='replace')[-3000:]}")
    return done.stdout.decode(errors="replace")


def as_user(command, cwd="/", uid=NOBODY, **kw):
    """Runs a shell command as a user without rights."""
    return subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "bash", "-euo", "pipefail", "-c", command],
        cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **kw,
    )  # fmt: skip


class Vault:
    """A vault in a directory of its own, with a mountpoint beside it."""

    def __init__(self, base, *, suite=None, vault=None, uid=None):
        self.base = pathlib.Path(base)
        self.path = pathlib.Path(vault) if vault else self.base / "vault"
        self.mnt = self.base / "mnt"
        self.passfile = self.base / "passphrase"
        self.uid = uid
        self.env = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(self.base / "run"),
            "XDG_STATE_HOME": str(self.base / "state"),
            "HOME": str(self.base),
        }
        for directory in (self.mnt, self.base / "run", self.base / "state"):
            directory.mkdir(mode=0o700, exist_ok=True)
        self.passfile.write_text(PASSPHRASE + "\n")
        self.passfile.chmod(0o600)
        if uid is not None:
            for p in (self.base, self.mnt, self.base / "run", self.base / "state", self.passfile):
                os.chown(p, uid, uid)
        self.pid = None
        if not self.path.exists():
            args = ["init", self.path, "--passfile", self.passfile, "--kdf-memory", "8", "--no-recovery-key"]
            self.ok(*args, *(["--suite", suite] if suite else []))

    def command(self, *args):
        """The program with these arguments, as the vault's user runs it."""
        as_user = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"] if self.uid else []
        return [*as_user, BIN, *map(str, args)]

    def run(self, *args, timeout=180, stdin=None, check=False, cwd=None):
        return subprocess.run(
            self.command(*args), env=self.env, timeout=timeout, cwd=cwd or self.base, check=check,
            input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ok(self, *args, **kw):
        done = self.run(*args, **kw)
        if done.returncode:
            raise AssertionError(
                f"rekeyfs {' '.join(map(str, args))}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def subcommands(self, *command):
        """The names that the program, or one of its groups of commands, lists in its help."""
        printed = self.ok(*command, "--help").split("Commands:")[1].split("Options:")[0]
        return set(re.findall(r"^  ([a-z-]+)  ", printed, re.MULTILINE)) - {"help"}

    def mount(self, *options):
        self.ok("mount", self.path, self.mnt, "--passfile", self.passfile, *options)
        self.pid = self.daemon_pid()

    def try_mount(self, *options):
        return self.run("mount", self.path, self.mnt, "--passfile", self.passfile, *options)

    def umount(self):
        self.ok("umount", self.mnt)
        self.pid = None

    def remount(self, *options):
        self.umount()
        self.mount(*options)

    def daemon_pid(self):
        """The mount's process: the one with the vault's and the mountpoint's path in its command line. What started it has the
        same one, and may still be there."""
        paths = {os.fsencode(self.path), os.fsencode(self.mnt)}
        parents = {}
        for proc in pathlib.Path("/proc").iterdir():
            if proc.name.isdigit():
                with contextlib.suppress(OSError):
                    cmd = (proc / "cmdline").read_bytes().split(b"\0")
                    if paths <= set(cmd):
                        parents[int(proc.name)] = int((proc / "stat").read_text().rsplit(")", 1)[1].split()[1])
        found = parents.keys() - parents.values()
        assert found, "no mount process found by its command line"
        return max(found)

    def kill(self):
        """SIGKILL to the mount; leaves the stale mountpoint as it is."""
        os.kill(self.pid, signal.SIGKILL)
        pid, self.pid = self.pid, None
        assert wait_until(lambda: is_gone(pid)), "still there after SIGKILL"

    def clear_stale_mountpoint(self):
        subprocess.run(["fusermount3", "-u", "-z", self.mnt], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def settle(self):
        """Returns once the mount has done what requests before have left it to do."""
        assert wait_until(lambda: at_rest(self.pid)), "it is never at rest"

    def is_mounted(self):
        return os.fsencode(self.mnt) in pathlib.Path("/proc/self/mounts").read_bytes()

    def close(self):
        if self.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGTERM)
            if not wait_until(lambda: is_gone(self.pid), 5):
                with contextlib.suppress(OSError):
                    os.kill(self.pid, signal.SIGKILL)
            self.pid = None
        if self.is_mounted():
            self.clear_stale_mountpoint()

    # -- what the tests ask of a vault --

    def rotate(self, *args):
        return json.loads(self.ok("rotate", self.mnt if self.pid else self.path, "--json", *self._unlock(), *args))

    def _unlock(self):
        return [] if self.pid else ["--passfile", self.passfile]

    def status(self):
        return json.loads(self.ok("status", self.mnt if self.pid else self.path, "--json", *self._unlock()))

    def events(self, kind):
        """The details of the events of a kind, in the order of the log, without what older files of it have."""
        lines = (self.path / "events.jsonl").read_text().splitlines()
        return [event["detail"] for event in map(json.loads, lines) if event["detail-type"] == kind]

    def version(self, path):
        """The key version in a file's header, through its virtual attribute."""
        return int(os.getxattr(path, "user.rekeyfs.key-version", follow_symlinks=False))

    def lower(self, path):
        """The lower file behind a file of the mount: they have one inode number."""
        ino = os.lstat(path).st_ino
        for directory, dirs, files in os.walk(os.fsencode(self.path / "tree")):
            for name in dirs + files:
                full = os.path.join(directory, name)
                if os.lstat(full).st_ino == ino:
                    return os.fsdecode(full)
        raise AssertionError(f"no lower file for {path}")


def is_gone(pid):
    """Whether a process has ended; its parent may not have asked for its status yet. Its descriptors are closed by the last
    of its threads, which may end after the first one."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state == "Z" and os.listdir(f"/proc/{pid}/task") == [str(pid)]
    except OSError:
        return True


def is_killed(pid):
    """Whether a process has ended, or SIGKILL was sent to it: a thread that waits for a filesystem which hangs may end later."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    pending = sum(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("ShdPnd:", "SigPnd:")))
    return bool(pending >> (signal.SIGKILL - 1) & 1) or is_gone(pid)


def at_rest(pid, looks=5):
    """Whether no thread of a process works, nor waits for its turn on a processor or for a disk, however often it is looked at:
    what it was left to do is done. Only timers of its own may still have it do something."""

    def rests():
        with contextlib.suppress(OSError):  # a thread has ended
            tasks = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
            return all((task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "S" for task in tasks)
        return False

    return all(rests() and time.sleep(0.02) is None for _ in range(looks))


@contextlib.contextmanager
def stopped(pid):
    """A process is stopped meanwhile, as one that hangs is. It may be killed meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def sockets_of(pid):
    """How many sockets a process has open."""
    count = 0
    with contextlib.suppress(OSError):  # it has ended
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # it has closed this one
                count += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
    return count


def open_device_to_users(test):
    """Where no udev runs nobody has opened the FUSE device to users; it is as it was after the test."""
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    if not mode & stat.S_IWOTH:
        os.chmod("/dev/fuse", 0o666)
        test.addCleanup(os.chmod, "/dev/fuse", mode)


class MountedTest(unittest.TestCase):
    """A test with a fresh vault, mounted with `options` (None: not mounted) at `self.mnt`."""

    options = ()
    suite = None

    def setUp(self):
        if not os.path.exists("/dev/fuse"):
            self.skipTest("no /dev/fuse: nothing can be mounted here")
        BASE.mkdir(parents=True, exist_ok=True)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"{self._testMethodName[:40]}-", dir=BASE))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.vault = self.new_vault(suite=self.suite)
        self.mnt = self.vault.mnt
        if self.options is not None:
            self.vault.mount(*self.options)

    def new_vault(self, base=None, **kw):
        vault = Vault(base or self.dir, **kw)
        self.addCleanup(vault.close)
        return vault

    def write(self, name, data, fsync=False):
        path = self.mnt / name if isinstance(name, str) else os.fsencode(self.mnt) + b"/" + name
        with open(path, "wb") as f:
            f.write(data)
            if fsync:
                f.flush()
                os.fsync(f.fileno())
        return path

    def read(self, path):
        with open(path, "rb") as f:
            return f.read()

    def assertErrno(self, errno, call, *args, **kw):
        with self.assertRaises(OSError) as raised:
            call(*args, **kw)
        self.assertEqual(os.strerror(raised.exception.errno), os.strerror(errno))

    def assertRefused(self, done, *words, status=None):
        """A command failed with a message of one clear line, not a panic."""
        self.assertNotEqual(done.returncode, 0, done.stdout)
        if status is not None:
            self.assertEqual(done.returncode, status, done.stderr)
        self.assertNotIn("panicked", done.stderr)
        for word in words:
            self.assertIn(word.lower(), done.stderr.lower())

    def kms(self, *args):
        """The answer of a verb, asked through the mount: no secret is given."""
        printed = self.vault.ok("kms", *args, "--vault", self.mnt)
        return json.loads(printed) if printed else None

    def assertKmsError(self, name, *args):
        """A verb is refused with this error; gives what it said."""
        done = self.vault.run("kms", *args, "--vault", self.mnt)
        self.assertEqual(done.returncode, 254, done.stderr)
        self.assertIn(f"An error occurred ({name}) when calling the ", done.stderr)
        return done.stderr

    def need_tools(self, *tools):
        for tool in tools:
            if not shutil.which(tool):
                self.skipTest(f"{tool} is not installed")

    def need_root(self):
        if os.getuid() != 0:
            self.skipTest("needs root")


class UserMountTest(MountedTest):
    """A test of `NOBODY`'s own mount, for whom fusermount3 mounts; `self.vault` isn't mounted yet. Vault and program lie
    where the user can reach them: the directories above a build directory may be closed."""

    options = None

    def setUp(self):
        self.need_root()
        self.need_tools("setpriv", "fusermount3")
        super().setUp()
        open_device_to_users(self)
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="rekeyfs-test-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        self.home.chmod(0o755)
        self.bin = self.home / "rekeyfs"
        shutil.copy2(BIN, self.bin)
        self.bin.chmod(0o755)
        self.addCleanup(globals().__setitem__, "BIN", BIN)
        globals()["BIN"] = str(self.bin)
        theirs = self.home / "user"
        theirs.mkdir()
        self.vault = self.new_vault(theirs, uid=NOBODY)
        self.mnt = self.vault.mnt

    def shell(self, command):
        """Runs a shell command as the user, in the directory in which the vault and the mountpoint `mnt` lie. Root
        doesn't enter the mount."""
        return as_user(command, self.vault.base, env={**self.vault.env, "R": str(self.bin)})

    def shell_ok(self, command):
        done = self.shell(command)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout


def tree_digest(root):
    """Everything about a tree that a copy should keep: kinds, contents, modes, times, link targets, xattrs."""
    rows = []
    for directory, dirs, files in os.walk(os.fsencode(root)):
        for name in sorted(dirs + files):
            path = os.path.join(directory, name)
            st = os.lstat(path)
            row = [os.path.relpath(path, os.fsencode(root)), st.st_mode, st.st_uid, st.st_gid]
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    row += [st.st_size, st.st_mtime_ns, st.st_nlink, sha(f.read())]
            elif stat.S_ISLNK(st.st_mode):
                row += [os.readlink(path)]
            elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
                row += [st.st_rdev]
            rows.append(tuple(row))
    return sorted(rows)
