"""What of a vault lies on another filesystem than its directories, or below a mount point, is never taken for nothing."""

import errno
import json
import os
import shutil
import subprocess

from harness import MountedTest


class Elsewhere(MountedTest):
    options = None

    def setUp(self):
        super().setUp()
        self.need_root()

    def mounted(self, *args):
        """Mounts something at its last argument for as long as the test runs; False if this kernel can't."""
        done = subprocess.run(["mount", *map(str, args)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            self.addCleanup(subprocess.run, ["umount", "-l", str(args[-1])], check=False)
        return done.returncode == 0

    def on_overlay(self, *options):
        """The vault, with some files, as the lower layer of an overlay whose upper one is another filesystem."""
        lower, self.upper, work, over = (self.dir / name for name in ("lower", "upper", "work", "over"))
        for directory in (lower, self.upper, work, over):
            directory.mkdir()
        self.assertTrue(self.mounted("-t", "tmpfs", "none", lower))
        self.vault.mount()
        for number in range(3):
            self.write(f"f{number}", b"precious %d" % number)
        (self.mnt / "dir").mkdir()
        self.write("dir/inside", b"inside")
        self.vault.umount()
        shutil.copytree(self.vault.path, lower / "vault", symlinks=True)
        shutil.rmtree(self.vault.path)
        layers = f"lowerdir={lower},upperdir={self.upper},workdir={work}"
        if not self.mounted("-t", "overlay", "-o", ",".join((layers, *options)), "overlay", over):
            self.skipTest(f"no overlay here with {layers} {options}")
        self.vault.path = over / "vault"
        self.vault.run("status", self.vault.path, "--passfile", self.vault.passfile, "--accept-rollback")

    def offline(self, *args):
        verb, rest = args[0], args[1:]
        return self.vault.run(*verb.split(), self.vault.path, "--passfile", self.vault.passfile, *rest)

    def assertKeptBack(self, entries):
        """Neither a version nor a key goes while so many entries weren't counted."""
        key = next(a["key_id"] for a in self.vault.status()["aliases"] if a["alias"] == "alias/default")
        for what in ((), ("--trim",)):
            done = self.offline("key retire", "--key-id", key, "--below", "2", *what)
            self.assertRefused(done, f"{entries} entr", "not counted", "--force")
        done = self.vault.run("kms", "schedule-key-deletion", "--key-id", key, "--vault", self.vault.path, "--passfile",
                              self.vault.passfile)
        self.assertRefused(done, f"{entries} entr", "not counted")
        return key

    def test_an_overlay_with_layers_on_two_filesystems(self):
        self.on_overlay("xino=off")
        self.assertEqual(self.vault.rotate()["new_version"], 2)
        before = sorted(p.name for p in (self.vault.path / "tree").rglob("*"))
        done = self.vault.try_mount()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("xino=on", done.stderr)
        self.vault.pid = self.vault.daemon_pid()
        self.assertEqual(sorted(os.listdir(self.mnt)), ["dir", "f0", "f1", "f2"])
        self.assertEqual(os.listdir(self.mnt / "dir"), ["inside"])
        self.assertErrno(errno.EXDEV, open, self.mnt / "f0", "rb")
        # A file that could not be opened stayed behind, and so did its name.
        for make in (lambda path: open(path, "xb"), lambda path: os.mknod(path, 0o600), os.mkfifo,
                     lambda path: os.symlink("target", path)):
            self.assertErrno(errno.EXDEV, make, self.mnt / "new")
            self.assertErrno(errno.EXDEV, make, self.mnt / ("long" * 60))
        self.assertEqual(sorted(p.name for p in (self.vault.path / "tree").rglob("*")), before)
        status = json.loads(self.vault.ok("status", self.mnt, "--count", "--json"))
        self.assertEqual((status["files_unknown"], status["files_seen"], status["counted"]), (4, 0, None))
        self.assertIn("4 files or directories could not be counted", self.vault.ok("status", self.mnt, "--count"))
        self.assertRefused(self.vault.run("rewrap", self.mnt), "4 files or directories were left")
        self.vault.umount()
        key = self.assertKeptBack(4)
        done = self.offline("fsck")
        self.assertEqual(done.stdout.count("error: other-device"), 4, done.stdout)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.offline("key retire", "--key-id", key, "--below", "2", "--force")
        self.assertEqual(next(k for k in self.vault.status()["keys"] if k["key_id"] == key)["min_decryption"], 2)

    def test_the_overlay_as_one_filesystem(self):
        self.on_overlay("xino=on")
        self.vault.mount()
        for number in range(3):
            self.assertEqual(self.read(self.mnt / f"f{number}"), b"precious %d" % number)
        self.write("new", b"new")
        with open(self.mnt / "f0", "ab") as file:
            file.write(b" and more")
        self.vault.remount()
        self.assertEqual(self.read(self.mnt / "f0"), b"precious 0 and more")
        self.assertEqual(self.read(self.mnt / "new"), b"new")
        self.assertEqual(json.loads(self.vault.ok("status", self.mnt, "--count", "--json"))["files_unknown"], 0)

    def test_a_directory_mounted_over_the_tree(self):
        """Also one of the same filesystem, which no device number tells."""
        self.vault.mount()
        (self.mnt / "dir").mkdir()
        self.write("dir/hidden", b"needs version 1")
        lower = self.vault.lower(self.mnt / "dir")
        self.vault.umount()
        self.vault.rotate()
        other = self.dir / "other"
        other.mkdir()
        self.assertTrue(self.mounted("--bind", other, lower))
        done = self.vault.try_mount()
        self.assertIn("is mounted over its tree", done.stderr)
        self.vault.pid = self.vault.daemon_pid()
        self.assertErrno(errno.EXDEV, os.listdir, self.mnt / "dir")
        status = json.loads(self.vault.ok("status", self.mnt, "--count", "--json"))
        self.assertEqual((status["files_unknown"], status["counted"]), (1, None))
        self.assertRefused(self.vault.run("rewrap", self.mnt), "1 file or directory was left")
        self.vault.umount()
        self.assertKeptBack(1)
        done = self.offline("fsck")
        self.assertEqual((done.stdout.count("error: other-device"), done.returncode), (1, 4), done.stdout)
