"""Makes vectors.json, or with --check says whether the committed one is what the format gives.

Inputs are fixed and plain to see: nothing in here is random, so the file is the same on every machine.
"""

import base64
import hashlib
import json
import pathlib
import struct
import sys
import uuid

import rekeyfs_format as f

HERE = pathlib.Path(__file__).parent


def fixed(label, n):
    """n bytes that stand for something random in a vector, so that each input can be told apart."""
    return hashlib.shake_256(b"rekeyfs vector " + label.encode()).digest(n)


VAULT, SLOT, KEY, FILE = (fixed(x, 16) for x in ("vault", "slot", "key", "file"))
ROOT, KEK, MATERIAL, DEK, TREE = (fixed(x, 32) for x in ("root", "kek", "material", "dek", "tree"))
VERSION = 7
ALIAS, CREATED, GENERATION = "alias/application", 1_764_435_283_123, 0x0807060504030201


def derivations():
    parent = fixed("parent directory", 16)
    rows = [
        ("keyring", ROOT, [VAULT], 32),
        ("slot-wrap", KEK, [VAULT, SLOT], 32),
        ("wrap", MATERIAL, [VAULT, KEY, struct.pack("<I", VERSION)], 32),
        ("header-mac", DEK, [FILE], 32),
        ("content", DEK, [b"\1", FILE, struct.pack("<Q", 0)], 32),
        ("content", DEK, [b"\2", FILE, struct.pack("<Q", 3)], 32),
        ("names", TREE, [], 64),
        ("dir-id", TREE, [bytes(16)], 32),
        ("dir-id", TREE, [parent, b"bG93ZXIgbmFtZQ"], 32),
        ("dir-record", TREE, [], 32),
        ("symlink", TREE, [], 32),
        ("xattr-name", TREE, [], 64),
        ("xattr-value", TREE, [], 32),
        ("alias-id", TREE, [struct.pack("<q", CREATED), ALIAS.encode()], 32),
        ("endorsement", ROOT, [VAULT], 32),
        ("root-commitment", f.derive(ROOT, b"endorsement", VAULT), [VAULT], 32),
        ("kms-blob", MATERIAL, [VAULT, KEY, struct.pack("<I", VERSION)], 32),
        ("fido2-wrap", fixed("hmac-secret", 32), [], 32),
        ("host-record", ROOT, [VAULT], 32),
    ]
    return [
        {
            "label": label,
            "ikm": ikm.hex(),
            "context": [c.hex() for c in context],
            "out": f.derive(ikm, label.encode(), b"".join(context), n).hex(),
        }
        for label, ikm, context, n in rows
    ]


def passphrase():
    salt = fixed("salt", 16)
    secret = "correct horse ä".encode()
    return {
        "passphrase": secret.hex(),
        "salt": salt.hex(),
        "memory_kib": 8192,
        "passes": 3,
        "lanes": 2,
        "kek": f.argon2id(secret, salt, 8192, 3, 2).hex(),
    }


def root_wrap():
    # A passphrase slot's: vault, slot, type 1, salt, Argon2id's memory (KiB), passes and lanes.
    aad = f.slot_aad(VAULT, SLOT, 1, fixed("salt", 16), 8192, 3, 2)
    return {
        "kek": KEK.hex(),
        "vault": VAULT.hex(),
        "slot": SLOT.hex(),
        "aad": aad.hex(),
        "root": ROOT.hex(),
        "wrapped": f.slot_wrap(KEK, VAULT, SLOT, aad, fixed("slot nonce", 12), ROOT).hex(),
    }


def custodian_slot():
    """A slot whose KEK a custodian keeps, as it is in a header."""
    slot = {
        "id": str(uuid.UUID(bytes=SLOT)),
        "type": "custodian",
        "created": CREATED,
        "custodian": "double",
        "params": {"key": "alias/ä", "pcrs": [7, -1], "B": {"b": None, "a": True}, "text": '\x01"\\/\x7f\u2028'},
        "blob": base64.b64encode(fixed("custody blob", 100)).decode(),
        "key_version": "v7",
    }
    rows = []
    for version in ("v7", None):
        if version is None:
            slot.pop("key_version")
        aad = f.custodian_aad(VAULT, SLOT, slot)
        wrapped = f.slot_wrap(KEK, VAULT, SLOT, aad, fixed("slot nonce", 12), ROOT)
        rows.append({**slot, "wrapped": base64.b64encode(wrapped).decode()})
    return {"vault": VAULT.hex(), "kek": KEK.hex(), "root": ROOT.hex(), "slots": rows}


def fido2():
    """What the helper for FIDO2 keys stores of a slot's KEK."""
    secret, slot, vault = fixed("hmac-secret", 32), str(uuid.UUID(bytes=SLOT)), str(uuid.UUID(bytes=VAULT))
    return {
        "secret": secret.hex(),
        "context": f.custody_context(vault, slot),
        "kek": KEK.hex(),
        "wrapped": f.fido2_wrap(secret, vault, slot, fixed("fido2 nonce", 24), KEK).hex(),
    }


def keyring():
    aad, body = fixed("keyring header", 100), fixed("keyring body", 200)
    return {
        "root": ROOT.hex(),
        "vault": VAULT.hex(),
        "aad": aad.hex(),
        "body": body.hex(),
        "sealed": f.xseal(f.keyring_key(ROOT, VAULT), fixed("keyring nonce", 24), aad, body).hex(),
    }


def wrapped(suite, file=FILE, secret=DEK):
    key = f.wrapping_key(MATERIAL, VAULT, KEY, VERSION)
    aad = f.wrap_aad(VAULT, file, KEY, VERSION, suite)
    return f.xseal(key, fixed(f"wrap nonce {suite}", 24), aad, secret)


def wraps():
    common = {"vault": VAULT.hex(), "material": MATERIAL.hex(), "key": KEY.hex(), "version": VERSION, "format": 1}
    deks = [
        {**common, "suite": s, "file": FILE.hex(), "dek": DEK.hex(), "wrapped": wrapped(s).hex()} for s in (1, 2)
    ]
    tree_id = fixed("tree key id", 16)
    tree = {**common, "suite": 0, "tree_id": tree_id.hex(), "tree": TREE.hex(), "wrapped": wrapped(0, tree_id, TREE).hex()}
    return deks, tree


def slots():
    return [
        {
            "vault": VAULT.hex(),
            "material": MATERIAL.hex(),
            "suite": suite,
            "sequence": sequence,
            "file": FILE.hex(),
            "key": KEY.hex(),
            "version": VERSION,
            "floor": floor,
            "slot": f.Slot(1, suite, 0, sequence, FILE, KEY, VERSION, 0, floor, wrapped(suite)).encode(DEK).hex(),
        }
        for suite, sequence, floor in ((1, 1, 0), (2, 0x0102030405060708, 0x1122334455))
    ]


def tagged_slots():
    """Slots that follow an alias, are pinned, and bear a tag that another key's slot had: none."""
    alias = f.Tree(TREE).alias_id(CREATED, ALIAS.encode())
    other = fixed("other key", 16)
    rows = (("alias", alias, KEY), ("pinned", None, KEY), ("none", alias, other))
    return [
        {
            "vault": VAULT.hex(),
            "material": MATERIAL.hex(),
            "tree": TREE.hex(),
            "alias": ALIAS,
            "created": CREATED,
            "means": means,
            "generation": GENERATION,
            "slot": f.Slot(
                1, 1, 0, 2, FILE, KEY, VERSION, 0, 0, wrapped(1), f.alias_tag(of, key, GENERATION)
            ).encode(DEK).hex(),
        }
        for means, of, key in rows
    ]  # fmt: skip


def untagged():
    """What the keyring records when the only alias of a key leaves it, and when one of two does."""
    alias, other = f.Tree(TREE).alias_id(CREATED, ALIAS.encode()), fixed("other key", 16)
    data = KEY + alias + other + bytes(16)
    assert f.untagged_records(data) == {KEY: alias, other: None}
    return {
        "tree": TREE.hex(), "alias": ALIAS, "created": CREATED,
        "only_alias_left": KEY.hex(), "one_of_two_left": other.hex(), "extension": data.hex(),
    }  # fmt: skip


def slot_labels():
    """The labels of two unlock slots, as the keyring has them."""
    labels = {fixed("slot one", 16): "Anna's laptop", fixed("slot two", 16): "Tresor, 3. Stock: 世界"}
    data = b"".join(slot + bytes([len(label.encode())]) + label.encode() for slot, label in labels.items())
    assert f.slot_label_records(data) == labels
    return {"labels": {slot.hex(): label for slot, label in labels.items()}, "extension": data.hex()}


def hosts():
    """The records of a writer, of a reader that has left, and an epoch."""
    key, nonce = f.host_record_key(ROOT, VAULT), fixed("epoch nonce", 16)
    boot = fixed("boot", 16)
    members = []
    for slot, mode, left, name in ((0, 1, 0, b"node-a"), (63, 2, 1, b"n" * 64)):
        member = fixed(f"member {slot}", 16)
        record = f.member_record(key, slot, mode, left, name, member, boot, 4711, 9, GENERATION, nonce)
        assert (f.read_member(key, slot, record) is None) == bool(left)
        members.append({"slot": slot, "mode": mode, "left": bool(left), "host": name.decode(), "member": member.hex(), "record": record.hex()})
    epoch = f.epoch_record(key, nonce, 12, GENERATION)
    assert f.read_epoch(key, epoch) == (nonce, 12, GENERATION)
    return {"vault": VAULT.hex(), "root": ROOT.hex(), "boot": boot.hex(), "pid": 4711, "beat": 9, "generation": GENERATION,
            "nonce": nonce.hex(), "members": members, "epoch": {"number": 12, "record": epoch.hex()}}  # fmt: skip


def blobs():
    """Blobs of one key version; the keys of a context sort by their bytes in UTF-8, not by UTF-16 or by length."""
    rows = (
        ({}, b"x"),
        ({"purpose": "backup", "Purpose": "", "": "no name"}, "Geheimnis, größer".encode()),
        ({"\U0001f511": "key", "\uff5e": "tilde", "z" * 300: "long"}, pattern(3, 4096)),
    )
    found = []
    for number, (context, plain) in enumerate(rows):
        blob = f.seal_blob(MATERIAL, VAULT, KEY, VERSION, fixed(f"blob nonce {number}", 24), context, plain)
        assert f.open_blob({(KEY, VERSION): MATERIAL}, blob, context) == plain
        found.append({"context": context, "plain": plain.hex(), "blob": blob.hex()})
    return {"vault": VAULT.hex(), "material": MATERIAL.hex(), "key": KEY.hex(), "version": VERSION, "blobs": found}


def pattern(index, n):
    """A block's plaintext in the vectors: byte k of block i is (7k + i) mod 256."""
    return bytes((7 * k + index) & 0xFF for k in range(n))


def pages():
    rows = []
    for suite in (1, 2):
        for index in (0, 1, 0x3FFF, 0x4000, (1 << 40) + 5):
            nonce = fixed(f"page nonce {suite} {index}", 12)
            block = f.seal_block(DEK, suite, FILE, index, nonce, pattern(index, f.payload_len(index)))
            rows.append(
                {
                    "suite": suite,
                    "index": index,
                    "nonce": nonce.hex(),
                    "tag": block[12:28].hex(),
                    "ciphertext_head": block[28:60].hex(),
                    "ciphertext_sha256": hashlib.sha256(block[28:]).hexdigest(),
                }
            )
    return rows


def sizes():
    plain = [0, 1, 2, 3043, 3044, 3045, 3044 + 4068 - 1, 3044 + 4068, 3044 + 4068 + 1, 10**6, 5 << 30, (1 << 50) + 7]
    foreign = [4096, 8192, 4096 * 1000]
    bad = [1, 4095, 4096 + 3045, 4096 + 4095, 8192 + 4069, 4096 * 9 + 4095]
    for s in bad:
        try:
            f.plain_size(s)
            raise SystemExit(f"{s} should not be a size")
        except f.Damaged:
            pass
    for p in plain:
        assert f.plain_size(f.lower_size(p)) == p
    return {
        "plain_lower": [[p, f.lower_size(p)] for p in plain],
        "foreign_lower_plain": [[s, f.plain_size(s)] for s in foreign],
        "impossible_lower": bad,
    }


def tree():
    t = f.Tree(TREE)
    sub = t.dir_id(t.root_id, t.lower_name(t.root_id, b"sub")[1])
    names = []
    for directory in (t.root_id, sub):
        for name in (b"a", b"fifteen bytes..", b"sixteen bytes...", b"\xff\xfe not utf-8 \x80", b"x" * 160, b"x" * 161, b"\x80" * 255):
            full, entry = t.lower_name(directory, name)
            assert t.plain_name(directory, full) == name
            names.append({"dir": directory.hex(), "name": name.hex(), "full": full.decode(), "entry": entry.decode()})
    xname = b"user.comment"
    return {
        "tree": TREE.hex(),
        "root_id": t.root_id.hex(),
        "dir_ids": [{"parent": t.root_id.hex(), "lower_name": t.lower_name(t.root_id, b"sub")[1].decode(), "id": sub.hex()}],
        "names": names,
        "records": [
            {"id": sub.hex(), "alias": alias.decode(), "record": t.seal_record(fixed("record nonce", 24), sub, alias).hex()}
            for alias in (b"", b"alias/team/blue")
        ],
        "symlinks": [
            {"target": target.hex(), "lower": t.seal_symlink(fixed("symlink nonce", 24), target).decode()}
            for target in (b"../elsewhere", b"t" * 3030)
        ],
        "xattrs": [
            {
                "name": xname.decode(),
                "lower_name": t.xattr_lower_name(xname).decode(),
                "value": value.hex(),
                "lower_value": t.seal_xattr(fixed("xattr nonce", 24), xname, value).hex(),
            }
            for value in (b"", b"a value", bytes(range(256)))
        ],
    }  # fmt: skip


def main():
    deks, tree_wrap = wraps()
    vectors = {
        "about": "Made by make_vectors.py from an implementation of docs/format.md that shares no code with src/.",
        "derive": derivations(),
        "passphrase": passphrase(),
        "root_wrap": root_wrap(),
        "custodian_slot": custodian_slot(),
        "fido2": fido2(),
        "keyring": keyring(),
        "wrapped_deks": deks,
        "wrapped_tree": tree_wrap,
        "slots": slots(),
        "page_inputs": {"dek": DEK.hex(), "file": FILE.hex()},
        "pages": pages(),
        "sizes": sizes(),
        "tree": tree(),
        "tagged_slots": tagged_slots(),
        "untagged": untagged(),
        "slot_labels": slot_labels(),
        "blobs": blobs(),
        "hosts": hosts(),
    }
    text = json.dumps(vectors, indent=1) + "\n"
    path = HERE / "vectors.json"
    if sys.argv[1:] == ["--check"]:
        if path.read_text() != text:
            raise SystemExit("vectors.json is not what make_vectors.py makes: the format has changed")
        print("vectors.json: as the independent implementation makes it")
    else:
        path.write_text(text)


if __name__ == "__main__":
    main()
