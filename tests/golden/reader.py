"""Opens committed vaults without rekeyfs: from the passphrase to the plaintext of every file.

    reader.py VAULT.tar...      compares each with VAULT.json beside it
    reader.py key-backup.bin    compares a key backup with key-backup.json beside it
    reader.py kept-keyring.bin  compares what a keyring says of its kept backups, and those, with kept-keyring.json
    reader.py --dump DIR PASSPHRASE [KEYFILE-AS-HEX RECOVERY-KEY]
                                prints what a vault directory holds, as that JSON (how VAULT.json was made)

Follows docs/format.md through rekeyfs_format.py; shares nothing with src/.
"""

import base64
import hashlib
import json
import os
import pathlib
import stat
import struct
import subprocess
import sys
import tempfile
import uuid

import rekeyfs_format as f

SUITE_NUMBERS = {"aes-256-gcm": 1, "chacha20-poly1305": 2}
SECRETS = ("passphrase", "keyfile", "recovery")
SLOT_TYPES = {"passphrase": 1, "keyfile": 2, "recovery": 3, "custodian": 4}


class Bincode:
    """Reads bincode 2 with fixed-width little-endian integers, as the keyring body has it."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise f.Damaged("the keyring body is too short")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def u8(self):
        return self.number("B")

    def u16(self):
        return self.number("H")

    def u32(self):
        return self.number("I")

    def u64(self):
        return self.number("Q")

    def i64(self):
        return self.number("q")

    def boolean(self):
        return self.choice(self.u8(), [False, True])

    @staticmethod
    def choice(value, options):
        if value >= len(options):
            raise f.Damaged(f"{value} is none of {options}")
        return options[value]

    def enum(self, *variants):
        return self.choice(self.u32(), variants)

    def id16(self):
        return self.take(16)

    def bytes32(self):
        return self.take(32)

    def text(self):
        return self.take(self.u64()).decode()

    def blob(self):
        return self.take(self.u64())

    def option(self, read):
        return read() if self.boolean() else None

    def list(self, read):
        return [read() for _ in range(self.u64())]


def read_body(data):
    b = Bincode(data)

    def version():
        return {
            "number": b.u32(), "material_id": b.bytes32(), "material": b.option(b.bytes32), "created": b.i64(),
            "rotated": b.option(b.i64), "cause": b.enum("creation", "schedule", "on-demand", "manual"),
            "expires": b.option(b.i64),
        }  # fmt: skip

    def key():
        return {
            "id": b.id16(), "manager": b.enum("customer", "service"), "origin": b.enum("local", "external"),
            "usage": b.enum("encrypt-decrypt"), "description": b.text(), "created": b.i64(),
            "state": b.enum("enabled", "disabled", "pending deletion", "pending import"),
            "deletion_date": b.option(b.i64), "rotation_enabled": b.boolean(), "period_days": b.u16(),
            "next_rotation": b.option(b.i64), "on_demand_count": b.u32(), "on_demand_started": b.option(b.i64),
            "policy": b.text(), "tags": b.list(lambda: (b.text(), b.text())), "versions": b.list(version),
            "current": b.u32(), "min_decryption": b.u32(),
        }  # fmt: skip

    body = {
        "generation": b.u64(), "previous": b.bytes32(), "keys": b.list(key),
        "aliases": b.list(lambda: {"name": b.text(), "key": b.id16(), "created": b.i64(), "updated": b.i64()}),
        "tree_keys": b.list(lambda: {
            "id": b.id16(), "created": b.i64(), "key": b.id16(), "version": b.u32(), "wrapped": b.take(72),
        }),
        "current_tree_key": b.id16(), "event_key": b.bytes32(), "event_count": b.u64(), "event_mac": b.bytes32(),
        "extensions": b.list(lambda: (b.u32(), b.blob())),
    }  # fmt: skip
    if b.at != len(data):
        raise f.Damaged("bytes after the keyring body")
    return body


def recovery_bytes(text):
    raw = base64.b32decode(text.replace("-", ""))
    if hashlib.sha256(b"rekeyfs recovery key" + raw[:32]).digest()[:3] != raw[32:]:
        raise f.Damaged("recovery key checksum")
    return raw[:32]


def split_frame(raw, expected_magic):
    """Header, AAD and sealed body of a keyring file or key backup."""
    magic, fmt, incompat, _ro_compat, length = struct.unpack_from("<4sHIII", raw)
    # Bit 1: hosts share the vault, which changes nothing of how it is read.
    if (magic, fmt, incompat & ~2) != (expected_magic, 1, 0):
        raise f.Damaged("keyring frame")
    return json.loads(raw[18 : 18 + length]), raw[: 18 + length], raw[18 + length :]


def unlock_slot(vault, slot, secret):
    """The root key that a slot seals."""
    slot_id, kind = uuid.UUID(slot["id"]).bytes, SLOT_TYPES[slot["type"]]
    if slot["type"] == "passphrase":
        salt, k = base64.b64decode(slot["salt"]), slot["kdf"]
        costs = (k["memory_kib"], k["passes"], k["lanes"])
        secret = f.argon2id(secret, salt, *costs)
        aad = f.slot_aad(vault, slot_id, kind, salt, *costs)
    elif slot["type"] == "custodian":
        aad = f.custodian_aad(vault, slot_id, slot)
    else:
        aad = f.slot_aad(vault, slot_id, kind)
    return f.slot_unwrap(secret, vault, slot_id, aad, base64.b64decode(slot["wrapped"]))


def read_key_backup(raw, passphrase):
    """Vault id and keyring body in a key backup."""
    header, aad, sealed = split_frame(raw, b"RKFB")
    vault = uuid.UUID(header["vault"]).bytes
    (slot,) = header["slots"]
    root = unlock_slot(vault, slot, passphrase)
    return vault, read_body(f.xopen(f.keyring_key(root, vault), aad, sealed))


class Vault:
    """An opened vault. Each of the three secrets opens a slot of its kind, to the same root key."""

    def __init__(self, directory, passphrase, keyfile=b"", recovery="", keyring=None):
        self.dir = pathlib.Path(directory)
        raw = (keyring or self.dir / "keyring").read_bytes()
        self.hash = hashlib.sha256(raw).digest()
        header, aad, sealed = split_frame(raw, b"RKFK")
        self.id = uuid.UUID(header["vault"]).bytes
        self.suite = SUITE_NUMBERS[header["suite"]]
        self.slots = [s["type"] for s in header["slots"]]
        self.slot_ids = [s.get("id") for s in header["slots"]]
        secrets = {"passphrase": passphrase, "keyfile": keyfile, "recovery": recovery and recovery_bytes(recovery)}
        roots = {unlock_slot(self.id, slot, secrets[slot["type"]]) for slot in header["slots"]}
        if len(roots) != 1:
            raise f.Damaged("slots with different root keys")
        (root,) = roots
        self.host_record_key = f.host_record_key(root, self.id)
        self.endorsement = f.derive(root, b"endorsement", self.id)
        self.body = read_body(f.xopen(f.keyring_key(root, self.id), aad, sealed))
        self.materials = {
            (k["id"], v["number"]): v["material"]
            for k in self.body["keys"]
            for v in k["versions"]
            if v["number"] >= k["min_decryption"] and k["state"] == "enabled"
        }
        t = next(t for t in self.body["tree_keys"] if t["id"] == self.body["current_tree_key"])
        wrapping = f.wrapping_key(self.material(t["key"], t["version"]), self.id, t["key"], t["version"])
        aad = f.wrap_aad(self.id, t["id"], t["key"], t["version"], 0)
        self.tree = f.Tree(f.xopen(wrapping, aad, t["wrapped"]))

    def material(self, key, version):
        return self.materials.get((key, version))

    def extension(self, tag):
        found = [data for number, data in self.body["extensions"] if number == tag]
        if len(found) > 1:
            raise f.Damaged(f"extension {tag} is there twice")
        return found[0] if found else b""

    def line(self):
        """The keyrings that this one comes from, as (generation, first bytes of the hash); it ends in the one before."""
        data = self.extension(4)
        line = [(int.from_bytes(data[at : at + 8], "little"), data[at + 8 : at + 24]) for at in range(0, len(data), 24)]
        if len(data) % 24 or line != sorted(line) or len(line) > 512:
            raise f.Damaged("the line of earlier generations makes no sense")
        return line if line and line[-1][1] == self.body["previous"][:16] else []

    def former_roots(self):
        """The endorsements of the root keys that were replaced, oldest first."""
        data = self.extension(7)
        if len(data) % 32:
            raise f.Damaged("the list of former root keys makes no sense")
        return [data[at : at + 32] for at in range(0, len(data), 32)]

    def check_revocation(self, number, old):
        """That this keyring comes from `old`, by the revocation of that number, which replaced all that `old` has."""
        if self.former_roots()[number] != old.endorsement or old.endorsement == self.endorsement:
            raise f.Damaged(f"revocation {number} has not replaced the root key of before")
        if (old.body["generation"], old.hash[:16]) not in self.line():
            raise f.Damaged(f"revocation {number}: the keyring of before is not in the line")
        _, former = self.event_keys()[number]
        if former != old.body["event_key"] or former == self.body["event_key"]:
            raise f.Damaged(f"revocation {number} has not replaced the event key of before")
        theirs = {(k["id"], k["current"]) for k in old.body["keys"]}
        for k in self.body["keys"]:
            if k["origin"] == "local" and (k["id"], k["current"]) in theirs:
                raise f.Damaged(f"revocation {number} has not rotated key {uuid.UUID(bytes=k['id'])}")

    def untagged(self):
        """Whose files without a tag are, by key: the name of an alias, gone, or undecided; of keys that are there."""
        keys = {k["id"] for k in self.body["keys"]}
        names = {self.tree.alias_id(a["created"], a["name"].encode()): a["name"] for a in self.body["aliases"]}
        said = {key: names.get(of, "gone") if of else "undecided" for key, of in f.untagged_records(self.extension(8)).items()}
        return {str(uuid.UUID(bytes=key)): of for key, of in said.items() if key in keys}

    def hosts(self):
        """Of a vault that hosts share: how many slots there are, who holds one, and the generation of the epoch."""
        directory = self.dir / "hosts"
        if not directory.exists():
            return {}
        slots = sorted(path for path in directory.iterdir() if path.name != "epoch")
        members = [f.read_member(self.host_record_key, int(path.name), path.read_bytes()) for path in slots]
        _, _, generation = f.read_epoch(self.host_record_key, (directory / "epoch").read_bytes())
        held = [(member["host"], member["mode"], member["generation"]) for member in members if member]
        return {"hosts": {"slots": len(slots), "members": held, "generation": generation}}

    def slot_labels(self):
        """The labels of the unlock slots that are there, by slot."""
        labels = {str(uuid.UUID(bytes=slot)): label for slot, label in f.slot_label_records(self.extension(9)).items()}
        return {slot: label for slot, label in labels.items() if slot in self.slot_ids}

    def event_keys(self):
        """The keys of the log, as (count and MAC of the last event that it made, key); the one in use last."""
        data, keys = self.extension(6), []
        for at in range(0, len(data), 72):
            count, mac = int.from_bytes(data[at : at + 8], "little"), data[at + 8 : at + 40]
            keys.append(((count, mac), data[at + 40 : at + 72]))
        return [*keys, ((1 << 64, b""), self.body["event_key"])]

    def check_events(self):
        """The chain through the files of the log, and that it reaches the keyring's anchor. Returns the detail types."""
        lines, (count, mac) = self.event_lines()
        begins, pruned = count, 0
        anchored, types, torn = self.body["event_count"] < count, [], []
        anchored |= (count, mac) == (self.body["event_count"], self.body["event_mac"])
        keys = self.event_keys()
        for line in lines:
            if not line.endswith(b'"}') or b',"mac":"' not in line:
                torn.append(line)
                continue
            count += 1
            content, tail = line.rsplit(b',"mac":"', 1)
            if torn:
                # Torn by a crash, if this event says so.
                said = json.loads(line)["detail"].get("sha256")
                if said != hashlib.sha256(b"\n".join(torn)).hexdigest():
                    raise f.Damaged(f"what is before event {count} is none")
                torn = []
            while count > keys[0][0][0]:
                keys.pop(0)
            mac = f.hmac256(keys[0][1], mac + content)
            if mac.hex().encode() != tail[:64] or json.loads(line)["sequence"] != count:
                raise f.Damaged(f"event {count} does not follow")
            if count == keys[0][0][0] and mac != keys[0][0][1]:
                raise f.Damaged(f"event {count} is not the last one of its key")
            anchored |= (count, mac) == (self.body["event_count"], self.body["event_mac"])
            event = json.loads(line)
            types.append(event["detail-type"])
            if types[-1] == "Event Log Pruned":
                pruned = max(pruned, event["detail"]["until"])
        if not anchored:
            raise f.Damaged("the event log ends before the keyring's anchor")
        if begins > pruned:
            raise f.Damaged(f"the events up to {begins} are not there")
        return types

    def event_lines(self):
        """The lines of all files of the log, oldest first, and the place in the chain (count, MAC) before them."""
        name, lines = "events.jsonl", []
        while True:
            text = (self.dir / name).read_bytes().split(b"\n")[:-1]
            lines = text + lines
            try:
                event = json.loads(text[0])
            except ValueError:
                return lines, (0, bytes(32))
            if event["detail-type"] != "Event Log Continued":
                return lines, (0, bytes(32))
            detail = event["detail"]
            place = (detail["previous-sequence"], bytes.fromhex(detail["previous-mac"]))
            name = f"events.jsonl.{place[0]:010}"
            if detail["previous-file"] != name:
                raise f.Damaged(f"{detail['previous-file']} is not the name of the file before event {place[0] + 1}")
            if not (self.dir / name).exists():
                return lines, place

    def walk(self):
        """(plaintext path, description) of everything in the tree."""
        root = os.fsencode(self.dir / "tree")
        yield from self.walk_directory(root, self.tree.root_id, b"")

    def walk_directory(self, lower_dir, directory, prefix):
        for entry in sorted(os.listdir(lower_dir)):
            lower = os.path.join(lower_dir, entry)
            if entry.startswith(b".long.") and not entry.endswith(b".name"):
                with open(lower + b".name", "rb") as companion:
                    full = companion.read()
                if f.b64(hashlib.sha256(full).digest()) != entry[len(b".long.") :]:
                    raise f.Damaged(f"the long name beside {entry!r} is another one's")
            elif entry.startswith(b"."):
                continue
            else:
                full = entry
            path = prefix + self.tree.plain_name(directory, full)
            yield path, self.describe(lower)
            if stat.S_ISDIR(os.lstat(lower).st_mode):
                yield from self.walk_directory(lower, self.directory_id(lower, directory, entry)[0], path + b"/")

    def directory_id(self, lower, parent, entry):
        try:
            with open(os.path.join(lower, b".dir"), "rb") as record:
                return self.tree.open_record(record.read())
        except FileNotFoundError:
            return self.tree.dir_id(parent, entry), b""

    def describe(self, lower):
        st = os.lstat(lower)
        out = {"mode": oct(stat.S_IMODE(st.st_mode))}
        if stat.S_ISLNK(st.st_mode):
            return {"kind": "symlink", "target": self.tree.open_symlink(os.readlink(lower)).hex()}
        if stat.S_ISDIR(st.st_mode):
            out["kind"] = "directory"
            record = os.path.join(lower, b".dir")
            if os.path.exists(record):
                with open(record, "rb") as r:
                    out["alias"] = self.tree.open_record(r.read())[1].decode()
        elif stat.S_ISREG(st.st_mode):
            with open(lower, "rb") as raw:
                data = raw.read()
            plain, slot = f.read_file(data, self.id, self.material)
            out |= {"kind": "file", "size": len(plain), "sha256": hashlib.sha256(plain).hexdigest(), "links": st.st_nlink}
            if slot:
                slots = sum(data[at : at + 4] == b"RKFS" for at in (0, 512))
                out |= {"key": str(uuid.UUID(bytes=slot.key)), "version": slot.version, "suite": slot.suite}
                out |= {"sequence": slot.sequence, "slots": slots, "floor": slot.floor}
                if tag := slot.follows():
                    names = {self.tree.alias_id(a["created"], a["name"].encode()): a["name"] for a in self.body["aliases"]}
                    out |= {"follows": names.get(tag[0], "gone") if tag[0] else "pinned", "tagged": tag[1]}
        else:
            out["kind"] = "special"
        xattrs = {}
        for name in os.listxattr(lower, follow_symlinks=False):
            if name.startswith("user.rkf."):
                plain = self.tree.xattr_plain_name(name.encode())
                xattrs[plain.hex()] = self.tree.open_xattr(plain, os.getxattr(lower, name)).hex()
        return out | ({"xattrs": dict(sorted(xattrs.items()))} if xattrs else {})

    def dump(self):
        return {
            "vault": str(uuid.UUID(bytes=self.id)),
            "suite": self.suite,
            "slots": self.slots,
            "slot_labels": self.slot_labels(),
            "generation": self.body["generation"],
            "aliases": {a["name"]: str(uuid.UUID(bytes=a["key"])) for a in self.body["aliases"]},
            "untagged": self.untagged(),
            "revocations": len(self.former_roots()),
            "versions": {str(uuid.UUID(bytes=k["id"])): [v["number"] for v in k["versions"]] for k in self.body["keys"]},
            "events": self.check_events(),
            **self.hosts(),
            "tree": {path.hex(): about for path, about in sorted(self.walk())},
        }


def dump(directory, passphrase, keyfile="", recovery=""):
    vault = Vault(directory, passphrase.encode(), bytes.fromhex(keyfile), recovery)
    return dict(zip(SECRETS, (passphrase, keyfile, recovery))) | vault.dump()


def secrets(expected):
    return expected["passphrase"].encode(), bytes.fromhex(expected["keyfile"]), expected["recovery"]


def extract(tar, into):
    subprocess.run(
        ["tar", "--xattrs", "--xattrs-include=user.*", "--no-same-owner", "-xpf", tar, "-C", into], check=True
    )  # fmt: skip


def check(tar):
    expected = json.loads(pathlib.Path(tar).with_suffix(".json").read_text())
    # Beside the build output: a tmpfs may lack extended attributes.
    base = pathlib.Path(__file__).resolve().parents[2] / "target"
    base.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base) as into:
        extract(tar, into)
        found = dump(pathlib.Path(into) / "vault", *(expected[name] for name in SECRETS))
        for number, passphrase in enumerate(expected.pop("former", [])):
            now = Vault(pathlib.Path(into) / "vault", *secrets(expected))
            before = pathlib.Path(into) / f"keyring.before-revocation-{number + 1}"
            now.check_revocation(number, Vault(now.dir, passphrase.encode(), keyring=before))
    for name, want in expected.items():
        if name == "tree":
            for path in sorted(want.keys() | found["tree"].keys()):
                if want.get(path) != found["tree"].get(path):
                    raise SystemExit(f"{tar}: {bytes.fromhex(path)!r}: {found['tree'].get(path)}, not {want.get(path)}")
        elif found[name] != want:
            raise SystemExit(f"{tar}: {name}: {found[name]}, not {want}")
    print(f"{tar}: {len(expected['tree'])} entries as expected")


def check_key_backup(path):
    expected = json.loads(pathlib.Path(path).with_suffix(".json").read_text())
    vault, body = read_key_backup(pathlib.Path(path).read_bytes(), expected["passphrase"].encode())
    found = dict(about_backup(vault, body), passphrase=expected["passphrase"])
    if found != expected:
        raise SystemExit(f"{path}: {found}, not {expected}")
    print(f"{path}: {len(found['keys'])} keys as expected")


def read_key_backups(data):
    """Extension 10: what a keyring knows of its key backups."""
    made, at, generation, made_then, zero = struct.unpack_from("<QqQQQ", data)
    kept, at_byte = [], 40
    while at_byte < len(data):
        root, begun, mount, length = struct.unpack_from("<32sqII", data, at_byte)
        at_byte += 48
        to = data[at_byte : at_byte + length].decode()
        at_byte += length
        (length,) = struct.unpack_from("<I", data, at_byte)
        slots = json.loads(data[at_byte + 4 : at_byte + 4 + length])
        at_byte += 4 + length
        kept.append({"root": root, "begun": begun, "mount": to[:mount], "to": to, "slots": slots})
    if zero or at_byte != len(data):
        raise f.Damaged("what is known of key backups makes no sense")
    return {"made": made, "exported": at, "export_generation": generation, "made_then": made_then, "kept": kept}


def check_kept(path):
    path = pathlib.Path(path)
    expected = json.loads(path.with_suffix(".json").read_text())
    header, aad, sealed = split_frame(path.read_bytes(), b"RKFK")
    vault = uuid.UUID(header["vault"]).bytes
    root = unlock_slot(vault, header["slots"][0], expected["passphrase"].encode())
    body = read_body(f.xopen(f.keyring_key(root, vault), aad, sealed))
    known = read_key_backups(dict(body["extensions"])[10])
    found = about_backup(vault, body) | {name: known[name] for name in ("made", "exported", "export_generation", "made_then")}
    found |= {"kept": [{"to": kept["to"], "mount": kept["mount"]} for kept in known["kept"]]}
    for kept in known["kept"]:
        raw = path.with_name(f"kept-{kept['slots'][0]['type']}.bin").read_bytes()
        header, aad, sealed = split_frame(raw, b"RKFB")
        if header["slots"] != kept["slots"]:
            raise SystemExit(f"{path}: {kept['to']} has other slots than the keyring says")
        (slot,) = header["slots"]
        if slot["type"] == "age":
            age = base64.b64decode(slot["sealed"])
            if not age.startswith(b"age-encryption.org/v1\n"):
                raise SystemExit(f"{path}: {kept['to']} has no age file")
            payload = open_age(age, expected["age_identity"])
            if payload is not None and payload != vault + uuid.UUID(slot["id"]).bytes + kept["root"]:
                raise SystemExit(f"{path}: the age file of {kept['to']} holds something else")
        elif unlock_slot(vault, slot, expected["backup_passphrase"].encode()) != kept["root"]:
            raise SystemExit(f"{path}: {kept['to']} opens to another root key")
        theirs = read_body(f.xopen(f.keyring_key(kept["root"], vault), aad, sealed))
        if about_backup(vault, theirs) != about_backup(vault, body):
            raise SystemExit(f"{path}: {kept['to']} has other keys than the keyring")
        if read_key_backups(dict(theirs["extensions"])[10])["kept"]:
            raise SystemExit(f"{path}: {kept['to']} has the keys of kept backups")
    for name in ("passphrase", "backup_passphrase", "age_identity"):
        found[name] = expected[name]
    if found != expected:
        raise SystemExit(f"{path}: {found}, not {expected}")
    print(f"{path}: {len(known['kept'])} kept backups as expected")


def open_age(sealed, identity):
    """What age decrypts; none where it isn't installed."""
    try:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(identity)
            file.flush()
            done = subprocess.run(["age", "--decrypt", "--identity", file.name], input=sealed, capture_output=True, check=True)
    except FileNotFoundError:
        return None
    return done.stdout


def about_backup(vault, body):
    materials = lambda key: [v["material"] and v["material"].hex() for v in key["versions"]]  # noqa: E731
    return {
        "vault_id": str(uuid.UUID(bytes=vault)), "generation": body["generation"],
        "keys": [{"id": str(uuid.UUID(bytes=k["id"])), "materials": materials(k)} for k in body["keys"]],
    }  # fmt: skip


def main():
    if sys.argv[1:2] == ["--dump"]:
        print(json.dumps(dump(*sys.argv[2:]), indent=1))
        return
    for path in sys.argv[1:]:
        if pathlib.Path(path).name == "kept-keyring.bin":
            check_kept(path)
        elif path.endswith(".bin"):
            check_key_backup(path)
        else:
            check(path)


if __name__ == "__main__":
    main()
