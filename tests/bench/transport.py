"""What another way to take requests from the kernel gives. Libfuse's passthrough_hp speaks FUSE over io_uring: it is
compared with itself reading /dev/fuse. And a rekeyfs that was built otherwise, where one is given, is compared with
rekeyfs as it is. Both sides take turns on one tmpfs."""

import contextlib
import json
import os
import pathlib
import statistics
import time

import goals
import page
import report
from systems import Passthrough, Rekeyfs, command, daemon

#: The page, beside performance.md, and what it is written from.
PAGE, FIGURES = "performance-transport.md", "performance-transport.json"
#: Without `build`, which measures the compiler more than the filesystem.
GROUPS = ("stream", "append", "small", "source")
_SWITCH = pathlib.Path("/sys/module/fuse/parameters/enable_uring")
_PROSE = pathlib.Path(__file__).with_name("transport.md.in")


class Device(Passthrough):
    """A newer libfuse than the one that rekeyfs is measured beside. With its defaults it has the kernel itself read and
    write the lower files, which nothing that encrypts can: `--nopassthrough` is against that."""

    name = "passthrough_hp"
    needs = ("passthrough_hp-uring",)
    options = "--nopassthrough"

    def version(self):
        return "passthrough_hp of " + self.tools.get("libfuse-uring", "libfuse")


class Uring(Device):
    """One queue for each core, served by a thread that stays there; the depth is libfuse's default."""

    name = "passthrough_hp-io_uring"
    options = "--nopassthrough -o io_uring"

    def mount(self):
        """A libfuse that was built without io_uring takes the option too."""
        super().mount()
        # Which is answered once the queues are there.
        os.listdir(self.root)
        threads = {(thread / "comm").read_text().strip() for thread in (daemon(self.root) / "task").iterdir()}
        if "fuse-ring-0" not in threads:
            raise RuntimeError(f"{self.name}: it doesn't use io_uring")


def compared(variants):
    """What is compared: the first one is what the others are divided by. A variant runs the program of its name."""
    if not variants:
        return [Device, Uring]
    return [Rekeyfs, *(type(name, (Rekeyfs,), {"name": name, "needs": (name,)}) for name in variants)]


@contextlib.contextmanager
def switched_on():
    """Has the kernel offer io_uring to filesystems that are mounted within it. False where it can't."""
    if not _SWITCH.exists():
        yield False
        return
    before = _SWITCH.read_text()
    _SWITCH.write_text("Y")
    try:
        yield True
    finally:
        _SWITCH.write_text(before)


def table(of):
    """Heading and lines: a workload, the rate of the first system, and what the others reach of it."""
    base, *others = of["systems"]
    lines = [["workload", base, *(cell for name in others for cell in (name, "least .. most"))]]
    for workload, by_system in of["rounds"].items():
        ratios = [goals.ratio(by_system, base, of=name) for name in others]
        cells = [cell for ratio in ratios for cell in (str(ratio), ratio.spread())]
        lines.append([workload, report.rate(statistics.median(by_system[base])), *cells])
    return lines


def _settled(system):
    """The processor time of the daemon once it has nothing to do."""
    before = system.processor_time()
    while True:
        time.sleep(0.2)
        now = system.processor_time()
        if now - before < 100_000:
            return now
        before = now


def forgets(system, count):
    """Nanoseconds of processor time that the daemon takes to have a file forgotten, and to have one removed."""
    root = system.root / "forgotten"
    for number in range(count):
        path = root / f"d{number % 100}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    took = []
    for work in (lambda: pathlib.Path("/proc/sys/vm/drop_caches").write_text("2"), lambda: command("rm", "-rf", root)):
        system.remount()
        command("find", root, "-size", "+1M")
        before = _settled(system)
        work()
        took.append((_settled(system) - before) / count)
    return dict(zip(("forget", "remove"), took))


def _said(of):
    counts = sorted({len(each) for by_system in of["rounds"].values() for each in by_system.values()})
    count = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    tiny = " Tiny sizes (`--quick`): these figures say nothing about speed." if of["quick"] else ""
    out = [f"{of['machine']}; {of['version']}; {count} rounds.{tiny}", "", *page.markdown(table(of))]
    if "forgets" in of:
        forget, remove = of["forgets"]["forget"], of["forgets"]["remove"]
        out += ["", f"To have a file forgotten takes {forget / 1000:.2g} us of the daemon's processor time; "
                f"to have one removed, and forgotten too, {remove / 1000:.2g} us."]  # fmt: skip
    return out


def write(out, key, figures):
    """Adds these figures to those of other groups of the same systems, writes the page again, and returns the table."""
    kept = json.loads((out / FIGURES).read_text()) if (out / FIGURES).exists() else {}
    if key in kept and all(kept[key][what] == figures[what] for what in ("machine", "version", "systems", "quick")):
        figures = kept[key] | figures | {"rounds": kept[key]["rounds"] | figures["rounds"]}
    kept[key] = figures
    (out / FIGURES).write_text(json.dumps(kept, indent=1) + "\n")
    text = _PROSE.read_text()
    for name in ("passthrough_hp", "rekeyfs"):
        text = text.replace(f"@{name}@", "\n".join(_said(kept[name]) if name in kept else ["Not measured."]))
    (out / PAGE).write_text(text)
    return report.aligned(table(figures))
