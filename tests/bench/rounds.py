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
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
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

    def add(self, other):
        """Appends the rounds of another."""
        self.stolen += other.stolen
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
    """One round. `gave_up` has what isn't tried any more, and gets more of it."""
    measured, before = Measured(), ticks()
    for group in groups:
        for step in range(len(running)):
            system = running[(number + step) % len(running)]
            if (system.name, group) in gave_up:
                continue
            print(f"\r{kind}, round {number + 1} of {options.rounds}: {group}, {system.name}\033[K", end="",
                  file=sys.stderr, flush=True)
            if not measured.run(system, group, options, sizes):
                gave_up.add((system.name, group))
    measured.stolen.append(stolen_since(before))
    return measured


def rounds(kind, running, groups, options, sizes):
    """All systems through so many rounds from which the host took no more than STOLEN_LIMIT of the processors; or, of
    twice as many, those from which it took the least."""
    made, gave_up = [], set()
    while True:
        calm = sum(one.stolen[0] <= STOLEN_LIMIT for one in made)
        if calm >= options.rounds or len(made) == 2 * options.rounds:
            break
        began = time.monotonic()
        taking_part = [system for system in running if calm < system.rounds]
        one = _once(kind, calm, taking_part, groups, options, sizes, gave_up)
        made.append(one)
        again = "; it is made again" if one.stolen[0] > STOLEN_LIMIT else ""
        print(f"\r{kind}: a round of {time.monotonic() - began:.0f} s; the host took {one.stolen[0]:.1%} of the "
              f"processors{again}\033[K", flush=True)
    measured = Measured()
    for one in sorted(made, key=lambda one: one.stolen[0])[: options.rounds]:
        measured.add(one)
    return measured
