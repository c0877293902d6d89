#!/usr/bin/env python3
"""Puts documents into the package: documents.py DIRECTORY FILE..., each under the path that it has in the sources. A link to
what isn't among them becomes its text, as the sources aren't on the machine. A picture must be among them: what it shows, told
in words, would stand there as a sentence out of place."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def installed(document, files):
    """The document's text, as it is on a machine that has these files."""

    def link(found):
        path = found[2].partition("#")[0]
        there = "://" in path or path.startswith("mailto:") or not path or (document.parent / path).resolve() in files
        if not there and found[0].startswith("!"):
            sys.exit(f"{document.relative_to(ROOT)}: its picture {found[2]} is not among the files")
        return found[0] if there else found[1]

    return LINK.sub(link, document.read_text())


def main(directory, *names):
    files = {(ROOT / name).resolve() for name in names}
    for file in sorted(files):
        place = pathlib.Path(directory) / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.parent.chmod(0o755)
        if file.suffix == ".md":
            place.write_text(installed(file, files))
        else:
            place.write_bytes(file.read_bytes())
        place.chmod(0o644)


if __name__ == "__main__":
    main(*sys.argv[1:])
