"""What a vault costs on a cluster: how many requests the cluster's client gets of an operation, without and with a vault, and how
fast both are in one interleaved run. Each request may be a round trip to the servers; the kernel's tracepoint counts them."""

import collections
import contextlib
import functools
import os
import pathlib
import re
import statistics
import time

from lower_calls import get, moved, put
from lower_requests import listed, overwrite, requests, total
from streams import read_stream, write_stream
from suite import command

# Requests come after an operation: the last close, the times of a written file.
SETTLED = 0.3
# What clients let the kernel keep for a while (MooseFS' attributes: a second).
KEPT = 1.1
SENT = re.compile(r"fuse_request_send: connection (\d+) req \d+ opcode \d+ \(FUSE_(\w+)\)")


class Untraced(Exception):
    """The kernel has no such tracepoint (before Linux 6.9), or shows it to nobody."""


class Requests:
    """The kernel's trace of requests, in an instance of its own."""

    def __init__(self):
        self.root = pathlib.Path("/sys/kernel/tracing")
        if not (self.root / "instances").exists():
            command("mount", "-t", "tracefs", "tracefs", self.root, check=False)
        self.dir = self.root / f"instances/rekeyfs-{os.getpid()}"
        try:
            self.dir.mkdir()
            (self.dir / "buffer_size_kb").write_text("8192")
            (self.dir / "events/fuse/fuse_request_send/enable").write_text("1")
        except OSError as error:
            with contextlib.suppress(OSError):
                self.dir.rmdir()
            raise Untraced(str(error)) from None

    def during(self, mount, act, targets):
        """What the mount's client was asked for one call of `act`, opcode by opcode."""
        time.sleep(SETTLED)
        (self.dir / "trace").write_text("")
        for target in targets:
            act(target)
        time.sleep(SETTLED)
        device = os.minor(os.stat(mount).st_dev)
        sent = SENT.findall((self.dir / "trace").read_text())
        counts = collections.Counter(opcode for connection, opcode in sent if int(connection) == device)
        # What came by chance, as the look at the lock's record, is none of it.
        return {opcode: each for opcode, count in sorted(counts.items()) if (each := (count + len(targets) // 2) // len(targets))}

    def close(self):
        (self.dir / "events/fuse/fuse_request_send/enable").write_text("0")
        self.dir.rmdir()


def forget():
    """The kernel's caches are empty, of all filesystems."""
    os.sync()
    time.sleep(KEPT)
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def _timed(amount, work, *arguments):
    began = time.perf_counter()
    work(*arguments)
    return amount / (time.perf_counter() - began)


def _each(paths, act):
    for path in paths:
        act(path)


def once(place, quick):
    """One round in an empty directory: workload -> units a second."""
    mib, count = (8, 30) if quick else (64, 200)
    place.mkdir()
    stream, small = place / "stream", [place / f"f{number}" for number in range(count)]
    rates = {"write a large file, fsync": _timed(mib, write_stream, stream, mib)}
    rates["create small files"] = _timed(count, _each, small, put)
    forget()
    rates["read a large file, cold"] = _timed(mib, read_stream, stream)
    rates["stat small files, cold"] = _timed(count, _each, small, os.stat)
    rates["read small files, cold"] = _timed(count, _each, small, get)
    rates["overwrite small files"] = _timed(count, _each, small, overwrite)
    rates["rename small files"] = _timed(count, _each, small, lambda path: os.rename(path, moved(path)))
    rates["remove small files"] = _timed(count, _each, small, lambda path: os.unlink(moved(path)))
    stream.unlink()
    place.rmdir()
    return rates


def ratios(bare, vault, rounds, quick):
    """Workload -> [the median of the vault's rate to the cluster's own, the lowest and highest of the rounds, the median of the cluster's own
    rate]: each round one after the other, and the first changes."""
    found, own = collections.defaultdict(list), collections.defaultdict(list)
    for number in range(rounds):
        order = [bare, vault] if number % 2 else [vault, bare]
        rates = {place: once(place / f"round{number}", quick) for place in order}
        for workload, rate in rates[vault].items():
            found[workload].append(rate / rates[bare][workload])
            own[workload].append(rates[bare][workload])
        print(f"  round {number + 1} of {rounds}: " + ", ".join(f"{name} {values[-1]:.2f}" for name, values in found.items()), flush=True)
    return {
        workload: [round(each, 2) for each in (statistics.median(all_), min(all_), max(all_))] + [round(statistics.median(own[workload]))]
        for workload, all_ in found.items()
    }


def limited(gbit, bare, vault, rounds, quick):
    """The ratios where the network carries so many Gbit/s."""
    return {"gbit": gbit, "rounds": rounds, "ratios": ratios(bare, vault.mnt, rounds, quick)}


def cost(mount, bare, vault, rounds, quick):
    """The requests of each operation and the ratios of each workload, of a directory on the cluster and of a mounted vault."""
    found = {"rounds": rounds, "ratios": ratios(bare, vault.mnt, rounds, quick), "requests": None}
    try:
        traced = Requests()
    except Untraced as error:
        print(f"  requests aren't counted: {error}", flush=True)
        return found
    try:
        during = functools.partial(traced.during, mount)
        counted = {name: requests(during, place / "cost", forget) for name, place in (("bare", bare), ("vault", vault.mnt))}
    finally:
        traced.close()
    found["requests"] = {name: [counted["bare"][name], of_vault] for name, of_vault in counted["vault"].items()}
    for name, (of_bare, of_vault) in found["requests"].items():
        print(f"  {name}: {total(of_bare)} -> {total(of_vault)}: {listed(of_bare)} -> {listed(of_vault)}", flush=True)
    return found


def request_lines(results):
    """The table's lines: of each operation what a cluster's client is asked, itself and for a vault."""
    counted = [result for result in results if result.cost and result.cost["requests"]]
    if not counted:
        return ["Not counted yet."]
    lines = [f"| | {' | '.join(result.cluster for result in counted)} | asked for a vault on {counted[-1].cluster} |", f"|--|{'--:|' * len(counted)}--|"]
    for name, (_, last) in counted[-1].cost["requests"].items():
        cells = [" → ".join(str(total(counts)) for counts in result.cost["requests"][name]) for result in counted]
        lines.append(f"| {name} | {' | '.join(cells)} | {listed(last)} |")
    return lines


def ratio_lines(measured):
    """The table's lines, of what was found on each cluster: of each workload the ratio of a vault's rate to the cluster's own."""
    measured = {cluster: found["ratios"] for cluster, found in measured.items() if found}
    if not measured:
        return ["Not measured yet."]
    lines = [f"| | {' | '.join(measured)} |", f"|--|{'--:|' * len(measured)}"]
    for name in next(iter(measured.values())):
        cells = ["{:.2f} ({:.2f} to {:.2f}) of {:,}".format(*ratios[name]) for ratios in measured.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
