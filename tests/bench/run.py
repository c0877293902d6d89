"""Measures rekeyfs beside other encrypting filesystems, libfuse's passthrough and the lower filesystem itself. In each
round every system does every group of workloads, one system after the other in an order that moves on; what counts is
the median over the rounds. Run by scripts/bench.sh, which installs and builds what is compared."""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "common"))

import applications
import keys
import page
import picture
import polling
import regressions
import report
import soak
import transport
from apps import APPS
from isolation import as_init
from limits import limited
from priority import raise_all
from rounds import rounds
from systems import SYSTEMS, AllowOther, NoWriteback, Rekeyfs, command
from workloads import COMPARED, FULL, GROUPS, QUICK, make_inputs

IMAGE_GIB = 12
# What a mount option is measured with.
OPTION_GROUPS = ("stream", "append", "small", "source")


@contextlib.contextmanager
def lower(kind, image):
    """A fresh lower filesystem of this kind, mounted."""
    with tempfile.TemporaryDirectory(prefix="rekeyfs-bench-") as place:
        if kind == "tmpfs":
            command("mount", "-t", "tmpfs", "-o", "size=80%", "bench", place)
        else:
            with open(image, "wb") as file:
                file.truncate(IMAGE_GIB << 30)
            command("mkfs.ext4", "-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
            command("mount", "-o", "loop", image, place)
        try:
            yield pathlib.Path(place)
        finally:
            # A daemon that was unmounted above may need a moment to let go.
            for _ in range(100):
                if subprocess.run(["umount", place], check=False, capture_output=True).returncode == 0:
                    break
                time.sleep(0.05)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(image)


@contextlib.contextmanager
def told(name):
    """What fails within it is said and left out."""
    try:
        yield
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"did not run: {name}: {error}", flush=True)


def measure(kind, options, tools, sizes):
    """Everything on one lower filesystem: the results, and what was compared."""
    result, compared = {}, {}
    with lower(kind, options.image) as place:
        inputs = place / "inputs"
        inputs.mkdir()
        tools = tools | make_inputs(inputs, ROOT, sizes)
        wanted = [
            system for system in SYSTEMS
            if (system.name in options.systems if options.systems else not system.extra or system.available(tools))
        ]  # fmt: skip
        missing = [system.name for system in wanted if not system.available(tools)]
        for name in missing:
            print(f"did not run: {name} is not here", flush=True)
        running = []
        try:
            for system in wanted:
                if system.name not in missing:
                    with contextlib.ExitStack() as stack:
                        if not issubclass(system, Rekeyfs):
                            stack.enter_context(told(system.name))
                        running.append(system(place, tools))
            compared = {system.name: {"version": system.version(), "options": system.options} for system in running}
            measured = rounds(kind, running, options.groups or COMPARED, options, sizes)
            result = {"rounds": measured.rates, "unfinished": measured.unfinished, "stolen": measured.stolen}
        finally:
            for system in running:
                with contextlib.suppress(Exception):
                    system.umount()
        if Rekeyfs.name in compared and not options.groups:
            others = [of(place / "options", tools) for of in (Rekeyfs, AllowOther, NoWriteback)]
            try:
                result["options"] = rounds(kind, others, OPTION_GROUPS, options, sizes).rates
            finally:
                for system in others:
                    system.umount()
    result["medians"] = {
        workload: {name: statistics.median(values) for name, values in by_system.items()}
        for workload, by_system in result["rounds"].items()
    }
    if Rekeyfs.name in compared and not options.groups:
        with lower(kind, options.image) as place:
            print(f"\r{kind}: rotations, sweeps, memory\033[K", end="", file=sys.stderr, flush=True)
            result["keys"] = keys.measure(place, tools, options.quick)
    print("\r\033[K", end="", file=sys.stderr)
    return result, compared


def machine():
    """What this runs on."""
    model = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Linux {os.uname().release}"


def run(options):
    sizes = QUICK if options.quick else FULL
    tools = {"rekeyfs": str(options.binary.resolve())} | dict(pair.split("=", 1) for pair in options.tool)
    if options.soak:
        with lower(options.lower[0], options.image) as place:
            load = soak.soak(place, tools, options.soak)
        write(kept(options.out) | {"soak": {"lower": options.lower[0]} | load}, options.out)
        return 0
    if options.regressions or options.record:
        with lower("tmpfs", options.image) as place, limited():
            raise_all()
            return regressions.check(place, ROOT, tools, options.record)
    if options.apps:
        whole = True
        for kind in options.lower:
            if applications.wanted_on(kind, options):
                with lower(kind, options.image) as place:
                    whole &= applications.measure(place, kind, options, tools, sizes, machine())
        # The page has the table.
        write(kept(options.out), options.out)
        return 0 if whole else 1
    if options.transport:
        return transports(options, tools, sizes)
    if options.polling:
        return parts_of_polling(options, tools, sizes)
    began = time.monotonic()
    result = {"machine": machine(), "rounds": options.rounds, "quick": options.quick, "lower": {}, "systems": {}}
    for kind in options.lower:
        result["lower"][kind], result["systems"] = measure(kind, options, tools, sizes)
        print(report.table(kind, result), flush=True)
    result["minutes"] = round((time.monotonic() - began) / 60, 1)
    write(joined(kept(options.out), result), options.out)
    return 0


def joined(before, result):
    """The result, and what an earlier run of the same systems measured on another lower filesystem."""
    if "soak" in before:
        result["soak"] = before["soak"]
    same = ("machine", "rounds", "quick")
    if "lower" not in before or any(before[what] != result[what] for what in same):
        return result
    both = before["systems"].keys() & result["systems"].keys()
    if any(before["systems"][name] != result["systems"][name] for name in both):
        return result
    others = {kind: of for kind, of in before["lower"].items() if kind not in result["lower"]}
    if others:
        result["minutes"] = round(result["minutes"] + before["minutes"], 1)
        result["lower"] = others | result["lower"]
        result["systems"] = before["systems"] | result["systems"]
    return result


def kept(out):
    """What performance.json holds of earlier runs."""
    with contextlib.suppress(FileNotFoundError):
        return json.loads((out / "performance.json").read_text())
    return {}


def side_by_side(wanted, groups, options, tools, sizes, also=lambda first: {}):
    """These systems beside each other on a tmpfs; `also` measures more of the first one."""
    with lower("tmpfs", options.image) as place:
        inputs = place / "inputs"
        inputs.mkdir()
        tools = tools | make_inputs(inputs, ROOT, sizes)
        running = []
        try:
            for system in wanted:
                running.append(system(place, tools))
            measured = rounds("tmpfs", running, groups, options, sizes)
            return {
                "machine": machine(), "version": running[0].version(), "quick": options.quick,
                "systems": [system.name for system in running], "rounds": measured.rates, **also(running[0]),
            }  # fmt: skip
        finally:
            for system in running:
                system.umount()


def transports(options, tools, sizes):
    """rekeyfs, or passthrough_hp, beside itself with another transport."""
    variants = dict(pair.split("=", 1) for pair in options.variant)
    wanted, tools = transport.compared(variants), tools | variants
    groups = options.groups or transport.GROUPS

    def forgets(first):
        if not isinstance(first, Rekeyfs) or "small" not in groups:
            return {}
        return {"forgets": transport.forgets(first, 1000 if options.quick else 20_000)}

    with transport.switched_on() as there:
        missing = [system.name for system in wanted if not system.available(tools)]
        if not there or missing:
            what = f"{missing[0]} is not here" if there else "this kernel has no FUSE over io_uring (Linux 6.14 has)"
            print(f"did not run: {what}")
            return 1
        figures = side_by_side(wanted, groups, options, tools, sizes, forgets)
    options.out.mkdir(parents=True, exist_ok=True)
    print("\n".join(transport.write(options.out, wanted[0].name, figures)))
    return 0


def parts_of_polling(options, tools, sizes):
    """rekeyfs beside itself with parts of busy polling turned off."""
    wanted = [system for system in polling.compared() if not options.systems or system.name in options.systems]
    figures = side_by_side(wanted, options.groups or polling.GROUPS, options, tools, sizes)
    print("\n".join(polling.write(options.out, figures)))
    return 0


def write(result, out):
    """performance.json, and the page and the pictures that are made of it."""
    out.mkdir(parents=True, exist_ok=True)
    if result:
        (out / "performance.json").write_text(json.dumps(result, indent=1) + "\n")
    if "lower" not in result:
        return
    for kind in result["lower"]:
        (out / f"performance-{kind}.svg").write_text(picture.draw(kind, result))
    (out / "performance.md").write_text(page.page(result, applications.section(out)))
    print(f"written: {out}/performance.md, performance.json and the pictures; took {result['minutes']} minutes")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the rekeyfs to measure")
    parser.add_argument("--image", type=pathlib.Path, required=True, help="where the image of the ext4 may lie")
    parser.add_argument("--tool", action="append", default=[], metavar="NAME=PATH", help="a program not installed")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target" / "bench", help="where the report goes")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: tells that all works, not how fast it is")
    parser.add_argument("--rounds", type=int, help="how often each workload is run [default: 5; with --apps 9]")
    parser.add_argument("--lower", action="append", choices=("tmpfs", "ext4"), help="on which [default: both; with --apps small operations "
                        "on tmpfs and all else on ext4]; the report keeps what it has of the other, if all else is the same")
    parser.add_argument("--system", action="append", dest="systems", help="only this system; can be repeated")
    parser.add_argument("--group", action="append", dest="groups", choices=tuple(GROUPS), help="only this group")
    parser.add_argument("--limit", type=int, help="seconds that a workload may take [default: 30; with --apps 300]")
    parser.add_argument("--apps", action="store_true",
                        help="instead of all that: applications, big directories, direct I/O and small operations beside "
                        "gocryptfs, securefs, the lower filesystem and a null FUSE daemon; goes on where a run was ended")
    parser.add_argument("--only", action="append", choices=tuple(APPS), help="with --apps: only this one; can be repeated")
    parser.add_argument("--soak", type=float, metavar="MINUTES",
                        help="instead of all that: a mixed load, and what memory the daemon has over time; goes into "
                        "the report that is there")
    parser.add_argument("--regressions", action="store_true",
                        help="instead of all that: the short comparison of scripts/test.sh")
    parser.add_argument("--record", action="store_true", help="the same, and its ratios become the committed ones")
    parser.add_argument("--transport", action="store_true",
                        help="instead of all that: passthrough_hp over io_uring beside itself over /dev/fuse, on tmpfs")
    parser.add_argument("--polling", action="store_true",
                        help="instead of all that: what each part of busy polling is worth, on tmpfs")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=PATH",
                        help="with --transport: a rekeyfs built otherwise, beside rekeyfs; can be repeated")
    parser.add_argument("--redraw", action="store_true", help="write page and pictures again from performance.json")
    options = parser.parse_args()
    if options.redraw:
        write(kept(options.out), options.out)
        return 0
    options.lower = options.lower or list(applications.LOWERS if options.apps else ("tmpfs", "ext4"))
    options.rounds = options.rounds or (9 if options.apps else 5)
    options.limit = options.limit or (300 if options.apps else 30)
    return as_init(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
