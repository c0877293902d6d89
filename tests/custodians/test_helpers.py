"""The helpers of crates/custodians against the real thing: age and ssh's keys, tang, a TPM (swtpm), systemd's host key. Each
must pass scripts/custodian-check.sh, and tell what goes wrong by its kind."""

import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import swtpm

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HELPERS = pathlib.Path(os.environ.get("REKEYFS_HELPERS", ROOT / "target/debug"))
SECRET = base64.b64encode(bytes(range(32))).decode()
VAULT = {"rekeyfs:vault": "11111111-1111-4111-8111-111111111111", "rekeyfs:use": "unlock", "rekeyfs:id": "22222222-2222-4222-8222-222222222222"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30, **more).stdout


class HelperTest(unittest.TestCase):
    """Helpers are asked as rekeyfs does."""

    name = None
    tools = ()
    # What `env=` in custodians.conf lets it have.
    environment = {}
    # A pattern of what a library prints, which must not be taken for an answer.
    noise = ""

    def setUp(self):
        for tool in self.tools:
            if shutil.which(tool, path=PATH) is None:
                self.skipTest(f"{tool} is not installed")
        if self.name and not (HELPERS / f"rekeyfs-custodian-{self.name}").exists():
            self.skipTest(f"rekeyfs-custodian-{self.name} is not built; scripts/test.sh does it")
        # The path of a Unix socket has at most 107 bytes.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rekeyfs-custodians-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.dir)

    def ask(self, op, params, allowed, path=PATH, **more):
        request = {"v": 1, "op": op, "params": params, "allowed": allowed, "context": VAULT, "interactive": False, **more}
        done = subprocess.run(
            [HELPERS / f"rekeyfs-custodian-{self.name}"], input=json.dumps(request) + "\n", capture_output=True, text=True, timeout=30,
            env={"PATH": path, "LC_ALL": "C.UTF-8", "HOME": str(self.dir), **self.environment}, cwd="/", start_new_session=True,
        )  # fmt: skip
        self.assertEqual((done.returncode, re.sub(self.noise, "", done.stderr)), (0, ""), done.stdout)
        return json.loads(done.stdout)

    def wrap(self, params, allowed):
        answer = self.ask("wrap", params, allowed, secret=SECRET)
        self.assertIn("blob", answer, answer)
        return answer["blob"]

    def assertOpens(self, blob, params, allowed):
        self.assertEqual(self.ask("unwrap", params, allowed, blob=blob), {"v": 1, "secret": SECRET})

    def assertRefused(self, kind, answer, text=""):
        self.assertEqual(answer.get("error", {}).get("kind"), kind, answer)
        self.assertIn(text, answer["error"]["message"])

    def assertKeepsToTheProtocol(self, params, allowed):
        words = [f"{word}={value}" for word, values in allowed.items() for value in values]
        check = [ROOT / "scripts/custodian-check.sh", HELPERS / f"rekeyfs-custodian-{self.name}", json.dumps(params), *words]
        check += [f"env={name}" for name in self.environment]
        done = subprocess.run(check, capture_output=True, text=True, timeout=90, env={**os.environ, **self.environment})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Age(HelperTest):
    name = "age"
    tools = ("age", "age-keygen", "ssh-keygen")

    def identity(self, name="identity"):
        run("age-keygen", "-o", self.dir / name)
        return run("age-keygen", "-y", self.dir / name).strip(), {"file": [str(self.dir / name)]}

    def test_a_key_is_kept_by_an_identity(self):
        recipient, allowed = self.identity()
        self.assertKeepsToTheProtocol({"recipients": [recipient]}, allowed)

    def test_a_key_is_kept_by_a_key_of_ssh(self):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "somebody@somewhere", "-f", self.dir / "id")
        params = {"recipients": [(self.dir / "id.pub").read_text().strip()]}
        allowed = {"file": [str(self.dir / "id")]}
        self.assertOpens(self.wrap(params, allowed), params, allowed)

    def test_one_of_several_opens_it_and_a_stranger_does_not(self):
        (one, _), (two, allowed), (_, stranger) = self.identity("one"), self.identity("two"), self.identity("stranger")
        params = {"recipients": [one, two]}
        blob = self.wrap(params, allowed)
        self.assertOpens(blob, params, allowed)
        self.assertRefused("denied", self.ask("unwrap", params, stranger, blob=blob), "no identity matched")
        self.assertRefused("not-found", self.ask("unwrap", params, {"file": ["/nonexistent"]}, blob=blob), "/nonexistent")
        self.assertRefused("not-allowed", self.ask("unwrap", params, {}, blob=blob), "age file=PATH")

    def test_a_recipient_runs_no_plugin_that_is_not_allowed(self):
        _, allowed = self.identity()
        params = {"recipients": ["age1evil1qqqqqqqq"]}
        self.assertRefused("not-allowed", self.ask("wrap", params, allowed, secret=SECRET), "plugin=evil")
        for recipient in ("--help", "-i/etc/shadow", "AGE-SECRET-KEY-1QQQ"):
            refused = self.ask("wrap", {"recipients": [recipient]}, allowed, secret=SECRET)
            self.assertRefused("not-found", refused, "a recipient begins with")
            self.assertNotIn("QQQ", json.dumps(refused))
        self.assertRefused("not-found", self.ask("wrap", {}, allowed, secret=SECRET), "no recipients")

    def test_a_key_that_somebody_else_wrapped_for_another_slot_is_none(self):
        recipient, allowed = self.identity()
        forged = run("age", "-r", recipient, input=f"rekeyfs-custody-1 rekeyfs:id=other {SECRET}\n", encoding="latin-1")
        blob = base64.b64encode(forged.encode("latin-1")).decode()
        self.assertRefused("damaged", self.ask("unwrap", {"recipients": [recipient]}, allowed, blob=blob))

    def test_an_identity_with_a_passphrase_needs_somebody(self):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", self.dir / "id")
        params = {"recipients": [(self.dir / "id.pub").read_text().strip()]}
        allowed = {"file": [str(self.dir / "id")]}
        self.assertRefused("needs-user", self.ask("unwrap", params, allowed, blob=self.wrap(params, allowed)))

    def test_without_the_program_it_says_so(self):
        recipient, allowed = self.identity()
        self.assertRefused("missing", self.ask("wrap", {"recipients": [recipient]}, allowed, path="/nonexistent", secret=SECRET), "age isn't installed")


class SystemdCreds(HelperTest):
    name = "systemd-creds"
    tools = ("systemd-creds",)
    # What libtss2 reports, and systemd-creds of a TPM that measured nothing.
    noise = r"((ERROR|WARNING):|TPM2 device supports).*\n"
    params = {"with-key": "host"}

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("only root reads the host's key")
        secret = pathlib.Path("/var/lib/systemd/credential.secret")
        if not secret.exists():
            self.addCleanup(secret.unlink, missing_ok=True)

    def test_a_key_is_kept_by_the_hosts_key(self):
        self.assertKeepsToTheProtocol(self.params, {})

    def test_a_tpm_that_is_not_there_is_offline(self):
        if swtpm.lacking():
            self.skipTest(f"not installed: {', '.join(swtpm.lacking())}")
        params, here = {"with-key": "tpm2"}, swtpm.Tpm(self, self.dir / "tpm").device
        blob = self.wrap(params, {"device": [here]})
        self.assertOpens(blob, params, {"device": [here]})
        for device in ("/dev/no-tpm", f"swtpm:host=127.0.0.1,port={swtpm.free_ports()}"):
            self.assertRefused("offline", self.ask("unwrap", params, {"device": [device]}, blob=blob), "TCTI context")

    def test_a_credential_under_a_key_that_everybody_knows_is_refused(self):
        name = "rekeyfs-22222222-2222-4222-8222-222222222222-unlock-11111111-1111-4111-8111-111111111111"
        line = f"rekeyfs-custody-1 {' '.join(f'{k}={VAULT[k]}' for k in sorted(VAULT))} {SECRET}\n"
        forged = run("systemd-creds", "encrypt", f"--name={name}", "--with-key=auto-initrd", "-", "-", input=line)
        blob = "".join(forged.split())
        # It would open: systemd-creds itself takes it.
        self.assertEqual(run("systemd-creds", "decrypt", f"--name={name}", "-", "-", input=blob), line)
        self.assertRefused("damaged", self.ask("unwrap", self.params, {}, blob=blob), "everybody")

    def test_what_is_no_key_or_register_is_refused(self):
        for params in ({"with-key": "null"}, {"with-key": "host", "pcrs": "7 --x"}, {}):
            self.assertRefused("not-found", self.ask("wrap", params, {}, secret=SECRET))


def with_registers(blob, registers):
    """What clevis made with a TPM, with other registers in its header, which nothing authenticates before the TPM was asked."""
    head, *rest = base64.b64decode(blob).decode().split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    header["clevis"]["tpm2"]["pcr_ids"] = registers
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return base64.b64encode(".".join([head, *rest]).encode()).decode()


class Clevis(HelperTest):
    name = "clevis"
    tools = ("clevis", "jose")

    def tang(self):
        """Parameters of a tang server, what allows it, and its process."""
        for tool in ("/usr/libexec/tangd", "/usr/libexec/tangd-keygen"):
            if not os.access(tool, os.X_OK):
                self.skipTest(f"{tool} is not installed")
        if shutil.which("socat", path=PATH) is None:
            self.skipTest("socat is not installed")
        keys = self.dir / "keys"
        keys.mkdir()
        run("/usr/libexec/tangd-keygen", keys)
        signing = [json.loads(path.read_text()) for path in keys.glob("*.jwk")]
        key = next(key for key in signing if "verify" in key["key_ops"])
        thumbprint = run("jose", "jwk", "thp", "-i-", "-a", "S256", input=json.dumps(key)).strip()
        port = swtpm.free_ports()
        server = subprocess.Popen(["socat", f"tcp-listen:{port},bind=127.0.0.1,fork,reuseaddr", f"exec:/usr/libexec/tangd {keys}"])
        self.addCleanup(server.wait, 10)
        self.addCleanup(server.terminate)
        for _ in range(1200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        url = f"http://127.0.0.1:{port}"
        return {"plugin": "tang", "config": {"url": url, "thp": thumbprint}}, {"plugin": ["tang"], "endpoint": [url]}, server

    def tpm(self):
        for tool in ("swtpm", "tpm2_pcrextend", "tpm2_flushcontext", "clevis-encrypt-tpm2"):
            if shutil.which(tool, path=PATH) is None:
                self.skipTest(f"{tool} is not installed")
        path = self.dir / "tpm"
        daemon = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.dir}", "--ctrl", f"type=unixio,path={path}.ctrl",
             "--server", f"type=unixio,path={path}", "--flags", "not-need-init,startup-clear"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.addCleanup(daemon.wait, 10)
        self.addCleanup(daemon.send_signal, signal.SIGTERM)
        for _ in range(1200):
            if path.exists():
                break
            time.sleep(0.05)
        return f"swtpm:path={path}"

    def test_a_key_is_kept_by_a_tang_server_and_not_without_it(self):
        params, allowed, server = self.tang()
        self.assertKeepsToTheProtocol(params, allowed)
        blob = self.wrap(params, allowed)
        self.assertOpens(blob, params, allowed)
        # The blob says where to go; it isn't gone there.
        self.assertRefused("not-allowed", self.ask("unwrap", params, {"plugin": ["tang"]}, blob=blob), "endpoint=http://127")
        self.assertRefused("not-allowed", self.ask("unwrap", params, {"endpoint": allowed["endpoint"]}, blob=blob), "plugin=tang")
        server.terminate()
        server.wait(10)
        self.assertRefused("offline", self.ask("unwrap", params, allowed, blob=blob), "ommunicating with")

    def test_a_servers_key_that_is_not_expected_is_not_used(self):
        params, allowed, _ = self.tang()
        other = {**params, "config": {**params["config"], "thp": "A" * 43}}
        self.assertIn("error", self.ask("wrap", other, allowed, secret=SECRET))
        unknown = {**params, "config": {"url": params["config"]["url"]}}
        self.assertRefused("not-found", self.ask("wrap", unknown, allowed, secret=SECRET), "tang needs thp")
        file = {**params, "config": {"url": params["config"]["url"], "adv": "etc/hostname"}}
        self.assertRefused("not-allowed", self.ask("wrap", file, allowed, secret=SECRET), "file=etc/hostname")

    def test_a_key_is_kept_by_a_tpm_until_its_registers_change(self):
        device = self.tpm()
        params, allowed = {"plugin": "tpm2", "config": {"pcr_bank": "sha256", "pcr_ids": "7"}}, {"plugin": ["tpm2"], "device": [device]}
        environment = {"PATH": PATH, "TPM2TOOLS_TCTI": device}

        # An emulated TPM has no resource manager: what a command loads stays there.
        def flushed(done):
            run("tpm2_flushcontext", "-t", env=environment)
            return done

        blob = flushed(self.wrap(params, allowed))
        flushed(self.assertOpens(blob, params, allowed))
        # clevis leaves it to the shell to split the registers: an option of tpm2_unseal among them runs a program.
        program, ran = self.dir / "program", self.dir / "ran"
        program.write_text(f"#!/bin/sh\necho >{ran}\n")
        program.chmod(0o755)
        forged = flushed(self.ask("unwrap", params, allowed, blob=with_registers(blob, f"7 -T cmd:{program}")))
        self.assertRefused("damaged", forged)
        self.assertFalse(ran.exists())
        run("tpm2_pcrextend", f"7:sha256={'00' * 32}", env=environment)
        self.assertRefused("wrong-state", self.ask("unwrap", params, allowed, blob=blob))
        # One that isn't there may come: its driver is loaded late.
        self.assertRefused("offline", self.ask("unwrap", params, {**allowed, "device": ["device:/dev/no-tpm"]}, blob=blob))

    def test_one_of_several_is_enough_and_each_must_be_allowed(self):
        tang, allowed, server = self.tang()
        device = self.tpm()
        config = {"t": 1, "pins": {"tang": [tang["config"]], "tpm2": {"pcr_ids": "7"}}}
        params = {"plugin": "sss", "config": config}
        allowed = {"plugin": ["sss", "tang", "tpm2"], "endpoint": allowed["endpoint"], "device": [device]}
        blob = self.wrap(params, allowed)
        run("tpm2_flushcontext", "-t", env={"PATH": PATH, "TPM2TOOLS_TCTI": device})
        self.assertRefused("not-allowed", self.ask("unwrap", params, {**allowed, "plugin": ["sss", "tang"]}, blob=blob), "plugin=tpm2")
        server.terminate()
        server.wait(10)
        self.assertOpens(blob, params, allowed)

    def test_what_is_said_of_a_tpm_is_no_option_of_its_tools(self):
        for config in ({"pcr_bank": "-Tcmd:x"}, {"pcr_ids": "7 -o x"}, {"pcr_ids": ["7", "* "]}, {"hash": {}}):
            refused = self.ask("wrap", {"plugin": "tpm2", "config": config}, {"plugin": ["tpm2"]}, secret=SECRET)
            self.assertRefused("not-found", refused, "no blanks")

    def test_other_pins_are_not_known(self):
        for pin in ("null", "../sh", "--help"):
            self.assertRefused("unsupported", self.ask("wrap", {"plugin": pin, "config": {}}, {"plugin": [pin]}, secret=SECRET), "none of tang")
        self.assertRefused("damaged", self.ask("unwrap", {}, {"plugin": ["tang"]}, blob=base64.b64encode(b"x.y.z").decode()))


if __name__ == "__main__":
    unittest.main()
