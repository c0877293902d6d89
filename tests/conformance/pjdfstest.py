"""pjdfstest: what POSIX says of system calls on files, several hundred cases."""

import os
import re

from suite import FAILED, PASSED, SKIPPED, Outcome, Suite, command, first_line

# The two users that it acts as are ones that every Debian has.
CONFIG = """[features]
posix_fallocate = {{}}
rename_ctime = {{}}
stat_st_birthtime = {{}}
utime_now = {{}}
utimensat = {{}}

[settings]
naptime = 0.02
allow_remount = {remount}

[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"""
STATUSES = {"ok": PASSED, "FAILED": FAILED, "skipped": SKIPPED}
LINE = re.compile(r"^([a-z_0-9]+::\S+)\s+(ok|FAILED|skipped)$")
# Remounts go to the kernel, without a helper program.
MOUNT = '#!/bin/sh\nexec /bin/mount -i "$@"\n'


class Pjdfstest(Suite):
    """All of it. The cases that remount read-only run in a second process: in one with the others they find the
    place busy with files that those left open."""

    name = "pjdfstest"
    about = "system calls as POSIX has them, by root and two users"

    def version(self):
        return "pjdfstest " + command(self.options.tools / "pjdfstest", "--version").stdout.split()[-1]

    def run(self):
        outcomes = {**self._process("false"), **self._process("true", "erofs")}
        if len(outcomes) < 300:
            yield Outcome("the run itself", FAILED, f"only {len(outcomes)} cases were told of")
        yield from outcomes.values()

    def _process(self, remount, *patterns):
        work = self.options.work
        (work / "mount").write_text(MOUNT)
        (work / "mount").chmod(0o755)
        (work / "pjdfstest.toml").write_text(CONFIG.format(remount=remount))
        done = command(
            self.options.tools / "pjdfstest", "-c", work / "pjdfstest.toml", "-s", "/dev/shm", "-p", self.place.root, *patterns,
            check=False, env={**os.environ, "PATH": f"{work}:{os.environ['PATH']}", "RUST_BACKTRACE": "0"},
        )  # fmt: skip
        outcomes = {}
        lines = done.stdout.splitlines()
        for number, line in enumerate(lines):
            if found := LINE.match(line):
                status = STATUSES[found[2]]
                why = "" if status == PASSED else first_line("\n".join(lines[number + 1 : number + 6]))
                outcomes[found[1]] = Outcome(found[1], status, why)
        return outcomes
