"""The two sides of the comparison. Each runs a verb with its flags and gives what a user of it sees."""

import contextlib
import io
import os
import re
import subprocess
from typing import NamedTuple

_REFUSAL = re.compile(r"^(?:aws: \[ERROR\]: )?An error occurred \((\w+)\) when calling the (\w+) operation", re.M)


class Outcome(NamedTuple):
    """What a command did: its exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def error(self):
        """The error's name of a refusal in AWS's words; None for another failure or none."""
        found = _REFUSAL.search(self.err)
        return found[1] if found else None

    @property
    def refusal(self):
        """A refusal without its message: the error, the operation, the exit status."""
        found = _REFUSAL.search(self.err)
        return f"{found[1]} of {found[2]}, exit {self.status}" if found else None


# How the aws command of version 1 (version 2 isn't on PyPI) and that of version 2, which rekeyfs follows, say that the
# service refused.
_REFUSED_V1, _REFUSED = 255, 254


def aws(driver, words):
    """The `aws` command with these words. It runs in this process, through the entry point that the installed script
    has: starting Python for each would take most of the time."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = driver.main(words)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return Outcome(status, *texts)


class Aws:
    """The `aws` command on an account of its own in LocalStack."""

    name = "localstack"

    def __init__(self, directory, url, account):
        self._url = url
        self._config = directory / "aws-config"
        # The server is to judge the values, not the client.
        self._config.write_text("[default]\nparameter_validation = false\n")
        self._env = {
            "AWS_CONFIG_FILE": str(self._config),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ACCESS_KEY_ID": f"{account:012d}",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
        }
        self._driver = None

    def run(self, arguments):
        """`aws kms ARGUMENTS`."""
        from awscli.clidriver import create_clidriver

        if "--generate-cli-skeleton" in arguments:
            # One that has done verbs prints a skeleton of each of them.
            self._driver = None
        before = dict(os.environ)
        os.environ.update(self._env)
        try:
            self._driver = self._driver or create_clidriver()
            done = aws(self._driver, ["kms", *arguments, "--endpoint-url", self._url])
        finally:
            os.environ.clear()
            os.environ.update(before)
        return done._replace(status=_REFUSED) if done.status == _REFUSED_V1 and done.error else done


class Rekeyfs:
    """`rekeyfs kms` on a vault of its own."""

    name = "rekeyfs"

    def __init__(self, directory, binary):
        self._binary = binary
        self._directory = directory
        self._env = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(directory / "run"),
            "XDG_STATE_HOME": str(directory / "state"),
            "REKEYFS_VAULT": str(directory / "vault"),
            # As version 1 of the aws command prints them, and the service sends them.
            "REKEYFS_CLI_TIMESTAMP_FORMAT": "wire",
        }
        for name in ("run", "state"):
            (directory / name).mkdir(mode=0o700)
        (directory / "keyfile").write_bytes(bytes(range(32)))
        made = self._command("init", "vault", "--keyfile", "keyfile", "--no-recovery-key")
        if made.status:
            raise RuntimeError(f"rekeyfs init: {made.err}")

    def _command(self, *arguments):
        done = subprocess.run(
            [self._binary, *arguments], env=self._env, cwd=self._directory, timeout=120, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    def run(self, arguments):
        """`rekeyfs kms ARGUMENTS`."""
        return self._command("kms", *arguments, "--keyfile", "keyfile")
