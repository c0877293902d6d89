"""The software token of NSS (libsoftokn3), behind a library that tells it where its database is (pkcs11_of_nss.c). It does RSA-OAEP with
SHA-256, which SoftHSM2 doesn't."""

import glob
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = ("certutil", "pkcs11-tool", "cc")
PIN = "2468"


def lacking():
    """What isn't installed here of what a token needs."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return missing or ([] if library() else ["libsoftokn3.so"])


def library():
    return next(iter(glob.glob("/usr/lib/*/libsoftokn3.so") + glob.glob("/usr/lib64/libsoftokn3.so")), None)


class Token:
    def __init__(self, directory, label="nss"):
        self.label = label
        database, self.library = directory / "nss-db", directory / "nss.so"
        database.mkdir()
        self.pin_file = directory / f"{label}.pin"
        self.pin_file.touch(0o600)
        self.pin_file.write_text(PIN + "\n")
        self.run("certutil", "-N", "-d", f"sql:{database}", "-f", self.pin_file)
        parameters = f"configdir='sql:{database}' certPrefix='' keyPrefix='' secmod='' flags= dbTokenDescription='{label}'"
        defined = [f'-DMODULE="{library()}"', f'-DPARAMETERS="{parameters}"']
        self.run("cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", *defined, "-o", self.library, HERE / "pkcs11_of_nss.c", "-ldl")
        self.words = {"module": [str(self.library)], "file": [str(self.pin_file)]}

    def run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def make(self, option, kind, number):
        """A key, or a pair of them."""
        self.run("pkcs11-tool", "--module", self.library, "--token-label", self.label, "--login", "--pin", PIN, option,
                 "--key-type", kind, "--label", "kek", "--id", number, "--usage-decrypt", "--sensitive")  # fmt: skip

    def uri(self, rest="object=kek"):
        return f"pkcs11:token={self.label};{rest}"
