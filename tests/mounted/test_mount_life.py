"""A mount's life: its socket lasts as long as it does, and what became of a mount is said by every command."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import subprocess
import time
import unittest

from harness import (
    BIN, KMS_ENVIRONMENT_EXIT, PATIENCE, ROOT, MountedTest, UserMountTest, at_rest, is_gone, sockets_of, stays, stopped, wait_until,
)  # fmt: skip


class SocketOfRoot(MountedTest):
    """logind takes the runtime directory away at the last logout."""

    def answers(self):
        self.assertEqual(self.vault.rotate()["new_version"], 2)
        mount = self.vault.status()["mount"]
        self.assertEqual((mount["mountpoint"], mount["pid"]), (str(self.mnt), self.vault.pid))
        by_vault = self.vault.ok("status", self.vault.path, "--json")
        self.assertIn(str(self.mnt), by_vault)
        self.kms("list-keys")
        self.vault.umount()
        self.assertFalse(self.vault.is_mounted())

    def test_it_is_asked_after_its_runtime_directory_was_removed(self):
        shutil.rmtree(self.dir / "run")
        self.answers()

    def test_it_is_asked_after_its_runtime_directory_was_removed_and_made_again(self):
        shutil.rmtree(self.dir / "run")
        (self.dir / "run").mkdir(mode=0o700)
        self.answers()
        self.assertEqual(list((self.dir / "run").iterdir()), [], "something is left")

    def test_it_is_asked_after_the_filesystem_of_its_runtime_directory_was_unmounted(self):
        self.need_root()
        self.vault.umount()
        run = self.dir / "run"
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "none", run], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", run], stderr=subprocess.DEVNULL)
        self.vault.mount()
        time.sleep(0.7)
        subprocess.run(["umount", "-l", run], check=True)
        self.answers()

    def test_another_vault_mounted_meanwhile_does_not_take_its_place(self):
        shutil.rmtree(self.dir / "run")
        other = self.dir / "other"
        other.mkdir()
        second = self.new_vault(other)
        second.env["XDG_RUNTIME_DIR"] = str(self.dir / "run")
        (self.dir / "run").mkdir(mode=0o700)
        second.mount()
        self.assertEqual(second.status()["mount"]["mountpoint"], str(second.mnt))
        second.umount()
        self.answers()


class SocketOfUser(UserMountTest):
    def test_it_and_root_ask_it_after_the_runtime_directory_was_removed(self):
        self.vault.mount()
        run = self.vault.base / "run"
        shutil.rmtree(run)
        self.assertEqual(self.vault.rotate()["new_version"], 2)
        # Root has another environment, and looks where a user's mount can be.
        env = {**os.environ, "XDG_RUNTIME_DIR": "/nonexistent"}
        done = subprocess.run([self.bin, "rotate", self.mnt, "--json"], env=env, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('"new_version": 3', done.stdout)
        self.vault.umount()
        left = [p for p in pathlib.Path("/tmp").glob(f"rekeyfs-{self.vault.uid}*/*") if str(self.mnt) in p.read_text()]
        self.assertEqual(left, [])


class Idle(MountedTest):
    """`mount --idle` unmounts what nobody uses."""

    options = None

    def goes(self):
        return wait_until(lambda: not self.vault.is_mounted())

    def test_it_is_unmounted_after_its_last_use(self):
        self.vault.mount("--idle", "2s")
        pid = self.vault.pid
        path = self.write("f", b"data", fsync=True)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            # Often enough for a busy machine not to let two seconds pass between two of them.
            time.sleep(0.02)
            began = time.monotonic()
            os.listdir(self.mnt)
            open(path, "rb").close()
        self.assertTrue(self.vault.is_mounted(), "unmounted while it was used")

        def unused():
            # What monitors ask, and the daemon's own commands, are no use.
            self.vault.run("status", self.vault.path, "--json", "--passfile", self.vault.passfile)
            with contextlib.suppress(OSError):  # unmounted meanwhile
                os.statvfs(self.mnt)
            return not self.vault.is_mounted()

        self.assertTrue(wait_until(unused, step=0.2), "still mounted")
        self.assertGreater(time.monotonic() - began, 1.8)
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        self.vault.pid = None
        # It ended as any other: it can be mounted again, and nothing is lost.
        self.vault.mount()
        self.assertEqual(self.read(path), b"data")
        ends = [line for line in self.vault.ok("events", self.mnt, "--json").splitlines() if "Unmounted" in line]
        self.assertIn('"idle"', ends[-1])

    def test_an_open_file_or_a_working_directory_keeps_it(self):
        self.vault.mount("-o", "idle=1s")
        self.write("f", b"data")
        with contextlib.ExitStack() as here:
            with open(self.mnt / "f", "rb"):
                self.assertTrue(stays(self.vault.is_mounted, 1.5), "unmounted with an open file")
                sleeper = here.enter_context(subprocess.Popen(["sleep", "600"], cwd=self.mnt))
                here.callback(sleeper.kill)
            self.assertTrue(stays(self.vault.is_mounted, 1.5), "unmounted under a working directory")
        self.assertTrue(self.goes())
        self.vault.pid = None

    def test_a_sweep_keeps_it(self):
        self.vault.mount("--idle", "1s")
        paths = [self.write(f"f{number}", b"data", fsync=True) for number in range(3)]
        lower = [self.vault.lower(path) for path in paths]
        before = [self.read(path) for path in lower]
        with open(paths[0], "rb"):
            self.vault.rotate()
            sweep = subprocess.Popen(self.vault.command("rewrap", self.mnt, "--max-rate", "1"), env=self.vault.env,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
            self.assertTrue(wait_until(lambda: [self.read(path) for path in lower] != before), "it doesn't begin")
        # The rest of the sweep takes longer than a mount that nobody uses stays.
        said, _ = sweep.communicate(timeout=PATIENCE)
        self.assertEqual(sweep.returncode, 0, said)
        self.assertTrue(self.goes())
        self.vault.pid = None
        self.assertFalse(any(self.read(path) == data for path, data in zip(lower, before, strict=True)), said)


class IdleOfUser(UserMountTest):
    def test_a_user_s_mount_is_unmounted_too(self):
        self.vault.mount("--idle", "1s")
        pid = self.vault.pid
        self.assertTrue(wait_until(lambda: not self.vault.is_mounted()))
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        self.vault.pid = None
        self.assertEqual([event["reason"] for event in self.vault.events("Vault Unmounted")], ["idle"])


class Remount(MountedTest):
    """`mount -o remount,ro` reaches the daemon."""

    def setUp(self):
        super().setUp()
        self.need_root()
        self.helper = self.dir / "mount.fuse.rekeyfs"
        self.helper.symlink_to(BIN)

    def remount(self, options, expected=0):
        done = subprocess.run([self.helper, self.vault.path, self.mnt, "-o", f"remount,{options}"],
                              env=self.vault.env, capture_output=True, text=True)  # fmt: skip
        self.assertEqual(done.returncode, expected, done.stderr)
        return done

    def test_read_only_holds_re_wraps_back_and_status_shows_it(self):
        path = self.write("f", b"data", fsync=True)
        self.vault.rotate()
        self.remount("ro")
        self.assertTrue(self.vault.status()["mount"]["read_only"], "when the command returns")
        self.assertIn("read-only", self.vault.ok("status", self.mnt))
        self.assertErrno(errno.EROFS, open, self.mnt / "new", "wb")
        self.assertEqual(self.read(path), b"data")
        time.sleep(1.5)
        self.assertEqual(self.vault.version(path), 1, "re-wrapped on a read-only mount")
        self.assertRefused(self.vault.run("rewrap", self.mnt), "read-only", status=1)
        self.assertRefused(self.vault.run("reencrypt", path), "read-only", status=1)
        # Keys are the vault's: what is ordered is done.
        self.assertEqual(self.vault.rotate()["new_version"], 3)
        self.remount("rw")
        self.assertFalse(self.vault.status()["mount"]["read_only"])
        self.assertTrue(wait_until(lambda: self.vault.version(path) == 3), "not re-wrapped when writable again")

    def test_a_sweep_under_way_ends_with_a_message(self):
        for number in range(60):
            self.write(f"f{number}", b"data")
        self.vault.rotate()
        versions = lambda: {self.vault.version(self.mnt / f"f{number}") for number in range(60)}  # noqa: E731
        sweep = subprocess.Popen([BIN, "rewrap", self.mnt, "--max-rate", "5"], env=self.vault.env,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
        self.assertTrue(wait_until(lambda: versions() != {1}), "it doesn't begin")
        self.remount("ro")
        _, said = sweep.communicate(timeout=PATIENCE)
        self.assertEqual(sweep.returncode, 1, said)
        self.assertIn("the mount became read-only, and the sweep stopped", said)
        self.assertIn("remount,rw", said)
        self.assertEqual(versions(), {1, 2})
        self.remount("rw")
        self.vault.ok("rewrap", self.mnt)
        self.assertEqual(versions(), {2})

    def test_a_remount_that_goes_past_rekeyfs_is_noticed_too(self):
        path = self.write("f", b"data", fsync=True)
        self.vault.rotate()
        subprocess.run(["mount", "-i", "-o", "remount,ro", self.mnt], check=True)
        self.assertTrue(wait_until(lambda: self.vault.status()["mount"]["read_only"]))
        self.read(path)
        time.sleep(1)
        self.assertEqual(self.vault.version(path), 1)


class ReadOnly(MountedTest):
    """What a mount that was made read-only changes: no file, and no key by itself."""

    options = None

    def test_keys_are_changed_when_that_is_ordered(self):
        self.vault.mount()
        path = self.write("f", b"data", fsync=True)
        self.vault.remount("--read-only")
        self.assertTrue(self.vault.status()["mount"]["read_only"])
        self.assertEqual(self.vault.rotate()["new_version"], 2)
        key = self.kms("describe-key", "--key-id", "alias/default")["KeyMetadata"]["KeyId"]
        self.kms("disable-key", "--key-id", key)
        self.assertErrno(errno.ENOKEY, open, path, "rb")
        self.kms("enable-key", "--key-id", key)
        self.assertEqual(self.read(path), b"data")
        time.sleep(1)
        self.assertEqual(self.vault.version(path), 1)
        self.assertRefused(self.vault.run("rewrap", self.mnt), "read-only", status=1)


class Options(MountedTest):
    """Options that others know, with the kernel."""

    options = None

    def setUp(self):
        super().setUp()
        self.need_root()
        self.helper = self.dir / "mount.fuse.rekeyfs"
        self.helper.symlink_to(BIN)

    def fstab(self, options):
        return subprocess.run([self.helper, self.vault.path, self.mnt, "-o", options], env=self.vault.env,
                              capture_output=True, text=True)  # fmt: skip

    def mounted(self, options):
        done = self.fstab(f"passfile={self.vault.passfile},{options}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.vault.pid = self.vault.daemon_pid()
        return done.stderr

    def test_symlinks_are_not_followed_also_after_another_remount(self):
        self.mounted("nosymfollow")
        self.write("f", b"data")
        (self.mnt / "link").symlink_to("f")
        self.assertErrno(errno.ELOOP, open, self.mnt / "link", "rb")
        self.assertEqual(self.fstab("remount,noexec").returncode, 0)
        self.assertErrno(errno.ELOOP, open, self.mnt / "link", "rb")
        self.assertEqual(os.readlink(self.mnt / "link"), "f")
        self.assertEqual(self.fstab("remount,symfollow").returncode, 0)
        self.assertEqual(self.read(self.mnt / "link"), b"data")

    def test_contexts_are_left_out_where_selinux_is_not_enabled(self):
        if os.path.exists("/sys/fs/selinux/enforce"):
            self.skipTest("SELinux is enabled")
        self.assertEqual(self.mounted('context="system_u:object_r:tmp_t:s0:c1,c2",rootcontext=a:b:c:s0,nofail,_netdev'), "")

    def test_what_is_not_done_is_said_or_refused(self):
        for option, word in (("sync", "fsync"), ("dirsync", "fsync"), ("uid=5", "chown"), ("umask=77", "chmod")):
            self.assertRefused(self.fstab(f"passfile={self.vault.passfile},{option}"), f"-o {option}: ", word, status=2)
        self.assertIn("-o strictatime: ", self.mounted("strictatime"))

    def test_the_kernel_does_only_a_part_of_sync(self):
        """Why it is refused. Where this fails the kernel does more than it did, and the option can be thought of again."""
        self.need_tools("strace")
        self.mounted("defaults")
        subprocess.run(["mount", "-i", "-o", "remount,sync", self.mnt], check=True)
        self.write("f", b"data")
        log = self.dir / "strace"
        with subprocess.Popen(["strace", "-f", "-p", str(self.vault.pid), "-e", "trace=fsync,fdatasync", "-o", log],
                              stderr=subprocess.PIPE) as strace:  # fmt: skip
            strace.stderr.readline()
            os.mkdir(self.mnt / "d")
            os.rename(self.mnt / "f", self.mnt / "g")
            os.chmod(self.mnt / "g", 0o600)
            os.unlink(self.mnt / "g")
            time.sleep(0.3)
            strace.terminate()
            strace.stderr.read()
        self.assertNotIn("sync(", log.read_text())


class AllowRoot(UserMountTest):
    def test_root_is_let_in_and_a_third_user_is_not(self):
        conf = self.home / "fuse.conf"
        conf.write_text("user_allow_other\n")
        script = self.home / "script"
        script.write_text(f"""
mount --make-rprivate /
touch /etc/fuse.conf && mount --bind {conf} /etc/fuse.conf
as() {{ setpriv --reuid=$1 --regid=$1 --clear-groups sh -c "$2"; }}
as {self.vault.uid} 'chmod 711 . && {self.bin} mount vault mnt --passfile passphrase -o allow_root &&
    chmod 755 mnt && echo data > mnt/f && chmod 644 mnt/f' || exit 3
[ "$(cat mnt/f)" = data ] || exit 4
as 4242 'cat mnt/f' && exit 5
as 4242 'ls mnt' && exit 6
as {self.vault.uid} '[ "$(cat mnt/f)" = data ] && {self.bin} umount mnt'
""")
        done = subprocess.run(["unshare", "-m", "bash", script], cwd=self.vault.base, env=self.vault.env,
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("denied", done.stderr.lower())


# Each command that takes a path of a mount; {m} is one in it.
COMMANDS = (
    "status {m}", "status {m} --count", "rotate {m}", "rewrap {m}", "events {m}", "events {m} --verify", "fsck {m}",
    "inspect {m}/f", "inspect -r {m}", "inspect -r {m}/f", "info {m}", "events rotate {m}", "unlock test {m}", "recover {m}",
    "rewrap {m} {m}/f --to-alias alias/default", "key-backup keep {m} --list", "reencrypt {m}/f", "reencrypt -r {m}", "unlock list {m}", "key-backup export {m} backup",
    "kms list-keys --vault {m}", "kms re-encrypt --destination-key-id alias/default {m}/f",
    "key retire {m} --key-id alias/default --below 1",
)  # fmt: skip


def status_of(command, status):
    """What a command ends with where others end with `status`: fsck and AWS's verbs have their own."""
    if command.startswith("fsck"):
        return 8
    return KMS_ENVIRONMENT_EXIT if command.startswith("kms list-keys") else status


class Ended(MountedTest):
    """What became of a mount is said by every command, in one line."""

    def each_command(self, at, *words, status):
        for command in COMMANDS:
            with self.subTest(command):
                done = self.vault.run(*command.format(m=at).split())
                self.assertEqual(done.returncode, status_of(command, status), done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                for word in words:
                    self.assertIn(word, done.stderr)
                self.assertNotIn("os error", done.stderr)

    def test_after_kill_9_each_command_says_so_and_how_to_clean_up(self):
        self.write("f", b"data", fsync=True)
        # Stands for a shell in there.
        sleeper = subprocess.Popen(["sleep", "60"], cwd=self.mnt)
        self.addCleanup(sleeper.wait)
        self.addCleanup(sleeper.kill)
        self.vault.kill()
        clean_up = f"clean up with `rekeyfs umount {self.mnt}` (or `fusermount3 -u {self.mnt}`)"
        self.each_command(self.mnt, "the daemon of this mount died", clean_up, status=20)
        done = self.vault.run("status", self.mnt / "no/such/file")
        self.assertRefused(done, "the daemon of this mount died", status=20)
        # Who names the mountpoint where a vault belongs, and a vault that lay in the mount.
        other = self.dir / "other"
        other.mkdir()
        for command in (("init", self.mnt), ("init", self.mnt / "new"), ("mount", self.mnt, other), ("mount", self.mnt / "new", other)):
            with self.subTest(command):
                done = self.vault.run(*command, "--passfile", self.vault.passfile)
                self.assertRefused(done, "the daemon of this mount died", clean_up, status=20)
                self.assertNotIn("os error", done.stderr)
        self.vault.ok("umount", self.mnt)
        self.assertFalse(self.vault.is_mounted())
        self.assertIsNone(sleeper.poll())
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "f"), b"data")

    def test_what_a_dead_daemon_left_is_cleaned_up_by_the_vault_s_path_and_by_the_next_mount(self):
        self.vault.kill()
        self.vault.ok("umount", self.vault.path)
        self.assertFalse(self.vault.is_mounted())
        self.vault.mount()
        with subprocess.Popen(["sleep", "60"], cwd=self.mnt) as sleeper:
            self.vault.kill()
            done = self.vault.try_mount()
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("unmounted what a killed daemon had left", done.stderr)
            self.vault.pid = self.vault.daemon_pid()
            sleeper.kill()
        self.assertEqual(list(self.mnt.iterdir()), [])

    def test_a_detached_mount_says_who_uses_it(self):
        path = self.write("f", b"data", fsync=True)
        pid = self.vault.pid
        with open(path, "rb") as used:
            self.vault.ok("umount", "--lazy", self.mnt)
            self.each_command(
                self.mnt, f"the mount of {self.vault.path}", "is detached and still in use", f"by process {os.getpid()} (",
                f"its daemon, process {pid},", status=42,
            )  # fmt: skip
            self.assertRefused(self.vault.run("umount", self.mnt), "detached and still in use", status=42)
            self.assertRefused(self.vault.run("umount", self.vault.path), "detached and still in use", status=42)
            self.assertRefused(self.vault.try_mount(), f"in use by process {pid}", "detached", status=40)
            other = self.dir / "other"
            other.mkdir()
            done = self.vault.run("mount", self.mnt, other, "--passfile", self.vault.passfile)
            self.assertRefused(done, "detached and still in use", status=42)
            # The vault is asked through its daemon, which says it once.
            done = self.vault.run("status", self.vault.path, "--json")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(json.loads(done.stdout)["mount"]["detached"])
            self.assertEqual(done.stderr.count("detached and still in use"), 1, done.stderr)
            self.assertIn(", detached", self.vault.ok("status", self.vault.path))
            self.vault.ok("rotate", self.vault.path)
            self.assertEqual(used.read(), b"data")
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        self.vault.pid = None


class Hangs(MountedTest):
    """A daemon that is stopped stands for one that hangs."""

    def test_it_is_unmounted_lazily_without_being_asked(self):
        self.need_root()
        link = self.dir / "link"
        link.symlink_to(self.mnt)
        (self.dir / "beside").symlink_to(self.dir)
        for name in (self.mnt, os.path.relpath(self.mnt, self.dir), self.dir / "beside/mnt/", self.vault.path):
            with self.subTest(name):
                # The kernel knows nothing of the root any more that it could answer from.
                pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
                pid = self.vault.pid
                with stopped(pid):
                    began = time.monotonic()
                    done = self.vault.run("umount", "--lazy", name, "--json", timeout=PATIENCE)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertLess(time.monotonic() - began, PATIENCE / 2)
                    self.assertFalse(self.vault.is_mounted())
                self.assertEqual(
                    json.loads(done.stdout), {"schema": 1, "mountpoint": str(self.mnt), "unmounted": True, "lazy": True}
                )
                self.assertTrue(wait_until(lambda pid=pid: is_gone(pid)))
                self.vault.pid = None
                self.vault.mount()

    def test_a_daemon_that_dies_before_it_answers_is_said_in_one_line_by_every_command(self):
        commands = (
            "status {v}", "status {v} --count", "status {v} --output prometheus", "rotate {v}", "rewrap {v}", "events {v} --verify",
            "fsck {v}", "kms list-keys --vault {v}", "key-backup keep {v} --list", "events rotate {v}",
        )  # fmt: skip
        asking = []
        with stopped(self.vault.pid):
            for command in commands:
                words = command.format(v=self.vault.path).split()
                asking.append((command, subprocess.Popen([BIN, *words], env=self.vault.env, cwd=self.dir,
                                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)))  # fmt: skip
            wait_until(lambda: all(sockets_of(process.pid) for _, process in asking))
            # Each has asked, and waits.
            self.assertTrue(wait_until(lambda: all(at_rest(process.pid) for _, process in asking)))
            self.vault.kill()
        for command, process in asking:
            with self.subTest(command):
                _, said = process.communicate(timeout=PATIENCE)
                self.assertEqual(process.returncode, status_of(command, 20), said)
                self.assertEqual(len(said.splitlines()), 1, said)
                self.assertNotIn("os error", said)
                self.assertIn("the daemon ended before it answered", said)
                self.assertIn(str(self.mnt), said)


class Json(MountedTest):
    options = None

    def test_mount_and_umount_print_what_came_of_them(self):
        mount = ("mount", self.vault.path, self.mnt, "--passfile", self.vault.passfile, "--json")
        mounted = json.loads(self.vault.ok(*mount))
        self.vault.pid = self.vault.daemon_pid()
        self.assertEqual(mounted, {
            "schema": 1, "vault_id": self.vault.status()["vault_id"], "vault": str(self.vault.path),
            "mountpoint": str(self.mnt), "pid": self.vault.pid,
        })  # fmt: skip
        done = self.vault.run(*mount)
        self.assertEqual((done.returncode, done.stdout), (10, ""), done.stderr)
        of_it = {"schema": 1, "mountpoint": str(self.mnt), "unmounted": True, "lazy": False}
        self.assertEqual(json.loads(self.vault.ok("umount", self.vault.path, "--json")), of_it)
        self.assertTrue(is_gone(self.vault.pid))
        self.vault.pid = None
        done = self.vault.run("umount", self.mnt, "--json")
        self.assertEqual((done.returncode, done.stdout), (42, ""), done.stderr)
        self.assertRefused(self.vault.run(*mount, "--foreground"), "--foreground", status=2)
        # What a dead daemon left.
        self.vault.mount()
        self.vault.kill()
        self.assertEqual(json.loads(self.vault.ok("umount", self.mnt, "--json")), of_it)


class HangsOfUser(UserMountTest):
    def test_a_user_s_mount_is_unmounted_lazily_without_being_asked_too(self):
        self.vault.mount()
        pid = self.vault.pid
        with stopped(pid):
            began = time.monotonic()
            self.assertIn('"lazy": true', self.shell_ok("timeout -s KILL 60 $R umount --lazy mnt --json"))
            self.assertLess(time.monotonic() - began, PATIENCE / 2)
            self.assertFalse(self.vault.is_mounted())
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        self.vault.pid = None


class EndedOfUser(UserMountTest):
    def test_a_user_s_mount_says_it_too_and_cleans_up(self):
        self.vault.mount()
        self.vault.kill()
        done = self.shell("$R status mnt")
        self.assertEqual(done.returncode, 20, done.stderr)
        self.assertIn("the daemon of this mount died; clean up with `rekeyfs umount", done.stderr)
        self.shell_ok("$R umount mnt")
        self.assertFalse(self.vault.is_mounted())
        self.vault.mount()
        pid = self.vault.pid
        self.shell_ok("echo x > mnt/f; exec 3< mnt/f; $R umount --lazy mnt; ! $R status mnt 2> said; grep -q 'still in use, by process' said")
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        self.vault.pid = None


PAM_CONFIG = """<?xml version="1.0" encoding="utf-8" ?>
<!DOCTYPE pam_mount SYSTEM "pam_mount.conf.xml.dtd">
<pam_mount>{volume}<mntoptions require="nosuid,nodev" /><mkmountpoint enable="1" remove="true" /></pam_mount>
"""
PAM_SERVICE = """auth required pam_mount.so
auth required pam_permit.so
account required pam_permit.so
session required pam_mount.so
session required pam_permit.so
"""


class PamMount(UserMountTest):
    """The line for pam_mount that docs/mounting.md has, with a service of the test's own."""

    def test_it_is_mounted_at_login_and_unmounted_at_logout(self):
        self.need_tools("pamtester", "pmvarrun")
        docs = (ROOT / "docs/mounting.md").read_text()
        volume = next(line for line in docs.splitlines() if line.startswith("<volume "))
        for shown, ours in (
            ('"alice"', '"nobody"'),
            ('"rekeyfs#/home/alice/vault"', f'"{self.bin}#{self.vault.path}"'),
            ('"/home/alice/Private"', f'"{self.mnt}"'),
        ):
            self.assertIn(shown, volume)
            volume = volume.replace(shown, ours)
        config, services = self.home / "pam_mount.xml", self.home / "pam.d"
        config.write_text(PAM_CONFIG.format(volume=volume))
        services.mkdir()
        (services / "rekeyfs-test").write_text(PAM_SERVICE)
        login = self.home / "login.sh"
        login.write_text(f"""
mount --make-rprivate /
mount --bind {config} /etc/security/pam_mount.conf.xml
mount --bind {services} /etc/pam.d
pamtester rekeyfs-test nobody authenticate open_session < {self.vault.passfile} || exit 3
setpriv --reuid={self.vault.uid} --regid={self.vault.uid} --clear-groups sh -ec '
    grep -q " {self.mnt} .*fuse.rekeyfs.*user_id={self.vault.uid}" /proc/self/mountinfo
    echo secret > {self.mnt}/file
    {self.bin} status {self.mnt} --json' || exit 4
pamtester rekeyfs-test nobody authenticate close_session < {self.vault.passfile} || exit 5
for _ in $(seq 600); do grep -q " {self.mnt} " /proc/self/mountinfo || exit 0; sleep 0.1; done
exit 6
""")
        done = subprocess.run(["unshare", "-m", "bash", login], capture_output=True, text=True, timeout=2 * PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.vault.mount()
        self.assertEqual(self.shell_ok(f"cat {self.mnt}/file"), "secret\n")


if __name__ == "__main__":
    unittest.main()
