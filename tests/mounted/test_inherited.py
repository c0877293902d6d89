"""What a mount must not take from the process that starts it: limits, signals, descriptors, umask, working directory,
environment. And what commands do under the same conditions."""

import errno
import fcntl
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import time

from harness import BIN, MountedTest, UserMountTest, is_gone, wait_until

MIB = 1 << 20


def limited(**limits):
    """Sets soft and hard limits, by their names in `resource`."""

    def before_exec():
        for name, limit in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))

    return before_exec


def ignoring(*signals):
    def before_exec():
        for number in signals:
            signal.signal(number, signal.SIG_IGN)

    return before_exec


class Inherited(MountedTest):
    options = None

    def start(self, *options, passfile=None, before_exec=None, wait=True, **kw):
        """`rekeyfs mount`, in a process that `before_exec` was called in."""
        command = [BIN, "mount", self.vault.path, self.mnt, "--passfile", passfile or self.vault.passfile, *options]
        kw = {"cwd": self.vault.base, "env": self.vault.env, "stdin": subprocess.DEVNULL, **kw}
        kw |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": before_exec}
        process = subprocess.Popen(list(map(str, command)), **kw)
        if not wait:
            return process
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, out + err)
        self.vault.pid = self.daemon()
        return err

    def daemon(self):
        """As it says itself: its command line may be longer than a test's."""
        return json.loads(self.vault.ok("status", self.mnt, "--json"))["mount"]["pid"]

    def assertServes(self, name="after"):
        data = os.urandom(10_000)
        self.assertEqual(self.read(self.write(name, data, fsync=True)), data)
        self.assertFalse(is_gone(self.vault.pid))

    def limits(self):
        lines = pathlib.Path(f"/proc/{self.vault.pid}/limits").read_text().splitlines()[1:]
        return {line[:25].strip(): tuple(line[25:].split()[:2]) for line in lines}

    def test_a_limit_on_file_sizes_does_not_end_the_mount(self):
        said = self.start(before_exec=limited(FSIZE=MIB))
        self.write("small", b"small", fsync=True)
        # Root goes beyond the limit; where it may not, the write fails and the mount says why beforehand.
        if self.limits()["Max file size"][1] == "unlimited":
            self.write("big", b"x" * (4 * MIB), fsync=True)
        else:
            self.assertIn("ulimit -f", said)
            self.assertErrno(errno.EFBIG, self.write, "big", b"x" * (4 * MIB), fsync=True)
        self.assertEqual(self.read(self.mnt / "small"), b"small")
        self.assertServes()

    def test_limits_that_may_be_raised_are(self):
        names = ("FSIZE", "CPU", "AS", "DATA")

        def soft_only():
            for name in names:
                number = getattr(resource, f"RLIMIT_{name}")
                hard = resource.getrlimit(number)[1]
                resource.setrlimit(number, (8 << 30 if name in ("AS", "DATA") else MIB, hard))

        self.assertNotIn("ulimit", self.start(before_exec=soft_only))
        for name in ("Max file size", "Max cpu time", "Max address space", "Max data size"):
            soft, hard = self.limits()[name]
            self.assertEqual(soft, hard, name)
        self.write("big", b"x" * (4 * MIB), fsync=True)
        self.assertServes()

    def test_no_signal_stays_ignored_or_blocked(self):
        def before_exec():
            numbers = set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP}
            ignoring(*numbers)()
            signal.pthread_sigmask(signal.SIG_SETMASK, numbers)

        self.start(before_exec=before_exec)
        for line in pathlib.Path(f"/proc/{self.vault.pid}/status").read_text().splitlines():
            name, _, mask = line.partition(":")
            if name == "SigBlk":
                self.assertEqual(int(mask, 16), 0)
            if name == "SigIgn":
                self.assertEqual(int(mask, 16), 1 << (signal.SIGPIPE - 1))
        self.assertServes()
        pid = self.vault.pid
        os.kill(pid, signal.SIGHUP)
        self.assertTrue(wait_until(lambda: is_gone(pid) and not self.vault.is_mounted()))
        self.vault.pid = None

    def test_in_the_foreground_nohup_holds_and_sigterm_unmounts(self):
        process = self.start("--foreground", before_exec=ignoring(signal.SIGHUP, signal.SIGINT), wait=False)
        self.addCleanup(process.kill)
        self.assertTrue(wait_until(self.vault.is_mounted))
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        self.write("f", b"x", fsync=True)
        self.assertIsNone(process.poll())
        self.assertEqual(os.readlink(f"/proc/{process.pid}/cwd"), "/")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), 0)
        process.communicate()
        self.assertFalse(self.vault.is_mounted())

    def test_no_timer_of_the_starter_ends_a_mount(self):
        def before_exec():
            # Before it ends even a busy machine has started the program.
            signal.setitimer(signal.ITIMER_REAL, 6)

        for options in ((), ("--foreground",)):
            with self.subTest(options=options):
                process = self.start(*options, before_exec=before_exec, wait=False)
                self.addCleanup(process.kill)
                self.assertTrue(wait_until(self.vault.is_mounted))
                self.vault.pid = self.daemon()
                time.sleep(6.5)
                self.assertServes()
                self.vault.umount()
                self.assertEqual(process.wait(20), 0)
                process.communicate()

    def test_no_descriptor_is_kept(self):
        lock = open(self.dir / "script.lock", "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        read, write = os.pipe()
        secret = os.open(self.vault.passfile, os.O_RDONLY)
        # The passphrase may come through one of them.
        kept = (lock.fileno(), write, secret)
        for options in ((), ("--foreground",)):
            with self.subTest(options=options):
                os.lseek(secret, 0, os.SEEK_SET)
                process = self.start(*options, passfile=f"/dev/fd/{secret}", pass_fds=kept, wait=False)
                self.assertTrue(wait_until(self.vault.is_mounted))
                if not options:
                    self.assertEqual(process.wait(30), 0)
                self.vault.pid = self.daemon()
                names = [os.readlink(fd) for fd in pathlib.Path(f"/proc/{self.vault.pid}/fd").iterdir()]
                pipe = os.readlink(f"/proc/self/fd/{write}")
                for mine in (str(self.dir / "script.lock"), str(self.vault.passfile), pipe):
                    self.assertNotIn(mine, names)
                self.assertServes(f"after{len(options)}")
                self.vault.umount()
                process.communicate(timeout=30)
        self.vault.mount()
        lock.close()
        os.close(write)
        # Whoever waits for the script's end sees it.
        self.assertEqual(os.read(read, 1), b"")
        with open(self.dir / "script.lock") as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(read)
        os.close(secret)

    def test_a_umask_that_masks_all(self):
        for options in ((), ("--foreground",)):
            with self.subTest(options=options):
                shutil.rmtree(self.dir / "run", ignore_errors=True)
                (self.dir / "run").mkdir(mode=0o700)
                process = self.start(*options, umask=0o777, wait=False)
                self.addCleanup(process.kill)
                self.assertTrue(wait_until(lambda: list((self.dir / "run").glob("rekeyfs/*.json"))))
                self.vault.pid = self.daemon()
                old = os.umask(0o027)
                self.addCleanup(os.umask, old)
                name = f"d{len(options)}"
                os.mkdir(self.mnt / name)
                fd = os.open(self.mnt / name / "f", os.O_CREAT | os.O_WRONLY, 0o666)
                os.close(fd)
                modes = [os.stat(self.mnt / path).st_mode & 0o777 for path in (name, f"{name}/f")]
                self.assertEqual(modes, [0o750, 0o640])
                os.rename(self.mnt / name, self.mnt / f"moved{name}")
                self.vault.rotate()
                self.assertServes(f"after{name}")
                for made in self.dir.rglob("*"):
                    if not made.is_symlink() and self.mnt not in made.parents:
                        self.assertEqual(made.stat().st_mode & 0o600, 0o600, made)
                self.vault.umount()
                process.communicate(timeout=30)

    def test_the_directory_it_is_started_in_is_not_kept_busy(self):
        here = self.dir / "here"
        here.mkdir()
        done = self.start(cwd=here)
        self.assertEqual(os.readlink(f"/proc/{self.vault.pid}/cwd"), "/", done)

    def test_started_without_an_environment(self):
        done = subprocess.run(
            [BIN, "mount", self.vault.path, self.mnt, "--passfile", self.vault.passfile],
            env={}, cwd=self.vault.base, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.vault.pid = self.vault.daemon_pid()
        self.assertServes()
        self.assertEqual(subprocess.run([BIN, "umount", self.mnt], env={}, timeout=60).returncode, 0)
        self.vault.pid = None


class Keyring(MountedTest):
    """Commands on a vault that isn't mounted."""

    options = None

    def run_in(self, *args, **kw):
        kw = {"cwd": self.vault.base, "env": self.vault.env, "stdin": subprocess.DEVNULL, **kw}
        return subprocess.run([BIN, *map(str, args)], capture_output=True, text=True, timeout=60, **kw)

    def test_a_save_beyond_the_limit_on_file_sizes_leaves_the_old_keyring(self):
        keyring, open_ = self.vault.path / "keyring", ["--passfile", self.vault.passfile]
        self.vault.ok("status", self.vault.path, *open_)
        for commands in (
            ["rotate", self.vault.path],
            ["kms", "create-key", "--vault", self.vault.path],
            ["unlock", "add", self.vault.path, "--new-keyfile", self.dir / "key"],
        ):
            (self.dir / "key").write_bytes(os.urandom(32))
            before = (keyring.read_bytes(), sorted(os.listdir(self.vault.path)))
            for limit in (1, 512, 1024):
                done = self.run_in(*commands, *open_, preexec_fn=limited(FSIZE=limit))
                self.assertRefused(done, "File too large")
                self.assertGreater(done.returncode, 0, "ended by a signal")
                self.assertEqual((keyring.read_bytes(), sorted(os.listdir(self.vault.path))), before)
        self.assertEqual(self.vault.rotate()["new_version"], 2)

    def test_a_vault_made_under_a_umask_that_masks_all_opens(self):
        made = self.dir / "made"
        done = self.run_in(
            "init", made, "--passfile", self.vault.passfile, "--kdf-memory", "8", "--no-recovery-key", umask=0o777
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (made, *made.iterdir())}
        self.assertEqual({modes.pop("made"), modes.pop("tree")}, {0o700})
        self.assertEqual(set(modes.values()), {0o600})

    def test_a_reader_that_closes_the_pipe_is_no_error_to_speak_of(self):
        self.vault.mount()
        for name in "abc":
            self.write(name, b"x", fsync=True)
        for command in (
            ["status", self.mnt, "--json"],
            ["inspect", *self.mnt.iterdir()],
            ["kms", "list-keys", "--vault", self.mnt],
            ["fsck", self.mnt, "--json"],
            ["events", self.mnt],
            ["--help"],
        ):
            with self.subTest(command=command[0]):
                read, write = os.pipe()
                os.close(read)
                done = subprocess.run(
                    [BIN, *map(str, command)],
                    env=self.vault.env, stdin=subprocess.DEVNULL, stdout=write, stderr=subprocess.PIPE, timeout=60,
                )  # fmt: skip
                os.close(write)
                self.assertEqual((done.returncode, done.stderr), (128 + signal.SIGPIPE, b""))

    def test_a_mount_whose_daemon_was_killed_is_named_as_such(self):
        self.vault.mount()
        # The kernel may still know the root's attributes.
        self.vault.status()
        self.vault.kill()
        self.addCleanup(self.vault.clear_stale_mountpoint)
        self.assertRefused(self.vault.run("status", self.mnt), "the daemon of this mount died", "umount", status=20)
        self.vault.ok("umount", self.mnt)


class OfAUser(UserMountTest):
    """A mount by someone who can't go beyond a hard limit."""

    MOUNT = "$R mount $PWD/vault $PWD/mnt --passfile passphrase"

    def test_with_sigchld_ignored(self):
        done = self.shell(f"trap '' CHLD; {self.MOUNT}")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.shell("echo x > mnt/f; cat mnt/f; trap '' CHLD; $R umount mnt")
        self.assertEqual((done.returncode, done.stdout), (0, "x\n"), done.stderr)
        self.assertFalse(self.vault.is_mounted())

    def test_a_hard_limit_on_file_sizes(self):
        done = self.shell(f"ulimit -f 1000; {self.MOUNT}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("ulimit -f", done.stderr)
        done = self.shell("echo small > mnt/a && dd if=/dev/zero of=mnt/big bs=64k count=40 conv=fsync")
        self.assertIn("File too large", done.stderr)
        done = self.shell("cat mnt/a && echo more > mnt/b && sync mnt/b && $R umount mnt")
        self.assertEqual((done.returncode, done.stdout), (0, "small\n"), done.stderr)

    def test_a_limit_on_locked_memory_is_told_with_what_keys_take(self):
        done = self.shell(f"ulimit -l 16; {self.MOUNT}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"they take (64|\d{3}) KiB of locked memory, and 16 KiB are allowed; raise the limit")
        for how in ("LimitMEMLOCK=", "memlock in /etc/security/limits.conf", "ulimit -l"):
            self.assertIn(how, done.stderr)
        self.shell_ok("$R umount mnt")
        self.assertNotIn("locked memory", self.shell(f"ulimit -l 8192; {self.MOUNT}").stderr)
        self.shell_ok("$R umount mnt")

    def test_a_hard_limit_on_cpu_time_unmounts_before_it_kills(self):
        done = self.shell(f"ulimit -t 4; {self.MOUNT}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("ulimit -t", done.stderr)
        self.vault.pid = self.vault.daemon_pid()
        busy = "dd if=/dev/zero of=mnt/f bs=1M count=32 oflag=direct conv=notrunc,nocreat"
        self.shell(f"echo kept > mnt/kept; touch mnt/f; for n in $(seq 400); do {busy} || break; done")
        pid = self.vault.pid
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        self.assertFalse(self.vault.is_mounted(), "it was killed, and its mountpoint is dead")
        self.vault.pid = None
        done = self.shell(f"{self.MOUNT} && cat mnt/kept; $R umount mnt")
        self.assertEqual(done.stdout, "kept\n", done.stderr)
