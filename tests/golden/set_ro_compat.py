"""Leaves a vault as a newer program may have written it: with ro_compat bits in its keyring's header, sealed again by the
independent implementation. Test vaults only.

    set_ro_compat.py VAULT PASSPHRASE BITS [OLD NEW]      replaces the one i64 OLD of the body, a date say, by NEW
"""

import os
import pathlib
import struct
import sys
import uuid

import reader
import rekeyfs_format as f


def set_ro_compat(keyring, passphrase, bits, old=None, new=None):
    raw = keyring.read_bytes()
    header, aad, sealed = reader.split_frame(raw, b"RKFK")
    vault = uuid.UUID(header["vault"]).bytes
    slot = next(slot for slot in header["slots"] if slot["type"] == "passphrase")
    key = f.keyring_key(reader.unlock_slot(vault, slot, passphrase.encode()), vault)
    body = f.xopen(key, aad, sealed)
    if old is not None:
        old, new = (struct.pack("<q", int(number)) for number in (old, new))
        assert body.count(old) == 1, "that number isn't there once"
        body = body.replace(old, new)
    aad = aad[:10] + struct.pack("<I", bits) + aad[14:]
    keyring.write_bytes(aad + f.xseal(key, os.urandom(24), aad, body))


if __name__ == "__main__":
    set_ro_compat(pathlib.Path(sys.argv[1]) / "keyring", sys.argv[2], int(sys.argv[3], 0), *sys.argv[4:])
