"""What a suite's runs came to, kept from one call of conformance.sh to the next, and the page that is made of it."""

import dataclasses
import json
import os
import time

STATUSES = ("passed", "failed", "skipped")
PLACES = ("ext4", "rekeyfs")
PAGE = """# Conformance

Written by `scripts/conformance.sh --markdown` on Linux {kernel} with {processors} processors. Each suite runs on ext4 on a
loop image and on rekeyfs over that same ext4, by root, mounted with --allow-other --suid --dev unless the suite is about
mounting. A case that passes on ext4 and not on rekeyfs is a failure unless it is listed below with the limit behind it.
Each row says when that suite began (UTC), how long both runs took, and of which build: the commit of the sources and the
start of the program's SHA-256.

{table}

{notes}
"""


@dataclasses.dataclass
class Row:
    """A suite's line of the table."""

    suite: str
    own: bool
    version: str = ""
    size: str = ""
    quick: bool = False
    build: str = ""
    began: str = dataclasses.field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M", time.gmtime()))
    seconds: int = 0
    counts: dict = dataclasses.field(default_factory=dict)
    failures: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)

    def judge(self, outcomes, differences):
        """Fills `counts`, `failures` and `notes` from the two runs: place, case, Outcome."""
        below, here = (outcomes[place] for place in PLACES)
        for place in PLACES:
            self.counts[place] = [sum(one.status == status for one in outcomes[place].values()) for status in STATUSES]
        for case, outcome in here.items():
            reason = differences.get(case)
            on_ext4 = below.get(case)
            if outcome.status == "passed":
                if reason:
                    self.failures.append(f"{case}: listed as a difference, and passes: {reason}")
            elif reason:
                self.notes.append(f"{case}: {outcome.status} here, {on_ext4.status if on_ext4 else 'not run'} on ext4. {reason}")
            elif outcome.status == "failed" and (self.own or not (on_ext4 and on_ext4.status == "failed")):
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

    def save(self, directory):
        """Keeps it for a page that a later call makes."""
        directory.mkdir(parents=True, exist_ok=True)
        beside = directory / f".{self.suite}.json"
        beside.write_text(json.dumps(dataclasses.asdict(self), indent=1), encoding="utf-8")
        beside.rename(place(directory, self.suite, self.quick))


def place(directory, suite, quick):
    """Where a row is kept: quick ones never stand in for whole ones."""
    return directory / f"{suite}{'.quick' if quick else ''}.json"


def kept(directory, suite, quick):
    """The row that an earlier call kept of a suite; None if there is none."""
    try:
        return Row(**json.loads(place(directory, suite, quick).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def cell(text):
    """Text that fits a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def table(rows):
    """The table, in Markdown."""
    lines = [
        "| suite | version | size | ext4: passed, failed, skipped | rekeyfs: passed, failed, skipped | failures to mend "
        "| began, minutes | build |",
        "|--|--|--|--|--|--:|--|--|",
    ]
    for row in rows:
        counts = [", ".join(map(str, row.counts[place])) for place in PLACES]
        size = f"--quick: {row.size}" if row.quick else row.size
        lines.append(
            f"| {row.suite} | {cell(row.version)} | {cell(size)} | {counts[0]} | {counts[1]} | {len(row.failures)} "
            f"| {row.began}, {row.seconds / 60:.0f} | {row.build} |"
        )
    return "\n".join(lines)


def notes(rows, absent):
    """What stands below the table: what did not pass, what did not run."""
    lines = []
    for row in rows:
        if row.failures or row.notes:
            lines.append(f"\n## {row.suite}: what did not pass, and why\n")
            lines += [f"- FAILED {cell(text)}" for text in row.failures] + [f"- {cell(text)}" for text in row.notes]
    if absent:
        lines += ["\n## What did not run\n", *(f"- {name}" for name in absent)]
    return "\n".join(lines).strip()


def page(rows, absent):
    """The whole page."""
    text = PAGE.format(
        kernel=os.uname().release, processors=os.cpu_count(), table=table(rows), notes=notes(rows, absent)
    )
    return text.rstrip() + "\n"
