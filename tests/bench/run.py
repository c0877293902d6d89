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

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "common"))

import keys
import picture
import report
from isolation import as_init
from systems import SYSTEMS, Rekeyfs, command
from workloads import FULL, GROUPS, QUICK, Rates, make_inputs

IMAGE_GIB = 12


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
            subprocess.run(["umount", place], check=False)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(image)


def measure(kind, options, tools, sizes):
    """All rounds on one lower filesystem: the rates by workload, system and round, and what was compared."""
    rates, machine = {}, {}
    with lower(kind, options.image) as place:
        inputs = place / "inputs"
        inputs.mkdir()
        tools = tools | make_inputs(inputs, ROOT, sizes)
        wanted = [system for system in SYSTEMS if not options.systems or system.name in options.systems]
        missing = [system.name for system in wanted if not system.available(tools)]
        for name in missing:
            print(f"did not run: {name} is not here", flush=True)
        running = [system(place, tools) for system in wanted if system.name not in missing]
        try:
            machine = {system.name: {"version": system.version(), "options": system.options} for system in running}
            for number in range(options.rounds):
                for group in options.groups or GROUPS:
                    for step in range(len(running)):
                        system = running[(number + step) % len(running)]
                        print(f"\r{kind}, round {number + 1} of {options.rounds}: {group}, {system.name}\033[K", end="",
                              file=sys.stderr, flush=True)
                        got = Rates()
                        try:
                            GROUPS[group](system, sizes, got)
                        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                            print(f"\rfailed: {kind}, {group}, {system.name}: {error}", flush=True)
                            if isinstance(system, Rekeyfs):
                                raise
                        for workload, rate in got.items():
                            rates.setdefault(workload, {}).setdefault(system.name, []).append(rate)
        finally:
            for system in running:
                with contextlib.suppress(Exception):
                    system.umount()
        print("\r\033[K", end="", file=sys.stderr)
    return rates, machine


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
    result = {"machine": machine(), "rounds": options.rounds, "quick": options.quick, "lower": {}, "systems": {}}
    for kind in options.lower:
        rates, compared = measure(kind, options, tools, sizes)
        medians = {
            workload: {name: statistics.median(values) for name, values in by_system.items()}
            for workload, by_system in rates.items()
        }
        result["lower"][kind] = {"medians": medians, "rounds": rates}
        result["systems"] = compared
        if not options.systems or Rekeyfs.name in options.systems:
            with lower(kind, options.image) as place:
                result["lower"][kind]["keys"] = keys.measure(Rekeyfs(place, tools), 300 if options.quick else 100_000)
        print(report.table(kind, result), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "performance.json").write_text(json.dumps(result, indent=1) + "\n")
    for kind in options.lower:
        (options.out / f"performance-{kind}.svg").write_text(picture.draw(kind, result))
    (options.out / "performance.md").write_text(report.page(result))
    print(f"written: {options.out}/performance.md, performance.json and the pictures")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the rekeyfs to measure")
    parser.add_argument("--image", type=pathlib.Path, required=True, help="where the image of the ext4 may lie")
    parser.add_argument("--tool", action="append", default=[], metavar="NAME=PATH", help="a program not installed")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target" / "bench", help="where the report goes")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: tells that all works, not how fast it is")
    parser.add_argument("--rounds", type=int, default=5, help="how often each workload is run [default: 5]")
    parser.add_argument("--lower", action="append", choices=("tmpfs", "ext4"), help="on which [default: both]")
    parser.add_argument("--system", action="append", dest="systems", help="only this system; can be repeated")
    parser.add_argument("--group", action="append", dest="groups", choices=tuple(GROUPS), help="only this group")
    options = parser.parse_args()
    options.lower = options.lower or ["tmpfs", "ext4"]
    return as_init(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
