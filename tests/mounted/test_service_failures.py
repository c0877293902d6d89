"""A mount in the foreground that fails tells its service manager why, wherever it failed: `systemctl status` shows that line."""

import subprocess

import harness
from test_service_manager import Managed


class ServiceFailures(Managed):
    def check(self, status, *args):
        """The mount fails with this status; its last STATUS= is its line of standard error."""
        self.manager.messages.clear()
        done = subprocess.run(
            [harness.BIN, "mount", *map(str, args)], env=self.manager.env(self.vault), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60,
        )  # fmt: skip
        self.manager.hear()
        self.assertEqual(done.returncode, status, done.stderr)
        said = done.stderr.splitlines()[-1].removeprefix("rekeyfs: ")
        return said, self.manager.messages

    def test_whatever_the_reason(self):
        vault, mnt, secret = self.vault.path, self.mnt, ("--passfile", self.vault.passfile)
        none, full, empty, wrong = (self.dir / name for name in ("none", "full", "empty", "wrong"))
        full.mkdir()
        (full / "x").touch()
        empty.touch()
        wrong.write_text("wrong\n")
        lost = self.new_vault_without_keyring()
        for status, args in [
            (2, (vault, mnt, *secret, "--nonsense")),
            (2, (vault, mnt, *secret, "-o", "nonsense")),
            (2, (vault,)),
            (6, (none, mnt, *secret)),
            (9, (vault, mnt, "--passfile", none)),
            (9, (vault, mnt, "--extpass", "false")),
            (10, (vault, none, *secret)),
            (10, (vault, full, *secret)),
            (12, (vault, mnt, "--passfile", wrong)),
            (14, (vault, mnt, "--recovery-key", "--passfile", wrong)),
            (22, (vault, mnt, "--passfile", empty)),
            (23, (lost, mnt, *secret)),
        ]:
            for foreground in ("-f", "--foreground"):
                with self.subTest(status=status, args=args):
                    said, told = self.check(status, foreground, *args)
                    self.assertTrue(told, "nothing is told")
                    self.assertEqual(told[-1], f"STATUS={said}")
                    self.assertNotIn("READY=1", told)
        # One in the background isn't the process that was started.
        self.assertEqual(self.check(6, none, mnt, *secret)[1], [])

    def new_vault_without_keyring(self):
        place = self.dir / "lost"
        place.mkdir()
        lost = self.new_vault(place)
        for name in ("keyring", "keyring.prev"):
            (lost.path / name).unlink(missing_ok=True)
        return lost.path

    def test_a_missing_credential_is_told_by_the_line_that_loads_it(self):
        """systemd passes on the path below /run/credentials also of one that it has not found."""
        for option in ("--passfile", "--keyfile"):
            path = "/run/credentials/rekeyfs@data.service/rekeyfs.data"
            said, told = self.check(9, "-f", f"{option}={path}", "--", self.vault.path, self.mnt)
            for part in (path, "rekeyfs@data.service has no credential", "LoadCredential=rekeyfs.data", "/etc/credstore/rekeyfs.data;", "docs/systemd.md"):
                self.assertIn(part, said)
            self.assertEqual(told[-1], f"STATUS={said}")
