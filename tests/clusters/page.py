"""What the battery came to on each cluster, kept from one call of clusters.sh to the next, and docs/clusters.md, which is made
of it."""

import dataclasses
import json
import pathlib
import re
import time

from cost import ratio_lines, request_lines
from lost_host import PATIENCE

PAGE = pathlib.Path(__file__).with_name("clusters.md.in")


@dataclasses.dataclass
class Result:
    """A cluster's column of the table."""

    cluster: str
    title: str
    version: str
    began: str = dataclasses.field(default_factory=lambda: time.strftime("%Y-%m-%d", time.gmtime()))
    seconds: int = 0
    passed: int = 0
    cells: dict = dataclasses.field(default_factory=dict)
    failures: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    lost: dict | None = None
    cost: dict | None = None
    # The same over a network that carries less than the machine's own memory.
    limited: dict | None = None

    def judge(self, below, above):
        """Fills the rest from two runs, case -> Outcome: on the cluster itself, and on a vault in it."""
        for case, outcome in above.items():
            title = case.replace("_", " ")
            there = below.get(case)
            passes_there = there is None or there.status == "passed"
            if outcome.status == "passed":
                self.passed += 1
                self.cells[title] = "yes" if passes_there else "yes; not below"
            elif outcome.status == "skipped":
                self.cells[title] = "not run"
                self.notes.append(f"{title}: {outcome.why}")
            elif not passes_there:
                self.cells[title] = "no, as below"
                self.notes.append(f"{title}: {shown(there.why)}")
            else:
                self.cells[title] = "**fails**"
                self.failures.append(f"{title}: {outcome.why}")

    def save(self, path):
        """Keeps it for the page, in the place of what was kept of this cluster."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({name: dataclasses.asdict(result) for name, result in (kept(path) | {self.cluster: self}).items()}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")


def kept(path):
    """What was kept: cluster -> Result."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {name: Result(**fields) for name, fields in found.items()}


def shown(why):
    """The part of a failure that another run has as well."""
    why = re.sub(r"/tmp/\S*?/(?=[\w-]+['\s]|$)", "", why)
    return re.sub(r" \([\w.:, ]*\)$", "", why).replace("|", "\\|").replace("\n", " / ")[:200].strip(" /")


def page(path, names):
    """The whole page, of what was kept."""
    found = kept(path)
    results = [found[name] for name in names if name in found]
    rows = list(dict.fromkeys(title for result in results for title in result.cells))
    head = [f"| | {' | '.join(result.cluster for result in results)} |", f"|--|{'--|' * len(results)}"]
    lines = [f"| {row} | {' | '.join(result.cells.get(row, 'not run') for result in results)} |" for row in rows]
    setups = [f"- {result.cluster} {result.version}: {result.title}. {result.began}, {result.seconds} s" for result in results]
    notes = []
    for result in results:
        if result.notes or result.failures:
            notes += [f"\n### {result.cluster}\n", *(f"- FAILED {shown(text)}" for text in result.failures), *(f"- {note}" for note in result.notes)]
    lost = [f"| {result.cluster} | {' | '.join(of_lost(result.lost))} |" for result in results if result.lost]
    text = PAGE.read_text(encoding="utf-8")
    parts = {
        "TABLE": head + lines, "SETUPS": setups, "NOTES": notes, "LOST": lost,
        "REQUESTS": request_lines(results), "RATIOS": ratio_lines({result.cluster: result.cost for result in results}),
        "LIMITED": ratio_lines({result.cluster: result.limited for result in results}),
        "GBIT": [f"{result.limited['gbit']:g}" for result in results if result.limited][:1],
    }  # fmt: skip
    for word, part in parts.items():
        text = text.replace(f"@{word}@", "\n".join(part).strip())
    return text


def of_lost(lost):
    """The cells of a host that was cut off."""
    if lost["seconds"] is None:
        return f"not within {PATIENCE} s", "not tried", "no"
    late = [when for when, arrives in (("while", lost["pending_arrives"]), ("after", lost["later_arrives"])) if arrives]
    return f"{lost['seconds']} s", f"**arrives** (written {' and '.join(late)} it)" if late else "is refused", "no" if late else "yes"
