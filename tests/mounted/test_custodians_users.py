"""A user who isn't root has a token, a TPM and AWS KMS open vaults of his own: by his own custodians.conf, with what is his."""

import json
import pathlib
import shutil
import subprocess
import sys

from custodian_host import BUILT, OFFLINE, WRONG, install_helper
from harness import NOBODY, ROOT, UserMountTest

sys.path.append(str(ROOT / "tests/custodians"))

import fake_aws  # noqa: E402
import softhsm  # noqa: E402
import swtpm  # noqa: E402


class Users(UserMountTest):
    def install(self, custodian, lacking=()):
        helper = BUILT / f"rekeyfs-custodian-{custodian}"
        if not helper.exists():
            self.skipTest(f"{helper.name} is not built; scripts/test.sh does it")
        if lacking:
            self.skipTest(f"not installed: {', '.join(lacking)}")
        install_helper(self, helper)

    def own(self, directory):
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", directory], check=True)

    def allow(self, line):
        conf = self.vault.base / ".config/rekeyfs/custodians.conf"
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.write_text(line + "\n")
        self.own(self.vault.base / ".config")

    def assertKeeps(self, custodian, *options):
        """A slot is made, opens the vault with nobody there, is made anew, and opens it again."""
        secret = ("--passfile", self.vault.passfile)
        first = self.vault.ok("unlock", "add", self.vault.path, *options, "--label", "own", *secret).split()[1]
        self.mount_by(first)
        self.shell_ok("echo content >mnt/file")
        self.vault.umount()
        self.vault.ok("unlock", "rebind", self.vault.path, "own", *secret)
        slots = json.loads(self.vault.ok("unlock", "list", self.vault.path, "--json", *secret))["slots"]
        (second,) = [slot for slot in slots if slot["kind"] == "custodian"]
        self.assertEqual((second["custodian"], second["label"]), (custodian, "own"))
        self.assertNotEqual(second["id"], first)
        self.mount_by(second["id"])
        self.assertEqual(self.shell_ok("cat mnt/file"), "content\n")
        self.vault.umount()

    def mount_by(self, slot):
        self.vault.ok("mount", self.vault.path, self.mnt)
        self.vault.pid = self.vault.daemon_pid()
        self.assertEqual(pathlib.Path(f"/proc/{self.vault.pid}").stat().st_uid, NOBODY)
        self.assertEqual(self.vault.events("Vault Mounted")[-1]["slot-id"], slot)

    def unattended(self):
        return self.vault.run("mount", self.vault.path, self.mnt)

    def test_a_token_of_a_user_opens_his_vault(self):
        self.install("pkcs11", softhsm.lacking())
        keys = self.vault.base / "hsm"
        keys.mkdir()
        token = softhsm.Token(keys)
        token.make_aes()
        self.own(keys)
        self.vault.env |= token.environment
        self.allow(f"pkcs11 module={token.library} file={token.pin_file} env=SOFTHSM2_CONF")
        self.assertKeeps("pkcs11", "--pkcs11", token.uri())
        token.pin_file.write_text("4321\n")
        self.assertRefused(self.unattended(), "refuses the PIN", status=WRONG)

    def test_a_tpm_opens_a_users_vault(self):
        self.install("tpm2", swtpm.lacking())
        tpm = swtpm.Tpm(self, self.dir / "tpm")
        self.allow(f"tpm2 device={tpm.device}")
        self.assertKeeps("tpm2", "--tpm2")
        tpm.extend(7)
        self.assertRefused(self.unattended(), "another state", status=WRONG)
        tpm.stop()
        self.assertRefused(self.unattended(), "can't be reached", status=OFFLINE)

    def test_kms_opens_a_users_vault_by_his_own_credentials(self):
        self.install("aws-kms")
        aws = fake_aws.FakeAws()
        self.addCleanup(aws.close)
        credentials = self.vault.base / ".aws/credentials"
        credentials.parent.mkdir(mode=0o700)
        credentials.write_text("[default]\naws_access_key_id = AKIDUSER\naws_secret_access_key = x\n")
        credentials.chmod(0o600)
        self.own(credentials.parent)
        self.allow(f"aws-kms endpoint={aws.url} region=eu-central-1")
        self.assertKeeps("aws-kms", "--aws-kms", "alias/vault")
        self.assertEqual(aws.access_keys(), [("AKIDUSER", None)])
        shutil.rmtree(credentials.parent)
        self.vault.env["AWS_EC2_METADATA_DISABLED"] = "true"
        self.allow(f"aws-kms endpoint={aws.url} env=AWS_EC2_METADATA_DISABLED")
        self.assertRefused(self.unattended(), "there are no credentials", status=WRONG)
