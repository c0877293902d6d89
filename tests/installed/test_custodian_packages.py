"""The packages of helpers of custodians: each brings its helper to where rekeyfs looks for it, with what it needs, and nothing else of
rekeyfs needs it. The machine is off: no helper needs systemd."""

import json
import unittest

from machine import Machine, helper_package

HELPERS = "/usr/lib/rekeyfs/custodians"
VAULT, PASS = "/srv/vault", "/root/pass"
CONF = """\
aws-kms endpoint=http://127.0.0.1:9 file=/root/aws
pkcs11 module=/usr/lib/none.so
tpm2
"""
# What each custodian is asked for, and how that ends where there is no KMS, no library and no TPM.
ASKED = {
    "aws-kms": ("--aws-kms arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", 13, "can't be reached: 127.0.0.1:9"),
    "pkcs11": ("--pkcs11 'pkcs11:token=t1;object=kek'", 9, "the library /usr/lib/none.so can't be loaded"),
    "tpm2": ("--tpm2", 13, "can't be reached: there is no /dev/tpmrm0"),
}


class TestCustodianPackages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = machine = Machine("TestCustodianPackages")
        cls.addClassCleanup(machine.close)
        machine.write(PASS, "a passphrase for the tests\n", 0o600)
        machine.write("/root/aws", "[default]\naws_access_key_id = AKID\naws_secret_access_key = x\n", 0o600)
        machine.write("/etc/rekeyfs/custodians.conf", CONF)
        machine.ok(f"rekeyfs init {VAULT} --passfile {PASS} --kdf-memory 8 --no-recovery-key")

    def asked(self, custodian):
        option, status, said = ASKED[custodian]
        return self.machine.run(f"rekeyfs unlock add {VAULT} {option} --passfile {PASS}"), status, said

    def test_each_helper_comes_and_goes_with_its_package(self):
        m = self.machine
        needed = m.ok("dpkg-query --show --showformat='${Depends} ${Recommends} ${Suggests}' rekeyfs")
        self.assertNotIn("rekeyfs-custodian", needed)
        for custodian in ASKED:
            with self.subTest(custodian):
                package = f"rekeyfs-custodian-{custodian}"
                helper = f"{HELPERS}/{package}"
                missing, _, _ = self.asked(custodian)
                self.assertEqual(missing.returncode, 9, missing.stderr)
                self.assertIn(f"no {package} in {HELPERS} or", missing.stderr)
                m.install(helper_package(custodian))
                self.assertEqual(m.ok(f"stat -c '%a %u %g' {helper}; dpkg --verify {package}"), "755 0 0\n")
                self.assertIn(package, m.ok(f"dpkg --search {helper}"))
                m.ok(f"test -s /usr/share/doc/{package}/copyright; zcat /usr/share/doc/{package}/THIRD-PARTY.gz | grep ^serde >/dev/null")
                request = json.dumps({"v": 1, "op": "describe", "params": {}, "context": {}, "interactive": False})
                answer = json.loads(m.ok(helper, stdin=request + "\n"))
                self.assertEqual((answer["v"], answer["error"]["kind"]), (1, "unsupported"))
                found, status, said = self.asked(custodian)
                self.assertEqual(found.returncode, status, found.stderr)
                self.assertIn(said, found.stderr)
        # All of them are there now; each goes alone, and leaves the others and rekeyfs.
        for custodian in ASKED:
            m.ok(f"DEBIAN_FRONTEND=noninteractive apt-get -qq -y purge rekeyfs-custodian-{custodian}")
            self.assertEqual(self.asked(custodian)[0].returncode, 9)
        left = m.ok("find /usr /etc /var/lib -path '*rekeyfs-custodian*' -not -path '/var/lib/dpkg/*' -not -path '/var/lib/apt/*'")
        own = {f"{HELPERS}/rekeyfs-custodian-{name}" for name in ("age", "clevis", "fido2", "systemd-creds")}
        self.assertEqual(set(left.split()), own, "those of the package rekeyfs")
        m.ok(f"rekeyfs unlock test {VAULT} --passfile {PASS}")
        self.assertEqual(m.ok("dpkg-query --show --showformat='${Status}' rekeyfs"), "install ok installed")
