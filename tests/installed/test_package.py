"""The package on a machine: what it brings, mounts by fstab, upgrades, removal."""

import shutil
import tempfile
import pathlib
import unittest

import machine
from machine import Machine

PASS = "/etc/rekeyfs/pass"
VAULT, MNT = "/srv/vault", "/mnt/plain"


class InstalledTest(unittest.TestCase):
    """One machine for the tests of a class; it is on."""

    installed = True

    @classmethod
    def setUpClass(cls):
        cls.machine = Machine(cls.__name__, installed=cls.installed)
        cls.addClassCleanup(cls.machine.close)
        cls.machine.boot()

    @classmethod
    def make_vault(cls, vault=VAULT, mnt=MNT, options="allow_other"):
        """A vault with a line in fstab."""
        cls.machine.write(PASS, "a passphrase for the tests\n", 0o600)
        cls.machine.ok(f"mkdir -p {mnt}; rekeyfs init {vault} --passfile {PASS} --kdf-memory 8 --no-recovery-key")
        line = f"{vault} {mnt} fuse.rekeyfs passfile={PASS},{options} 0 0\n"
        fstab = cls.machine.read("/etc/fstab") if cls.machine.path("/etc/fstab").exists() else ""
        cls.machine.write("/etc/fstab", fstab + line)


class TestInstalling(InstalledTest):
    installed = False

    def test_apt_installs_the_package_and_what_it_recommends(self):
        self.assertNotEqual(self.machine.run("command -v fusermount3").returncode, 0, "nothing is left for apt to find")
        self.machine.install()
        self.machine.ok("command -v rekeyfs fusermount3 mount.fuse.rekeyfs umount.fuse.rekeyfs")
        self.assertRegex(self.machine.ok("rekeyfs --version"), r"^rekeyfs \d+\.\d+\.\d+\n$")
        self.machine.ok("dpkg --verify rekeyfs")
        for absent in ("cargo", "rustc", "cc"):
            self.assertNotEqual(self.machine.run(f"command -v {absent}").returncode, 0, absent)
