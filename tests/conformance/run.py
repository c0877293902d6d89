#!/usr/bin/env python3
"""Conformance: does a program see the same on rekeyfs as on the ext4 below it? Started by scripts/conformance.sh, in
namespaces of its own, so that mounts, loop devices and processes go when it goes, however it ends.

Each suite runs on ext4 on a loop image and on rekeyfs over that same ext4. What passes on ext4 must pass on rekeyfs.
"""

import argparse
import os
import pathlib
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent / "mounted"), str(HERE.parent / "common")]

from differences import DIFFERENCES  # noqa: E402
from ground import Ground  # noqa: E402
from isolation import as_init  # noqa: E402
from suite import command  # noqa: E402

SUITES = ("pjdfstest", "fsx", "stress_ng", "programs", "databases", "locks", "times", "users", "mounts", "calls",
          "threads", "size")  # fmt: skip
PAGE = """# Conformance

Written by `scripts/conformance.sh{arguments}` (rekeyfs {version}, Linux {kernel}, {processors} processors, {minutes}
minutes). Each suite runs on ext4 on a loop image and on rekeyfs over that same ext4, by root, mounted with
--allow-other --suid --dev unless the suite is about mounting. A case that passes on ext4 and not on rekeyfs is a
failure unless it is listed below with the limit behind it.

{table}

{notes}
"""


def parse(arguments):
    parser = argparse.ArgumentParser(prog="conformance.sh", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("suite", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="the selection that scripts/test.sh runs: some minutes")
    parser.add_argument("--ops", type=int, help="operations of fsx, all seeds together (1,000,000; quick: 60,000)")
    parser.add_argument("--minutes", type=float, help="length of the threads suite (10; quick: 0.25)")
    parser.add_argument("--files", type=int, help="files in the tree of the size suite (1,000,000; quick: 10,000)")
    parser.add_argument("--seed", type=int, default=1, help="draws what is random (1)")
    parser.add_argument("--case", help="only cases whose name contains this, in suites that are written here")
    parser.add_argument("--binary", required=True, help="the rekeyfs to test")
    parser.add_argument("--tools", type=pathlib.Path, required=True, help="where pjdfstest and fsx are")
    parser.add_argument("--image", type=pathlib.Path, required=True, help="where the loop image is made (sparse)")
    parser.add_argument("--markdown", type=os.path.abspath, metavar="FILE", help="write the table here, as a page")
    options = parser.parse_args(arguments)
    for name in options.suite:
        if name not in SUITES:
            parser.error(f"no suite {name}: there are {', '.join(SUITES)}")
    options.suite = options.suite or list(SUITES)
    options.ops = options.ops or (60_000 if options.quick else 1_000_000)
    options.minutes = options.minutes or (0.25 if options.quick else 10)
    options.files = options.files or (10_000 if options.quick else 1_000_000)
    return options


class Row:
    """A suite's line of the table."""

    def __init__(self, kind, version):
        self.suite = kind.name
        self._own = kind.own
        self.version = version
        self.outcomes = {}
        self.failures = []
        self.notes = []

    def count(self, place, status):
        return sum(outcome.status == status for outcome in self.outcomes[place].values())

    def judge(self, differences):
        """Fills `failures` and `notes` from the two runs."""
        below, here = self.outcomes["ext4"], self.outcomes["rekeyfs"]
        for case, outcome in here.items():
            reason = differences.get(case)
            on_ext4 = below.get(case)
            if outcome.status == "passed":
                if reason:
                    self.failures.append(f"{case}: listed as a difference, and passes: {reason}")
            elif reason:
                self.notes.append(f"{case}: {outcome.status} here, {on_ext4.status if on_ext4 else 'not run'} on ext4. {reason}")
            elif outcome.status == "failed" and (self._own or not (on_ext4 and on_ext4.status == "failed")):
                self.failures.append(f"{case}: {outcome.why}")
            elif outcome.status == "failed":
                self.notes.append(f"{case}: fails on ext4 too: {on_ext4.why}")
            elif on_ext4 and on_ext4.status == "passed":
                self.failures.append(f"{case}: passes on ext4, skipped here: {outcome.why}")
            else:
                self.notes.append(f"{case}: did not run: {outcome.why}")
        for case in below.keys() - here.keys():
            if self.suite != "fsx":
                self.failures.append(f"{case}: ran on ext4 and not here")


def run_suite(kind, ground, options):
    """Both runs of a suite, with what happens said as it happens."""
    row = None
    for place_name in ("ext4", "rekeyfs"):
        began = time.monotonic()
        with ground.ext4(kind.name) if place_name == "ext4" else ground.rekeyfs(kind.name, kind.mount_options) as place:
            suite = kind(place, options)
            row = row or Row(kind, suite.version())
            found = row.outcomes[place_name] = {}
            for outcome in suite.run():
                found[outcome.case] = outcome
                if outcome.status != "passed":
                    print(f"  {place_name}: {outcome.status} {outcome.case}: {outcome.why}", flush=True)
        counts = ", ".join(f"{row.count(place_name, status)} {status}" for status in ("passed", "failed", "skipped"))
        print(f"{kind.name} on {place_name}: {counts} ({time.monotonic() - began:.0f} s)", flush=True)
    return row


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def table(rows):
    lines = [
        "| suite | version | ext4: passed, failed, skipped | rekeyfs: passed, failed, skipped | failures to mend |",
        "|--|--|--|--|--:|",
    ]
    for row in rows:
        counts = [
            ", ".join(str(row.count(place, status)) for status in ("passed", "failed", "skipped"))
            for place in ("ext4", "rekeyfs")
        ]
        lines.append(f"| {row.suite} | {cell(row.version)} | {counts[0]} | {counts[1]} | {len(row.failures)} |")
    return "\n".join(lines)


def notes(rows, absent):
    lines = []
    for row in rows:
        if row.failures or row.notes:
            lines.append(f"\n## {row.suite}: what did not pass, and why\n")
            lines += [f"- FAILED {cell(text)}" for text in row.failures] + [f"- {cell(text)}" for text in row.notes]
    if absent:
        lines += ["\n## What did not run\n", *(f"- {name}: {why}" for name, why in absent)]
    return "\n".join(lines).strip()


def load(name):
    """A suite's class, by its name, which is its module's too."""
    module = __import__(name)
    return next(item for item in vars(module).values() if isinstance(item, type) and getattr(item, "name", None) == name)


def asked(options):
    """What was asked for, as it would be typed."""
    numbers = f" --ops {options.ops} --minutes {options.minutes:g} --files {options.files} --seed {options.seed}"
    return (" --quick" if options.quick else "") + numbers


def main(options):
    """Runs; the exit status: 0 if what passes on ext4 passes on rekeyfs, 1 if not, 130 if interrupted."""
    began = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    from differences import DIFFERENCES
    from ground import Ground
    from suite import command

    version = command(options.binary, "--version").stdout.split()[-1]
    rows, absent = [], [(name, "not chosen") for name in SUITES if name not in options.suite]
    status = 0
    try:
        with Ground(options.image, options.binary) as ground:
            options.work = ground.work
            for name in options.suite:
                row = run_suite(load(name), ground, options)
                row.judge(DIFFERENCES.get(name, {}))
                rows.append(row)
    except KeyboardInterrupt:
        print("\ninterrupted", flush=True)
        status = 130
    failures = [f"{row.suite}: {text}" for row in rows for text in row.failures]
    print("\n" + table(rows))
    for text in failures:
        print(f"FAILED {text}")
    for row in rows:
        for text in row.notes:
            print(f"{row.suite}: {text}")
    for name, why in absent:
        print(f"did not run: {name}: {why}")
    print(f"{sum(row.count('rekeyfs', 'passed') for row in rows)} passed, {len(failures)} failed", flush=True)
    if options.markdown and rows and not status:
        page = PAGE.format(
            arguments=asked(options), kernel=os.uname().release, processors=os.cpu_count(), version=version, minutes=round((time.monotonic() - began) / 60), table=table(rows),
            notes=notes(rows, absent),
        )  # fmt: skip
        pathlib.Path(options.markdown).write_text(page.rstrip() + "\n", encoding="utf-8")
    return status or (1 if failures or not rows else 0)


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    sys.exit(as_init(lambda: main(parsed)))
