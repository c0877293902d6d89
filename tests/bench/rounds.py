"""Rounds: in each, every system does every group of workloads, one system after the other in an order that moves on. A
round in which the machine's host took processors away says more about the host: it is made again."""

import pathlib
import subprocess
import sys
import time

from limits import NotFinishedError, limited
from systems import Rekeyfs
from workloads import GROUPS, PREPARATION, Rates

#: The share of the processors' time that the host may take during a round that counts.
STOLEN_LIMIT = 0.05


def ticks():
    """What the processors did since the machine started: their time in all, and what the host took of it (steal; 0 on
    hardware)."""
    line = pathlib.Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    fields = [int(field) for field in line.split()[1:9]]
    return sum(fields), fields[7]


def stolen_since(before):
    """The share of the processors' time that the host took since `before`, which is what ticks() told then."""
    total, stolen = (now - then for now, then in zip(ticks(), before))
    return stolen / max(total, 1)


class Measured:
    """What rounds gave: rates by workload and system, each a list by round; workloads that a system didn't finish;
    the share of the processors that the host took, by round."""

    def __init__(self):
        self.rates, self.unfinished, self.stolen = {}, {}, []

    def add(self, stolen, other):
        """Appends a round, from which the host took such a share."""
        self.stolen.append(stolen)
        for workload, by_system in other.unfinished.items():
            self.unfinished.setdefault(workload, {}).update(by_system)
        for workload, by_system in other.rates.items():
            for name, values in by_system.items():
                self.rates.setdefault(workload, {}).setdefault(name, []).extend(values)

    def run(self, system, group, options, sizes):
        """One group on one system. False if it did not finish."""
        rates = Rates(options.limit)
        try:
            with limited():
                GROUPS[group](system, sizes, rates)
        except NotFinishedError:
            print(f"\rnot finished in time: {rates.current}, {system.name}\033[K", flush=True)
            if rates.current != PREPARATION:
                self.unfinished.setdefault(rates.current, {})[system.name] = options.limit
            system.renew()
            return False
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            print(f"\rfailed: {rates.current}, {system.name}: {error}\033[K", flush=True)
            if isinstance(system, Rekeyfs):
                raise
            system.renew()
            return False
        finally:
            for workload, rate in rates.items():
                self.rates.setdefault(workload, {}).setdefault(system.name, []).append(rate)
        return True


def _once(kind, number, running, groups, options, sizes, gave_up):
    """One round without what was given up: what it gave, and what is to be given up, too."""
    measured, gives_up = Measured(), set()
    for group in groups:
        for step in range(len(running)):
            system = running[(number + step) % len(running)]
            if (system.name, group) in gave_up:
                continue
            print(f"\r{kind}, round {number + 1} of {options.rounds}: {group}, {system.name}\033[K", end="",
                  file=sys.stderr, flush=True)
            if not measured.run(system, group, options, sizes):
                gives_up.add((system.name, group))
    return measured, gives_up


def rounds(kind, running, groups, options, sizes):
    """All systems through so many rounds from which the host took no more than STOLEN_LIMIT of the processors; or, of
    twice as many, those from which it took the least."""
    made, calm, gave_up = [], 0, set()
    while calm < options.rounds and len(made) < 2 * options.rounds:
        began, before = time.monotonic(), ticks()
        taking_part = [system for system in running if calm < system.rounds]
        measured, gives_up = _once(kind, calm, taking_part, groups, options, sizes, gave_up)
        stolen = stolen_since(before)
        made.append((stolen, measured))
        again = "; it is made again"
        if stolen <= STOLEN_LIMIT:
            # What a round that doesn't count gave up is tried again.
            calm, gave_up, again = calm + 1, gave_up | gives_up, ""
        print(f"\r{kind}: a round of {time.monotonic() - began:.0f} s; the host took {stolen:.1%} of the "
              f"processors{again}\033[K", flush=True)
    all_of_them = Measured()
    for stolen, measured in sorted(made, key=lambda one: one[0])[: options.rounds]:
        all_of_them.add(stolen, measured)
    return all_of_them
