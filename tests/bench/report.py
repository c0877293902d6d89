"""The results as text: a table for the terminal, and the page docs/performance.md."""

from systems import SYSTEMS

_PEERS = ("gocryptfs", "securefs")


def _ratio(rates, other):
    return f"{rates['rekeyfs'] / other:.2f}" if other and rates.get("rekeyfs") else "-"


def _rate(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def rows(kind, result):
    """Heading and lines: a workload, the rate of each system, rekeyfs against the better peer, libfuse, the lower."""
    names = [system.name for system in SYSTEMS if system.name in result["systems"]]
    lines = [["workload", *names, "vs better of gocryptfs, securefs", "vs passthrough_hp", "vs native"]]
    for workload, rates in result["lower"][kind]["medians"].items():
        better = max((rates[peer] for peer in _PEERS if peer in rates), default=None)
        lines.append([
            workload, *(_rate(rates.get(name)) for name in names),
            _ratio(rates, better), _ratio(rates, rates.get("passthrough_hp")), _ratio(rates, rates.get("native")),
        ])  # fmt: skip
    return lines


def keys(kind, result):
    """Sentences on rotation and sweeps; none where they weren't measured."""
    of = result["lower"][kind].get("keys")
    if not of:
        return []
    return [
        f"rotate: {of['rotate few'] * 1000:.0f} ms at 10 files, {of['rotate many'] * 1000:.0f} ms at {of['files']:,} "
        "(the command's start included)",
        f"rewrap: {of['sweep']:,.0f} files a second",
    ]


def table(kind, result):
    """For the terminal."""
    lines = rows(kind, result)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(line, widths)))
        for line in lines
    ]  # fmt: skip
    return "\n".join([f"on {kind}, medians of {result['rounds']} rounds:", *text, *keys(kind, result)])


def page(result):
    """docs/performance.md."""
    out = [
        "# Performance",
        "",
        "Written by `scripts/bench.sh`, which installs what is compared, runs it and needs root: "
        "`scripts/bench.sh --out docs`. Its source, tests/bench/, says what each workload does.",
        "",
        f"Machine: {result['machine']}. All systems in each of {result['rounds']} rounds, in turn; medians. "
        "Rates, so more is better; cold means after a remount, with the lower filesystem's own cache warm.",
        "",
    ]
    if result["quick"]:
        out += ["**Tiny sizes (`--quick`): these figures say nothing about speed.**", ""]
    out += ["| system | version | options beyond its defaults |", "|--|--|--|"]
    out += [f"| {name} | {of['version']} | {of['options']} |" for name, of in result["systems"].items()]
    for kind in result["lower"]:
        lines = rows(kind, result)
        out += ["", f"## On {kind}", "", f"![rates on {kind}](performance-{kind}.svg)", ""]
        out += [f"| {' | '.join(lines[0])} |", "|--" + "|--:" * (len(lines[0]) - 1) + "|"]
        out += [f"| {' | '.join(line)} |" for line in lines[1:]]
        out += [line for said in keys(kind, result) for line in ("", said + ".")]
    return "\n".join(out) + "\n"
