"""Exit statuses: what a command finds of a vault has the same status whether it is mounted or not."""

import shutil
import unittest

from harness import KMS_ENVIRONMENT_EXIT, MountedTest


class Statuses(MountedTest):
    def both(self, command):
        """The statuses of a command on the mount and on the vault, unmounted; the mount is up again afterwards."""
        mounted = self.vault.run(*command, self.mnt)
        self.vault.umount()
        unmounted = self.vault.run(*command, self.vault.path, "--passfile", self.vault.passfile)
        return (mounted.returncode, unmounted.returncode), mounted.stderr + unmounted.stderr

    def test_a_keyring_that_is_not_what_it_was_has_one_status(self):
        keyring = self.vault.path / "keyring"
        old, whole = self.dir / "old", self.dir / "whole"

        def rolled_back():
            shutil.copy2(old, keyring)

        def cut():
            with open(keyring, "r+b") as file:
                file.truncate(100)

        def cut_by_a_byte():
            with open(keyring, "r+b") as file:
                file.truncate(keyring.stat().st_size - 1)

        damages = (rolled_back, 41), (cut, 8), (cut_by_a_byte, 8), (keyring.unlink, 23)
        for damage, own in damages:
            for command, expected in ((("rotate",), own), (("kms", "create-key", "--vault"), KMS_ENVIRONMENT_EXIT)):
                with self.subTest(f"{damage.__name__}: {command[0]}"):
                    shutil.copy2(keyring, old)
                    self.vault.rotate()
                    shutil.copy2(keyring, whole)
                    damage()
                    try:
                        found, said = self.both(command)
                    finally:
                        shutil.copy2(whole, keyring)
                        self.vault.mount()
                    self.assertEqual(found, (expected, expected), said)

    def test_an_unknown_key_has_one_status(self):
        found, said = self.both(("rotate", "--alias", "alias/none"))
        self.assertEqual(found, (44, 44), said)


if __name__ == "__main__":
    unittest.main()
