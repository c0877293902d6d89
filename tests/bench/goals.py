"""What rekeyfs shall reach beside the others, and whether it did."""

import statistics
from typing import NamedTuple

#: The encrypting peers whose better one counts.
PEERS = ("gocryptfs", "securefs")
PASSTHROUGH = "passthrough_hp"
PEER_GOAL, NATIVE_GOAL, PASSTHROUGH_GOAL, PASSTHROUGH_SHARE = 1.5, 0.95, 1.0, 2 / 3
NULL_GOAL = 0.85
ROTATE_GOAL_MS, STALE_GOAL = 50, 1.05
SWEEP_GOAL, SWEEP_TOUCH_GOAL = 20_000, 0.5
MEMORY_GOAL, INODE_GOAL = 50e6, 200
#: What the last quarter of a long load may have above the quarter before, which noise explains.
GROWTH_GOAL = 1.05


class Ratio(NamedTuple):
    """A rate of rekeyfs divided by another's: the median over the rounds, the least and the most."""

    median: float
    least: float
    most: float

    def __str__(self):
        return f"{self.median:.2f}"

    def spread(self):
        """Least and most."""
        return f"{self.least:.2f} .. {self.most:.2f}"


def ratio(by_system, other, of="rekeyfs"):
    """How `of` stands beside another system, round by round; None where one of them has no rate."""
    ours, theirs = by_system.get(of), by_system.get(other)
    if not ours or not theirs:
        return None
    if len(ours) != len(theirs):
        one = statistics.median(ours) / statistics.median(theirs)
        return Ratio(one, one, one)
    each = [mine / yours for mine, yours in zip(ours, theirs)]
    return Ratio(statistics.median(each), min(each), max(each))


def better_peer(by_system):
    """The faster of the two peers that count."""
    there = [peer for peer in PEERS if by_system.get(peer)]
    return max(there, key=lambda peer: statistics.median(by_system[peer]), default=None)


class Verdict(NamedTuple):
    """A workload's ratios; `met` and `behind` are None where there is no peer to compare with."""

    peer: str | None
    to_peer: Ratio | None
    to_null: Ratio | None
    to_passthrough: Ratio | None
    to_native: Ratio | None

    @property
    def met(self):
        """The better peer is left behind by the factor that is wanted, or the lower filesystem is reached."""
        if self.to_peer is None:
            return None
        native = self.to_native is not None and self.to_native.median >= NATIVE_GOAL
        return self.to_peer.median >= PEER_GOAL or (native and self.to_peer.median >= 1)

    @property
    def behind(self):
        """Slower than the better peer."""
        return None if self.to_peer is None else self.to_peer.median < 1


def judge(by_system):
    """The verdict on a workload, from the rates by system and round."""
    peer = better_peer(by_system)
    return Verdict(
        peer, ratio(by_system, peer), ratio(by_system, "rekeyfs-null"), ratio(by_system, PASSTHROUGH),
        ratio(by_system, "native"),
    )  # fmt: skip


def _mark(met):
    return "met" if met else "missed"


def _speed(rounds):
    verdicts = {workload: judge(by_system) for workload, by_system in rounds.items()}
    beside = [verdict for verdict in verdicts.values() if verdict.to_peer]
    if beside:
        met = sum(verdict.met for verdict in beside)
        yield (f"{PEER_GOAL} x the better of {' and '.join(PEERS)}, or {NATIVE_GOAL} x native",
               f"{met} of {len(beside)} workloads", _mark(met == len(beside)))  # fmt: skip
        behind = [workload for workload, verdict in verdicts.items() if verdict.behind]
        yield "nowhere slower than the better peer", "; ".join(behind) or "no workload", _mark(not behind)
    beside = [verdict for verdict in verdicts.values() if verdict.to_passthrough]
    if beside:
        met = sum(verdict.to_passthrough.median >= PASSTHROUGH_GOAL for verdict in beside)
        yield (f"{PASSTHROUGH_GOAL} x {PASSTHROUGH} on two thirds of the workloads",
               f"{met} of {len(beside)}", _mark(met >= PASSTHROUGH_SHARE * len(beside)))  # fmt: skip
    costs = {workload: verdict.to_null for workload, verdict in verdicts.items() if verdict.to_null}
    if costs:
        dear = [f"{workload}: {cost}" for workload, cost in costs.items() if cost.median < NULL_GOAL]
        yield (f"encryption leaves {NULL_GOAL} of the rates of the same code without a cipher",
               "; ".join(dear) or f"all {len(costs)} workloads", _mark(not dear))  # fmt: skip


def _keys(kind, of):
    few, many = of["rotate few"], of["rotate many"]
    same = many["low"] <= few["high"] and few["low"] <= many["high"]
    yield (f"rotate in under {ROTATE_GOAL_MS} ms, however many files there are",
           f"{few['median']:.1f} ms at {of['few']} files, {many['median']:.1f} ms at {of['files']:,}",
           _mark(same and many["median"] < ROTATE_GOAL_MS))  # fmt: skip
    yield (f"a stale file's first open takes at most {STALE_GOAL} x a fresh one's",
           f"{of['stale open']:.3f}", _mark(of["stale open"] <= STALE_GOAL))  # fmt: skip
    said = f"{of['sweep']:,.0f} files a second; touch: {of['touch']:,.0f}"
    if kind == "tmpfs":
        yield f"rewrap: {SWEEP_GOAL:,} files a second", said, _mark(of["sweep"] >= SWEEP_GOAL)
    else:
        yield (f"rewrap: {SWEEP_TOUCH_GOAL} of what find -exec touch does", said,
               _mark(of["sweep"] >= SWEEP_TOUCH_GOAL * of["touch"]))  # fmt: skip
    allowed = MEMORY_GOAL + INODE_GOAL * of["files"]
    yield (f"the daemon's memory: {MEMORY_GOAL / 1e6:.0f} MB and {INODE_GOAL} bytes an inode",
           f"{of['memory after'] / 1e6:.1f} MB with {of['files']:,} inodes, {of['inode bytes']:.0f} bytes each",
           _mark(of["memory after"] <= allowed))  # fmt: skip


def growth(soak):
    """The memory in the third quarter of a long load, and in the last one: medians, in bytes."""
    memory = [of for _, of in soak["memory"]]
    quarter = max(len(memory) // 4, 1)
    return statistics.median(memory[-2 * quarter : -quarter] or memory), statistics.median(memory[-quarter:])


def _soak(soak):
    before, after = growth(soak)
    yield (f"no growth of that in {soak['minutes']:.0f} minutes of mixed load",
           f"{before / 1e6:.1f} MB in the third quarter, {after / 1e6:.1f} MB in the last",
           _mark(after <= GROWTH_GOAL * before))  # fmt: skip


def summary(kind, result):
    """Each goal, what was measured, and whether that meets it."""
    of = result["lower"][kind]
    soak = result.get("soak")
    return [
        *_speed(of["rounds"]), *(_keys(kind, of["keys"]) if "keys" in of else ()),
        *(_soak(soak) if soak and soak["lower"] == kind else ()),
    ]  # fmt: skip
