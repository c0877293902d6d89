"""Whether what was read of a file are bytes that were written to it, where several contents are possible."""

import itertools


def explains(candidates, seen):
    """Whether each byte of `seen` is at its place in one of the contents; None among them is no file."""
    if seen in candidates:
        return True
    if len(candidates) == 1:
        return False
    # Emptied, and not yet written.
    if seen == b"":
        return True
    candidates = [data for data in candidates if data is not None]
    if len(seen) > max(map(len, candidates), default=0):
        return False
    # By the longest equal runs: a byte for itself is slow.
    at = 0
    while at < len(seen):
        reach = max(common(data, seen, at) for data in candidates)
        if not reach:
            return False
        at += reach
    return True


def common(data, seen, at):
    """How many bytes from there on are the same."""
    ours, theirs = data[at : at + 4096], seen[at : at + 4096]
    if ours[: len(theirs)] == theirs:
        return len(theirs)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))


def unexplained(candidates, seen):
    """Which bytes are of none of them, for people."""
    candidates = [data for data in candidates if data is not None]
    strange = [at for at, byte in enumerate(seen) if not any(at < len(data) and data[at] == byte for data in candidates)]
    if not strange:
        return ""
    return f" ({sum(seen[at] == 0 for at in strange)} zeros of {len(strange)} strange bytes from {strange[0]} to {strange[-1]})"
