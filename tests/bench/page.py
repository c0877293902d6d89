"""docs/performance.md: the figures between the prose of performance.md.in."""

import pathlib

import goals
import report

_PROSE = pathlib.Path(__file__).with_name("performance.md.in")


def markdown(lines, left=1):
    """Heading and lines as a table; so many columns are text."""
    if not lines:
        return ["Not measured."]
    count = len(lines[0])
    out = [f"| {' | '.join(lines[0])} |", "|--" * min(left, count) + "|--:" * (count - left) + "|"]
    return out + [f"| {' | '.join(line)} |" for line in lines[1:]]


def _systems(result):
    lines = [["system", "version", "options beyond its defaults"]]
    lines += [[name, of["version"], f"`{of['options']}`" if of["options"] else ""]
              for name, of in result["systems"].items()]  # fmt: skip
    return markdown(lines, left=3)


def _goals(result):
    kinds = list(result["lower"])
    columns = {}
    for kind in kinds:
        for goal, measured, mark in goals.summary(kind, result):
            columns.setdefault(goal, {})[kind] = f"**{mark}**: {measured}"
    lines = [["goal", *kinds]]
    lines += [[goal, *(at.get(kind, "-") for kind in kinds)] for goal, at in columns.items()]
    return markdown(lines, left=len(kinds) + 1)


def _figures(result):
    out = []
    for kind in result["lower"]:
        out += [f"## On {kind}", "", f"![rates on {kind}](performance-{kind}.svg)", ""]
        stolen = result["lower"][kind].get("stolen")
        if stolen:
            out += [f"The machine's host took {min(stolen):.1%} to {max(stolen):.1%} of the processors in a round.", ""]
        out += ["What rekeyfs reaches of the others' rates (medians of the rounds, least and most):", ""]
        out += [*markdown(report.ratios(kind, result, spread=True), left=2), "", "Rates:", ""]
        out += markdown(report.rates(kind, result))
        out += [line for said in report.keys(kind, result) for line in ("", f"- {said}")]
        out += [""]
    return out[:-1]


def _options(result):
    out = []
    for kind in result["lower"]:
        out += [f"On {kind}:", "", *markdown(report.options(kind, result)), ""]
    return out[:-1]


def page(result, applications):
    """The whole page; with the lines of a section on applications, if they were measured."""
    run = f"{result['machine']}. All systems in each of {result['rounds']} rounds; it took {result['minutes']} minutes."
    if result["quick"]:
        run += "\n\n**Tiny sizes (`--quick`): these figures say nothing about speed.**"
    text = _PROSE.read_text()
    parts = {
        "RUN": [run], "SYSTEMS": _systems(result), "GOALS": _goals(result), "FIGURES": _figures(result),
        "OPTIONS": _options(result), "APPS": applications,
    }  # fmt: skip
    for name, lines in parts.items():
        text = text.replace(f"@{name}@", "\n".join(lines))
    return text
