"""The short run that scripts/test.sh makes: rekeyfs beside libfuse's passthrough_hp, which pays the same price for FUSE
and none for what rekeyfs does. A workload whose ratio is well below the committed one (ratios.json) has become slower.

Noise only ever slows a workload down, so the best of several interleaved rounds counts, on both sides, and what seems
slower is measured again before it counts. The tolerance is what other load on the machine doesn't use up: a workload
counts as slower that takes two and a half times as long, beside passthrough_hp, as it did."""

import json
import pathlib
import sys
import time

from systems import Passthrough, Rekeyfs
from workloads import GROUPS, Rates, Sizes, make_inputs

COMMITTED = pathlib.Path(__file__).with_name("ratios.json")
#: How far below the committed ratio a workload may be.
TOLERANCE = 0.6
_SIZES = Sizes(64, 8_000, 8_000, 100, 20_000, 20, 40, 1, 1, 1)
_GROUPS = ("stream", "append", "small", "source")
# At least this many rounds, and more for as many seconds; what seems slower is measured so many times more.
_ROUNDS, _SECONDS, _AGAIN, _LIMIT = 3, 30, 6, 120
# The committed ratios are the least of so many runs.
_BATCHES = 4


def _round(systems, group, best):
    for system in systems:
        rates = Rates(_LIMIT)
        GROUPS[group](system, _SIZES, rates)
        for workload, rate in rates.items():
            at = best.setdefault(workload, {"group": group})
            at[system.name] = max(at.get(system.name, 0), rate)


def _ratio(at):
    return at[Rekeyfs.name] / at[Passthrough.name]


def _slower(best, committed):
    return [
        workload for workload, at in best.items()
        if _ratio(at) < (1 - TOLERANCE) * committed.get(workload, 0)
    ]  # fmt: skip


def check(place, repository, tools, record):
    """Compares, or writes ratios.json anew. Returns the exit status."""
    inputs = place / "inputs"
    inputs.mkdir()
    tools = tools | make_inputs(inputs, repository, _SIZES)
    if not Passthrough.available(tools):
        print("did not run: speed: passthrough_hp is not here")
        return 0
    systems = [system(place, tools) for system in (Rekeyfs, Passthrough)]
    try:
        if record:
            return _record(systems)
        return _compare(systems, json.loads(COMMITTED.read_text())["ratios"])
    finally:
        for system in systems:
            system.umount()


def _batch(systems):
    """The best rates of some rounds."""
    best, number, began = {}, 0, time.monotonic()
    while number < _ROUNDS or time.monotonic() - began < _SECONDS:
        for group in _GROUPS:
            _round(systems[:: -1 if number % 2 else 1], group, best)
        number += 1
    return best


def _record(systems):
    batches = [_batch(systems) for _ in range(_BATCHES)]
    ratios = {workload: round(min(_ratio(best[workload]) for best in batches), 2) for workload in batches[0]}
    said = "the best rate of rekeyfs divided by passthrough_hp's, on tmpfs; the least of several runs"
    COMMITTED.write_text(json.dumps({"what": said, "ratios": ratios}, indent=1) + "\n")
    print(f"written: {COMMITTED}")
    return 0


def _compare(systems, committed):
    best = _batch(systems)
    for _ in range(_AGAIN):
        for group in dict.fromkeys(best[workload]["group"] for workload in _slower(best, committed)):
            print(f"again: {group}", file=sys.stderr, flush=True)
            _round(systems, group, best)
            _round(systems[::-1], group, best)
    slower = _slower(best, committed)
    for workload, at in best.items():
        mark = "FAILED" if workload in slower else "ok    "
        print(f"{mark}  {workload}: {_ratio(at):.2f} of passthrough_hp, {committed.get(workload, 0):.2f} committed")
    missing = [workload for workload in committed if workload not in best]
    for workload in missing:
        print(f"FAILED  {workload}: committed, and no longer measured")
    failed = len(slower) + len(missing)
    print(f"{len(best) - len(slower)} passed, {failed} failed")
    return 1 if failed else 0
