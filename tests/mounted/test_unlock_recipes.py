"""The recipes of docs/unlock.md: a passphrase that another tool seals, through --extpass. The commands are taken from the page
where they stand there in one line; each is run, and the vault is mounted with it."""

import os
import pathlib
import re
import signal
import subprocess

from harness import ROOT, MountedTest, sh, wait_until

PAGE = ROOT / "docs/unlock.md"
KDF = "--kdf-memory 8"


def recipe(tool):
    """SEAL and UNSEAL of the page's table."""
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {tool} |"))
    return re.findall(r"`([^`]+)`", row.split("|")[2])


class Recipes(MountedTest):
    options = None

    def setUp(self):
        super().setUp()
        self.place = self.dir / "seal"
        self.place.mkdir(mode=0o700)
        (self.place / "secret").write_bytes(subprocess.check_output("head -c 32 /dev/urandom | base64 -w0", shell=True))
        self.tools = {}

    def opens(self, seal, unseal):
        """As the page says: sealed, added, the plain one removed, tried, mounted."""
        sh(seal, self.place, timeout=30, **self.tools)
        new = ("--new-passfile", self.place / "secret", *KDF.split(), "--label", "sealed")
        self.vault.ok("unlock", "add", self.vault.path, "--passfile", self.vault.passfile, *new)
        (self.place / "secret").unlink()
        self.vault.env |= self.tools
        command = f"cd {self.place} && {unseal}"
        said = self.vault.ok("unlock", "test", self.vault.path, "--extpass", command)
        self.assertIn("(passphrase, sealed)", said)
        self.vault.ok("mount", self.vault.path, self.mnt, "--extpass", command)
        self.vault.pid = self.vault.daemon_pid()
        self.write("file", b"opened")
        self.vault.umount()

    def test_age(self):
        self.need_tools("age", "age-keygen")
        sh("age-keygen -o identity", self.place)
        recipient = re.search("age1[a-z0-9]+", (self.place / "identity").read_text())[0]
        seal, unseal = recipe("age")
        self.opens(seal.replace("age1…", recipient), unseal.replace("IDENTITY", "identity"))

    def test_systemd_creds_with_the_hosts_key(self):
        self.need_tools("systemd-creds")
        self.need_root()
        secret = pathlib.Path("/var/lib/systemd/credential.secret")
        if not secret.exists():
            self.addCleanup(secret.unlink, missing_ok=True)
        seal, unseal = recipe("systemd-creds")
        self.opens(seal.replace("encrypt ", "encrypt --with-key=host "), unseal)

    def test_clevis_with_a_tpm(self):
        self.need_tools("clevis", "clevis-encrypt-tpm2")
        self.start_tpm()
        seal, unseal = recipe("clevis, TPM2")
        # An emulated TPM has no resource manager, which the kernel's /dev/tpmrm0 has: what a command loads stays there.
        self.opens(seal.replace('"pcr_ids":"7"', "") + "; tpm2_flushcontext -t", f"{unseal}; tpm2_flushcontext -t")

    def test_clevis_with_one_of_several(self):
        self.need_tools("clevis", "clevis-encrypt-tpm2", "clevis-encrypt-sss")
        self.start_tpm()
        seal, unseal = recipe("clevis, several of")
        seal = re.sub(r',"tang":\[[^]]*\]', "", seal)
        self.opens(f"{seal}; tpm2_flushcontext -t", f"{unseal}; tpm2_flushcontext -t")

    def test_tpm2_tools(self):
        self.need_tools("tpm2_create")
        self.start_tpm()
        block = PAGE.read_text().split("### tpm2-tools")[1].split("```")[1]
        *seal, mount = block.strip().splitlines()
        unseal = re.search("--extpass '([^']+)'", mount)[1]
        self.assertEqual(len(seal), 4)
        self.opens("; tpm2_flushcontext -t; ".join(seal) + "; tpm2_flushcontext -t", unseal)

    def start_tpm(self):
        self.need_tools("swtpm", "tpm2_flushcontext")
        # The path of a Unix socket has at most 107 bytes.
        state = pathlib.Path(subprocess.check_output(["mktemp", "-d", "/tmp/rekeyfs-tpm-XXXXXX"], text=True).strip())
        self.addCleanup(sh, f"rm -rf {state}", "/")
        socket = state / "socket"
        daemon = subprocess.Popen(
            [
                "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--ctrl", f"type=unixio,path={socket}.ctrl",
                "--server", f"type=unixio,path={socket}", "--flags", "not-need-init,startup-clear",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.addCleanup(daemon.wait, 10)
        self.addCleanup(daemon.send_signal, signal.SIGTERM)
        self.assertTrue(wait_until(socket.exists), "swtpm doesn't start")
        self.tools = {"TPM2TOOLS_TCTI": f"swtpm:path={socket}", "TCTI": f"swtpm:path={socket}", "PATH": os.environ["PATH"]}
