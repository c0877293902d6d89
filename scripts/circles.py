#!/usr/bin/env python3
"""Circles of imports between the files of a crate, found by their `use` lines and paths. Prints each circle and ends with 1 if
there is one. Run by scripts/layers.sh. Tests don't count: theirs are allowed to look anywhere."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = [ROOT / "src", *sorted(ROOT.glob("crates/*/src"))]


def without_tests(text):
    """The code without comments, string contents and `#[cfg(test)]` items."""
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r"\bpub\s*\([^)]*\)", "pub", text)
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', text)
    out, at = [], 0
    for found in re.finditer(r"#\[cfg\((?:test|all\(test|any\(test)[^\]]*\]\s*", text):
        if found.start() < at:
            continue
        out.append(text[at : found.start()])
        depth, at = 0, found.end()
        while at < len(text):
            at += 1
            if text[at - 1] == "{":
                depth += 1
            elif text[at - 1] == "}":
                depth -= 1
                if depth == 0:
                    break
            elif text[at - 1] == ";" and depth == 0:
                break
    return "".join(out) + text[at:]


def module(path, src):
    parts = path.relative_to(src).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts


def expand(tree):
    """The paths of a `use` tree: `a::{b, c as d}` is a::b and a::c."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        return [tuple(part.strip() for part in re.sub(r"\s+as\s+\w+", "", tree).split("::") if part.strip())]
    prefix = tuple(part.strip() for part in tree[:brace].split("::") if part.strip())
    inner, parts, depth, start = tree[brace + 1 : tree.rindex("}")], [], 0, 0
    for at, char in enumerate(inner):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            parts.append(inner[start:at])
            start = at + 1
    parts.append(inner[start:])
    return [prefix + path for part in parts if part.strip() for path in expand(part)]


class Tree:
    def __init__(self, src):
        files = [f for f in src.rglob("*.rs") if "tests" not in f.relative_to(src).with_suffix("").parts and f.stem != "testing"]
        self.code = {module(f, src): without_tests(f.read_text()) for f in files}
        self.uses = {name: self._uses(name, text) for name, text in self.code.items()}

    def absolute(self, name, path):
        """A path as seen from a module, from the crate's root on; none if it leads out of the crate."""
        if path and path[0] == "crate":
            return path[1:]
        if path and path[0] in ("super", "self"):
            at = name
            while path and path[0] in ("super", "self"):
                at, path = (at[:-1] if path[0] == "super" else at), path[1:]
            return at + path
        return name + path if path and name + path[:1] in self.code else None

    def _uses(self, name, text):
        found = []
        for public, tree in re.findall(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", text):
            found += [(bool(public), path) for tree in [tree] for path in expand(tree)]
        rest = re.sub(r"\buse\s+[^;]+;", "", text)
        found += [(False, tuple(path.split("::"))) for path in re.findall(r"\b(?:crate|super)(?:::\w+)+", rest)]
        found += [
            (False, tuple(path.split("::")))
            for path in re.findall(r"(?<![\w:])[a-z_]\w*(?:::\w+)+", rest)
            if name + (path.split("::")[0],) in self.code
        ]
        return [(public, a) for public, path in found if (a := self.absolute(name, path)) is not None]

    def file_of(self, path, seen=()):
        """The module that defines what a path names: re-exports are followed."""
        at = path
        while at not in self.code:
            at = at[:-1]
            if not at:
                return ()
        rest = path[len(at) :]
        if not rest or (at, rest) in seen:
            return at
        for public, target in self.uses[at]:
            if public and target[-1:] in (rest[:1], ("*",)):
                target = target if target[-1] != "*" else target[:-1] + rest[:1]
                to = self.file_of(target, seen + ((at, rest),))
                if target[-1] == rest[0] and (to != at):
                    if "*" in str(target) or re.search(rf"\b{re.escape(rest[0])}\b", self.code.get(to, "")):
                        return to
        return at

    def names(self, module, item):
        """Whether a module's code, its `use` and `mod` lines aside, names an item that it passes on."""
        return re.search(rf"(?<![\w:]){item}\b", re.sub(r"\b(?:use\s+[^;]+|mod\s+\w+);", "", self.code[module]))

    def imports(self):
        edges = {name: set() for name in self.code}
        for name, uses in self.uses.items():
            for public, path in uses:
                if path == name or (public and path[: len(name)] == name and not self.names(name, path[-1])):
                    continue  # a module's list of what it offers is no use of it
                # What a private `use` of the parent brings in stands for its own place.
                to = self.file_of(path)
                if to and to != name:
                    edges[name].add(to)
        return edges


def circles(edges):
    """Tarjan's strongly connected components of more than one file."""
    index, low, stack, on, out, count = {}, {}, [], set(), [], [0]

    def visit(v):
        work = [(v, iter(sorted(edges[v])))]
        index[v] = low[v] = count[0]
        count[0] += 1
        stack.append(v)
        on.add(v)
        while work:
            node, rest = work[-1]
            for w in rest:
                if w not in index:
                    index[w] = low[w] = count[0]
                    count[0] += 1
                    stack.append(w)
                    on.add(w)
                    work.append((w, iter(sorted(edges[w]))))
                    break
                if w in on:
                    low[node] = min(low[node], index[w])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = []
                    while True:
                        w = stack.pop()
                        on.discard(w)
                        part.append(w)
                        if w == node:
                            break
                    if len(part) > 1:
                        out.append(sorted(part))

    for v in sorted(edges):
        if v not in index:
            visit(v)
    return out


def main():
    bad = 0
    for src in SOURCES:
        edges = Tree(src).imports()
        for part in circles(edges):
            bad += 1
            print(f"circle of {len(part)} files in {src.relative_to(ROOT)}:")
            for name in part:
                to = ", ".join("/".join(n) for n in sorted(edges[name] & set(part)))
                print(f"  {'/'.join(name)} -> {to}")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
