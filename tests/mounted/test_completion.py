"""What a shell completes, asked of the shells themselves: a line is typed, with a tab where one would press it."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from harness import BIN
from terminals import Terminal

# What is completed is typed on: the command prints what it was given in the end.
SHOWS = "rekeyfs() { printf 'GIVEN:%s;\\n' \"$*\"; }"
BASH = "source {scripts}/rekeyfs; bind 'set bell-style none'"
ZSH = "fpath=({scripts} $fpath); autoload -Uz compinit; compinit -u -D; unsetopt beep"


class Shell(Terminal):
    """An interactive shell."""

    def __init__(self, test, command, setup, directory):
        env = {"PATH": os.environ["PATH"], "TERM": "vt100", "HOME": str(directory), "INPUTRC": "/dev/null", "LANG": "C.UTF-8", "PS1": "$ "}
        program, *options = command
        super().__init__(test, [shutil.which(program), *options], env, cwd=directory)
        self.type(f"{SHOWS}; {setup}; echo RE''ADY\r")
        self.wait_for("READY")

    def given(self, line):
        """The arguments of the command line, once it is completed and entered."""
        self.shown = ""
        self.type(line + "\r")
        self.wait_for("GIVEN:")
        self.wait_for(";\r\n")
        return self.shown.split("GIVEN:")[1].split(";\r\n")[0].rstrip(" /")


class Completion(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rekeyfs-test-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.scripts, self.here = self.dir / "scripts", self.dir / "here"
        subprocess.run([BIN, "generate", "completions", self.scripts], check=True)
        # The only thing there is to complete.
        (self.here / "only vault").mkdir(parents=True)

    def check(self, given):
        """`given` says what becomes of a line."""
        path = "only vault"
        for command in ("status", "mount", "info", "inspect -r", "rotate", "unlock list", "key retire", "umount", "kms re-encrypt"):
            self.assertEqual(given(f"rekeyfs {command} \t"), f"{command} {path}", "an empty word is a path")
        for command in ("status", "events"):
            self.assertEqual(given(f"rekeyfs {command} on\t"), f"{command} {path}")
        for option in ("rotate --passfile", "fsck --quarantine", "kms list-keys --vault"):
            self.assertEqual(given(f"rekeyfs {option} \t"), f"{option} {path}")
        for option in ("rotate --alias", "rotate --key-id", "kms describe-key --key-id", "unlock change --slot", "rewrap --to-alias", "mount -o"):
            self.assertEqual(given(f"rekeyfs {option} \t"), option, "no file is one")
        self.assertEqual(given("rekeyfs rota\t"), "rotate")
        self.assertEqual(given("rekeyfs key reti\t"), "key retire")
        self.assertEqual(given("rekeyfs events rot\t"), "events rotate")
        self.assertEqual(given("rekeyfs mount --allow-o\t"), "mount --allow-other")
        self.assertEqual(given("rekeyfs status --output pro\t"), "status --output prometheus")

    def test_bash_completes_paths_where_a_command_takes_one_and_nothing_where_a_value_is_none(self):
        shell = Shell(self, ["bash", "--norc", "--noprofile", "-i"], BASH.format(scripts=self.scripts), self.here)
        self.check(shell.given)

    def test_zsh_does_so_too(self):
        if not shutil.which("zsh"):
            self.skipTest("zsh is not installed")
        self.check(Shell(self, ["zsh", "-f", "-i"], ZSH.format(scripts=self.scripts), self.here).given)

    def test_fish_does_so_too(self):
        if not shutil.which("fish"):
            self.skipTest("fish is not installed")
        env = {"PATH": os.environ["PATH"], "HOME": str(self.dir), "LANG": "C.UTF-8"}

        def given(line):
            before = line.removesuffix("\t")
            command = f"source {self.scripts}/rekeyfs.fish; complete -C '{before}'"
            done = subprocess.run(["fish", "--no-config", "-c", command], cwd=self.here, env=env, capture_output=True, text=True, check=True)
            offered = [row.split("\t")[0] for row in done.stdout.splitlines()]
            # As the key completes: where one thing is offered, that.
            words = before.removeprefix("rekeyfs ").rpartition(" ")
            return f"{words[0]} {offered[0]}".strip(" /") if len(offered) == 1 else words[0]

        self.check(given)


if __name__ == "__main__":
    unittest.main()
