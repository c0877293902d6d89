"""Sequential writes and reads of a large file, a MiB at a time and past Python's own buffers."""

import os

MIB = 1 << 20


def write_stream(path, mib):
    """Writes so many MiB of random bytes, and syncs them."""
    block = os.urandom(MIB)
    with open(path, "wb", buffering=0) as file:
        for _ in range(mib):
            file.write(block)
        os.fsync(file.fileno())


def read_stream(path):
    """Reads a file to its end."""
    block = bytearray(MIB)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(block):
            pass
