"""stress-ng's filesystem stressors, each checking its own work."""

import os

from suite import FAILED, PASSED, SKIPPED, Outcome, Suite, command

# These say nothing about the filesystem under test: they work on others, or on none.
ELSEWHERE = {"binderfs", "bind-mount", "eventfd", "ioprio", "procfs"}
# Of other classes, but on files too.
MORE = ("aio", "aiol", "msync", "readahead", "revio", "seek", "sendfile", "splice")
QUICK = ("chown", "copy-file", "dentry", "fallocate", "fcntl", "fpunch", "getdent", "iomix", "lockofd", "rename",
         "seek", "utime", "xattr")  # fmt: skip
STATUSES = {0: PASSED, 2: FAILED, 3: SKIPPED, 4: SKIPPED}


class StressNg(Suite):
    """Each stressor by itself, two workers, with --verify."""

    name = "stress_ng"
    about = "filesystem stressors, with --verify"

    def version(self):
        return "stress-ng " + command("stress-ng", "--version").stdout.split()[2].strip(",")

    def size(self):
        return f"{len(QUICK if self.options.quick else self._all())} stressors, 2 workers, {self._seconds()} s each"

    def _seconds(self):
        return 1 if self.options.quick else 5

    def run(self):
        for stressor in QUICK if self.options.quick else self._all():
            yield self._stress(stressor)

    @staticmethod
    def _all():
        listed = command("stress-ng", "--class", "filesystem?").stdout.split(":", 1)[1].split()
        return sorted((set(listed) | set(MORE)) - ELSEWHERE)

    def _stress(self, stressor):
        directory = self.place.root / stressor
        directory.mkdir()
        os.chmod(directory, 0o777)
        done = command(
            "stress-ng", f"--{stressor}", 2, "--verify", "--timeout", f"{self._seconds()}s", "--temp-path", directory,
            "--seed", self.options.seed, check=False, timeout=600, cwd=directory,
        )  # fmt: skip
        said = [line.split("] ", 1)[-1] for line in done.stdout.splitlines() if "info:" not in line]
        why = " / ".join(said or done.stdout.splitlines()[-3:])[:600]
        status = STATUSES.get(done.returncode, FAILED)
        if status == PASSED and "skipped" in done.stdout:
            status, why = SKIPPED, " / ".join(line for line in done.stdout.splitlines() if "skip" in line)[:300]
        return Outcome(stressor, status, "" if status == PASSED else f"exit status {done.returncode}: {why}")
