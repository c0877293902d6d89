"""Mounts without extended attributes: the kernel asks for none, and what files have stays."""

import errno
import os
import subprocess

from harness import BIN, MountedTest, as_user, sh
from test_metrics import parse

# A capability in effect, permitted: CAP_NET_BIND_SERVICE (VFS_CAP_REVISION_2).
CAPABILITY = bytes.fromhex("01000002" + "00040000" + "00000000" * 3)


class WithoutXattrs(MountedTest):
    options = ()

    def setUp(self):
        super().setUp()
        self.need_root()
        self.need_tools("setfacl")

    def requests(self, operation):
        """How many requests of a kind the kernel has sent."""
        samples = parse(self.vault.ok("status", self.mnt, "--output", "prometheus"))
        name, label = "rekeyfs_request_duration_seconds_count", {"operation": operation}.items()
        return sum(value for named, labels, value in samples if named == name and label <= labels.items())

    def test_the_kernel_asks_once_and_what_files_have_is_there_in_another_mount(self):
        path = self.write("f", b"x")
        os.symlink("f", self.mnt / "l")
        (self.mnt / "d").mkdir()
        for number in range(50):
            (self.mnt / "d" / str(number)).touch()
        os.setxattr(path, "user.one", b"first")
        subprocess.run(["setfacl", "-m", "u:nobody:r", path], check=True)
        self.vault.remount("-o", "noxattr")
        for place in (path, self.mnt / "l", self.mnt / "d"):
            name = "trusted.one"
            self.assertErrno(errno.EOPNOTSUPP, lambda at=place: os.getxattr(at, name, follow_symlinks=False))
            self.assertErrno(errno.EOPNOTSUPP, lambda at=place: os.listxattr(at, follow_symlinks=False))
            self.assertErrno(errno.EOPNOTSUPP, lambda at=place: os.setxattr(at, name, b"x", follow_symlinks=False))
            self.assertErrno(errno.EOPNOTSUPP, lambda at=place: os.removexattr(at, name, follow_symlinks=False))
        listed = sh("ls -l . d", self.mnt)
        self.assertNotIn("+ ", listed)
        self.assertEqual(listed.count("\n-rw"), 51, listed)
        sh("cp -a d copied", self.mnt)
        for operation in ("getxattr", "listxattr", "setxattr", "removexattr"):
            self.assertLessEqual(self.requests(operation), 1, operation)
        self.vault.remount()
        self.assertEqual(os.getxattr(path, "user.one"), b"first")
        self.assertIn("user:nobody:r--", sh("getfacl -c f", self.mnt))
        sh("ls -l d", self.mnt)
        self.assertGreater(self.requests("getxattr"), 50, "with them it asks for each file")

    def test_a_write_clears_a_capability_that_nobody_sees(self):
        changes = {
            "written": lambda path: sh(f"echo more >> {path}", self.mnt),
            "direct": lambda path: sh(f"dd if=/dev/zero of={path} bs=4096 count=1 oflag=direct conv=notrunc status=none", self.mnt),
            "truncated": lambda path: os.truncate(path, 0),
            "reserved": lambda path: sh(f"fallocate -l 100000 {path}", self.mnt),
        }
        for name in (*changes, "kept"):
            os.setxattr(self.write(name, b"x"), "security.capability", CAPABILITY)
        self.vault.remount("--no-xattrs")
        for name, change in changes.items():
            change(self.mnt / name)
            self.assertErrno(errno.EOPNOTSUPP, os.getxattr, self.mnt / name, "security.capability")
        self.read(self.mnt / "kept")
        self.vault.remount()
        for name in changes:
            self.assertErrno(errno.ENODATA, os.getxattr, self.mnt / name, "security.capability")
        self.assertEqual(os.getxattr(self.mnt / "kept", "security.capability")[4:8], CAPABILITY[4:8])

    def test_inspect_by_another_user_says_what_is_the_matter(self):
        path = self.write("f", b"x", fsync=True)
        os.chmod(path, 0o644)
        for place in (self.dir, self.vault.base):
            os.chmod(place, 0o755)
        self.vault.remount("--allow-other", "--no-xattrs")
        os.chmod(self.mnt, 0o755)
        self.assertIn("aes-256-gcm", self.vault.ok("inspect", path, "--json"))
        done = as_user(f"{BIN} inspect {path}")
        if "Permission denied" in done.stderr:
            self.skipTest("the directory of the tests can't be reached by other users")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("noxattr", done.stderr)
