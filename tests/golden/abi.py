"""The surface that docs/cli-abi.md promises, read from the program: commands with their options, and exit statuses. Fields of
JSON are in docs/schemas.

    abi.py REKEYFS          compares with abi.json: nothing of it may be missing, and nothing new unrecorded
    abi.py REKEYFS --add    records what is new; what is recorded stays
"""

import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
RECORD = HERE / "abi.json"
OPTION = re.compile(r"^ +(?:(-\w), )?(--[a-z][a-z0-9-]*)", re.MULTILINE)
COMMAND = re.compile(r"^  ([a-z][a-z-]*)  ", re.MULTILINE)
STATUS = re.compile(r"^ +(\d+)  ", re.MULTILINE)


def help_of(binary, words):
    return subprocess.run([binary, *words, "--help"], capture_output=True, text=True, check=True).stdout


def commands(binary, words=()):
    """Each command with its options, by its words."""
    text = help_of(binary, words)
    _, _, listed = text.partition("Commands:\n")
    # What stands behind the options, such as exit statuses, names options too.
    options = text.partition("Options:\n")[2].partition("\n\nExit status")[0]
    found = {" ".join(words): sorted({name for pair in OPTION.findall(options) for name in pair if name})} if words else {}
    for name in COMMAND.findall(listed.partition("\n\n")[0]):
        if name != "help":
            found.update(commands(binary, (*words, name)))
    return found


def surface(binary):
    statuses = {
        name: sorted({int(number) for number in STATUS.findall(help_of(binary, words).partition("Exit status")[2])})
        for name, words in (("rekeyfs", ()), ("rekeyfs fsck", ("fsck",)), ("rekeyfs kms", ("kms",)))
    }
    return {"commands": commands(binary), "statuses": statuses}


def difference(recorded, now):
    """What is recorded and gone, and what is there and not recorded."""
    gone, new = [], []
    for part in ("commands", "statuses"):
        for name in recorded[part].keys() | now[part].keys():
            old, current = set(recorded[part].get(name, [])), set(now[part].get(name, []))
            if name not in now[part]:
                gone.append(name)
            if name not in recorded[part]:
                new.append(name)
            gone += [f"{name} {item}" for item in sorted(old - current, key=str)]
            new += [f"{name} {item}" for item in sorted(current - old, key=str)]
    return gone, new


def main(binary, add):
    now = surface(binary)
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {"commands": {}, "statuses": {}}
    gone, new = difference(recorded, now)
    for line in gone:
        print(f"gone, though scripts may rely on it (docs/cli-abi.md): {line}")
    if add and not gone:
        # A line for each command, so that a change shows in a diff.
        parts = []
        for part in sorted(now):
            lines = [f"  {json.dumps(name)}: {json.dumps(now[part][name])}" for name in sorted(now[part])]
            parts.append(f' "{part}": {{\n' + ",\n".join(lines) + "\n }")
        RECORD.write_text("{\n" + ",\n".join(parts) + "\n}\n")
    elif new:
        for line in new:
            print(f"new, and not recorded: {line}; `tests/golden/abi.py REKEYFS --add` does")
    return 1 if gone or (new and not add) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "--add" in sys.argv[2:]))
