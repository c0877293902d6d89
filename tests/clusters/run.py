#!/usr/bin/env python3
"""The battery on one cluster: started by scripts/clusters.sh, in namespaces of its own, so that servers, mounts and hosts go when
it goes, however it ends. What passes on the cluster itself must pass on a vault that lies in it."""

import argparse
import dataclasses
import os
import pathlib
import random
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "mounted"), str(HERE.parent / "common"), str(HERE.parent / "conformance")]

import harness  # noqa: E402
from battery import Battery, OfAVault  # noqa: E402
from cluster import CLUSTERS  # noqa: E402
from cost import cost, limited  # noqa: E402
from history import History  # noqa: E402
from ground import Place  # noqa: E402
from isolation import as_init  # noqa: E402
from lost_host import lose  # noqa: E402
from members import HostVault  # noqa: E402
from net import Network  # noqa: E402
from page import Result, kept, page  # noqa: E402
from readers import read_beside  # noqa: E402
from suite import FAILED, PASSED, Outcome, first_line  # noqa: E402


def parse(arguments):
    parser = argparse.ArgumentParser(prog="clusters.sh", description=__doc__)
    parser.add_argument("--cluster", choices=CLUSTERS, help="which one")
    parser.add_argument("--quick", action="store_true", help="the selection that scripts/test.sh runs")
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--cost", action="store_true", help="no battery: what a vault costs there, in requests and time")
    parser.add_argument("--gbit", type=float, help="with --cost: what the network carries, in Gbit/s [default: what memory does]")
    parser.add_argument("--rounds", type=int, default=9, help="how many of them make the figures of --cost")
    parser.add_argument("--hosts", type=int, metavar="N", help="no battery: a history of one writer and readers on N hosts")
    parser.add_argument("--minutes", type=float, default=5, help="how long that is; with --quick it is short, and always the same")
    parser.add_argument("--seed", type=int, help="what is drawn of it, as an earlier run has printed it")
    parser.add_argument("--log", type=pathlib.Path, help="where it tells all that was done, with times")
    parser.add_argument("--run", metavar="COMMAND", help="no battery: runs this in a shell, with the mounts of two hosts in $H1 "
                        "and $H2, the program in $REKEYFS and an empty directory in $WORK")
    parser.add_argument("--work", type=pathlib.Path, help="an empty directory for data and mounts; whoever made it removes it, once "
                        "servers and mounts are gone")
    parser.add_argument("--binary", type=pathlib.Path, help="the rekeyfs to test")
    parser.add_argument("--tools", type=pathlib.Path, help="where fsx and JuiceFS are")
    parser.add_argument("--results", type=pathlib.Path, required=True, help="the file that keeps the results of each cluster")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the page here, of what was kept")
    options = parser.parse_args(arguments)
    if options.hosts == 1:
        parser.error("--hosts: a history takes a writer and at least one reader, so two hosts")
    return options


def outcomes(kind, place, options):
    """Runs a suite there: case -> Outcome."""
    found = {}
    for outcome in kind(place, options).run():
        found[outcome.case] = outcome
        if outcome.status != PASSED:
            print(f"  {place.name}: {outcome.status} {outcome.case}: {outcome.why}", flush=True)
    return found


def battery(options, work):
    """Starts the cluster and runs all of it: the Result; None if something else was run."""
    began, kind = time.monotonic(), CLUSTERS[options.cluster]
    cluster = kind(work / "cluster", Network(), options.tools)
    cluster.sends_all = bool(options.gbit)
    cluster.start()
    here, there = cluster.mount("h1"), cluster.mount("h2")
    for host in ("srv", "h1") if options.gbit else ():
        cluster.network[host].limit(options.gbit)
    started = time.monotonic() - began
    print(f"{kind.name} {cluster.version()} is up ({started:.0f} s)", flush=True)
    if options.run:
        known = {"H1": str(here), "H2": str(there), "REKEYFS": str(options.binary), "WORK": str(work)}
        subprocess.run(["bash", "-c", options.run], check=False, cwd=work, env={**os.environ, **known})
        return None
    bare = here / "bare"
    bare.mkdir()
    vault = HostVault(cluster.network["h1"], work / "h1", here / "vault")
    # Another host has made itself nothing of the vault: it waits until it sees it.
    harness.wait_until((there / "vault/keyring").exists)
    other = HostVault(cluster.network["h2"], work / "h2", there / "vault")
    before = kept(options.results).get(kind.name)
    result = Result(cluster=kind.name, title=kind.title, version=cluster.version())
    if before:
        result.cost, result.limited = before.cost, before.limited
    try:
        vault.mount()
        if options.cost:
            result = before or result
            if options.gbit:
                result.limited = limited(options.gbit, bare, vault, options.rounds, options.quick)
            else:
                result.cost = cost(here, bare, vault, options.rounds, options.quick)
            return result
        place = Place("rekeyfs", vault.mnt, vault)
        place.other = other
        Battery.mount_options = OfAVault.mount_options = ()
        below = outcomes(Battery, Place(kind.name, bare), options)
        above = outcomes(Battery, place, options) | outcomes(OfAVault, place, options)
        vault.umount()
        # Last of all: everything that all this left is sound.
        done = vault.run("fsck", vault.path, "--passfile", vault.passfile)
        sound = done.returncode == 0
        above["the_whole_vault_is_sound"] = Outcome(
            "the_whole_vault_is_sound", PASSED if sound else FAILED, "" if sound else first_line(done.stdout + done.stderr)
        )
    finally:
        vault.close()
        other.close()
    if not options.case or options.case == "readers":
        shared = HostVault(cluster.network["h1"], work / "h1-shared", here / "shared")
        harness.wait_until((there / "shared/keyring").exists)
        reader = HostVault(cluster.network["h2"], work / "h2-shared", there / "shared")
        for title, why in read_beside(shared, reader, cluster, "h2").items():
            case = title.replace(" ", "_")
            above[case] = Outcome(case, FAILED if why else PASSED, why or "")
            if why:
                print(f"  rekeyfs: {FAILED} {title}: {why}", flush=True)
    result.judge(below, above)
    if not (options.quick or options.case) or options.case == "lost":
        result.lost = dataclasses.asdict(lose(cluster, here, there))
        print(f"{kind.name}, a host that is cut off: {result.lost}", flush=True)
    result.seconds = round(time.monotonic() - began)
    return result


def history(options):
    """Makes a history on the cluster; the exit status."""
    kind, seed = CLUSTERS[options.cluster], options.seed
    if seed is None:
        seed = 1 if options.quick else random.randrange(1 << 32)
    cluster = kind(options.work / "cluster", Network(options.hosts), options.tools)
    cluster.start()
    print(f"{kind.name} {cluster.version()} is up: a history on {options.hosts} hosts, --seed {seed}", flush=True)
    made = History(cluster, options.hosts, options.work, options.log, seed)
    found = made.judge(made.in_a_fixed_order if options.quick else lambda: made.at_random(options.minutes * 60))
    print(f"{kind.name}: {made.summary()}")
    for text in found:
        print(f"FAILED {kind.name}, --seed {seed}: {text}")
    if found:
        print(f"what was done is told in {options.log}")
    print(f"{1 if not found else 0} passed, {len(found)} failed", flush=True)
    return 1 if found else 0


def main(options):
    """Runs; the exit status."""
    if options.cluster is None:
        options.markdown.write_text(page(options.results, [kind.name for kind in CLUSTERS.values()]), encoding="utf-8")
        return 0
    harness.BIN = str(options.binary)
    if options.hosts:
        return history(options)
    result = battery(options, options.work)
    if result is None:
        return 0
    if not (options.quick or options.case):
        result.save(options.results)
    if options.cost:
        return 0
    for text in result.failures:
        print(f"FAILED {result.cluster}: {text}")
    print(f"{result.cluster}: {result.seconds} s\n{result.passed} passed, {len(result.failures)} failed", flush=True)
    return 1 if result.failures else 0


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    sys.exit(as_init(lambda: main(parsed)))
