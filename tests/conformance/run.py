#!/usr/bin/env python3
"""Conformance: does a program see the same on rekeyfs as on the ext4 below it? Started by scripts/conformance.sh, in
namespaces of its own, so that mounts, loop devices and processes go when it goes, however it ends.

Each suite runs on ext4 on a loop image and on rekeyfs over that same ext4. What passes on ext4 must pass on rekeyfs.
"""

import argparse
import hashlib
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
from page import PLACES, STATUSES, Row, kept, page, table  # noqa: E402
from suite import command  # noqa: E402

SUITES = ("pjdfstest", "fsx", "stress_ng", "programs", "databases", "locks", "times", "users", "mounts", "calls",
          "threads", "size")  # fmt: skip


def parse(arguments):
    parser = argparse.ArgumentParser(prog="conformance.sh", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("suite", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="the selection that scripts/test.sh runs: some minutes")
    parser.add_argument("--ops", type=int, help="operations of fsx, all seeds together (1,000,000; quick: 60,000)")
    parser.add_argument("--minutes", type=float, help="length of the threads suite (10; quick: 0.25)")
    parser.add_argument("--files", type=int, help="files in the tree of the size suite (1,000,000; quick: 10,000)")
    parser.add_argument("--seed", type=int, default=1, help="draws what is random (1)")
    parser.add_argument("--case", help="only cases whose name contains this, in suites that are written here")
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the rekeyfs to test")
    parser.add_argument("--commit", help="what it was built of, if that isn't the tree of this script")
    parser.add_argument("--tools", type=pathlib.Path, required=True, help="where pjdfstest and fsx are")
    parser.add_argument("--image", type=pathlib.Path, required=True, help="where the loop image is made (sparse)")
    parser.add_argument("--results", type=pathlib.Path, required=True, help="where the result of each suite is kept")
    parser.add_argument("--markdown", type=os.path.abspath, metavar="FILE", help="write the table here, as a page: of the "
                        "suites that ran now, and what was kept of earlier runs of the others, each row with its date")
    parser.add_argument("--kept", action="store_true", help="run nothing: with --markdown, of what was kept")
    options = parser.parse_args(arguments)
    for name in options.suite:
        if name not in SUITES:
            parser.error(f"no suite {name}: there are {', '.join(SUITES)}")
    options.suite = [] if options.kept else options.suite or list(SUITES)
    options.ops = options.ops or (60_000 if options.quick else 1_000_000)
    options.minutes = options.minutes or (0.25 if options.quick else 10)
    options.files = options.files or (10_000 if options.quick else 1_000_000)
    return options


def run_suite(kind, ground, options):
    """Both runs of a suite, with what happens said as it happens; its row."""
    began = time.monotonic()
    row, outcomes = Row(kind.name, kind.own, quick=options.quick, build=options.build), {}
    for place_name in PLACES:
        started = time.monotonic()
        with ground.ext4(kind.name) if place_name == "ext4" else ground.rekeyfs(kind.name, kind.mount_options) as place:
            suite = kind(place, options)
            row.version, row.size = suite.version(), suite.size()
            found = outcomes[place_name] = {}
            for outcome in suite.run():
                found[outcome.case] = outcome
                if outcome.status != "passed":
                    print(f"  {place_name}: {outcome.status} {outcome.case}: {outcome.why}", flush=True)
        counts = ", ".join(f"{sum(o.status == status for o in found.values())} {status}" for status in STATUSES)
        print(f"{kind.name} on {place_name}: {counts} ({time.monotonic() - started:.0f} s)", flush=True)
    row.judge(outcomes, DIFFERENCES.get(kind.name, {}))
    row.seconds = round(time.monotonic() - began)
    return row


def load(name):
    """A suite's class, by its name, which is its module's too."""
    module = __import__(name)
    return next(item for item in vars(module).values() if isinstance(item, type) and getattr(item, "name", None) == name)


def build(options):
    """Which build is tested: the commit of the sources beside this script, and the start of the program's SHA-256."""
    found = command("git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=10",
                    check=False)  # fmt: skip
    commit = "" if found.returncode else found.stdout.strip()
    return f"{options.commit or commit} {hashlib.sha256(options.binary.read_bytes()).hexdigest()[:10]}".strip()


def main(options):
    """Runs; the exit status: 0 if what passes on ext4 passes on rekeyfs, 1 if not, 130 if interrupted."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    options.build = build(options)
    rows, status = [], 0
    try:
        if options.suite:
            with Ground(options.image, options.binary) as ground:
                options.work = ground.work
                for name in options.suite:
                    row = run_suite(load(name), ground, options)
                    rows.append(row)
                    if not options.case:
                        row.save(options.results)
    except KeyboardInterrupt:
        print("\ninterrupted", flush=True)
        status = 130
    ran = [row.suite for row in rows]
    failures = [f"{row.suite}: {text}" for row in rows for text in row.failures]
    print("\n" + table(rows))
    for text in failures:
        print(f"FAILED {text}")
    for row in rows:
        for text in row.notes:
            print(f"{row.suite}: {text}")
    for name in SUITES:
        if name not in ran:
            print(f"did not run: {name}: {'not chosen' if name not in options.suite else 'interrupted'}")
    print(f"{sum(row.counts['rekeyfs'][0] for row in rows)} passed, {len(failures)} failed", flush=True)
    if options.markdown and not status:
        every = {row.suite: row for row in rows}
        found = {name: every.get(name) or kept(options.results, name, options.quick) for name in SUITES}
        text = page([row for row in found.values() if row], [name for name, row in found.items() if not row])
        pathlib.Path(options.markdown).write_text(text, encoding="utf-8")
    return status or (1 if failures else 0)


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    sys.exit(as_init(lambda: main(parsed)))
