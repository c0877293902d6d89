"""A token of SoftHSM2's, behind a library that counts wrong PINs (pkcs11_with_tries.c)."""

import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = ("softhsm2-util", "pkcs11-tool", "cc")
LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so")
PIN = "1234"


def lacking():
    """What isn't installed here of what a token needs."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return missing or ([] if library() else ["libsofthsm2.so"])


def library():
    return next((path for path in LIBRARIES if pathlib.Path(path).exists()), None)


class Token:
    def __init__(self, directory, label="t1"):
        self.dir, self.label = directory, label
        self.tokens = directory / "tokens"
        self.tokens.mkdir()
        conf = directory / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.environment = {"SOFTHSM2_CONF": str(conf)}
        self.tries, self.orders = directory / "tries", directory / "stuck"
        self.library = directory / "library.so"
        names = {"MODULE": library(), "TRIES": self.tries, "ORDERS": self.orders}
        defined = [f'-D{name}="{value}"' for name, value in names.items()]
        self.run("cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", *defined, "-o", self.library, HERE / "pkcs11_with_tries.c", "-ldl")
        self.make(label)
        self.pin_file = directory / f"{label}.pin"
        self.pin_file.touch(0o600)
        self.pin_file.write_text(PIN + "\n")
        self.words = {"module": [str(self.library)], "file": [str(self.pin_file)]}

    def run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **self.environment})
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def make(self, label):
        """Another token."""
        self.run("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "12345678")

    def tool(self, *arguments, token=None):
        self.run("pkcs11-tool", "--module", library(), "--token-label", token or self.label, "--login", "--pin", PIN, *arguments)

    def make_aes(self, label="kek", number="01", **more):
        self.tool("--keygen", "--key-type", "AES:32", "--label", label, "--id", number, "--usage-decrypt", "--sensitive", **more)

    def make_rsa(self, label="kek", number="02"):
        self.tool("--keypairgen", "--key-type", "rsa:2048", "--label", label, "--id", number, "--usage-decrypt")

    def delete(self, label="kek", kind="secrkey"):
        self.tool("--delete-object", "--type", kind, "--label", label)

    def uri(self, rest="object=kek"):
        return f"pkcs11:token={self.label};{rest}"
