"""The results as a picture (SVG): one panel a workload, a bar a system, logarithmic. It has a background of its own, so
that it is read on a light and on a dark page alike."""

import math
import textwrap
from html import escape

import report

_COLORS = {
    "rekeyfs": "#c8324a", "rekeyfs-null": "#e5a1a8", "gocryptfs": "#30638e", "securefs": "#00798c", "encfs": "#7c8da3",
    "cryfs": "#6d597a", "passthrough_hp": "#d9952b", "native": "#9aa3ab",
}  # fmt: skip
_COLUMNS, _WIDTH, _BAR, _TITLE, _AXIS, _GAP = 3, 400, 16, 22, 16, 18
_LABEL, _VALUE = 104, 96
_EDGE, _HEAD, _LINE = 20, 34, 15
# A bar's shortest length: the slowest system is still seen.
_LEAST = 6


def _short(rate):
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if rate >= size:
            return f"{rate / size:.3g}{unit}"
    return f"{rate:.3g}"


def _ticks(low, high):
    """Round numbers between two rates: powers of ten, or finer where there are few of them."""
    for steps in ((1,), (1, 3), (1, 2, 5)):
        of = [step * 10.0**power for power in range(-3, 9) for step in steps]
        found = [tick for tick in of if low <= tick <= high]
        if len(found) >= 2:
            return found
    return found


def _panel(workload, rates, late, names, x, y):
    room = _WIDTH - _LABEL - _VALUE - _GAP - _LEAST
    high = max(rates.values(), default=10)
    # No panel shows less than a factor of four: what is alike shall look alike.
    low = min(min(rates.values(), default=1) / 1.15, high / 4)

    def length(rate):
        return _LEAST + room * math.log(rate / low) / math.log(high / low)

    bottom = y + _TITLE + len(names) * _BAR
    left = x + _LABEL
    yield f'<text x="{x}" y="{y + 13}" class="title">{escape(workload)}</text>'
    for tick in _ticks(low, high):
        at = left + length(tick)
        yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y + _TITLE}" y2="{bottom}" class="grid"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 11}" class="tick">{_short(tick)}</text>'
    for line, name in enumerate(names):
        at = y + _TITLE + line * _BAR
        ours = name == "rekeyfs"
        weight = ' font-weight="bold"' if ours else ""
        yield f'<text x="{left - 6}" y="{at + 12}" text-anchor="end"{weight}>{escape(name)}</text>'
        if name in rates:
            value = _short(rates[name])
            if not ours and "rekeyfs" in rates:
                times = rates["rekeyfs"] / rates[name]
                value += f" ({times:.0f}x)" if times >= 10 else f" ({times:.2f}x)"
            end = length(rates[name])
            bar = f'x="{left}" y="{at + 2}" width="{end:.1f}" height="{_BAR - 4}" rx="1.5"'
            yield f'<rect {bar} fill="{_COLORS[name]}"/>'
            yield f'<text x="{left + end + 5:.1f}" y="{at + 12}"{weight}>{value}</text>'
        elif name in late:
            yield f'<text x="{left + 4}" y="{at + 12}" class="late">not finished in {late[name]} s</text>'
        else:
            yield f'<text x="{left + 4}" y="{at + 12}" class="late">not measured</text>'


def draw(kind, result):
    """The whole picture."""
    names = report.names(result)
    of = result["lower"][kind]
    panels = list(dict.fromkeys([*of["medians"], *of["unfinished"]]))
    height = _TITLE + len(names) * _BAR + _AXIS + _GAP
    wide = 2 * _EDGE + _COLUMNS * _WIDTH - _GAP
    versions = ", ".join(one["version"] for name, one in result["systems"].items() if name != "native")
    said = [
        f"{result['machine']}.",
        f"Medians of {result['rounds']} rounds; more is better; each panel logarithmic, with its own scale. "
        "In brackets: how many times as fast as it rekeyfs is.",
        *textwrap.wrap(versions, 190),
    ]
    top = _EDGE + _HEAD + len(said) * _LINE
    tall = top + -(-len(panels) // _COLUMNS) * height + _EDGE - _GAP
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}" height="{tall}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="11" fill="#24292f">',
        "<style>.head{font-weight:bold;font-size:16px}.title{font-weight:bold;font-size:12px}.grid{stroke:#d0d7de}"
        ".tick{fill:#57606a;font-size:9px;text-anchor:middle}.late{fill:#57606a;font-style:italic}"
        "text{paint-order:stroke;stroke:#ffffff;stroke-width:3px}</style>",
        f'<rect x="0.5" y="0.5" width="{wide - 1}" height="{tall - 1}" rx="6" fill="#ffffff" stroke="#d0d7de"/>',
        f'<text x="{_EDGE}" y="{_EDGE + 12}" class="head">rekeyfs beside other filesystems, on {escape(kind)}</text>',
    ]
    for number, line in enumerate(said):
        out.append(f'<text x="{_EDGE}" y="{_EDGE + _HEAD + number * _LINE}">{escape(line)}</text>')
    for number, workload in enumerate(panels):
        row, column = divmod(number, _COLUMNS)
        rates = {name: rate for name, rate in of["medians"].get(workload, {}).items() if rate}
        late = of["unfinished"].get(workload, {})
        out += _panel(workload, rates, late, names, _EDGE + column * _WIDTH, top + row * height)
    return "\n".join([*out, "</svg>"]) + "\n"
