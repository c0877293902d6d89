"""What the headers of lower files say, read without a key, and what was promised of them: a file that a sweep reported
as re-wrapped bears no older version in either slot, and the old file of one that was re-encrypted is gone."""

import os
import struct

_SLOT = 512
_MAGIC = b"RKFS"


def _header(path):
    """(file id, key versions of the slots that are there); None for a file without a header."""
    try:
        with open(path, "rb") as file:
            page = file.read(2 * _SLOT)
    except OSError:
        return None  # gone meanwhile
    slots = [page[at:at + _SLOT] for at in (0, _SLOT) if page[at:at + 4] == _MAGIC]
    if not slots:
        return None
    return slots[0][16:32].hex(), [struct.unpack_from("<I", slot, 48)[0] for slot in slots]


def below(tree):
    """The headers of a vault's files, by lower path and by inode number."""
    by_path, by_ino = {}, {}
    for at, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(at, name)
            # rekeyfs's own begin with a dot, but for the entries of long names.
            if name.startswith(".") and (not name.startswith(".long.") or name.endswith(".name")):
                continue
            try:
                ino = os.lstat(path).st_ino
            except OSError:
                continue
            header = _header(path) if os.path.isfile(path) and not os.path.islink(path) else None
            if header:
                by_path[path] = by_ino[ino] = header
    return by_path, by_ino


def settled(before, after, version):
    """The ids of files that were in one place all the time of a sweep, so that it can't have missed them, and bear no
    version below `version` behind it."""
    return sorted({file for path, (file, versions) in after.items()
                   if before.get(path, (None,))[0] == file and min(versions) >= version})


def problems(tree, marks):
    """What was promised by these marks and isn't so: a list of sentences."""
    promised, gone = {}, set()
    for mark in marks:
        for file in mark.get("settled", ()):
            promised[file] = max(mark["swept"], promised.get(file, 0))
        if "reencrypted" in mark:
            gone.add(mark["reencrypted"])
    if not promised and not gone:
        return []
    found = []
    for file, versions in below(tree)[1].values():
        if file in gone:
            found.append(f"file {file} was reported as re-encrypted, and the old one is there")
        if min(versions) < promised.get(file, 0):
            found.append(f"file {file} was reported as re-wrapped to version {promised[file]}, its slots bear {versions}")
    return found
