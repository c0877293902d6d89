#!/usr/bin/env python3
"""Checks that what the documents name exists. Prints each thing that is missing, and ends with 1 if there is any.

- Paths below src, crates, tests, scripts, docs, fuzz and benches, in all documents. `*` and `{a,b}` stand for what they do in
  a shell.
- Links to files of the repository, and to headings in them.
- In ARCHITECTURE.md, Rust items in backticks: `Type::method`, `Type::field`, `Enum::Variant`, `module::function`. A folder's
  module counts as the module of what its files define, since it passes that on. An item with a path in brackets behind it is defined there, or below there.
- docs/README.md, the index, has each page of docs.
- Sources, tests and documents that refer to a part of a page, as in `docs/keys.md, "Revoking"`: the page has these words.
"""

import glob
import itertools
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INDEX = "docs/README.md"
WITH_ITEMS = "ARCHITECTURE.md"
# CHANGELOG.md isn't one of them: it tells of what was.
DOCUMENTS = [WITH_ITEMS, "CONTRIBUTING.md", "README.md", "SECURITY.md", "tests/README.md"]
PATH = re.compile(r"(?<![\w./$-])(?:src|crates|tests|scripts|docs|fuzz|benches)/[\w./*{},-]*")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ITEM = re.compile(r"`((?:\w+::)+\w+)(?:\(\))?`(?:\s\(`((?:src|crates)/[\w./-]+)`)?")
PART = re.compile(r'docs/([a-z-]+\.md),? \(?"([^"]+)"')
# What looks like a path and is none: a rate, in docs/performance.md.
NO_PATHS = {"crates/min"}


def expanded(path):
    """`a/{b,c}` is a/b and a/c."""
    parts = re.split(r"\{([^}]*)\}", path)
    choices = [part.split(",") if at % 2 else [part] for at, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def missing_paths(text):
    for found in PATH.findall(text):
        # A comma or dot behind a path is the sentence's.
        path = found.rstrip(".,-") if "{" not in found else found.rstrip(".-")
        path = path if path.count("{") == path.count("}") else path.split("{")[0]
        for one in expanded(path):
            if one not in NO_PATHS and not glob.glob(str(ROOT / one)):
                yield one


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def missing_links(document, text):
    for target in LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists():
            yield target
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
            yield target


def missing_parts():
    """Parts of pages that are named and aren't there; a name may go over the end of a comment's line."""
    for folder, ending in itertools.product(("src", "crates", "tests", "scripts", "fuzz", "docs"), ("rs", "py", "sh", "md")):
        for file in (ROOT / folder).rglob(f"*.{ending}"):
            text = re.sub(r"\n *(?://[!/]?|#)? *", " ", file.read_text())
            for page, part in PART.findall(text):
                there = ROOT / "docs" / page
                if not there.exists() or part.lower() not in there.read_text().lower():
                    yield f"{file.relative_to(ROOT)} names a part of docs/{page} that isn't there: {part}"


class Sources:
    """What the Rust files define. They are formatted: a block ends with a brace that stands where its line began."""

    BLOCK = re.compile(r"^( *)(?:pub(?:\([^)]*\))? )?(?:unsafe )?(impl|trait|enum|struct|mod)\b(.*)\{$")
    FUNCTION = re.compile(r"^( *)(?:pub(?:\([^)]*\))? )?(?:const )?(?:async )?(?:unsafe )?fn (\w+)")
    CONST = re.compile(r"^( *)(?:pub(?:\([^)]*\))? )?(?:const|static) (\w+)")
    FIELD = re.compile(r"^( *)(?:pub(?:\([^)]*\))? )?(\w+): ")
    VARIANT = re.compile(r"^ *([A-Z]\w*)(?: \{|\(|,| =|$)")

    def __init__(self):
        self.items = {}
        self.path = None
        for folder in ("src", "crates"):
            for path in (ROOT / folder).rglob("*.rs"):
                self.read(path)

    def read(self, path):
        self.path = str(path.relative_to(ROOT))
        parts = path.with_suffix("").relative_to(ROOT).parts
        blocks = [("mod", [part for part in parts if part not in ("src", "crates", "mod", "lib", "main")], -1)]
        for line in path.read_text().splitlines():
            indent = len(line) - len(line.lstrip(" "))
            if line.strip().startswith("}") and blocks[-1][2] == indent:
                blocks.pop()
            elif block := self.BLOCK.match(line):
                kind, rest = block.group(2), block.group(3)
                blocks.append((kind, self.names(kind, rest), indent))
            elif item := self.FUNCTION.match(line) or self.CONST.match(line):
                self.add(blocks[-1][1], item.group(2))
            elif indent == blocks[-1][2] + 4:
                if blocks[-1][0] == "enum" and (variant := self.VARIANT.match(line)):
                    self.add(blocks[-1][1], variant.group(1))
                elif blocks[-1][0] == "struct" and (field := self.FIELD.match(line)):
                    self.add(blocks[-1][1], field.group(2))

    @staticmethod
    def names(kind, rest):
        """What stands before `::` in the name of what is in the block."""
        rest = re.sub(r"<[^<>]*>", "", re.sub(r"<[^<>]*>", "", rest))
        if kind == "impl":
            rest = rest.split(" where ")[0]
            names = [part.strip().split("::")[-1].split(" ")[0] for part in rest.split(" for ")]
        else:
            names = [re.split(r"[^\w]", rest.strip())[0]]
        return names

    def add(self, names, item):
        for name in names:
            self.items.setdefault((name, item), set()).add(self.path)

    def wrong(self, item, place):
        """What is wrong with a name, and with the place where it is said to be; None if nothing is."""
        of, name = item.split("::")[-2:]
        paths = self.items.get((of, name))
        if not paths:
            return f"{item}, which no source defines"
        if place and not any(path == place or path.startswith(place.rstrip("/") + "/") for path in paths):
            return f"{item} as if it were in {place}"
        return None


def main():
    problems = []
    documents = [ROOT / name for name in DOCUMENTS]
    documents += sorted((ROOT / "docs").rglob("*.md"))
    for document in documents:
        name = document.relative_to(ROOT)
        if not document.exists():
            problems.append(f"{name} isn't there")
            continue
        text = document.read_text()
        problems += [f"{name} names {path}, which isn't there" for path in missing_paths(text)]
        problems += [f"{name} links to {target}, which isn't there" for target in missing_links(document, text)]
    sources = Sources()
    items = ITEM.findall((ROOT / WITH_ITEMS).read_text())
    problems += [f"{WITH_ITEMS} names {wrong}" for item in items if (wrong := sources.wrong(*item))]
    problems += missing_parts()
    listed = {target.partition("#")[0] for target in LINK.findall((ROOT / INDEX).read_text())}
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    problems += [f"{INDEX} lacks {page}" for page in sorted(pages - listed)]
    for problem in sorted(set(problems)):
        print(problem)
    return 1 if problems or not items else 0


if __name__ == "__main__":
    sys.exit(main())
