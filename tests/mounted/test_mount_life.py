"""A mount's life: its socket lasts as long as it does, and what became of a mount is said by every command."""

import os
import pathlib
import shutil
import subprocess
import unittest

from harness import MountedTest, UserMountTest


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


if __name__ == "__main__":
    unittest.main()
