"""What each part of busy polling is worth: rekeyfs with all of them, beside itself with some turned off. All take turns
on one tmpfs. The program is built with `--features benchmarks`, in which REKEYFS_BUSY_POLL lists the parts that are on."""

import json
import pathlib

import page
import report
from systems import Rekeyfs
from transport import table

#: The page, and what it is written from.
PAGE, FIGURES = "busy-polling.md", "busy-polling.json"
#: Where requests come one after the other: what reads and writes by the MiB hardly sees a wake-up. And a busy machine.
GROUPS = ("small", "source", "append", "busy")
_PROSE = pathlib.Path(__file__).with_name("polling.md.in")
_ALL = ("polling", "standby", "colocated", "yielding")
_VARIANTS = {
    "all": _ALL,
    "none": (),
    "polling alone": ("polling",),
    "without the worker": ("polling", "standby", "yielding"),
    "without polling": ("standby", "colocated"),
    "without yielding": ("polling", "standby", "colocated"),
}


class Parts(Rekeyfs):
    """rekeyfs with some of the parts."""

    parts = _ALL

    def environment(self):
        return super().environment() | {"REKEYFS_BUSY_POLL": ",".join(self.parts)}


def compared():
    """What is compared: the first one is what the others are divided by."""
    return [
        type(name, (Parts,), {"name": name.replace(" ", "-"), "parts": parts}) for name, parts in _VARIANTS.items()
    ]


def write(out, figures):
    """Writes figures and page, and returns the table."""
    out.mkdir(parents=True, exist_ok=True)
    (out / FIGURES).write_text(json.dumps(figures, indent=1) + "\n")
    said = [f"{figures['machine']}; {figures['version']}; on tmpfs.", "", *page.markdown(table(figures))]
    (out / PAGE).write_text(_PROSE.read_text().replace("@FIGURES@", "\n".join(said)))
    return report.aligned(table(figures))
