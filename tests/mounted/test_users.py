"""Users: a mount that others may enter, and one made by a user who isn't root."""

import os
import stat
import unittest

from harness import NOBODY, MountedTest, UserMountTest, as_user, sh


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


class Others(MountedTest):
    """Root's mount, open to others."""

    options = ("--allow-other", "--suid")

    def setUp(self):
        self.need_root()
        self.need_tools("setpriv")
        super().setUp()
        os.chmod(self.mnt, 0o777)
        for parent in (self.dir, self.vault.base):
            os.chmod(parent, 0o755)

    def run_as_user(self, command):
        done = as_user(command)
        if done.returncode and "Permission denied" in done.stderr and not self.reachable():
            self.skipTest("the directory of the tests can't be reached by other users")
        return done

    def reachable(self):
        return as_user(f"cd {self.mnt}").returncode == 0

    def test_new_files_belong_to_the_caller(self):
        done = self.run_as_user(f"umask 027; cd {self.mnt}; echo a > f; mkdir d; ln -s f s; mkfifo p")
        self.assertEqual(done.returncode, 0, done.stderr)
        for name, expected in (("f", 0o640), ("d", 0o750), ("s", 0o777), ("p", 0o640)):
            found = os.lstat(self.mnt / name)
            self.assertEqual((found.st_uid, found.st_gid), (NOBODY, NOBODY), name)
            self.assertEqual(stat.S_IMODE(found.st_mode), expected, name)

    def test_modes_hold(self):
        self.write("mine", b"secret")
        os.chmod(self.mnt / "mine", 0o600)
        (self.mnt / "shut").mkdir(mode=0o755)
        self.assertNotEqual(self.run_as_user(f"cat {self.mnt}/mine").returncode, 0)
        self.assertNotEqual(self.run_as_user(f"touch {self.mnt}/shut/x").returncode, 0)
        self.assertNotEqual(self.run_as_user(f"chmod 777 {self.mnt}/mine").returncode, 0)
        self.assertEqual(os.listdir(self.mnt / "shut"), [])

    def test_writing_clears_suid_where_everyone_sees_it(self):
        for change in (
            "echo b >> f",
            ": > f",
            "truncate -s 1 f",
            "dd if=/dev/zero of=f bs=4096 count=1 oflag=direct conv=notrunc status=none",
        ):
            done = self.run_as_user(f"cd {self.mnt}; rm -f f; echo a > f; chmod 6755 f; {change}")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(mode(self.mnt / "f"), 0o755, change)
            self.assertEqual(mode(self.vault.lower(self.mnt / "f")), 0o755, change)

    def test_acl_lets_one_in(self):
        self.need_tools("setfacl")
        self.write("f", b"for one")
        os.chmod(self.mnt / "f", 0o600)
        self.assertNotEqual(self.run_as_user(f"cat {self.mnt}/f").returncode, 0)
        sh(f"setfacl -m u:{NOBODY}:r f", self.mnt)
        self.assertEqual(self.run_as_user(f"cat {self.mnt}/f").stdout, "for one")


class RootAlone(MountedTest):
    """Root's mount, closed to others."""

    def test_nobody_else_enters(self):
        self.need_root()
        self.need_tools("setpriv")
        os.chmod(self.mnt, 0o777)
        self.assertNotEqual(as_user(f"ls {self.mnt}").returncode, 0)

    def test_what_nobody_may_execute_root_may_not(self):
        self.write("f", b"#!/bin/sh\n")
        os.chmod(self.mnt / "f", 0o644)
        self.assertFalse(os.access(self.mnt / "f", os.X_OK))
        os.chmod(self.mnt / "f", 0o744)
        self.assertTrue(os.access(self.mnt / "f", os.X_OK))

    def test_an_acl_shows_in_the_mode_at_once(self):
        self.need_tools("setfacl")
        self.write("f", b"")
        os.chmod(self.mnt / "f", 0o600)
        sh(f"setfacl -m u:{NOBODY}:rw f", self.mnt)
        self.assertEqual(mode(self.mnt / "f"), 0o660)


class Unprivileged(UserMountTest):
    """A mount by a user who isn't root."""

    def setUp(self):
        super().setUp()
        self.vault.mount()

    def test_works_and_stays_theirs(self):
        done = as_user(f"cd {self.mnt}; cp -a /usr/include/linux . ; diff -r /usr/include/linux linux; echo x > f; "
                       "chmod 400 f; cat f; chmod 000 f; ! cat f 2>/dev/null; ! mknod d c 1 3 2>/dev/null")  # fmt: skip
        self.assertEqual((done.returncode, done.stdout), (0, "x\n"), done.stderr)
        self.assertRaises(PermissionError, os.listdir, self.mnt)  # not even root enters
        self.vault.umount()
        self.vault.mount()
        self.assertEqual(as_user(f"ls {self.mnt}").stdout, "f\nlinux\n")

    def test_rotates_without_a_passphrase(self):
        as_user(f"echo old > {self.mnt}/old")
        self.assertEqual(self.vault.rotate()["new_version"], 2)
        self.assertEqual(as_user(f"cat {self.mnt}/old").stdout, "old\n")

    def test_a_killed_mount_is_cleared_by_the_next(self):
        as_user(f"echo a > {self.mnt}/f; sync {self.mnt}/f")
        self.vault.kill()
        self.vault.mount()
        self.assertEqual(as_user(f"cat {self.mnt}/f").stdout, "a\n")

    def test_allow_other_is_for_the_administrator_to_allow(self):
        self.vault.umount()
        if "\nuser_allow_other" in "\n" + open("/etc/fuse.conf").read():
            self.skipTest("/etc/fuse.conf allows it")
        self.assertRefused(self.vault.try_mount("--allow-other"), "user_allow_other", status=19)


if __name__ == "__main__":
    unittest.main()
