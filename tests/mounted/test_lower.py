"""The lower filesystem goes wrong under a mount: read-only, failing, or gone. Clear errors, and a clean unmount. Others
than ext4, XFS and Btrfs, with fewer calls: what works there does so, and what isn't promised is said once."""

import errno
import os
import pathlib
import shutil
import subprocess

from harness import RENAME_EXCHANGE, RENAME_NOREPLACE, MountedTest, is_gone, renameat2, sh, wait_until
from test_full_disk import OnADisk


class Lower(OnADisk):
    size = 48

    def assertEndsWell(self):
        """The daemon is the one that was there, and goes when it is told to."""
        pid = self.vault.pid
        self.assertFalse(is_gone(pid))
        done = self.vault.run("umount", self.mnt)
        self.assertNotIn("panicked", done.stderr)
        self.assertFalse(self.vault.is_mounted(), done.stderr)
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        self.vault.pid = None

    def write_fails(self, *expected):
        with self.assertRaises(OSError) as raised:
            self.write("new", os.urandom(50_000), fsync=True)
        self.assertIn(raised.exception.errno, expected)
        with self.assertRaises(OSError) as raised:
            with open(self.mnt / "kept0", "r+b", buffering=0) as f:
                f.write(b"changed")
                os.fsync(f.fileno())
        self.assertIn(raised.exception.errno, expected)

    def device(self):
        found = subprocess.run(["losetup", "-n", "-O", "NAME", "-j", self.image], capture_output=True, text=True)
        return pathlib.Path(found.stdout.strip()).name

    def test_mounted_read_only(self):
        kept = self.keep(2)
        self.vault.umount()
        subprocess.run(["mount", "-o", "remount,ro", self.disk], check=True)
        done = self.vault.try_mount()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("mounted read-only", done.stderr)
        self.vault.pid = self.vault.daemon_pid()
        self.assertKept(kept)
        self.assertErrno(errno.EROFS, open, self.mnt / "new", "wb")
        self.assertErrno(errno.EROFS, os.mkdir, self.mnt / "new")
        self.assertRefused(self.vault.run("rotate", self.mnt), "read-only")
        self.assertEndsWell()

    def test_turned_read_only_by_an_error(self):
        kept = self.keep(2)
        trigger = pathlib.Path(f"/sys/fs/ext4/{self.device()}/trigger_fs_error")
        if not trigger.exists():
            self.skipTest("this kernel has no trigger_fs_error")
        subprocess.run(["mount", "-o", "remount,errors=remount-ro", self.disk], check=True)
        trigger.write_text("for a test")
        self.assertKept(kept)
        self.write_fails(errno.EROFS, errno.EIO)
        self.assertRefused(self.vault.run("rotate", self.mnt))
        self.assertEndsWell()

    def test_a_disk_that_can_not_be_read(self):
        kept = self.keep(3)
        self.vault.umount()
        subprocess.run(["umount", self.disk], check=True)
        subprocess.run(["mount", "-t", "ext4", "-o", "loop", self.image, self.disk], check=True)
        self.vault.mount()
        # Its journal and inodes are in the first part; what lies behind the end of the image can't be read.
        os.truncate(self.image, 1 << 20)
        failed = 0
        for path, data in kept.items():
            try:
                self.assertTrue(self.read(path) == data)
            except OSError as e:
                self.assertIn(e.errno, (errno.EIO, errno.EUCLEAN))
                failed += 1
        self.assertGreater(failed, 0)
        self.assertEndsWell()


class Gone(MountedTest):
    def test_the_tree_is_deleted_under_the_mount(self):
        os.mkdir(self.mnt / "d")
        self.write("d/f", b"x" * 10_000, fsync=True)
        held = open(self.write("held", b"y" * 10_000, fsync=True), "rb")
        self.addCleanup(held.close)
        shutil.rmtree(self.vault.path)
        gone = (errno.ENOENT, errno.ESTALE, errno.EIO)
        for call in (
            lambda: self.write("new", b"x", fsync=True),
            lambda: os.mkdir(self.mnt / "d2"),
            lambda: os.rename(self.mnt / "d", self.mnt / "e"),
            lambda: self.read(self.mnt / "d/g"),
        ):
            with self.assertRaises(OSError) as raised:
                call()
            self.assertIn(raised.exception.errno, gone)
        self.assertEqual(held.read(), b"y" * 10_000)
        self.assertRefused(self.vault.run("rotate", self.mnt))
        held.close()
        pid = self.vault.pid
        done = self.vault.run("umount", self.mnt)
        self.assertNotIn("panicked", done.stderr)
        self.assertFalse(self.vault.is_mounted(), done.stderr)
        self.assertTrue(wait_until(lambda: is_gone(pid)))
        self.vault.pid = None


class Other:
    """The same on each of several filesystems, mounted at `self.below`."""

    tools = ()
    options = None
    links = True
    exchange = True
    notes = "power cut"

    def setUp(self):
        self.need_root()
        self.need_tools(*self.tools)
        super().setUp()
        self.below = self.dir / "below"
        self.below.mkdir()
        (self.dir / "real").mkdir()
        self.addCleanup(subprocess.run, ["umount", "-l", self.below], capture_output=True)
        sh(self.command, self.dir)
        self.second = self.dir / "second"
        self.second.mkdir()

    def make(self, name):
        vault = self.new_vault(self.second, vault=self.below / name)
        self.mnt = vault.mnt
        return vault

    def test_a_vault_is_made_used_and_recovered(self):
        self.vault = self.make("vault")
        self.vault.mount()
        os.mkdir(self.mnt / "d")
        kept = {}
        for name in ("f", "d/g", "l" * 240):
            kept[name] = os.urandom(30_000)
            self.write(name, kept[name], fsync=True)
        renameat2(self.mnt / "f", self.mnt / "moved", RENAME_NOREPLACE)
        kept["moved"] = kept.pop("f")
        renameat2(self.mnt / "d", self.mnt / "e", RENAME_NOREPLACE)
        kept["e/g"] = kept.pop("d/g")
        for old, new in (("moved", "e/g"), ("moved", "e"), ("e", "moved")):
            self.assertErrno(errno.EEXIST, renameat2, self.mnt / old, self.mnt / new, RENAME_NOREPLACE)
        exchange = [self.mnt / "moved", self.mnt / "e/g", RENAME_EXCHANGE]
        if self.exchange:
            renameat2(*exchange)
            kept["moved"], kept["e/g"] = kept["e/g"], kept["moved"]
        else:
            self.assertErrno(errno.EINVAL, renameat2, *exchange)
        if self.links:
            os.link(self.mnt / "moved", self.mnt / "link")
            kept["link"] = kept["moved"]
            with open(self.mnt / "moved", "rb") as one, open(self.mnt / "link", "rb") as other:
                self.assertEqual((one.read(), other.read()), (kept["link"], kept["link"]))
        # A file that is open goes on being one without its name, and closes without an error.
        self.write("gone", b"gone", fsync=True)
        with open(self.mnt / "gone", "rb") as gone:
            os.rename(self.write("over", b"over", fsync=True), self.mnt / "gone")
            self.assertEqual(gone.read(), b"gone")
        kept["gone"] = b"over"
        self.assertEqual(self.vault.rotate()["new_version"], 2)
        self.vault.ok("rewrap", self.mnt)
        self.vault.ok("reencrypt", self.mnt / "e/g")
        self.vault.umount()
        self.assertNotIn("error", self.vault.ok("fsck", self.vault.path, "--passfile", self.vault.passfile))
        passes = ["--backup-passfile", self.vault.passfile]
        backup = self.dir / "backup"
        self.vault.mount()
        self.vault.ok("key-backup", "export", self.mnt, backup, *passes, "--passfile", self.vault.passfile, "--kdf-memory", "8")
        self.vault.umount()
        # Over a keyring that is there, which is set aside, and where there is none.
        for force in (["--force"], []):
            if not force:
                (self.vault.path / "keyring").unlink()
            self.vault.ok(
                "key-backup", "import", self.vault.path, backup, *passes, "--new-passfile", self.vault.passfile,
                "--kdf-memory", "8", *force,
            )  # fmt: skip
            self.vault.mount()
            for name, data in kept.items():
                self.assertTrue(self.read(self.mnt / name) == data, name)
            self.vault.umount()

    def test_what_is_not_promised_is_said_by_init_and_mount_alone(self):
        self.vault = self.make("vault")
        pass_ = ["--passfile", self.vault.passfile]
        made = self.vault.run("init", self.below / "other", *pass_, "--kdf-memory", "8", "--no-recovery-key")
        self.assertEqual(made.returncode, 0, made.stderr)
        mounted = self.vault.try_mount()
        self.assertEqual(mounted.returncode, 0, mounted.stderr)
        self.vault.pid = self.vault.daemon_pid()
        for said in (made.stderr, mounted.stderr):
            self.assertEqual([self.notes in line for line in said.splitlines()].count(True), 1, said)
        for command in (["status", self.mnt], ["rotate", self.mnt], ["events", self.mnt]):
            self.assertEqual(self.vault.run(*command).stderr, "")
        self.assertRefused(self.vault.run("init", self.vault.path, *pass_), "not empty")


class Bindfs(Other, MountedTest):
    tools = ("bindfs",)
    command = "bindfs real below"
    exchange = False


class Mergerfs(Other, MountedTest):
    tools = ("mergerfs",)
    command = "mkdir more; mergerfs -o category.create=ff real:more below"
    exchange = False


class Gocryptfs(Other, MountedTest):
    tools = ("gocryptfs",)
    command = "echo x > p; gocryptfs -init -q -scryptn 10 -passfile p real; gocryptfs -q -passfile p real below"


class Overlay(Other, MountedTest):
    command = "mkdir lower work; mount -t overlay overlay -o lowerdir=lower,upperdir=real,workdir=work below"


class Exfat(Other, MountedTest):
    """No hard links, owners or modes."""

    tools = ("mkfs.exfat", "mount.exfat-fuse", "losetup")
    command = "truncate -s 64M image; mkfs.exfat image > made; mount.exfat-fuse $(losetup -f --show image) below > made"
    links = exchange = False

    def setUp(self):
        super().setUp()
        device = subprocess.run(
            ["losetup", "-n", "-O", "NAME", "-j", self.dir / "image"], capture_output=True, text=True
        ).stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "-d", device], capture_output=True)


class Small(OnADisk):
    """Blocks in which a page doesn't fit."""

    size = 48
    mkfs = ("mkfs.ext4", "-q", "-b", "1024", "-m", "0")

    def test_a_filesystem_that_writes_pages_in_pieces_is_warned_of(self):
        self.vault.umount()
        done = self.vault.try_mount()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.vault.pid = self.vault.daemon_pid()
        self.assertIn("blocks of 1024 bytes", done.stderr)


class WithoutAcls(OnADisk):
    filesystem = "btrfs"
    size = 128
    mkfs = ("mkfs.btrfs", "-q")
    mount_options = "loop,noacl"

    def test_what_the_filesystem_does_not_keep_is_not_supported_whatever_is_known_of_a_file(self):
        path = self.write("f", b"data")
        for _ in range(3):
            self.assertErrno(errno.ENODATA, os.getxattr, path, "user.none")
            for acl in ("system.posix_acl_access", "system.posix_acl_default"):
                self.assertErrno(errno.EOPNOTSUPP, os.getxattr, path, acl)


class Promised(OnADisk):
    def test_nothing_is_said_where_it_is_promised(self):
        self.vault.umount()
        done = self.vault.try_mount()
        self.vault.pid = self.vault.daemon_pid()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
