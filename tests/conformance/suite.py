"""What a suite of the conformance run is: outcomes by case, on a place; and cases written here as methods."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import traceback
from dataclasses import dataclass

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass
class Outcome:
    """What became of one case; `why` for those that did not pass."""

    case: str
    status: str
    why: str = ""


class Skip(Exception):
    """A case can't run here; the text says why."""


class TookTooLong(Exception):
    """A case did not end in its time."""


def first_line(text):
    """The first line that says something, of bounded length."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")[:300]


def command(*words, timeout=600, cwd=None, env=None, check=True, text_input=None):
    """Runs a program; the finished process, or AssertionError with the end of what it said."""
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=env, timeout=timeout, check=False, text=True, errors="replace",
        input=text_input, stdin=subprocess.DEVNULL if text_input is None else None,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if check and done.returncode:
        end = " / ".join(done.stdout.strip().splitlines()[-6:])
        raise AssertionError(f"{' '.join(map(str, words))[:200]}: exit status {done.returncode}: {end[-1500:]}")
    return done


def remove(path):
    """Removes a tree. By rm, not shutil: its speed counts with a million files, and it goes as deep as a tree is."""
    subprocess.run(["rm", "-rf", "--one-file-system", path], check=False, capture_output=True)


def full_only(method):
    """Marks a case that the quick selection leaves out."""
    method.full_only = True
    return method


class Suite:
    """A suite: `run` gives an outcome for each case; `name` and `version` are for the table."""

    name = ""
    about = ""
    own = False  # written here: a failure on ext4 is one of the suite
    mount_options = ("--allow-other", "--suid", "--dev")

    def __init__(self, place, options):
        self.place = place
        self.options = options

    def version(self):
        """What was run, for the table."""
        return "this repository's"

    def size(self):
        """How much of it was run, for the table."""
        return "all of it"

    def run(self):
        """Yields an Outcome for each case."""
        raise NotImplementedError


class Cases(Suite):
    """A suite whose cases are its methods `test_…`, each in an empty directory `self.dir` that others may use."""

    own = True
    seconds = 300  # that a case may take

    def size(self):
        return f"cases {self.options.case}" if self.options.case else "all of it"

    def run(self):
        for name in sorted(n for n in dir(self) if n.startswith("test_")):
            method = getattr(self, name)
            if self.options.quick and getattr(method, "full_only", False):
                continue
            if self.options.case and self.options.case not in name:
                continue
            yield self._attempt(name.removeprefix("test_"), method)

    def _attempt(self, case, method):
        self.dir = self.place.root / case[:40]
        self.dir.mkdir()
        os.chmod(self.dir, 0o777)
        self.descriptors = []  # closed when the case is over: an error of close is one of the case
        before = os.getcwd()
        signal.signal(signal.SIGALRM, self._too_long)
        signal.alarm(self.seconds)
        try:
            method()
            while self.descriptors:
                os.close(self.descriptors.pop())
            return Outcome(case, PASSED)
        except Skip as skip:
            return Outcome(case, SKIPPED, str(skip))
        except Exception as error:  # of a test: anything is its failure
            where = traceback.extract_tb(error.__traceback__)
            lines = [f"{pathlib.Path(frame.filename).name}:{frame.lineno}" for frame in where[1:]]
            return Outcome(case, FAILED, f"{type(error).__name__}: {str(error)[:600]} ({', '.join(lines)})")
        finally:
            signal.alarm(0)
            os.chdir(before)
            for fd in self.descriptors:
                with contextlib.suppress(OSError):
                    os.close(fd)
            remove(self.dir)

    def _too_long(self, _number, _frame):
        raise TookTooLong(f"not done after {self.seconds} s")


def need(*tools):
    """Skips the case if a program isn't there."""
    for tool in tools:
        if not shutil.which(tool):
            raise Skip(f"{tool} is not installed")


def equal(found, wanted, what=""):
    """An assertion that shows both sides, shortened."""
    if found != wanted:
        raise AssertionError(f"{what}: {str(found)[:400]} instead of {str(wanted)[:400]}")


def refused(errno, call, *arguments, **named):
    """The call must fail with this errno."""
    try:
        result = call(*arguments, **named)
    except OSError as error:
        equal(os.strerror(error.errno), os.strerror(errno), getattr(call, "__name__", "call"))
    else:
        raise AssertionError(f"{getattr(call, '__name__', 'call')} gave {result!r}, not {os.strerror(errno)}")
