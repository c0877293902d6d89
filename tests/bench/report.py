"""The results as tables: for the terminal, and as what page.py makes docs/performance.md of."""

import goals
from systems import SYSTEMS


def rate(value):
    """A rate as it is printed."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def names(result):
    """The systems that were compared, in their order."""
    return [system.name for system in SYSTEMS if system.name in result["systems"]]


def rates(kind, result):
    """Heading and lines: a workload, and the median rate of each system."""
    of = result["lower"][kind]
    lines = [["workload", *names(result)]]
    for workload in dict.fromkeys([*of["medians"], *of["unfinished"]]):
        late = of["unfinished"].get(workload, {})
        cells = [
            f"not in {late[name]} s" if name in late else rate(of["medians"].get(workload, {}).get(name))
            for name in names(result)
        ]
        lines.append([workload, *cells])
    return lines


def ratios(kind, result, spread):
    """Heading and lines: a workload, and the ratios that goals are about; with their least and most where `spread`."""
    null = "rekeyfs-null" in result["systems"]

    def cells(ratio):
        if not spread:
            return [str(ratio) if ratio else "-"]
        return [str(ratio), ratio.spread()] if ratio else ["-", "-"]

    def heading(name):
        return [name, "least .. most"] if spread else [name]

    lines = [[
        "workload", "better peer", *heading("to it"), *heading("to passthrough_hp"), *heading("to native"),
        *(heading("to no cipher") if null else ()), "goal",
    ]]  # fmt: skip
    for workload, by_system in result["lower"][kind]["rounds"].items():
        verdict = goals.judge(by_system)
        mark = {None: "-", True: "met", False: "**behind**" if verdict.behind else "missed"}[verdict.met]
        lines.append([
            workload, verdict.peer or "-", *cells(verdict.to_peer), *cells(verdict.to_passthrough),
            *cells(verdict.to_native), *(cells(verdict.to_null) if null else ()), mark,
        ])  # fmt: skip
    return lines


def options(kind, result):
    """Heading and lines: a workload, and what a mount option makes of its rate."""
    rounds = result["lower"][kind].get("options", {})
    others = sorted({name for by_system in rounds.values() for name in by_system} - {"rekeyfs"})
    lines = [["workload", *(f"`{name.removeprefix('rekeyfs ')}`" for name in others)]]
    for workload, by_system in rounds.items():
        each = [goals.ratio(by_system, "rekeyfs", of=name) for name in others]
        lines.append([workload, *(f"{ratio} ({ratio.spread()})" if ratio else "-" for ratio in each)])
    return lines if others else []


def keys(kind, result):
    """Sentences on rotations, opens, sweeps and memory; none where they weren't measured."""
    of = result["lower"][kind].get("keys")
    if not of:
        return []
    few, many = of["rotate few"], of["rotate many"]

    def times(at):
        return f"{at['median']:.1f} ms (quartiles {at['low']:.1f} .. {at['high']:.1f})"

    return [
        f"rotate: {times(few)} at {of['few']} files, {times(many)} at {of['files']:,}, the command's start included",
        f"first open and read of a stale file: {of['stale open']:.3f} of what a fresh one's takes "
        f"({of['fresh open us']:.0f} us)",
        f"rewrap: {of['sweep']:,.0f} files a second; `find -type f -exec touch {{}} +` on the ciphertext: "
        f"{of['touch']:,.0f}",
        f"memory of the daemon: {of['memory before'] / 1e6:.1f} MB after the mount, {of['memory after'] / 1e6:.1f} MB "
        f"when the kernel knows {of['files']:,} files ({of['inode bytes']:.0f} bytes an inode)",
    ]


def aligned(lines):
    """Heading and lines in columns of equal width."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(line, widths)))
        for line in lines
    ]  # fmt: skip


def table(kind, result):
    """For the terminal."""
    text = [f"on {kind}, medians of {result['rounds']} rounds:", *aligned(rates(kind, result)), ""]
    text += [*aligned(ratios(kind, result, spread=False)), ""]
    text += [f"{mark}: {goal}: {measured}" for goal, measured, mark in goals.summary(kind, result)]
    changed = options(kind, result)
    text += ["", *aligned(changed)] if changed else []
    return "\n".join([*text, *keys(kind, result)])
