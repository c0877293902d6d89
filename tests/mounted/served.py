"""Programs that serve a mount in the foreground: endpoints and consoles."""

import contextlib
import socket
import subprocess
import sys

# What a hostile program does: most of its connections send nothing, some the first part of a request.
HOLD = """
import os, socket, sys
os.setuid(65534)
head = sys.argv[3].encode()
held = []
for n in range(int(sys.argv[2])):
    connection = socket.socket()
    connection.settimeout(30)
    connection.connect(("127.0.0.1", int(sys.argv[1])))
    if n % 4 == 0:
        connection.sendall(head[: len(head) * 3 // 4])
    held.append(connection)
print(flush=True)
sys.stdin.read()
"""


class Served:
    """A program that serves a mount until it is ended, at the latest after the test. The first line that it prints is its address."""

    def __init__(self, test, vault, *command):
        self.log = vault.base / "console-log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                vault.command(*command), env=vault.env, cwd=vault.base,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        test.addCleanup(self.end)
        self.address = self.process.stdout.readline().strip()

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(60)
        self.process.stdout.close()
        return status

    @contextlib.contextmanager
    def held_by_another_user(self, connections, head):
        """So many connections of another user are open meanwhile, and send nothing, or less than this head."""
        command = [sys.executable, "-c", HOLD, str(self.port), str(connections), head.decode()]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as holder:
            try:
                assert holder.stdout.readline(), "the other user can't connect"
                yield
            finally:
                holder.stdin.close()

    def connect(self):
        """A connection to its port, `self.port`."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)
