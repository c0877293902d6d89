"""Makes the seeds of the fuzz targets from the golden vectors and vaults: fuzz/seeds/TARGET/NAME.

Run with the Python packages of tests/golden/reader.py. The seeds are committed; more can be added by hand.
"""

import json
import pathlib
import sys
import tarfile
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/golden"))
import reader  # noqa: E402
import rekeyfs_format as f  # noqa: E402

GOLDEN = ROOT / "tests/golden"
SEEDS = ROOT / "fuzz/seeds"
KEY = "4b1129cf-b657-4a4c-ba70-a4350cc241ad"


def seed(target, name, data):
    path = SEEDS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def from_vectors():
    v = json.loads((GOLDEN / "vectors.json").read_text())
    slots = [bytes.fromhex(row["slot"]) for row in v["slots"]]
    seed("header_slot", "a", slots[0])
    seed("header_slot", "b", bytes(512) + slots[1])
    seed("header_slot", "both", slots[0] + slots[1])
    for suite in (0, 1):
        for index in (0, 1, 16383, 16384):
            head = bytes([suite]) + index.to_bytes(8, "little") + bytes(12)
            seed("page", f"suite-{suite}-page-{index}", head + b"\x40\x00\x00\x01payload")
    tree = v["tree"]
    for n, row in enumerate(tree["names"]):
        directory = bytes.fromhex(row["dir"])
        seed("name", f"plain-{n}", directory + bytes.fromhex(row["name"]))
        seed("name", f"lower-{n}", directory + row["full"].encode())
        seed("name", f"entry-{n}", directory + row["entry"].encode())
    seed("name", "companion", directory + b".long." + b"A" * 43 + b".name")
    seed("name", "bad", directory + b".rekeyfs-bad.abc")
    for n, row in enumerate(tree["records"]):
        seed("dir_record", f"golden-{n}", bytes.fromhex(row["record"]))
        seed("dir_record", f"alias-{n}", bytes.fromhex(row["id"]) + row["alias"].encode())
    for n, row in enumerate(v["blobs"]["blobs"][:2]):
        seed("blob", f"golden-{n}", bytes.fromhex(row["blob"]))
    seed("blob", "edit-magic", b"v\x01\x00\x00\x01")
    seed("blob", "edit-version", b"v\x25\x00\x00\x01and some more")


def from_backup():
    raw = (GOLDEN / "key-backup.bin").read_bytes()
    passphrase = json.loads((GOLDEN / "key-backup.json").read_text())["passphrase"].encode()
    header, aad, sealed = reader.split_frame(raw, b"RKFB")
    vault = uuid.UUID(header["vault"]).bytes
    root = reader.unlock_slot(vault, header["slots"][0], passphrase)
    seed("keyring_body", "golden-key-backup", f.xopen(f.keyring_key(root, vault), aad, sealed))
    seed("keyring_header", "golden-key-backup", raw)
    seed("key_backup", "golden", raw)
    seed("unlock_slots", "golden-key-backup", json.dumps(header["slots"]))


def from_vault():
    with tarfile.open(GOLDEN / "vault-aes-256-gcm.tar") as tar:
        members = {pathlib.PurePath(m.name).name: m for m in tar.getmembers() if m.isfile()}
        keyring = tar.extractfile(members["keyring"]).read()
        events = tar.extractfile(members["events.jsonl"]).read()
    seed("keyring_header", "golden-vault", keyring)
    slots = reader.split_frame(keyring, b"RKFK")[0]["slots"]
    seed("unlock_slots", "golden-vault", json.dumps(slots))
    newer = {"id": KEY, "type": "tpm2", "created": 1, "pcrs": [7, -1, -1.1193133179981888e-17], "note": None}
    seed("unlock_slots", "newer", json.dumps([*slots, newer]))
    vectors = json.loads((GOLDEN / "vectors.json").read_text())
    seed("unlock_slots", "custodian", json.dumps([*vectors["custodian_slot"]["slots"][:1], *slots]))
    beyond = {**next(s for s in slots if s["type"] == "passphrase")}
    beyond["kdf"] = {"memory_kib": 4294967295, "passes": 65, "lanes": 17}
    seed("unlock_slots", "beyond-caps", json.dumps([beyond]))
    for n, line in enumerate(events.splitlines(keepends=True)[:4]):
        seed("events_line", f"golden-{n}", line)
    seed("events_line", "torn", events[: len(events) // 8])
    for n, script in enumerate((b"", b"\x40\x00\x00\x01", b"\xff\xff\x05\x0a", b"\x80\x01\x06\x00", b"\x00\x02\x07\x00")):
        seed("events_line", f"edit-{n}", script)
        seed("key_backup", f"edit-{n}", script)


def messages():
    requests = [
        {"ask": "status"},
        {"ask": "rotate", "target": {"alias": "alias/default"}},
        {"ask": "rewrap", "max_rate": 5},
        {"ask": "kms", "call": {"operation": "DescribeKey", "parameters": {"KeyId": "alias/default"}}},
        {"ask": "plain-names", "paths": ["tree/abc"]},
        {"ask": "reencrypt", "ino": 7, "before": 1},
        {"ask": "fsck", "path": None},
    ]
    version = {"key_id": KEY, "version": 1, "files": 3}
    replies = [
        {"reply": "kms", "outcome": "done", "answer": {"Date": -1.1193133179981888e-17, "Number": 1e300}},
        {"reply": "progress", "seen": 1, "rewrapped": 1, "failed": 0},
        {"reply": "rewrapped", "seen": 1, "rewrapped": 1, "failed": 0, "complete": True, "versions": [version]},
        {"reply": "refused", "kind": "busy", "message": "later"},
        {"reply": "rotated", "alias": None, "key_id": KEY, "old_version": 1, "new_version": 2},
        {"reply": "inspected", "header": None},
    ]
    for kind, all_ in (("request", requests), ("reply", replies)):
        for n, message in enumerate(all_):
            seed("control_message", f"{kind}-{n}", json.dumps({"protocol": 1, "message": message}) + "\n")


def answers():
    blob = "YmxvYg=="
    all_ = [
        {"v": 1, "blob": blob, "params": {"key": "arn:aws:kms:x:1:key/2", "pcrs": [7]}, "version": "v7"},
        {"v": 1, "secret": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "rewrap": True},
        {"v": 1, "rewrap": False},
        {"v": 1, "error": {"kind": "denied", "message": "no \x1b[31mway\n" + "at all " * 90}},
        {"v": 1, "error": {"kind": "busy", "message": "", "retry_after_ms": 2**64 - 1}},
        {"v": 1, "error": {"kind": "pin", "tries": 0}},
        {"v": 1, "prompt": {"what": "pin", "text": "PIN of \u202etoken"}},
        {"v": 2, "secret": ""},
    ]
    for n, answer in enumerate(all_):
        seed("custodian_answer", f"answer-{n}", json.dumps(answer))
    seed("custodian_answer", "list", json.dumps([1, None, None, "AA==", blob]))


def policies():
    def statement(effect, principal, action):
        return {"Sid": "s", "Effect": effect, "Principal": principal, "Action": action, "Resource": "*"}

    everybody = {"AWS": "*"}
    users = {"AWS": ["uid:0", "uid:1000"]}
    allow = statement("Allow", everybody, "kms:*")
    several = [
        [allow],
        allow,
        [allow, statement("Deny", users, ["kms:Decrypt", "kms:Create*"])],
        [statement("Allow", users, "kms:?ncrypt"), statement("Allow", "*", "KMS:DE*T")],
        [],
    ]
    for n, statements in enumerate(several):
        for uid in (0, 1000, 1001):
            text = json.dumps({"Version": "2012-10-17", "Id": "i", "Statement": statements})
            seed("policy", f"{n}-uid-{uid}", uid.to_bytes(2, "little") + text.encode())
    in_lists = ["2012-10-17", None, [["s", "Allow", "*", "kms:*", "*"]]]
    seed("policy", "lists", b"\0\0" + json.dumps(in_lists).encode())
    in_lists = {"Version": "2012-10-17", "Statement": [["s", "Allow", ["*"], "kms:*", "*"]]}
    seed("policy", "statement-as-list", b"\0\0" + json.dumps(in_lists).encode())


if __name__ == "__main__":
    from_vectors()
    from_backup()
    from_vault()
    messages()
    answers()
    policies()
