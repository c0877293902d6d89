"""The short run that scripts/test.sh makes: rekeyfs beside libfuse's passthrough_hp, which pays the same price for FUSE
and none for what rekeyfs does, and beside the same source without a cipher, which pays all but encryption. A workload
whose ratio is well below the committed one (ratios.json) has become slower.

Noise only ever slows a workload down, so the best of several interleaved rounds counts, on all sides, and what seems
slower is measured again before it counts. The tolerance is what other load on the machine doesn't use up: a workload
counts as slower that takes two and a half times as long, beside one of the two, as it did.

Single operations, maildirs and `ls -l` are compared with the null FUSE daemon, which waits for requests as rekeyfs does: what
they reach of its rate may not fall below a fixed bound."""

import json
import pathlib
import sys
import time

import apps
from systems import NullCipher, NullFusePolling, Passthrough, Rekeyfs
from workloads import GROUPS, Rates, Sizes, make_inputs

COMMITTED = pathlib.Path(__file__).with_name("ratios.json")
#: How far below the committed ratio a workload may be.
TOLERANCE = 0.6
#: What each workload of these applications leaves of the null FUSE daemon's rate, at the least: two fifths of what most runs
#: print for its slowest workload (small: 0.46, maildir: 0.55, listing: 0.38), for a bound that noise doesn't reach.
_BESIDE_NULL_FUSE = {"small": 0.2, "maildir": 0.2, "listing": 0.15}
_SIZES = Sizes(64, 8_000, 8_000, 100, 20_000, 20, 40, 1, 1, 1)
_RIVALS = (Passthrough, NullCipher)
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


def _ratios(best):
    """By rival that was measured, then by workload."""
    return {
        rival.name: {workload: at[Rekeyfs.name] / at[rival.name] for workload, at in best.items()}
        for rival in _RIVALS if any(rival.name in at for at in best.values())
    }  # fmt: skip


def _slower(best, committed):
    return [
        (rival, workload) for rival, ratios in _ratios(best).items() for workload, ratio in ratios.items()
        if ratio < (1 - TOLERANCE) * committed[rival].get(workload, 0)
    ]  # fmt: skip


def check(place, repository, tools, record):
    """Compares, or writes ratios.json again. Returns the exit status."""
    inputs = place / "inputs"
    inputs.mkdir()
    tools = tools | make_inputs(inputs, repository, _SIZES)
    missing = [rival for rival in _RIVALS if not rival.available(tools)]
    for rival in missing:
        print(f"did not run: speed beside {rival.name}, which is not here")
    # Recorded would be the others alone, and what is committed for it would be lost.
    if len(missing) == len(_RIVALS) or (record and missing):
        return 0
    systems = [system(place, tools) for system in (Rekeyfs, *_RIVALS) if system not in missing]
    try:
        if record:
            return _record(systems)
        return max(_compare(systems, json.loads(COMMITTED.read_text())["ratios"]), _beside_null_fuse(place, tools, systems[0]))
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


def _beside_null_fuse(place, tools, rekeyfs):
    """Some applications on rekeyfs and on the null FUSE daemon, in turns. Returns the exit status."""
    if not NullFusePolling.available(tools):
        print("did not run: speed beside the null FUSE daemon, which is not here")
        return 1
    floor, best = NullFusePolling(place, tools), {}

    def rates(names):
        for name in names:
            for system in (rekeyfs, floor):
                for workload, rate in apps.run(name, system, {}, apps.GUARD, _LIMIT).items():
                    at = best.setdefault(workload, {"app": name})
                    at[system.name] = max(at.get(system.name, 0), rate)

    def least(workload):
        return _BESIDE_NULL_FUSE[best[workload]["app"]]

    def ratio(workload):
        return best[workload][rekeyfs.name] / best[workload][floor.name]

    def slower():
        return [workload for workload in best if ratio(workload) < least(workload)]

    try:
        for _ in range(_ROUNDS):
            rates(_BESIDE_NULL_FUSE)
        for _ in range(_AGAIN):
            rates(dict.fromkeys(best[workload]["app"] for workload in slower()))
    finally:
        floor.end()
    for workload in best:
        mark = "FAILED" if workload in slower() else "ok    "
        print(f"{mark}  {workload}: {ratio(workload):.2f} of {floor.name}, {least(workload)} at the least")
    return 1 if slower() else 0


def _record(systems):
    batches = [_ratios(_batch(systems)) for _ in range(_BATCHES)]
    ratios = {
        rival: {workload: round(min(batch[rival][workload] for batch in batches), 2) for workload in by_workload}
        for rival, by_workload in batches[0].items()
    }
    said = "the best rate of rekeyfs divided by each rival's, on tmpfs; the least of several runs"
    COMMITTED.write_text(json.dumps({"what": said, "ratios": ratios}, indent=1) + "\n")
    print(f"written: {COMMITTED}")
    return 0


def _compare(systems, committed):
    best = _batch(systems)
    for _ in range(_AGAIN):
        for group in dict.fromkeys(best[workload]["group"] for _, workload in _slower(best, committed)):
            print(f"again: {group}", file=sys.stderr, flush=True)
            _round(systems, group, best)
            _round(systems[::-1], group, best)
    slower, passed, failed = _slower(best, committed), 0, 0
    for rival, ratios in _ratios(best).items():
        for workload, ratio in ratios.items():
            mark = "FAILED" if (rival, workload) in slower else "ok    "
            print(f"{mark}  {workload}: {ratio:.2f} of {rival}, {committed[rival].get(workload, 0):.2f} committed")
        missing = [workload for workload in committed[rival] if workload not in ratios]
        for workload in missing:
            print(f"FAILED  {workload}: committed for {rival}, and no longer measured")
        failed += len(missing)
        passed += len(ratios)
    print(f"{passed - len(slower)} passed, {failed + len(slower)} failed")
    return 1 if failed or slower else 0
