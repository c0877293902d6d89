"""The results as a picture (SVG): one panel a workload, a bar a system, logarithmic."""

import math
from html import escape

from systems import SYSTEMS

_COLORS = {
    "rekeyfs": "#d1495b", "gocryptfs": "#30638e", "securefs": "#00798c", "encfs": "#8d99ae", "cryfs": "#6d597a",
    "passthrough_hp": "#edae49", "native": "#adb5bd",
}  # fmt: skip
_COLUMNS, _WIDTH, _BAR, _TITLE, _GAP = 4, 330, 15, 24, 14
_LABEL, _VALUE = 100, 58
# A bar's shortest length: the slowest system is still seen.
_LEAST = 8


def _short(rate):
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if rate >= size:
            return f"{rate / size:.3g}{unit}"
    return f"{rate:.3g}"


def _panel(workload, rates, names, x, y):
    shown = {name: rates[name] for name in names if rates.get(name, 0) > 0}
    room = _WIDTH - _LABEL - _VALUE - _GAP - _LEAST
    low, high = math.log10(min(shown.values())), math.log10(max(shown.values()))
    yield f'<text x="{x}" y="{y + 13}" class="title">{escape(workload)}</text>'
    for line, name in enumerate(names):
        at = y + _TITLE + line * _BAR
        yield f'<text x="{x + _LABEL - 6}" y="{at + 11}" text-anchor="end">{escape(name)}</text>'
        if name in shown:
            length = _LEAST + room * ((math.log10(shown[name]) - low) / (high - low) if high > low else 1)
            bar = f'x="{x + _LABEL}" y="{at + 2}" width="{length:.1f}" height="{_BAR - 4}"'
            yield f'<rect {bar} fill="{_COLORS[name]}"/>'
            yield f'<text x="{x + _LABEL + length + 4:.1f}" y="{at + 11}">{_short(shown[name])}</text>'


def draw(kind, result):
    """The whole picture."""
    names = [system.name for system in SYSTEMS if system.name in result["systems"]]
    medians = {workload: rates for workload, rates in result["lower"][kind]["medians"].items() if rates}
    height = _TITLE + len(names) * _BAR + _GAP
    lines = -(-len(medians) // _COLUMNS)
    size = (_COLUMNS * _WIDTH + _GAP, lines * height + 2 * _TITLE + _GAP)
    versions = ", ".join(of["version"] for of in result["systems"].values())
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" '
        f'height="{size[1]}" font-family="sans-serif" font-size="11" fill="#222">',
        "<style>.title{font-weight:bold;font-size:12px}</style>",
        f'<rect width="{size[0]}" height="{size[1]}" fill="white"/>',
        f'<text x="{_GAP}" y="18" class="title">On {kind}: {escape(result["machine"])}; medians of {result["rounds"]} '
        "rounds, more is better, each panel logarithmic</text>",
        f'<text x="{_GAP}" y="34">{escape(versions)}</text>',
    ]
    for number, (workload, rates) in enumerate(medians.items()):
        row, column = divmod(number, _COLUMNS)
        out += _panel(workload, rates, names, _GAP + column * _WIDTH, 2 * _TITLE + row * height)
    return "\n".join([*out, "</svg>"]) + "\n"
