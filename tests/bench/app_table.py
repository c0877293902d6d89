"""The table of `scripts/bench.sh --apps`: ratios of medians with the bounds within which they lie, and what goals say."""

import random
import statistics
from typing import NamedTuple

import apps
from goals import PASSTHROUGH, PEERS
from report import aligned, rate

#: The null FUSE daemon, whose threads sleep or poll between requests: the faster of the two is the floor.
FLOORS = ("null-fuse", "null-fuse-poll")
#: By kind of application: the least of the lower filesystem's rate, and of the floor's.
NATIVE_GOALS = {"build": 0.9, "database": 0.7, "tree": 0.3}
FLOOR_GOALS = {"small": 0.5}
#: What the lower bound of the ratio to the better peer must reach.
PEER_GOAL = 0.97
_SAMPLES = 2_000


class Bounded(NamedTuple):
    """A ratio of two medians, and the bounds of 95 of 100 resamplings of the rounds (bootstrap)."""

    ratio: float
    low: float
    high: float

    def __str__(self):
        return f"{self.ratio:.2f} ({self.low:.2f} .. {self.high:.2f})"


def ratio_of(pairs):
    """The ratio of medians over rounds, each a pair of rates; None without any."""
    if not pairs:
        return None

    def medians(sample):
        return statistics.median(ours for ours, _ in sample) / statistics.median(theirs for _, theirs in sample)

    drawn = random.Random(1)
    ratios = sorted(medians(drawn.choices(pairs, k=len(pairs))) for _ in range(_SAMPLES))
    cut = _SAMPLES // 40
    return Bounded(medians(pairs), ratios[cut], ratios[-1 - cut])


class Line(NamedTuple):
    """A workload: its application's kind, rates by system and round; which rekeyfs is compared, and with which peers."""

    kind: str
    workload: str
    rounds: list[dict]
    ours: str = "rekeyfs"
    peers: tuple[str, ...] = PEERS

    def median(self, system):
        """The median rate of a system."""
        rates = [of[system] for of in self.rounds if system in of]
        return statistics.median(rates) if rates else None

    def ratio(self, one, other):
        """What one system reaches of another's rate."""
        return ratio_of([(of[one], of[other]) for of in self.rounds if one in of and other in of])

    def to(self, other):
        """What rekeyfs reaches of another system's rate."""
        return self.ratio(self.ours, other)

    def best_of(self, systems):
        """The fastest of these systems."""
        there = [system for system in systems if self.median(system)]
        return max(there, key=self.median, default=None)

    def peer(self):
        """The better encrypting peer."""
        return self.best_of(self.peers)

    def floor(self):
        """What FUSE alone costs: the faster null FUSE daemon, or passthrough_hp where a disk is waited for."""
        return self.best_of((PASSTHROUGH,) if self.kind == "database" else FLOORS)

    def missed(self):
        """The goals that are missed, in words: all, where rekeyfs has no rate. What FUSE alone doesn't reach is said."""
        if not self.median(self.ours):
            yield "**missed**: it failed, or took too long"
            return
        peer, floor = self.peer(), self.floor()
        if peer and (ratio := self.to(peer)) and ratio.low < PEER_GOAL:
            yield f"**missed**: {PEER_GOAL} of {peer}"
        if (goal := NATIVE_GOALS.get(self.kind)) and (ratio := self.to("native")) and ratio.ratio < goal:
            of_floor = self.ratio(floor, "native") if floor else None
            if of_floor and of_floor.ratio < goal:
                yield f"{goal} of native is out of reach: {floor} has {of_floor.ratio:.2f}"
            else:
                yield f"**missed**: {goal} of native"
        if (goal := FLOOR_GOALS.get(self.kind)) and floor and (ratio := self.to(floor)) and ratio.ratio < goal:
            yield f"**missed**: {goal} of {floor}"


def _ways(kind, workload, rounds):
    """Like with like: securefs has no extended attributes, for which `ls -l` asks."""
    if kind != "listing":
        return [Line(kind, workload, rounds)]
    return [Line(kind, workload, rounds, peers=("gocryptfs",)),
            Line(kind, f"{workload}, no extended attributes", rounds, "rekeyfs-no-xattrs", ("securefs",))]  # fmt: skip


def _by_workload(figures):
    """Kind and rates of each workload that was measured, by round, in the order of the applications."""
    found = {}
    for measured in figures["rounds"]:
        for name in sorted(measured, key=list(apps.APPS).index):
            by_workload = {}
            for system, rates in measured[name]["rates"].items():
                for workload, value in rates.items():
                    by_workload.setdefault(workload, {})[system] = value
            for workload, of in by_workload.items():
                found.setdefault((list(apps.APPS).index(name), workload), (apps.APPS[name].kind, []))[1].append(of)
    return [(kind, workload, rounds) for (_, workload), (kind, rounds) in sorted(found.items(), key=lambda one: one[0][0])]


def lines(figures):
    """What is compared."""
    return [line for measured in _by_workload(figures) for line in _ways(*measured)]


def ratios(figures):
    """Heading and lines."""
    out = [["workload", "better peer", "floor", "to peer", "to native", "to floor", "goals"]]
    for line in lines(figures):
        peer, floor = line.peer(), line.floor()
        cells = [str(line.to(other) or "-") if other else "-" for other in (peer, "native", floor)]
        out.append([line.workload, peer or "-", floor or "-", *cells, "; ".join(line.missed()) or "met"])
    return out


def rates(figures):
    """Heading and lines."""
    systems, measured = list(figures["systems"]), [Line(*of) for of in _by_workload(figures)]
    return [["workload", *systems], *([line.workload, *(rate(line.median(system)) for system in systems)] for line in measured)]


def table_of(figures):
    """For the terminal."""
    return [f"{figures['machine']}, on {figures['lower']}, {len(figures['rounds'])} rounds:", "", *aligned(ratios(figures)), "",
            *aligned(rates(figures))]  # fmt: skip


def _markdown(table, left):
    count = len(table[0])
    rows = [f"| {' | '.join(line)} |" for line in table]
    return [rows[0], "|--" * left + "|--:" * (count - left) + "|", *rows[1:]]


def markdown_of(measured):
    """For docs/performance.md: of each filesystem on which applications were measured."""
    if not measured:
        return []
    out = [
        "## Applications", "",
        "`scripts/bench.sh --apps`. The floor is what the kernel's interface costs: `crates/null-fuse` keeps files in memory, answers "
        "each request at once, and says of an extended attribute that there is none. Its two threads sleep between requests (null-fuse), "
        "or one waits as rekeyfs does (null-fuse-poll; [busy-polling.md](busy-polling.md)); the faster of the two counts. It can't be "
        "remounted, so what is cold for the others is warm for it. Where a disk is waited for the floor is passthrough_hp, which encrypts "
        "nothing. `ls -l` asks for extended attributes, which securefs doesn't have: rekeyfs is compared with it as mounted with "
        "`--no-xattrs`. Each figure is the ratio of the medians of all rounds, with the bounds of 95 of 100 resamplings of them.", "",
    ]  # fmt: skip
    for figures in measured:
        out += _markdown_on(figures)
    return out


def _markdown_on(figures):
    stolen = [of["stolen"] for measured in figures["rounds"] for of in measured.values()]
    systems = [f"{name}: {of['version']}" + (f" (`{of['options']}`)" if of["options"] else "") for name, of in figures["systems"].items()]
    out = [
        f"### Applications on {figures['lower']}", "",
        f"{len(figures['rounds'])} rounds; {figures['machine']}. {'; '.join(systems)}. "
        f"The machine's host took {min(stolen):.1%} to {max(stolen):.1%} of the processors.", "",
    ]  # fmt: skip
    if figures["quick"]:
        out += ["**Tiny sizes (`--quick`): these figures say nothing about speed.**", ""]
    return [*out, *_markdown(ratios(figures), 3), "", "Rates:", "", *_markdown(rates(figures), 1), "", ""]
