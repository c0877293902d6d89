"""README.md and the pages of docs, run: each command in a block of theirs, in order, as it stands there, a page on a machine
of its own. What can't run here is marked in the page, with the reason.

A block is ```sh. Comments of the page above a block direct this test, and nobody sees them:

    <!-- not run: REASON -->      the block isn't run
    <!-- hidden: COMMANDS -->     run before the block: what the reader has already, or does elsewhere
    <!-- status: N -->            the exit status of the block's last command; 0 without it

A block with a name (```sh NAME) is run by a test of its own, in test_backup_procedures.py."""

import os
import pathlib
import re
import shlex
import subprocess
import unittest

from harness import BIN, ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"((?:^<!-- (?:(?!-->).)*-->\n)*)^```sh(?: ([a-z-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIRECTION = re.compile(r"<!-- (not run|hidden|status): (.*?) -->", re.DOTALL)
PASSPHRASE = "gravel lantern obtuse migrate"
# Directories of the system that a page may change, in this test's own view of them.
CHANGED = ["/etc", "/usr", "/var"]
EMPTY = ["/home", "/srv", "/mnt", "/media"]


class Block:
    def __init__(self, page, match):
        text = page.read_text()
        self.line = text.count("\n", 0, match.start(3))
        self.name = match[2]
        self.commands = match[3]
        directions = DIRECTION.findall(match[1])
        self.hidden = "\n".join(text for word, text in directions if word == "hidden")
        self.not_run = next((text for word, text in directions if word == "not run"), None)
        self.status = next((int(text) for word, text in directions if word == "status"), 0)

    def script(self):
        parts = [self.hidden, f"echo '== line {self.line}'"]
        if self.status:
            # In a subshell: its failure ends no more than itself.
            parts += ["set +e", f"(set -e\n{self.commands})", "got=$?; set -e", f"[ $got -eq {self.status} ] || {{ echo status $got; exit 1; }}"]
        else:
            parts.append(self.commands)
        return "\n".join(parts)


def blocks(page):
    return [Block(page, match) for match in BLOCK.finditer(page.read_text())]


class Documents(unittest.TestCase):
    def run_page(self, page):
        """Runs the page's blocks in a view of this machine in which it can do what it says."""
        # What the view needs lies in /opt, as the directories above may hold this repository.
        view = [f"mount -t tmpfs -o mode=755 tmpfs /opt; cp {shlex.quote(BIN)} /opt/rekeyfs; mkdir -m 700 /opt/run",
                f"cp {shlex.quote(BIN)}-console /opt/rekeyfs-console"]
        # Those with a dot are notes of the compiler.
        helpers = [shlex.quote(str(path)) for path in pathlib.Path(BIN).parent.glob("rekeyfs-custodian-*") if not path.suffix]
        for directory in CHANGED:
            above = f"/opt{directory}"
            view.append(f"mkdir -p {above}/upper {above}/work; mount -t overlay overlay "
                        f"-o lowerdir={directory},upperdir={above}/upper,workdir={above}/work {directory}")  # fmt: skip
        view += [f"mount -t tmpfs -o mode=755 tmpfs {directory}" for directory in EMPTY]
        view += [
            "mkdir -m 700 /home/me; cd /home/me",
            f"mkdir -p /usr/lib/rekeyfs/custodians; cp {' '.join(helpers)} /usr/lib/rekeyfs/custodians",
            "for name in /usr/bin/rekeyfs /usr/sbin/mount.fuse.rekeyfs /usr/sbin/umount.fuse.rekeyfs; do ln -sf /opt/rekeyfs $name; done",
            # The page's reader may need it; this test is root.
            "printf '#!/bin/sh\nexec \"$@\"\n' > /usr/bin/sudo; chmod 755 /usr/bin/sudo",
            # For each passphrase that is asked for.
            f"exec < <(yes {shlex.quote(PASSPHRASE)})",
        ]
        run = [block.script() for block in blocks(page) if not block.name and not block.not_run]
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/home/me", "LANG": "C.UTF-8", "USER": "root",
            "XDG_RUNTIME_DIR": "/opt/run",
        }  # fmt: skip
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
             "bash", "-euo", "pipefail", "-c", "\n".join(view + run)],
            env=environment, cwd="/", timeout=300, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        printed = done.stdout.decode(errors="replace")
        self.assertEqual(done.returncode, 0, f"{page.name}\n{printed[-1500:]}")

    def test_each_page_does_what_it_says(self):
        if os.getuid() != 0:
            self.skipTest("needs root")
        for page in PAGES:
            if any(not block.name and not block.not_run for block in blocks(page)):
                with self.subTest(page=page.name):
                    self.run_page(page)

    def test_each_block_is_run_or_says_why_not(self):
        for page in PAGES:
            text = page.read_text()
            # Whatever looks like a block of commands is one that this test sees.
            opened = [line for line in text.splitlines() if re.match(r"```(sh|bash|shell|console)\b", line)]
            self.assertEqual(len(opened), len(blocks(page)), page.name)
            for block in blocks(page):
                self.assertFalse(block.not_run == "", f"{page.name}:{block.line}: not run, and no reason")
                self.assertFalse(block.name and page.name != "backup.md", f"{page.name}:{block.line}: no test runs blocks with names here")
