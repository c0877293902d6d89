#!/usr/bin/env python3
"""Prints the licences of the crates that the program is built from, with their texts, for the package: most licences
want their notice wherever the program goes. Takes what cargo would build for this machine, from the sources that it has fetched.

    licences.py            the program and the console
    licences.py CUSTODIAN  the helper of a custodian that is a feature of its own"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
HELPERS = sys.argv[1:]
PROGRAMS = ("rekeyfs-custodians",) if HELPERS else ("rekeyfs", "rekeyfs-console")
NOTICES = ("license", "licence", "copying", "copyright", "notice", "unlicense")


def metadata():
    host = next(line.split()[1] for line in run("rustc", "-vV").splitlines() if line.startswith("host:"))
    features = [f"--features=rekeyfs-custodians/{helper}" for helper in HELPERS]
    return json.loads(run("cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={host}", *features))


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(data):
    """The ids of all packages below the programs but those of tests and of build scripts."""
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    waiting = [package["id"] for package in data["packages"] if package["name"] in PROGRAMS]
    found = set()
    while waiting:
        package = waiting.pop()
        if package not in found:
            found.add(package)
            for dep in nodes[package]["deps"]:
                if any(kind["kind"] is None for kind in dep["dep_kinds"]):
                    waiting.append(dep["pkg"])
    return found


def main():
    data = metadata()
    wanted = linked(data)
    texts = {}
    crates = [p for p in data["packages"] if p["id"] in wanted and p["source"] is not None]
    for crate in sorted(crates, key=lambda crate: (crate["name"], crate["version"])):
        about = f"{crate['name']} {crate['version']}"
        print(f"{about}: {crate['license'] or 'see below'}")
        for path in sorted(pathlib.Path(crate["manifest_path"]).parent.iterdir()):
            if path.is_file() and path.name.lower().startswith(NOTICES):
                texts.setdefault(path.read_text(errors="replace").strip(), []).append(f"{about}, {path.name}")
    if not crates or not texts:
        sys.exit("no crates were found")
    for text, files in texts.items():
        print(f"\n{'=' * 78}\n" + "\n".join(files) + f"\n{'-' * 78}\n{text}")


if __name__ == "__main__":
    main()
