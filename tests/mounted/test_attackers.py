"""Other users of the machine, as attackers of root and of each other: what they write is nobody else's truth. Each
claim of docs/threat-model.md on them names its test here."""

import contextlib
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import unittest

from harness import BASE, KMS_ENVIRONMENT_EXIT, PASSPHRASE, MountedTest, is_gone, open_device_to_users, stopped, wait_until

# Users that every Linux has, and nobody logs in as.
ALICE, MALLORY = pwd.getpwnam("news").pw_uid, pwd.getpwnam("games").pw_uid
KEY_ARGS = ("--kdf-memory", "8", "--no-recovery-key")


def as_user(uid, *command, **kw):
    prefix = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return subprocess.run([*prefix, *map(str, command)], cwd="/", capture_output=True, text=True, timeout=60, **kw)


def become(uid):
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def runtime_dirs(uid):
    return [p for p in pathlib.Path("/tmp").iterdir() if p.name.split(".")[0] == f"rekeyfs-{uid}"]


def mounted_at(path):
    """The type of what is mounted at exactly this path, if anything is."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields, rest = line.split(" - ")
        if fields.split()[4] == str(path):
            return rest.split()[0]
    return None


class Attackers(MountedTest):
    """Vaults of several users in one directory that all can enter."""

    options = None

    def setUp(self):
        if not os.path.exists("/dev/fuse"):
            self.skipTest("no /dev/fuse: nothing can be mounted here")
        self.need_root()
        self.need_tools("setpriv", "fusermount3")
        open_device_to_users(self)
        BASE.mkdir(parents=True, exist_ok=True)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="attackers-", dir=BASE))
        self.addCleanup(subprocess.run, ["rm", "-rf", self.dir])
        os.chmod(self.dir, 0o755)
        if as_user(ALICE, "ls", self.dir).returncode:
            self.skipTest("the directory of the tests can't be reached by other users")
        for uid in (ALICE, MALLORY):
            self.forget_runtime_dirs(uid)
            self.addCleanup(self.forget_runtime_dirs, uid)

    def forget_runtime_dirs(self, uid):
        for path in runtime_dirs(uid):
            subprocess.run(["rm", "-rf", path], check=False)

    def vault_of(self, name, uid=None, xdg=False):
        """A vault of this user. Without `xdg` its runtime directory is where root looks for it."""
        base = self.dir / name
        base.mkdir(mode=0o755)
        vault = self.new_vault(base, uid=uid)
        if uid is not None and not xdg:
            vault.env.pop("XDG_RUNTIME_DIR")
        return vault

    def key_of(self, vault):
        return vault.status()["aliases"][0]["key_id"]

    def entry_of(self, vault):
        """The registry file of a mount."""
        found = []
        for directory in [*runtime_dirs(vault.uid), vault.base / "run" / "rekeyfs"]:
            for path in directory.glob("*.json") if directory.is_dir() else []:
                entry = json.loads(path.read_text())
                found += [(path, entry)] if entry["pid"] == vault.pid else []
        self.assertEqual(len(found), 1, "the mount is not registered")
        return found[0]

    def listen(self, uid, path, log):
        """A process of this user that takes all that is sent to a socket, and answers nothing."""
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                become(uid)
                with socket.socket(socket.AF_UNIX) as server, open(log, "ab", buffering=0) as out:
                    server.bind(str(path))
                    server.listen(64)
                    while True:
                        client, _ = server.accept()
                        client.settimeout(0.5)
                        with client, contextlib.suppress(OSError):
                            while data := client.recv(65536):
                                out.write(data)
            os._exit(0)
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        self.assertTrue(wait_until(lambda: os.path.exists(path)))

    def forge(self, uid, vault, name, **changes):
        """A registry entry of `vault`'s mount with other words in it, and a listener of that user behind it; what is
        sent there goes to the file that is returned."""
        log = self.dir / name / "taken"
        log.touch()
        os.chown(log, uid, uid)
        path, entry = self.entry_of(vault)
        for file in (path, path.with_suffix(".sock")):
            file.unlink()
        path.write_text(json.dumps({**entry, **changes}))
        os.chown(path, uid, uid)
        self.listen(uid, path.with_suffix(".sock"), log)
        return log

    # -- whose mount is asked --

    def test_a_forged_entry_takes_no_command_on_anothers_mount(self):
        root = self.vault_of("root")
        mallory = self.vault_of("mallory", MALLORY)
        mallory.mount()
        taken = self.forge(MALLORY, mallory, "mallory", mountpoint="/")
        for name, xdg in (("found", False), ("hidden", True)):
            with self.subTest(name):
                alice = self.vault_of(name, ALICE, xdg=xdg)
                alice.mount()
                key = self.key_of(alice)
                for path in (alice.mnt, alice.mnt / "below"):
                    done = root.run("kms", "disable-key", "--key-id", key, "--vault", path)
                    if xdg:
                        self.assertRefused(done, "can't be asked from here", status=KMS_ENVIRONMENT_EXIT)
                    else:
                        self.assertEqual(done.returncode, 0, done.stderr)
                state = alice.status()["aliases"][0]["state"]
                self.assertEqual(state, "Enabled" if xdg else "Disabled")
                material = self.dir / f"material-{name}"
                material.write_bytes(os.urandom(32))
                root.run("kms", "import-key-material", "--key-id", key, "--key-material-file", material,
                         "--expiration-model", "KEY_MATERIAL_DOES_NOT_EXPIRE", "--vault", alice.mnt)  # fmt: skip
                self.assertEqual(taken.read_bytes(), b"", "it was sent to another user")

    def test_a_forged_mountpoint_takes_down_no_other_mount(self):
        root, mallory = self.vault_of("root"), self.vault_of("mallory", MALLORY)
        root.mount()
        mallory.mount()
        taken = self.forge(MALLORY, mallory, "mallory", mountpoint=str(root.mnt))
        root.run("umount", mallory.path)
        self.assertEqual(mounted_at(root.mnt), "fuse.rekeyfs")
        self.assertEqual(taken.read_bytes(), b"")
        root.ok("umount", mallory.mnt)
        self.assertEqual((mounted_at(mallory.mnt), mounted_at(root.mnt)), (None, "fuse.rekeyfs"))
        mallory.pid = None

    def test_a_socket_that_leads_to_another_daemon_is_not_asked(self):
        root, alice = self.vault_of("root"), self.vault_of("alice", ALICE)
        root.mount()
        alice.mount()
        own = self.entry_of(root)[0].with_suffix(".sock")
        theirs = self.entry_of(alice)[0].with_suffix(".sock")
        theirs.unlink()
        theirs.symlink_to(own)
        done = root.run("rotate", alice.mnt)
        self.assertRefused(done, "nothing was sent", status=20)
        self.assertEqual(root.status()["aliases"][0]["version"], 1)

    def test_a_forged_vault_path_leads_root_to_no_other_vault(self):
        root, alice = self.vault_of("root"), self.vault_of("alice", ALICE)
        alice.mount()
        path, entry = self.entry_of(alice)
        path.write_text(json.dumps({**entry, "vault": str(root.path)}))
        slots = json.loads(root.ok("unlock", "list", root.path, "--json"))["slots"]
        new = self.dir / "new"
        new.write_text("another passphrase\n")
        root.run("unlock", "add", alice.mnt, "--passfile", root.passfile, "--new-passfile", new, "--kdf-memory", "8")
        self.assertEqual(json.loads(root.ok("unlock", "list", root.path, "--json"))["slots"], slots)

    def test_root_waits_for_a_users_daemon_only_so_long(self):
        root, mallory = self.vault_of("root"), self.vault_of("mallory", MALLORY)
        mallory.mount()
        pid = mallory.pid
        with stopped(pid):
            began = time.monotonic()
            done = root.run("umount", mallory.mnt, timeout=100)
            self.assertRefused(done, "unmounted", f"process {pid}", "30 s", f"kill -9 {pid}", status=40)
            self.assertTrue(25 < time.monotonic() - began < 60)
            self.assertIsNone(mounted_at(mallory.mnt))
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        mallory.pid = None

    def test_a_runtime_directory_of_someone_else_is_named_and_another_is_used(self):
        bait = pathlib.Path(f"/tmp/rekeyfs-{ALICE}")
        bait.mkdir()
        os.chmod(bait, 0o777)
        os.chown(bait, MALLORY, MALLORY)
        alice = self.vault_of("alice", ALICE)
        done = alice.try_mount()
        self.assertEqual(done.returncode, 0, done.stderr)
        alice.pid = alice.daemon_pid()
        self.assertIn(f"{bait}: not a directory that only you", done.stderr)
        self.assertEqual(alice.rotate()["new_version"], 2)
        root = self.vault_of("root")
        self.assertIn('"new_version": 3', root.ok("rotate", alice.mnt, "--json"))
        self.assertEqual(list(bait.iterdir()), [])

    def test_a_runtime_directory_that_others_can_rename_is_not_used(self):
        alice = self.vault_of("alice", ALICE)
        shared = self.dir / "shared"
        (shared / "run").mkdir(parents=True)
        os.chown(shared / "run", ALICE, ALICE)
        os.chown(shared, MALLORY, MALLORY)
        alice.env["XDG_RUNTIME_DIR"] = str(shared / "run")
        done = alice.try_mount()
        alice.pid = alice.daemon_pid()
        self.assertIn("not a directory that only you", done.stderr)
        self.assertEqual(alice.rotate()["new_version"], 2)
        self.assertEqual([p for p in (shared / "run").rglob("*.sock")], [])

    # -- what the lock says --

    def lock_of(self, vault):
        return (vault.path / "lock").read_text()

    def test_the_lock_holds_no_command_line_and_is_emptied(self):
        root = self.vault_of("root")
        secret = f'echo "{PASSPHRASE}"'
        root.ok("mount", root.path, root.mnt, "--extpass", f"{secret}; cat '{root.path}/lock' >'{self.dir}/early'")
        root.pid = root.daemon_pid()
        for text in ((self.dir / "early").read_text(), self.lock_of(root)):
            record = json.loads(text)
            self.assertEqual(set(record), {"pid", "host", "command", "serves", "changes"})
            self.assertEqual(record["command"], "mount")
            self.assertNotIn(PASSPHRASE, text)
            self.assertNotIn("extpass", text)
        self.assertEqual(json.loads(self.lock_of(root))["pid"], root.pid)
        (self.dir / "other").mkdir()
        done = root.run("mount", root.path, self.dir / "other", "--passfile", root.passfile)
        self.assertRefused(done, f"process {root.pid} (rekeyfs mount), mounted at {root.mnt}", status=40)
        root.umount()
        self.assertEqual(self.lock_of(root), "")
        root.run("fsck", "--repair", root.path, "/a/plain/path", "--extpass", f"cat '{root.path}/lock' >'{self.dir}/fsck'; {secret}")
        self.assertEqual(json.loads((self.dir / "fsck").read_text())["command"], "fsck")
        self.assertNotIn("plain", (self.dir / "fsck").read_text())
        self.assertEqual(self.lock_of(root), "")
        self.assertEqual(stat.S_IMODE(os.stat(root.path / "lock").st_mode), 0o600)

    # -- where it is mounted --

    def places(self):
        """A directory of alice's, with a mountpoint, and one of root's that is to stay as it is."""
        theirs, target = self.dir / "theirs", self.dir / "target"
        for directory in (theirs, theirs / "mnt", target):
            directory.mkdir()
        for directory in (theirs, theirs / "mnt"):
            os.chown(directory, ALICE, ALICE)
        self.addCleanup(subprocess.run, ["umount", "-l", target], stderr=subprocess.DEVNULL)
        return theirs, target

    def swap(self, theirs, target):
        """What alice runs while root's mount asks for its passphrase."""
        prefix = f"setpriv --reuid={ALICE} --regid={ALICE} --clear-groups"
        return f"cd / && {prefix} mv '{theirs}/mnt' '{theirs}/moved' && {prefix} ln -s '{target}' '{theirs}/mnt'"

    def test_a_mountpoint_that_is_swapped_while_a_key_is_derived_is_mounted_at_itself(self):
        root = self.vault_of("root")
        theirs, target = self.places()
        self.addCleanup(subprocess.run, ["umount", "-l", theirs / "moved"], stderr=subprocess.DEVNULL)
        done = root.run("mount", root.path, theirs / "mnt", "--extpass",
                        f"{self.swap(theirs, target)} && cat '{root.passfile}'")  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((mounted_at(target), mounted_at(theirs / "moved")), (None, "fuse.rekeyfs"))
        # Root's own symlinks are followed, and nobody else's.
        self.assertRefused(root.run("umount", theirs / "mnt"), f"uid {ALICE}", status=42)
        root.ok("umount", theirs / "moved")
        self.assertIsNone(mounted_at(theirs / "moved"))

    def test_a_mountpoint_that_is_swapped_during_argon2_is_mounted_at_itself(self):
        root = self.vault_of("root")
        theirs, target = self.places()
        self.addCleanup(subprocess.run, ["umount", "-l", theirs / "moved"], stderr=subprocess.DEVNULL)
        root.ok("unlock", "change", root.path, "--passfile", root.passfile, "--new-passfile", root.passfile,
                "--kdf-memory", "256")  # fmt: skip
        mount = subprocess.Popen([os.environ.get("REKEYFS", "rekeyfs"), "mount", root.path, theirs / "mnt",
                                  "--passfile", root.passfile], env=root.env, stderr=subprocess.PIPE)  # fmt: skip
        # Taken once the mountpoint is checked; then the key is derived.
        lock = root.path / "lock"
        self.assertTrue(wait_until(lambda: lock.exists() and lock.read_text().startswith("{"), step=0.005))
        subprocess.run(["bash", "-c", self.swap(theirs, target)], check=True)
        _, said = mount.communicate(timeout=120)
        self.assertEqual(mount.returncode, 0, said)
        self.assertEqual((mounted_at(target), mounted_at(theirs / "moved")), (None, "fuse.rekeyfs"))
        root.ok("umount", root.path)
        self.assertIsNone(mounted_at(theirs / "moved"))

    def test_a_symlink_of_another_user_is_no_mountpoint_and_unmounts_nothing(self):
        root = self.vault_of("root")
        theirs, target = self.places()
        (theirs / "link").symlink_to(target)
        os.lchown(theirs / "link", ALICE, ALICE)
        done = root.run("mount", root.path, theirs / "link", "--passfile", root.passfile)
        self.assertRefused(done, f"symlink that uid {ALICE} made", status=10)
        self.assertIsNone(mounted_at(target))
        root.mount()
        (theirs / "link").unlink()
        (theirs / "link").symlink_to(root.mnt)
        os.lchown(theirs / "link", ALICE, ALICE)
        self.assertRefused(root.run("umount", theirs / "link"), f"symlink that uid {ALICE} made")
        self.assertRefused(root.run("rotate", theirs / "link"), f"symlink that uid {ALICE} made")
        (root.mnt / "f").write_bytes(b"root's")
        moved = root.run("kms", "re-encrypt", theirs / "link" / "f", "--destination-key-id", "alias/default")
        self.assertRefused(moved, f"symlink that uid {ALICE} made")
        self.assertEqual(mounted_at(root.mnt), "fuse.rekeyfs")
        own = self.dir / "own"
        own.symlink_to(root.mnt)
        root.ok("umount", own)
        root.pid = None
        self.assertIsNone(mounted_at(root.mnt))

    def test_a_symlink_of_another_user_leads_init_and_fsck_nowhere(self):
        root = self.vault_of("root")
        theirs, target = self.places()
        (theirs / "link").symlink_to(target)
        os.lchown(theirs / "link", ALICE, ALICE)
        made = ("--passfile", root.passfile, "--kdf-memory", "8", "--no-recovery-key")
        for vault in (theirs / "link", theirs / "link" / "new"):
            self.assertRefused(root.run("init", vault, *made), f"symlink that uid {ALICE} made")
        opened = ("--passfile", root.passfile)
        quarantine = ("--quarantine", theirs / "link" / "new")
        self.assertRefused(root.run("fsck", root.path, *opened, *quarantine), f"symlink that uid {ALICE} made")
        self.assertEqual(list(target.iterdir()), [])
        shutil.copytree(root.path, target / "copy")
        checked = root.run("fsck", theirs / "link" / "copy", "--keyring", root.path / "keyring", *opened)
        self.assertRefused(checked, f"symlink that uid {ALICE} made")
        checked = root.run("key", "retire", root.path, *opened, "--key-id", "alias/default", "--below", "2", "--trim",
                           "--yes", "--checked-copy", theirs / "link" / "copy")  # fmt: skip
        self.assertRefused(checked, f"symlink that uid {ALICE} made")
        # Root's own is followed.
        (self.dir / "own").symlink_to(target)
        root.ok("init", self.dir / "own" / "new", *made)
        self.assertEqual(sorted(path.name for path in (target / "new").iterdir())[0], "events.jsonl")
        root.ok("fsck", self.dir / "own" / "new", *opened)

    def test_a_tree_that_is_a_symlink_is_not_taken_into_use(self):
        root = self.vault_of("root")
        (root.path / "tree").rename(self.dir / "elsewhere")
        (root.path / "tree").symlink_to(self.dir / "elsewhere")
        self.assertRefused(root.try_mount(), "cannot open its tree", status=6)
        self.assertRefused(root.run("rewrap", root.path, "--passfile", root.passfile), "tree", status=6)
        self.assertFalse(root.is_mounted())

    # -- what belongs to whom --

    def not_of(self, uid, vault):
        """What in a vault's directory isn't this user's."""
        paths = [vault, *(pathlib.Path(d) / name for d, dirs, files in os.walk(vault) for name in dirs + files)]
        return [path.name for path in paths if os.lstat(path).st_uid != uid]

    def test_what_root_makes_in_a_users_vault_is_the_users(self):
        root = self.vault_of("root")
        base = self.dir / "alice"
        (base / "vault").mkdir(parents=True)
        os.chown(base / "vault", ALICE, ALICE)
        passfile = base / "passphrase"
        passfile.write_text(PASSPHRASE + "\n")
        root.ok("init", base / "vault", "--passfile", passfile, *KEY_ARGS)
        self.assertEqual(self.not_of(ALICE, base / "vault"), [])
        mnt = self.dir / "mnt"
        mnt.mkdir()
        wrong = self.dir / "wrong"
        wrong.write_text("wrong\n")
        self.assertRefused(root.run("rotate", base / "vault", "--passfile", wrong), status=12)
        self.assertEqual(self.not_of(ALICE, base / "vault"), [])
        root.ok("mount", base / "vault", mnt, "--passfile", passfile)
        self.assertEqual(self.not_of(ALICE, base / "vault"), [])
        root.ok("rotate", mnt)
        root.ok("umount", mnt)
        (base / "vault" / "events.jsonl").unlink()
        root.ok("rotate", base / "vault", "--passfile", passfile)
        root.run("fsck", "--repair", base / "vault", "--passfile", passfile)
        self.assertEqual(self.not_of(ALICE, base / "vault"), [])
        os.chown(base, ALICE, ALICE)
        alice = self.new_vault(base, uid=ALICE)
        alice.mount()
        self.assertEqual(alice.rotate()["new_version"], 4)

    def test_root_uses_and_makes_no_directory_of_a_users(self):
        root = self.vault_of("root")
        theirs = self.dir / "theirs"
        for directory in (theirs, theirs / "run", theirs / "state"):
            directory.mkdir(mode=0o700)
            os.chown(directory, ALICE, ALICE)
        # As `sudo -E` leaves them.
        root.env.update(XDG_RUNTIME_DIR=str(theirs / "run"), XDG_STATE_HOME=str(theirs / "state" / "new"))
        known = set(pathlib.Path("/var/lib/rekeyfs").glob("*"))
        root.mount()
        root.rotate()
        for path in set(pathlib.Path("/var/lib/rekeyfs").glob("*")) - known:
            self.addCleanup(path.unlink, missing_ok=True)
        self.assertEqual(sorted(theirs.rglob("*")), [theirs / "run", theirs / "state"])

    def test_a_vault_that_others_may_read_is_usable_whatever_they_lock(self):
        alice = self.vault_of("alice", ALICE)
        for rounds in range(2):
            if rounds:
                for path in (alice.path, alice.path / "tree"):
                    os.chmod(path, 0o755)
            # What is there in the first round is what others may come upon in the second.
            holds = []
            for path in (alice.path, *alice.path.iterdir()):
                script = f"exec 9<'{path}' && flock --shared --nonblock 9 && echo held && exec sleep 600"
                held = subprocess.Popen(
                    ["setpriv", f"--reuid={MALLORY}", f"--regid={MALLORY}", "--clear-groups", "bash", "-c", script],
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                )  # fmt: skip
                self.addCleanup(held.wait)
                self.addCleanup(held.kill)
                self.addCleanup(held.stdout.close)
                if held.stdout.readline() == "held\n":
                    holds.append(path)
            self.assertEqual(holds, [alice.path, alice.path / "tree"] if rounds else [])
            alice.mount()
            alice.rotate()
            alice.umount()
            self.assertEqual(alice.rotate()["new_version"], 3 + 2 * rounds)

    def test_a_hard_link_in_a_users_vault_has_root_write_nowhere_else(self):
        root, alice = self.vault_of("root"), self.vault_of("alice", ALICE)
        precious = self.dir / "precious"
        for name in ("lock", "keyring.lock", "events.jsonl", "unlock-failures"):
            with self.subTest(name):
                precious.write_text("of root's\n")
                (alice.path / name).unlink(missing_ok=True)
                # As root here: the kernel's protected_hardlinks is one line of defence, and may be off.
                os.link(precious, alice.path / name)
                wrong = self.dir / "wrong"
                wrong.write_text("wrong\n")
                root.run("rotate", alice.path, "--passfile", wrong)
                root.run("rotate", alice.path, "--passfile", alice.passfile)
                self.assertEqual(precious.read_text(), "of root's\n")
                self.assertEqual(os.stat(precious).st_uid, 0)
                (alice.path / name).unlink(missing_ok=True)


if __name__ == "__main__":
    unittest.main()
