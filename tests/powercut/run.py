#!/usr/bin/env python3
"""Power cuts: does what fsync promised survive them? Started by scripts/powercut.sh, which gives it namespaces of its
own, so that mounts, loop devices and processes go when it goes, however it ends.

A workload runs on a filesystem whose lower disk is recorded write by write. Then the disk is rebuilt as of many
instants, mounted, and held against every promise made before that instant.
"""

import argparse
import json
import os
import random
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))

import recording
import stable
from databases import ROLLBACK, WAL
from disk import Log, Rebuilder
from files import APPEND, OVERWRITE, PUNCH, TRUNCATE
from isolation import as_init
from postgres import POSTGRES, programs
from recording import Box, Interrupted
from systems import SYSTEMS, Broken
from trees import TREE

WORKLOADS = {workload.name: workload for workload in (APPEND, OVERWRITE, TREE, TRUNCATE, PUNCH, WAL, ROLLBACK,
                                                    POSTGRES)}
CUTS_A_RECORDING = 60
PAGE = """# Power cuts

Written by `scripts/powercut.sh` ({runs}). The lower filesystem is ext4 with 4 KiB blocks on a disk
that is recorded write by write. A cut rebuilds the disk as of an instant: everything before the last flush, and a
random part, all or none of the later writes, in blocks of 4 KiB. Then ext4 replays its journal, the filesystem is
mounted, and every promise made before that instant is checked: what fsync covered, names whose directory was synced,
transactions that were committed, versions whose rotation returned, files that were reported as re-wrapped (no older
version in either slot) or re-encrypted (the old one is gone), passphrases whose change returned. A cut counts as
lost if one of them doesn't hold, or if the filesystem can't be used afterwards. Before that `rekeyfs fsck` checks the vault; if
it finds something, the promises must also hold on a copy of the disk after `fsck --repair`, and after `fsck --repair
--quarantine` it must find nothing.

{table}
"""


def parse(arguments):
    parser = argparse.ArgumentParser(prog="powercut.sh", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--cuts", type=int, default=60, metavar="N", help="cuts for each line of the table (60)")
    parser.add_argument("--seed", type=int, default=None, help="draws workloads and cuts (default: drawn, and printed)")
    parser.add_argument("--system", action="append", choices=sorted(SYSTEMS), help="only this (default: all)")
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS), help="only this (default: all)")
    parser.add_argument("--except", action="append", choices=list(WORKLOADS), default=[], dest="left_out",
                        help="all workloads but this")
    parser.add_argument("--beside", choices=("none", "rotate", "both"), default="both",
                        help="rotate, rewrap, reencrypt, kms verbs, unlock change beside the workload: without, with, or each in turn")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a recording (2)")
    parser.add_argument("--stable-pages", action="store_true",
                        help="no cuts: rewrite pages while they are written out, and judge what reaches the disk")
    parser.add_argument("--binary", required=True, help="the rekeyfs to test")
    parser.add_argument("--json", metavar="FILE", help="write the outcome here too")
    parser.add_argument("--markdown", metavar="FILE", help="write the table here, as a page")
    parser.add_argument("--merge", action="store_true",
                        help="with --markdown: keep the lines of the page that is there and that this run has none for")
    parser.add_argument("--keep", metavar="DIR", help="keep the recordings that show a loss here")
    parser.add_argument("--replay", metavar="DIR", help="judge a kept recording again")
    parser.add_argument("--cut", type=int, help="with --replay: only this cut, and leave a copy of the disk beside it")
    return parser.parse_args(arguments)


class Progress:
    """One line on a terminal that is written over; plain lines now and then elsewhere."""

    def __init__(self):
        self._terminal = sys.stdout.isatty()
        self._last = 0.0

    def show(self, text, done=False):
        if self._terminal:
            sys.stdout.write("\r\x1b[K" + text + ("\n" if done else ""))
            sys.stdout.flush()
        elif done or time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            print(text, flush=True)


def judge(box, directory, system_name, workload, cuts, progress, title):
    """Rebuilds and checks; returns [(cut, [sentences])] of the cuts that lost something."""
    log = Log(directory)
    lost = []
    rebuilder = Rebuilder(log, box.path)
    try:
        for count, cut in enumerate(sorted(cuts(log), key=lambda cut: cut.position)):
            rebuilder.rebuild(cut, box.image)
            problems = recording.check(box, SYSTEMS[system_name](box), workload, log.promised(cut.position))
            if problems:
                lost.append((cut, problems))
            progress.show(f"{title}: cut {count + 1}, {len(lost)} lost")
    finally:
        rebuilder.close()
        log.close()
    return lost


def measure(box, options, seed, system_name, workload, beside, progress):
    """One line of the table."""
    title = f"{system_name} {workload.name}" + (" + rotate" if beside else "")
    row = {"system": system_name, "workload": workload.name, "beside": beside, "cuts": 0, "lost": 0, "promises": 0,
           "writes": 0, "losses": []}
    while row["cuts"] < options.cuts:
        count = min(CUTS_A_RECORDING, options.cuts - row["cuts"])
        round_seed = f"{seed}/{title}/{row['cuts'] // CUTS_A_RECORDING}"
        directory = box.fresh("recording")
        progress.show(f"{title}: recording")
        system = SYSTEMS[system_name](box)
        try:
            recording.record(box, directory, system, workload, beside, round_seed, options.seconds)
            log = Log(directory)
            row["promises"] += len(log.marks)
            row["writes"] += len(log.records) - len(log.marks)
            uncut = recording.check(box, system, workload, log.promised(len(log.records)))
            log.close()
            if uncut:
                raise recording.RigError(f"without any cut: {'; '.join(uncut)}")
        except (recording.RigError, Broken) as problem:
            # Something failed without any power cut: told, and counted as no measurement.
            row["error"] = str(problem)
            progress.show(f"FAILED {title}: seed {round_seed}: {problem}", done=True)
            return row
        lost = judge(box, directory, system_name, workload, lambda log: log.cuts(count, round_seed), progress, title)
        row["cuts"] += count
        row["lost"] += len(lost)
        kept = keep(options, directory, row, round_seed, count) if lost else None
        for cut, problems in lost:
            how = f"scripts/powercut.sh --replay {kept} --cut {cut.index}" if kept else \
                f"run again with --seed {seed} --keep DIR to have a recording that shows the like"
            row["losses"].append({"cut": cut.index, "position": cut.position, "keep": cut.keep, "seed": round_seed,
                                  "problems": problems, "reproduce": how})
            if len(row["losses"]) > 3 and system_name == "gocryptfs":
                continue  # it is here to show that faults are found; all of them are in the JSON
            progress.show(f"LOST {title}: seed {round_seed}, {cut}", done=True)
            for problem in problems[:6]:
                print(f"     {problem}")
            print(f"     {how}", flush=True)
    progress.show(f"{title}: {row['cuts']} cuts, {row['lost']} lost", done=True)
    return row


def keep(options, directory, row, seed, count):
    """Keeps a recording if that is asked for; returns where."""
    if not options.keep:
        return None
    place = os.path.join(os.path.abspath(options.keep), seed.replace("/", "-").replace(" ", "-"))
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    for name in ("base.img", "log.idx", "log.dat"):
        recording.copy(os.path.join(directory, name), os.path.join(place, name))
    about = {"system": row["system"], "workload": row["workload"], "seed": seed, "cuts": count}
    with open(os.path.join(place, "about.json"), "w", encoding="utf-8") as file:
        json.dump(about, file)
    return place


def replay(box, options, progress):
    """Judges a kept recording again; returns whether nothing was lost."""
    with open(os.path.join(options.replay, "about.json"), encoding="utf-8") as file:
        about = json.load(file)

    def cuts(log):
        return [cut for cut in log.cuts(about["cuts"], about["seed"]) if options.cut in (None, cut.index)]

    lost = judge(box, options.replay, about["system"], WORKLOADS[about["workload"]], cuts, progress, "replay")
    for cut, problems in lost:
        progress.show(f"LOST {about['system']} {about['workload']}: {cut}", done=True)
        for problem in problems:
            print(f"     {problem}")
    if options.cut is not None:
        log = Log(options.replay)
        rebuilder = Rebuilder(log, box.path)
        for cut in cuts(log):
            image = os.path.join(options.replay, f"cut-{cut.index}.img")
            rebuilder.rebuild(cut, image)
            print(f"the disk as of {cut}: {image}")
        rebuilder.close()
    progress.show(f"{len(lost)} lost", done=True)
    return not lost


def lines_of(rows):
    """The lines of the table: (filesystem, workload, cuts, lost)."""
    for row in rows:
        workload = row["workload"] + (", rotate, rewrap, reencrypt, kms verbs, unlock change beside" if row["beside"] else "")
        yield row["system"], workload, row["cuts"], "the workload failed" if "error" in row else row["lost"]


def table(lines):
    text = ["| filesystem | workload | cuts | lost |", "|--|--|--:|--:|"]
    text += [f"| {system} | {workload} | {cuts} | {lost} |" for system, workload, cuts, lost in lines]
    for system in dict.fromkeys(line[0] for line in lines):
        mine = [line for line in lines if line[0] == system]
        lost = sum(lost for *_, lost in mine if isinstance(lost, int))
        text.append(f"| {system} | all | {sum(cuts for _, _, cuts, _ in mine)} | {lost} |")
    return "\n".join(text)


def merged(path, lines):
    """The lines of a page that was written before, with these in the place of theirs or behind those of their
    filesystem; and what the page says of the runs that it is from."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    said = text.split("Written by `scripts/powercut.sh` (", 1)[1].split(").", 1)[0]
    old = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.splitlines() if line[:2] == "| "]
    kept = {(system, workload): (system, workload, int(cuts), int(lost) if lost.isdigit() else lost)
            for system, workload, cuts, lost in old[1:] if workload != "all"}
    kept.update({line[:2]: line for line in lines})
    systems = list(dict.fromkeys(system for system, _ in kept))
    return sorted(kept.values(), key=lambda line: systems.index(line[0])), said


def main(options):
    """Runs; the exit status: 0 if neither rekeyfs nor ext4 lost anything, 1 if one did, 2 if the rig itself failed."""
    progress = Progress()
    seed = random.randrange(10 ** 6) if options.seed is None else options.seed
    box = Box(options.binary)
    POSTGRES.use(box)
    rows = []
    try:
        if options.replay:
            return 0 if replay(box, options, progress) else 1
        if options.stable_pages:
            return stable.run(box)
        print(f"seed {seed}", flush=True)
        workloads = [name for name in options.workload or WORKLOADS if name not in options.left_out]
        if POSTGRES.name in workloads and not programs():
            print("did not run: postgresql: it is not installed")
            workloads.remove(POSTGRES.name)
        for name in options.system or ("ext4", "rekeyfs", "gocryptfs"):
            if name == "gocryptfs" and not shutil.which("gocryptfs"):
                print("did not run: gocryptfs: it is not installed")
                continue
            besides = {"none": (False,), "rotate": (True,), "both": (False, True)}[options.beside]
            for beside in besides if SYSTEMS[name].rotates else (False,):
                for workload in workloads:
                    rows.append(measure(box, options, seed, name, WORKLOADS[workload], beside, progress))
    except Interrupted:
        print("\ninterrupted", flush=True)
        return 130
    finally:
        box.close()
        if rows:
            report(options, seed, rows)
    return 1 if any(failed(row) for row in rows) else 0


def failed(row):
    """Whether a line of the table is a failure; gocryptfs is there to lose something."""
    return row["system"] != "gocryptfs" and bool(row["lost"] or "error" in row)


def report(options, seed, rows):
    """Prints the table and writes it where that is asked for."""
    lines = list(lines_of(rows))
    print("\n" + table(lines))
    judged = [row for row in rows if row["system"] != "gocryptfs"]
    failures = sum(failed(row) for row in judged)
    print(f"{len(judged) - failures} passed, {failures} failed", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"seed": seed, "rows": rows}, file, indent=1)
    if options.markdown:
        runs = f"seed {seed}, Linux {os.uname().release}"
        if options.merge:
            lines, before = merged(options.markdown, lines)
            own = " and ".join(dict.fromkeys(row["workload"] for row in rows))
            # The same run, for another system, is told of once.
            runs = "; ".join(dict.fromkeys([*before.split("; "), f"{own} in a run of its own: {runs}"]))
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write(PAGE.format(runs=runs, table=table(lines)))


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    sys.exit(as_init(lambda: main(parsed)))
