"""LocalStack's KMS as a server of our own on a loopback port."""

import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "common"))

from ports import free_ports  # noqa: E402

_START_SECONDS = 120


class Server:
    """Runs while the `with` block does; `url` is where it listens, `log` what it says."""

    def __init__(self, directory, python=sys.executable):
        self._python = python
        self._home = directory / "localstack"
        self._home.mkdir()
        self.log = directory / "localstack.log"
        address = f"127.0.0.1:{free_ports()}"
        self.url = f"http://{address}"
        self._env = {
            **os.environ,
            "GATEWAY_SERVER": "hypercorn",
            "SERVICES": "kms",
            "GATEWAY_LISTEN": address,
            "DISABLE_EVENTS": "1",
            "HOME": str(self._home),
            "TMPDIR": str(self._home),
            "FILESYSTEM_ROOT": str(self._home / "root"),
        }

    def __enter__(self):
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [self._python, "-m", "localstack.runtime.main"],
                env=self._env, cwd=self._home, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait(self):
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/_localstack/health", timeout=5) as answer:
                    if b'"kms"' in answer.read():
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError(f"LocalStack didn't come up; it said:\n{self.log.read_text(errors='replace')[-3000:]}")

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
