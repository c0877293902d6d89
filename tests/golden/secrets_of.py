"""Every secret of a vault, computed from its passphrase by the independent implementation: what the test of a
mount's memory looks for.

    secrets_of.py VAULT PASSPHRASE      prints a JSON object: role -> the secret in hex. Test vaults only.
"""

import json
import os
import stat
import sys
import uuid

import reader
import rekeyfs_format as f


def secrets_of(directory, passphrase):
    vault = reader.Vault(directory, passphrase.encode())
    header, _, _ = reader.split_frame((vault.dir / "keyring").read_bytes(), b"RKFK")
    (slot,) = header["slots"]
    salt, kdf = reader.base64.b64decode(slot["salt"]), slot["kdf"]
    kek = f.argon2id(passphrase.encode(), salt, kdf["memory_kib"], kdf["passes"], kdf["lanes"])
    root = reader.unlock_slot(vault.id, slot, passphrase.encode())
    found = {
        "kek": kek,
        "slot-wrap": f.derive(kek, b"slot-wrap", vault.id + uuid.UUID(slot["id"]).bytes),
        "root": root,
        "keyring": f.keyring_key(root, vault.id),
        "tree": vault.tree.key,
        "event": vault.body["event_key"],
    }
    for label in (b"dir-record", b"symlink", b"xattr-value"):
        found[label.decode()] = f.derive(vault.tree.key, label)
    for label in (b"names", b"xattr-name"):
        found[label.decode()] = f.derive(vault.tree.key, label, length=64)
    for label in (b"insist", b"import-token", b"host-record"):
        found[label.decode()] = f.derive(root, label, vault.id)
    found["endorsement"] = f.derive(root, b"endorsement", vault.id)
    for number, (_, key) in enumerate(vault.event_keys()[:-1]):
        found[f"event {number}"] = key
    former = vault.extension(7)
    for at in range(0, len(former), 32):
        found[f"former-endorsement {at}"] = former[at : at + 32]
    for (key, version), material in vault.materials.items():
        where = f"{uuid.UUID(bytes=key)}/{version}"
        found[f"material {where}"] = material
        found[f"wrapping {where}"] = f.wrapping_key(material, vault.id, key, version)
        found[f"kms-blob {where}"] = f.blob_key(material, vault.id, key, version)
    for lower, _, names in os.walk(os.fsencode(vault.dir / "tree")):
        for name in names:
            path = os.path.join(lower, name)
            st = os.lstat(path)
            if name.startswith(b".") or not stat.S_ISREG(st.st_mode) or not st.st_size:
                continue
            with open(path, "rb") as raw:
                raw = raw.read(512)
            slot = f.Slot.parse(raw)
            dek = slot.unwrap(vault.material(slot.key, slot.version), vault.id, raw)
            found[f"dek {st.st_ino}"] = dek
            found[f"header-mac {st.st_ino}"] = f.derive(dek, b"header-mac", slot.file)
            found[f"content {st.st_ino}"] = f.content_key(dek, slot.suite, slot.file, 0)
    return {role: secret.hex() for role, secret in found.items()}


if __name__ == "__main__":
    print(json.dumps(secrets_of(*sys.argv[1:])))
