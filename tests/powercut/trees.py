"""The workload on names: files and directories created, linked, renamed, exchanged, removed, and names used again.

Changes are made in small groups; then the files and directories concerned are synced and a mark says so. The lower
filesystem orders its metadata, so after a cut the tree must be as after some number of the changes under way, and every
file that a group's sync covered must have its content, wherever a rename took it.
"""

import hashlib
import os
import random
import stat

from files import sync_directory
from kernel import exchange

_SHORT = ["a", "b", "c", "d", "e"]
# The last two are too long for an encrypted name to be stored as one name.
_NAMES = _SHORT + ["m" * 100, "long-" + "x" * 195, "longest-" + "y" * 247]


_XATTR = "user.of.the.rig"


def content(number, length):
    """A file's bytes: of the number of the change that created it."""
    return hashlib.shake_128(f"tree {number}".encode()).digest(length)


def apply(tree, number, op):
    """Makes a change to a model: path -> ("dir",) | ("file", number, length, mode, xattr) | ("symlink", target)."""
    kind, *args = op
    if kind == "mkdir":
        tree[args[0]] = ("dir",)
    elif kind == "create":
        tree[args[0]] = ("file", number, args[1], 0o600, None)
    elif kind == "symlink":
        tree[args[0]] = ("symlink", args[1])
    elif kind in ("unlink", "rmdir"):
        del tree[args[0]]
    elif kind in ("chmod", "xattr"):
        old = tree[args[0]]
        new = old[:3] + ((args[1], old[4]) if kind == "chmod" else (old[3], args[1]))
        for path in [path for path, node in tree.items() if node == old]:
            tree[path] = new
    elif kind == "link":
        tree[args[1]] = tree[args[0]]
    elif kind == "rename":
        _move(tree, ((args[0], args[1]),))
    elif kind == "exchange":
        _move(tree, ((args[0], args[1]), (args[1], args[0])))


def _move(tree, pairs):
    taken = []
    for old, new in pairs:
        for path in [path for path in tree if path == old or path.startswith(old + "/")]:
            taken.append((new + path[len(old):], tree.pop(path)))
    tree.update(taken)


def _below(path, top):
    return path == top or path.startswith(top + "/")


def _draw(rng, tree):
    """A change that can be made to this tree."""
    dirs = [""] + [path for path, node in tree.items() if node[0] == "dir"]
    rest = [path for path, node in tree.items() if node[0] != "dir"]
    for _ in range(50):
        top = rng.choice(dirs)
        path = (top + "/" if top else "") + rng.choice(_NAMES)
        kind = rng.choice(("create", "create", "create", "mkdir", "mkdir", "symlink", "link", "unlink", "rmdir",
                           "rename", "rename", "rename", "rename-dir", "rename-dir", "exchange", "chmod", "xattr"))
        if kind in ("create", "mkdir", "symlink"):
            if path in tree or len(tree) > 60 or path.count("/") > 4:
                continue
            if kind == "create":
                return ["create", path, rng.choice((0, 10, 3044, 5000, 30000))]
            return ["mkdir", path] if kind == "mkdir" else ["symlink", path, "target/" + "t" * rng.randint(1, 300)]
        files = [path for path in rest if tree[path][0] == "file"]
        if kind == "chmod" and files:
            return ["chmod", rng.choice(files), 0o400 | rng.randrange(0o400)]
        if kind == "xattr" and files:
            return ["xattr", rng.choice(files), "value " * rng.randint(1, 20)]
        if kind == "link" and rest and path not in tree:
            return ["link", rng.choice(rest), path]
        if kind == "unlink" and rest:
            return ["unlink", rng.choice(rest)]
        if kind == "rmdir":
            empty = [d for d in dirs[1:] if not any(p.startswith(d + "/") for p in tree)]
            if empty:
                return ["rmdir", rng.choice(empty)]
        if kind in ("rename", "rename-dir", "exchange"):
            sources = dirs[1:] if kind == "rename-dir" else list(tree)
            if not sources:
                continue
            old = rng.choice(sources)
            if kind == "exchange":
                path = rng.choice(list(tree))
            if _below(path, old) or _below(old, path):
                continue
            if kind == "exchange":
                return ["exchange", old, path]
            there = tree.get(path)
            if there is not None:
                if (there[0] == "dir") != (tree[old][0] == "dir") or any(p.startswith(path + "/") for p in tree):
                    continue
                if there == tree[old]:
                    continue  # two links of one file: rename does nothing
            return ["rename", old, path]
    return ["mkdir", f"spare{rng.randint(0, 10 ** 9)}"]


class _Group:
    """The descriptors to sync before a group is promised, and the changes themselves."""

    def __init__(self, root):
        self._root = root
        self._files = []
        self._dirs = {}

    def _open_parent(self, path):
        parent = os.path.join(self._root, os.path.dirname(path))
        inode = os.stat(parent).st_ino
        if inode not in self._dirs:
            self._dirs[inode] = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)

    def _forget(self, path):
        """A directory that is about to be removed, or replaced, needs no sync, and not every filesystem can."""
        try:
            fd = self._dirs.pop(os.lstat(path).st_ino, None)
        except FileNotFoundError:
            return
        if fd is not None:
            os.close(fd)

    def perform(self, number, op):
        kind, *args = op
        full = [os.path.join(self._root, arg) for arg in args if isinstance(arg, str)]
        if kind not in ("chmod", "xattr"):  # which the file's own sync must cover
            self._open_parent(args[0])
        if kind in ("link", "rename", "exchange"):
            self._open_parent(args[1])
        if kind in ("rmdir", "rename"):
            self._forget(full[-1])
        if kind == "mkdir":
            os.mkdir(full[0])
        elif kind == "create":
            fd = os.open(full[0], os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            self._files.append(fd)
            os.write(fd, content(number, args[1]))
        elif kind in ("chmod", "xattr"):
            self._files.append(os.open(full[0], os.O_RDONLY))
            if kind == "chmod":
                os.chmod(full[0], args[1])
            else:
                os.setxattr(full[0], _XATTR, args[1].encode())
        elif kind == "symlink":
            os.symlink(args[1], full[0])
        elif kind == "unlink":
            os.unlink(full[0])
        elif kind == "rmdir":
            os.rmdir(full[0])
        elif kind == "link":
            os.link(full[0], full[1], follow_symlinks=False)
        elif kind == "rename":
            os.rename(full[0], full[1])
        else:
            exchange(full[0], full[1])

    def sync(self):
        for fd in self._files + list(self._dirs.values()):
            try:
                if os.fstat(fd).st_nlink:
                    os.fsync(fd)
            finally:
                os.close(fd)


class TreeWorkload:
    name = "tree"

    def run(self, root, mark, seed, stop):
        """Works below `root` until `stop` says so; `mark` logs a promise and returns when it is logged."""
        rng = random.Random(seed)
        top = os.path.join(root, "tree")
        os.mkdir(top)
        sync_directory(top)
        sync_directory(root)
        mark({"tree-synced": 0})
        tree, number = {}, 0
        while not stop():
            group = _Group(top)
            for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
                op = _draw(rng, tree)
                number += 1
                mark({"tree": number, "op": op})
                try:
                    group.perform(number, op)
                except OSError as problem:
                    raise RuntimeError(_shorten(f"{op} gives {problem.strerror}")) from problem
                apply(tree, number, op)
            group.sync()
            mark({"tree-synced": number})

    def check(self, root, marks):
        """What was promised by these marks and isn't so: a list of sentences."""
        synced = max((mark["tree-synced"] for mark in marks if "tree-synced" in mark), default=None)
        if synced is None:
            return []
        ops = [(mark["tree"], mark["op"]) for mark in marks if "tree" in mark]
        tree, candidates = {}, []
        for number, op in ops:
            if number > synced and not candidates:
                candidates.append(dict(tree))
            apply(tree, number, op)
            if number > synced:
                candidates.append(dict(tree))
        candidates = candidates or [tree]
        top = os.path.join(root, "tree")
        try:
            found, problems = _walk(top)
        except OSError as problem:
            return [_shorten(f"the tree can't be listed: {problem}")]
        if problems:
            return problems
        tries = [_differences(found, candidate, synced) for candidate in candidates]
        best = min(tries, key=len)
        if best:
            under_way = [op for number, op in ops if number > synced]
            return [_shorten(line) for line in best[:8]] + [_shorten(f"under way: {under_way}")]
        return _exercise(top, found)


def _walk(top):
    """The tree as it is: path -> ("dir",) | ("file", bytes or error, mode, xattr) | ("symlink", target)."""
    found, problems = {}, []
    stack = [""]
    while stack:
        at = stack.pop()
        for name in os.listdir(os.path.join(top, at)):
            path = os.path.join(at, name)
            full = os.path.join(top, path)
            try:
                if os.path.islink(full):
                    found[path] = ("symlink", os.readlink(full))
                elif os.path.isdir(full):
                    found[path] = ("dir",)
                    stack.append(path)
                else:
                    mode = stat.S_IMODE(os.lstat(full).st_mode)
                    xattr = os.getxattr(full, _XATTR).decode() if _XATTR in os.listxattr(full) else None
                    try:
                        with open(full, "rb") as file:
                            found[path] = ("file", file.read(), mode, xattr)
                    except OSError as problem:
                        found[path] = ("file", problem, mode, xattr)
            except OSError as problem:
                problems.append(_shorten(f"{path} is listed but can't be looked at: {problem}"))
    return found, problems


def _differences(found, expected, synced):
    lines = []
    for path in sorted(set(found) | set(expected)):
        have, want = found.get(path), expected.get(path)
        if want is None:
            lines.append(f"{path} should not be there")
        elif have is None:
            lines.append(f"{path} is missing ({want[0]})")
        elif have[0] != want[0]:
            lines.append(f"{path} is a {have[0]}, not a {want[0]}")
        elif want[0] == "symlink" and have != want:
            lines.append(f"{path} points elsewhere")
        elif want[0] == "file" and have[2:] != want[3:]:
            lines.append(f"{path} has mode {have[2]:o} and xattr {have[3]!r}, not {want[3]:o} and {want[4]!r}")
        elif want[0] == "file" and have[1] != content(want[1], want[2]):
            if want[1] <= synced:
                lines.append(f"{path} lost its content: {_told(have[1], want[2])}")
            elif isinstance(have[1], bytes):
                # Never promised: each byte is the one written, or zero where it didn't get there.
                full = content(want[1], want[2])
                if len(have[1]) > want[2] or any(a not in (0, b) for a, b in zip(have[1], full)):
                    lines.append(f"{path}, not yet promised, has bytes that no one wrote")
    return lines


def _told(have, length):
    return repr(have) if isinstance(have, OSError) else f"{len(have)} bytes read, {length} were written"


def _exercise(top, found):
    """Works on in the tree as a power cut left it: every directory takes a new file, and can be renamed."""
    for path in [""] + [path for path, node in found.items() if node[0] == "dir"]:
        full = os.path.join(top, path, "after the cut " + "z" * 200)
        try:
            with open(full, "xb") as file:
                file.write(b"works on")
                file.flush()
                os.fsync(file.fileno())
            os.unlink(full)
            if path:
                aside = os.path.join(top, os.path.dirname(path), "aside")
                os.rename(os.path.join(top, path), aside)
                os.rename(aside, os.path.join(top, path))
        except OSError as problem:
            return [_shorten(f"{path or 'the top'} can't be worked on in: {problem}")]
    again, problems = _walk(top)
    if problems or _shape(again) != _shape(found):
        return problems or ["the tree changed by renaming its directories and back"]
    return []


def _shape(tree):
    return {path: node if node[0] != "file" else "file" for path, node in tree.items()}


def _shorten(text):
    for name in _NAMES:
        if len(name) > 20:
            text = text.replace(name, name[:8] + f"~{len(name)}")
    return text


TREE = TreeWorkload()
