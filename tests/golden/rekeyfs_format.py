"""The rekeyfs format, written a second time from docs/format.md and sharing nothing with the Rust code.

Ciphers come from OpenSSL (PyPI `cryptography`), libsodium (`PyNaCl`) and the reference Argon2
(`argon2-cffi`); HKDF is written out below with `hmac`. Used by make_vectors.py and reader.py only.
"""

import base64
import hashlib
import hmac
import json
import struct
from dataclasses import dataclass

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV, ChaCha20Poly1305
from nacl import bindings as sodium

PAGE = 4096
PAYLOAD_0 = 3044
PAYLOAD = 4068
SEGMENT_PAGES = 1 << 14
SUITES = {1: AESGCM, 2: ChaCha20Poly1305}


class Damaged(Exception):
    """Something on disk is not what the format says, or does not authenticate."""


def hkdf(ikm, info, length):
    """RFC 5869 with SHA-256 and an empty salt."""
    prk = hmac.new(bytes(32), ikm, hashlib.sha256).digest()
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out, counter = out + block, counter + 1
    return out[:length]


def derive(key, label, context=b"", length=32):
    return hkdf(key, b"rekeyfs1" + bytes([len(label)]) + label + context, length)


def hmac256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def xseal(key, nonce, aad, plain):
    """XChaCha20-Poly1305 as it stands on disk: nonce 24, ciphertext, tag 16."""
    return nonce + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, aad, nonce, key)


def xopen(key, aad, sealed):
    if len(sealed) < 40:
        raise Damaged("sealed data shorter than nonce and tag")
    try:
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed[24:], aad, sealed[:24], key)
    except Exception as e:
        raise Damaged("XChaCha20-Poly1305 does not authenticate") from e


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def unb64(text):
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


# ---- records of hosts ----


def host_record_key(root, vault):
    return derive(root, b"host-record", vault)


def member_record(key, slot, mode, left, name, member, boot, pid, beat, generation, nonce):
    body = struct.pack("<4sHBBBB6x16s16sI4xQQ16s8x64s320x", b"RKHM", 1, slot, mode, left, len(name), member, boot, pid, beat,
                       generation, nonce, name)  # fmt: skip
    return body + hmac256(key, body)


def epoch_record(key, nonce, number, generation):
    body = struct.pack("<4sH10x16sQQ432x", b"RKHE", 1, nonce, number, generation)
    return body + hmac256(key, body)


def read_member(key, slot, raw):
    """What the record in a slot says; none if the slot is free."""
    if not raw:
        return None
    fields = struct.unpack("<4sHBBBB6x16s16sI4xQQ16s8x64s320x", raw[:480])
    magic, fmt, number, mode, left, length, member, boot, pid, beat, generation, nonce, name = fields
    if (magic, fmt, number) != (b"RKHM", 1, slot) or not hmac.compare_digest(hmac256(key, raw[:480]), raw[480:]):
        raise Damaged("no record of a member in this slot")
    if left:
        return None
    return {"host": name[:length].decode(), "mode": {1: "writer", 2: "reader"}[mode], "member": member, "boot": boot, "pid": pid,
            "beat": beat, "generation": generation, "nonce": nonce}  # fmt: skip


def read_epoch(key, raw):
    magic, fmt, nonce, number, generation = struct.unpack("<4sH10x16sQQ432x", raw[:480])
    if (magic, fmt) != (b"RKHE", 1) or not hmac.compare_digest(hmac256(key, raw[:480]), raw[480:]):
        raise Damaged("no record of an epoch")
    return nonce, number, generation


# ---- blobs ----


def blob_key(material, vault, key, version):
    return derive(material, b"kms-blob", vault + key + struct.pack("<I", version))


def encryption_context(pairs):
    """The canonical form of pairs of texts: by the bytes of the keys, each text behind its length."""
    pairs = sorted((name.encode(), value.encode()) for name, value in pairs.items())
    return b"".join(struct.pack("<I", len(text)) + text for pair in pairs for text in pair)


def blob_prefix(vault, key, version):
    return b"\x01RKC\x01" + vault + key + struct.pack("<I", version)


def seal_blob(material, vault, key, version, nonce, context, plain):
    prefix = blob_prefix(vault, key, version)
    aad = prefix + encryption_context(context)
    return prefix + xseal(blob_key(material, vault, key, version), nonce, aad, plain)


def open_blob(materials, blob, context):
    """`materials` by (key id, version)."""
    if len(blob) < 82 or blob[:5] != b"\x01RKC\x01":
        raise Damaged("no blob of this format")
    vault, key, (version,) = blob[5:21], blob[21:37], struct.unpack("<I", blob[37:41])
    aad = blob[:41] + encryption_context(context)
    return xopen(blob_key(materials[key, version], vault, key, version), aad, blob[41:])


# ---- unlock slots and keyring ----


def argon2id(passphrase, salt, memory_kib, passes, lanes):
    return hash_secret_raw(passphrase, salt, passes, memory_kib, lanes, 32, Type.ID, 0x13)


def slot_aad(vault, slot, kind, salt=b"", memory_kib=0, passes=0, lanes=0):
    """`kind` 1: passphrase, the rest of the parameters counts; 2: key file; 3: recovery key. For 4 see custodian_aad."""
    costs = struct.pack("<III", memory_kib, passes, lanes) if kind == 1 else b""
    return vault + slot + bytes([kind]) + salt + costs


def custodian_aad(vault, slot_id, slot):
    """Of a custodian's slot as it is in the header. What RFC 8785 has beyond this (floats, names that are not ASCII) the
    format refuses."""
    says = {name: slot[name] for name in ("blob", "custodian", "key_version", "params") if name in slot}
    says["blob"] = base64.b64encode(base64.b64decode(says["blob"])).decode()
    text = json.dumps(says, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return vault + slot_id + b"\4" + hashlib.sha256(text.encode()).digest()


def custody_context(vault, slot):
    """What helpers authenticate beside a KEK."""
    return f"rekeyfs-custody-1 rekeyfs:id={slot} rekeyfs:use=unlock rekeyfs:vault={vault} "


def fido2_wrap(secret, vault, slot, nonce, kek):
    """A slot's KEK under what a FIDO2 authenticator computes from the slot's salt."""
    return xseal(derive(secret, b"fido2-wrap", b""), nonce, custody_context(vault, slot).encode(), kek)


def slot_wrap(kek, vault, slot, aad, nonce, root):
    """The root key in an unlock slot: nonce 12, ciphertext 32, tag 16."""
    return nonce + AESGCM(derive(kek, b"slot-wrap", vault + slot)).encrypt(nonce, root, aad)


def slot_unwrap(kek, vault, slot, aad, wrapped):
    try:
        return AESGCM(derive(kek, b"slot-wrap", vault + slot)).decrypt(wrapped[:12], wrapped[12:], aad)
    except Exception as e:
        raise Damaged("wrong secret for this slot") from e


def keyring_key(root, vault):
    return derive(root, b"keyring", vault)


def wrapping_key(material, vault, key, version):
    return derive(material, b"wrap", vault + key + struct.pack("<I", version))


def wrap_aad(vault, file, key, version, suite, fmt=1):
    return vault + file + key + struct.pack("<IBH", version, suite, fmt)


# ---- files ----


@dataclass
class Slot:
    format: int
    suite: int
    reserved: int
    sequence: int
    file: bytes
    key: bytes
    version: int
    incompat: int
    floor: int
    wrapped: bytes
    # The alias tag as it stands: alias id 16, key id 16, keyring generation u64; zeros where none was written.
    tag: bytes = bytes(40)

    HEAD = struct.Struct("<4sHBBQ16s16sIIQ72s40s")

    def encode(self, dek):
        head = self.HEAD.pack(
            b"RKFS", self.format, self.suite, self.reserved, self.sequence, self.file, self.key,
            self.version, self.incompat, self.floor, self.wrapped, self.tag,
        )  # fmt: skip
        body = head + bytes(480 - len(head))
        return body + hmac256(derive(dek, b"header-mac", self.file), body)

    @classmethod
    def parse(cls, raw):
        magic, *fields = cls.HEAD.unpack_from(raw)
        if magic != b"RKFS":
            raise Damaged("no slot magic")
        return cls(*fields)

    def follows(self):
        """Alias id and generation of a tag that counts; the id is none for a pinned file. None: no tag."""
        alias, key, generation = struct.unpack("<16s16sQ", self.tag)
        if key != self.key:
            return None
        return (alias if any(alias) else None), generation

    def unwrap(self, material, vault, raw):
        key = wrapping_key(material, vault, self.key, self.version)
        aad = wrap_aad(vault, self.file, self.key, self.version, self.suite, self.format)
        dek = xopen(key, aad, self.wrapped)
        if not hmac.compare_digest(hmac256(derive(dek, b"header-mac", self.file), raw[:480]), raw[480:512]):
            raise Damaged("slot MAC")
        return dek


def alias_tag(alias, key, generation):
    """An alias tag's bytes; `alias` is none for a file that is pinned to its key."""
    return (alias or bytes(16)) + key + struct.pack("<Q", generation)


def untagged_records(data):
    """Extension 8: by key, the alias that its untagged files are of; None: it can't be told."""
    records = {data[at : at + 16]: data[at + 16 : at + 32] for at in range(0, len(data), 32)}
    if len(data) != 32 * len(records):
        raise Damaged("the list of keys with untagged files makes no sense")
    return {key: alias if any(alias) else None for key, alias in records.items()}


def slot_label_records(data):
    """Extension 9: the label of each unlock slot that has one."""
    labels, at = {}, 0
    while at < len(data):
        slot, length = data[at : at + 16], data[at + 16] if at + 16 < len(data) else 0
        label = data[at + 17 : at + 17 + length]
        if not 1 <= length <= 64 or len(label) != length or slot in labels:
            raise Damaged("the list of labels of unlock slots makes no sense")
        labels[slot] = label.decode()
        at += 17 + length
    return labels


def content_key(dek, suite, file, segment):
    return derive(dek, b"content", bytes([suite]) + file + struct.pack("<Q", segment))


def payload_len(index):
    return PAYLOAD if index else PAYLOAD_0


def is_zero(block):
    return block == bytes(len(block))


def seal_block(dek, suite, file, index, nonce, payload):
    """A block as it stands on disk: nonce 12, tag 16, ciphertext."""
    assert len(payload) == payload_len(index)
    cipher = SUITES[suite](content_key(dek, suite, file, index // SEGMENT_PAGES))
    sealed = cipher.encrypt(nonce, payload, struct.pack("<Q", index))
    return nonce + sealed[-16:] + sealed[:-16]


def open_block(dek, suite, file, index, block):
    if is_zero(block):
        return bytes(payload_len(index))
    cipher = SUITES[suite](content_key(dek, suite, file, index // SEGMENT_PAGES))
    try:
        return cipher.decrypt(block[:12], block[28:] + block[12:28], struct.pack("<Q", index))
    except Exception as e:
        raise Damaged(f"page {index} does not authenticate") from e


def plain_size(lower):
    """The plaintext size that a lower size stands for."""
    pages, tail = divmod(lower, PAGE)
    if lower == 0:
        return 0
    if pages == 0:
        raise Damaged(f"lower size {lower}: less than a page")
    full = payload_len(pages - 1)
    if tail > full:
        raise Damaged(f"lower size {lower}: {tail} bytes in a block of {full}")
    before = 0 if pages == 1 else PAYLOAD_0 + PAYLOAD * (pages - 2)
    return before + (tail or full)


def lower_size(plain):
    if plain == 0:
        return 0
    index = 0 if plain <= PAYLOAD_0 else 1 + (plain - PAYLOAD_0 - 1) // PAYLOAD
    before = 0 if index == 0 else PAYLOAD_0 + PAYLOAD * (index - 1)
    return PAGE * (index + 1) + plain - before


def read_file(lower, vault, material_of):
    """Plaintext and slot of a lower file's bytes. `material_of(key, version)` gives material or None."""
    size = plain_size(len(lower))
    if size == 0:
        return b"", None
    pages = len(lower) // PAGE
    candidates = []
    for raw in (lower[:512], lower[512:1024]):
        if raw[:4] == b"RKFS":
            candidates.append((Slot.parse(raw), raw))
    candidates.sort(key=lambda c: -c[0].sequence)
    for slot, raw in candidates:
        material = material_of(slot.key, slot.version)
        if material is None:
            continue
        try:
            dek = slot.unwrap(material, vault, raw)
            break
        except Damaged:
            continue
    else:
        raise Damaged("no slot opens")
    if slot.format != 1 or slot.suite not in SUITES or slot.incompat != 0:
        raise Damaged("a format, suite or incompat bit that this reader does not know")
    if pages < slot.floor:
        raise Damaged("truncated below the floor")
    out = []
    for index in range(pages):
        start = PAGE * index + (1024 if index == 0 else 0)
        block = lower[start : PAGE * (index + 1)]
        if index < slot.floor and is_zero(block):
            raise Damaged(f"page {index} is below the floor and zero")
        out.append(open_block(dek, slot.suite, slot.file, index, block))
    return b"".join(out)[:size], slot


# ---- names, directories, symlinks, xattrs ----


class Tree:
    """What hangs on a tree key."""

    def __init__(self, key):
        self.key = key
        self.names = AESSIV(derive(key, b"names", length=64))
        self.xattr_names = AESSIV(derive(key, b"xattr-name", length=64))
        self.record_key = derive(key, b"dir-record")
        self.symlink_key = derive(key, b"symlink")
        self.xattr_key = derive(key, b"xattr-value")
        self.root_id = derive(key, b"dir-id", bytes(16))[:16]

    def alias_id(self, created, name):
        """The id by which files know an alias: when it was made, in milliseconds, and its name."""
        return derive(self.key, b"alias-id", struct.pack("<q", created) + name)[:16]

    def dir_id(self, parent, lower_name):
        return derive(self.key, b"dir-id", parent + lower_name)[:16]

    @staticmethod
    def padded(name):
        return name + bytes(-len(name) % 16)

    def lower_name(self, directory, name):
        """The full lower name, and the name of the directory entry (another one if it is long)."""
        full = b64(self.names.encrypt(self.padded(name), [directory]))
        if len(full) <= 255:
            return full, full
        return full, b".long." + b64(hashlib.sha256(full).digest())

    def plain_name(self, directory, full):
        try:
            return self.names.decrypt(unb64(full), [directory]).rstrip(b"\0")
        except Exception as e:
            raise Damaged(f"name {full!r} does not authenticate") from e

    def seal_record(self, nonce, directory, alias):
        body = directory + struct.pack("<H", len(alias)) + alias
        return b"\1\0" + xseal(self.record_key, nonce, b"\1\0", body)

    def open_record(self, raw):
        if raw[:2] != b"\1\0":
            raise Damaged("directory record of an unknown version")
        body = xopen(self.record_key, raw[:2], raw[2:])
        (length,) = struct.unpack_from("<H", body, 16)
        if len(body) != 18 + length:
            raise Damaged("directory record length")
        return body[:16], body[18:]

    def seal_symlink(self, nonce, target):
        return b64(b"\1" + xseal(self.symlink_key, nonce, b"", target))

    def open_symlink(self, lower_target):
        raw = unb64(lower_target)
        if raw[:1] != b"\1":
            raise Damaged("symlink of an unknown version")
        return xopen(self.symlink_key, b"", raw[1:])

    def xattr_lower_name(self, name):
        return b"user.rkf." + b64(self.xattr_names.encrypt(name, None))

    def xattr_plain_name(self, lower):
        try:
            return self.xattr_names.decrypt(unb64(lower[len(b"user.rkf.") :]), None)
        except Exception as e:
            raise Damaged(f"xattr name {lower!r} does not authenticate") from e

    def seal_xattr(self, nonce, name, value):
        return b"\1" + xseal(self.xattr_key, nonce, name, value)

    def open_xattr(self, name, raw):
        if raw[:1] != b"\1":
            raise Damaged("xattr value of an unknown version")
        return xopen(self.xattr_key, name, raw[1:])
