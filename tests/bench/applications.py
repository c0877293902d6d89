"""`scripts/bench.sh --apps`: applications (apps.py) beside the peers, the lower filesystem and a null FUSE daemon. In each
round every system runs every application, in an order that moves on. What is measured is written after each application
of each round: a run that was ended goes on where it was, and one with more rounds adds to those that are there."""

import contextlib
import json
import pathlib
import subprocess
import sys
import time

import apps
import workloads
from app_table import markdown_of, table_of
from limits import NotFinishedError, arm, limited
from rounds import STOLEN_LIMIT, stolen_since, ticks
from systems import APP_SYSTEMS, Rekeyfs

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: On what applications are measured, each on one of them.
LOWERS = ("ext4", "tmpfs")
_PARTS = ("machine", "lower", "quick", "limit", "systems")


def _figures_of(lower, out):
    return out / f"performance-apps-{lower}.json"


class OtherRunError(Exception):
    """The figures that are there are of another machine, of other versions or sizes."""


def _begun(path, now):
    """The figures of an earlier run like this one, or none yet."""
    try:
        there = json.loads(path.read_text())
    except FileNotFoundError:
        return now | {"rounds": []}
    differ = [part for part in _PARTS if there[part] != now[part]]
    if differ:
        said = f"{path} has figures of a run with another {differ[0]}: remove it, or name another place with --out"
        raise OtherRunError(said)
    return there


def _save(path, figures):
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(figures, indent=1) + "\n")
    beside.replace(path)


def _one(name, running, number, inputs, amounts, limit):
    """An application on all systems: rates by system. One that fails or takes too long has none."""
    kind, rates = apps.APPS[name].kind, {}
    running = [system for system in running if not system.kinds or kind in system.kinds]
    for step in range(len(running)):
        system = running[(number + step) % len(running)]
        print(f"\rround {number + 1}: {name}, {system.name}\033[K", end="", file=sys.stderr, flush=True)
        try:
            with limited():
                arm(10 * limit)
                rates[system.name] = apps.run(name, system, inputs, amounts, limit)
        except (NotFinishedError, OSError, RuntimeError, subprocess.SubprocessError) as error:
            said = f"not finished in {limit} s" if isinstance(error, NotFinishedError) else error
            mark = "FAILED" if isinstance(system, Rekeyfs) else "did not run:"
            print(f"\r{mark} {name} on {system.name}: {said}\033[K", flush=True)
            system.renew()
    return rates


def _calm(name, running, number, inputs, amounts, limit):
    """As _one, a second time if the host took processors away meanwhile; the calmer one counts."""
    tries = []
    while not tries or (len(tries) < 2 and tries[-1][0] > STOLEN_LIMIT):
        before = ticks()
        rates = _one(name, running, number, inputs, amounts, limit)
        tries.append((stolen_since(before), rates))
    stolen, rates = min(tries, key=lambda one: one[0])
    return {"stolen": round(stolen, 4), "rates": rates}


def wanted_on(lower, options):
    """The applications that are to run on this filesystem."""
    return [name for name in options.only or apps.APPS if lower == apps.APPS[name].lower() or len(options.lower) == 1]


def measure(place, lower, options, tools, sizes, machine):
    """Rounds until there are as many as wanted. Returns whether rekeyfs has figures of all of them."""
    amounts = apps.QUICK if options.quick else apps.FULL
    wanted = wanted_on(lower, options)
    inputs = place / "inputs"
    inputs.mkdir()
    tools = tools | workloads.make_inputs(inputs, ROOT, sizes)
    inputs = apps.make_inputs(inputs, tools, options.image.parent / "downloads", wanted)
    for name in wanted:
        if absent := apps.missing(name, inputs):
            print(f"did not run: {name}: {', '.join(absent)} is not here", flush=True)
    wanted = [name for name in wanted if not apps.missing(name, inputs)]
    chosen = [system for system in APP_SYSTEMS if not options.systems or system.name in options.systems]
    running = []
    try:
        for system in chosen:
            if system.available(tools):
                running.append(system(place, tools))
            else:
                print(f"did not run: {system.name} is not here", flush=True)
        systems = {system.name: {"version": system.version(), "options": system.options} for system in running}
        now = {"machine": machine, "lower": lower, "quick": options.quick, "limit": options.limit, "systems": systems}
        path = _figures_of(lower, options.out)
        options.out.mkdir(parents=True, exist_ok=True)
        figures = _begun(path, now)
        for number in range(options.rounds):
            if number == len(figures["rounds"]):
                figures["rounds"].append({})
            for name in wanted:
                if name not in figures["rounds"][number]:
                    figures["rounds"][number][name] = _calm(name, running, number, inputs, amounts, options.limit)
                    _save(path, figures)
            done = f"round {number + 1} of {options.rounds} on {lower} is there: {time.strftime('%H:%M:%S')}"
            print(f"\r{done}\033[K", flush=True)
    finally:
        for system in running:
            with contextlib.suppress(Exception):
                system.end()
    print("\n".join(table_of(figures)))
    return all(Rekeyfs.name in of["rates"] for measured in figures["rounds"] for of in measured.values())


def section(out):
    """The part of docs/performance.md; empty as long as nothing was measured."""
    paths = [_figures_of(lower, out) for lower in LOWERS]
    return markdown_of([json.loads(path.read_text()) for path in paths if path.exists()])
