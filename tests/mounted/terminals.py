"""Programs at a terminal: a pseudo-terminal of the test's own."""

import codecs
import contextlib
import errno
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import harness
from harness import wait_until

# Gives the program its standard input as its terminal, as a login does; then starts it.
CONTROLLED = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A program at a terminal: what it shows, and what is typed."""

    def __init__(self, test, command, env, *, controlled=True, uid=None, cwd=None):
        self.ours, self.theirs = pty.openpty()
        self.shown = ""
        # A character may come in two parts.
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        command = list(map(str, command))
        if controlled:
            command = ["python3", "-c", CONTROLLED, *command]
        else:
            # As `su -c` starts it: a session of its own, and no terminal to control.
            command = ["setsid", *(["setpriv", f"--reuid={uid}", "--clear-groups"] if uid else []), *command]
        self.before = termios.tcgetattr(self.theirs)
        self.program = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs
        )
        test.addCleanup(os.close, self.ours)
        test.addCleanup(os.close, self.theirs)
        test.addCleanup(self.program.wait)
        test.addCleanup(self.program.kill)

    def is_hidden(self):
        return not termios.tcgetattr(self.theirs)[3] & termios.ECHO

    def is_as_before(self):
        return termios.tcgetattr(self.theirs) == self.before

    def hear(self, seconds):
        if select.select([self.ours], [], [], seconds)[0]:
            try:
                self.shown += self.decode(os.read(self.ours, 65536))
            except OSError as error:
                assert error.errno == errno.EIO
                time.sleep(0.01)

    def wait_for(self, text, times=1, seconds=60):
        end = time.monotonic() + seconds
        while self.shown.count(text) < times:
            assert time.monotonic() < end, f"{text!r} is not shown {times} times: {self.shown!r}"
            self.hear(0.05)

    def type(self, text):
        os.write(self.ours, text.encode())

    def type_secret(self, line):
        assert wait_until(self.is_hidden), "what is typed would be shown"
        self.type(line + "\r")

    def ended(self, seconds=60):
        """Its status, once it has ended."""
        end = time.monotonic() + seconds
        while self.program.poll() is None:
            assert time.monotonic() < end, f"it runs on: {self.shown!r}"
            self.hear(0.05)
        self.hear(0.05)
        return self.program.returncode


def output_at_terminal(vault, *args, columns=80, **env):
    """What a command shows on a terminal of this width (0: one that doesn't say how wide it is), and what it says on
    standard error. The terminal holds some 64 KiB until it is read."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        with open(theirs, "wb", buffering=0) as line:
            fcntl.ioctl(line, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            done = subprocess.run(
                [harness.BIN, *map(str, args)], env={**vault.env, **env}, cwd=vault.base, timeout=60,
                stdin=subprocess.DEVNULL, stdout=line, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the end of a terminal that nobody has open
            while part := screen.read(65536):
                shown += part
    assert done.returncode == 0, done.stderr
    return shown.decode().replace("\r\n", "\n"), done.stderr
