"""An emulated TPM (swtpm), on ports of this host."""

import contextlib
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "common"))

from ports import free_ports  # noqa: E402

TOOLS = ("swtpm", "tpm2_pcrextend", "tpm2_flushcontext", "tpm2_dictionarylockout")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def lacking():
    return [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]


class Tpm:
    def __init__(self, test, directory):
        self.state = directory
        self.state.mkdir()
        self.port = free_ports(2)
        self.daemon = None
        self.start()
        test.addCleanup(self.stop)
        self.device = f"swtpm:host=127.0.0.1,port={self.port}"

    def start(self):
        address = "type=tcp,bindaddr=127.0.0.1,port"
        self.daemon = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state}", "--server", f"{address}={self.port}",
             "--ctrl", f"{address}={self.port + 1}", "--flags", "not-need-init,startup-clear"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        listening = f":{self.port:04X} 00000000:0000 0A"
        for _ in range(1200):
            # A connection would be taken for a client's.
            with open("/proc/net/tcp") as sockets:
                if listening in sockets.read():
                    return
            time.sleep(0.05)
        raise AssertionError("swtpm doesn't listen")

    def stop(self):
        if self.daemon is not None:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(60)
            self.daemon = None

    def tool(self, *command):
        environment = {"PATH": PATH, "TPM2TOOLS_TCTI": self.device}
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, cwd=self.state)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def extend(self, register=7):
        self.tool("tpm2_pcrextend", f"{register}:sha256={'00' * 32}")

    def flush(self):
        """There is no resource manager: what a client that was killed has loaded is still there."""
        self.tool("tpm2_flushcontext", "--transient-object")
        self.tool("tpm2_flushcontext", "--loaded-session")


class Bus:
    """Between a client and a TPM, as on a board: hears all that is said. After so many commands, if there is a number, it keeps
    the next from the TPM, says so by `silent`, and waits for `resumed`."""

    def __init__(self, test, tpm, commands=None):
        self.port, self.heard, self.commands = free_ports(2), bytearray(), commands
        self.control, self.silent = tpm.port + 1, threading.Event()
        self.resumed = threading.Event()
        for offset in (0, 1):
            listener = socket.create_server(("127.0.0.1", self.port + offset))
            test.addCleanup(listener.close)
            threading.Thread(target=self.serve, args=(listener, tpm.port + offset), daemon=True).start()
        self.device = f"swtpm:host=127.0.0.1,port={self.port}"

    def serve(self, listener, port):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            for source, sink, counts in ((client, server, port != self.control), (server, client, False)):
                threading.Thread(target=self.pass_on, args=(source, sink, counts), daemon=True).start()

    def pass_on(self, source, sink, counts):
        try:
            while data := source.recv(4096):
                # A command comes as one.
                if counts and self.commands is not None and self.commands >= 0:
                    if self.commands == 0:
                        self.silent.set()
                        self.resumed.wait()
                    self.commands -= 1
                self.heard += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # A client that was killed: the TPM waits for the next one.
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
