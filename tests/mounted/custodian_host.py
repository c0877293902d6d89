"""What tests of vaults that custodians open share. Helpers and custodians.conf lie in directories that are fixed; tests lay a
filesystem of their own over them, in the mount namespace that all of them run in.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess

import harness
from harness import PASSPHRASE, MountedTest, Vault

OFFLINE, WRONG, UNREAD, NOT_SEEN = 13, 12, 9, 41
INSTALLED = pathlib.Path("/usr/local/lib/rekeyfs/custodians")
BUILT = pathlib.Path(os.environ.get("REKEYFS_HELPERS", pathlib.Path(harness.BIN).parent))


def lay_over(test, directory):
    """What is written there until the test ends is on a tmpfs."""
    upper = test.dir / f"over{directory.replace('/', '-')}"
    upper.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", upper], check=True)
    test.addCleanup(subprocess.run, ["umount", "-l", upper])
    for part in ("upper", "work"):
        (upper / part).mkdir()
    options = f"lowerdir={directory},upperdir={upper}/upper,workdir={upper}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, directory], check=True)
    test.addCleanup(subprocess.run, ["umount", "-l", directory])


def install_helper(test, helper):
    """Until the test ends the helper is where rekeyfs looks for it, which is returned, and what is written to /etc is the test's."""
    for directory in ("/usr/local/lib", "/etc"):
        lay_over(test, directory)
    # What this machine has of rekeyfs stays below, out of sight.
    for own in (INSTALLED, pathlib.Path("/etc/rekeyfs")):
        shutil.rmtree(own, ignore_errors=True)
    INSTALLED.mkdir(parents=True)
    installed = pathlib.Path(shutil.copy(helper, INSTALLED))
    # A checkout may have been made with a umask that lets a group write.
    installed.chmod(0o755)
    return installed


class CustodianTest(MountedTest):
    """A vault on a host with one helper and a custodians.conf to write."""

    options = None
    #: Its program.
    wanted = None

    def setUp(self):
        super().setUp()
        self.need_root()
        wanted = BUILT / self.wanted
        if not wanted.exists():
            self.skipTest(f"{wanted.name} is not built; scripts/test.sh does it")
        self.helper = install_helper(self, wanted)
        self.conf = pathlib.Path("/etc/rekeyfs/custodians.conf")
        self.conf.parent.mkdir()
        self.secret = ("--passfile", self.vault.passfile)

    def custodians(self):
        slots = json.loads(self.vault.ok("unlock", "list", self.vault.path, "--json", *self.secret))["slots"]
        return [slot for slot in slots if slot["kind"] == "custodian"]

    def assertRefusesSomeoneElses(self, custodian):
        """The vault has a slot of this custodian, which keeps keys for others too: one of them seals a keyring of his own under the vault's
        id, with a slot that the same custodian opens."""
        theirs = self.dir / "theirs"
        theirs.mkdir()
        shutil.copytree(self.vault.path, theirs / "vault")
        theirs = Vault(theirs)
        # Two root keys that know nothing of each other: each is of a revocation, in a copy that the other one hasn't seen.
        for vault in (theirs, self.vault):
            secrets = ("--passfile", vault.passfile, "--new-passfile", vault.passfile)
            vault.ok("unlock", "change", vault.path, "--revoke", *secrets, "--kdf-memory", "8")
            vault.ok("unlock", "test", vault.path, "--custodian", custodian)
        for _ in range(2):
            theirs.ok("rotate", theirs.path, "--custodian", custodian)
        keyring = self.vault.path / "keyring"
        good = keyring.read_bytes()
        keyring.write_bytes((theirs.path / "keyring").read_bytes())
        # Their custodian's slot, and their passphrase, open it; this host knows the vault.
        for secret in ((), ("--custodian", custodian), self.secret):
            self.assertRefused(self.unattended(*secret), "root key", "--accept-rollback", status=NOT_SEEN)
            self.assertFalse(self.vault.is_mounted())
        known = self.vault.env["XDG_STATE_HOME"]
        self.vault.env["XDG_STATE_HOME"] = str(self.dir / "another-host")
        self.assertRefused(self.unattended(), "doesn't know this vault", status=NOT_SEEN)
        self.vault.env["XDG_STATE_HOME"] = known
        keyring.write_bytes(good)
        self.mount_unattended()

    def assertSurvivesAKill(self, stalled, resume=lambda: None, *, told=True):
        """A mount whose helper is killed once `stalled()` holds is opened by the passphrase that it asks for then. `told`: by nothing else,
        since the helper has given no answer yet."""
        command = [harness.BIN, "mount", self.vault.path, self.mnt, "--custodian-timeout", "5m"]
        pipe = subprocess.PIPE
        mount = subprocess.Popen(command, env=self.vault.env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.assertTrue(harness.wait_until(stalled))
        children = pathlib.Path(f"/proc/{mount.pid}/task/{mount.pid}/children").read_text().split()
        for helper in children:
            os.kill(int(helper), signal.SIGKILL)
        resume()
        _, said = mount.communicate(PASSPHRASE + "\n", timeout=harness.PATIENCE)
        self.assertEqual(mount.returncode, 0, said)
        if told:
            self.assertEqual(len(children), 1)
            self.assertIn("signal", said)
        self.vault.pid = self.vault.daemon_pid()
        self.vault.umount()

    def unattended(self, *args, **kw):
        return self.vault.run("mount", self.vault.path, self.mnt, *args, **kw)

    def mount_unattended(self, *args):
        self.vault.ok("mount", self.vault.path, self.mnt, *args)
        self.vault.pid = self.vault.daemon_pid()
