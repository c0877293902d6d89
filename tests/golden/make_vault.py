"""How the committed vaults were made: vault-NAME.tar and vault-NAME.json, with the rekeyfs of that day.

NAME is a suite; `shared`, for a vault that hosts share; `revoked`, for a vault whose root key was replaced twice, with the keyrings of before beside it; or
`rotated`, for a vault whose event log was continued in new files, of which the oldest is pruned.

They are never made again, since every later version has to open them: an existing one is refused. A change of the
format that the old program could not read gets a vault of its own beside them.

    REKEYFS=target/release/rekeyfs python3 tests/golden/make_vault.py NAME
"""

import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "mounted"))

import harness  # noqa: E402


def data(seed, n):
    return random.Random(seed).randbytes(n)


def fill(vault):
    mnt = os.fsencode(vault.mnt)

    def write(name, content):
        with open(os.path.join(mnt, name), "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())

    # Version 1.
    for size in (0, 1, 3043, 3044, 3045, 7111, 7112, 7113, 20000):
        write(b"size-%d" % size, data(size, size))
    os.mkdir(mnt + b"/dir")
    write(b"dir/inside", b"under a derived directory id")
    os.mkdir(mnt + b"/before")
    write(b"before/f", b"under a stored directory id")
    os.mkdir(mnt + b"/before/deeper")
    write(b"before/deeper/g", b"a derived id below a stored one")
    os.rename(mnt + b"/before", mnt + b"/after")
    os.mkdir(mnt + b"/before")
    write(b"before/f", b"same name, other directory")
    long_name, not_utf8 = b"\xc3\xa9" * 127 + b"x", bytes(range(1, 47)) + b"\xff\xfe"
    write(long_name, b"long name")
    write(not_utf8, b"name that is not UTF-8")
    os.mkdir(mnt + b"/" + b"D" * 255)
    write(b"D" * 255 + b"/" + b"F" * 255, b"long in long")
    os.rename(mnt + b"/" + b"D" * 255, mnt + b"/" + b"E" * 255)
    os.symlink(b"dir/inside", mnt + b"/link")
    os.symlink(b"../" * 900 + b"far", mnt + b"/long-link")
    os.link(mnt + b"/dir/inside", mnt + b"/hard")
    os.mkfifo(mnt + b"/fifo", 0o640)
    os.setxattr(mnt + b"/size-1", "user.comment", b"a value")
    os.setxattr(mnt + b"/size-1", "user.empty", b"")
    os.setxattr(mnt + b"/dir", "user.binary", bytes(range(256)))
    os.mkdir(mnt + b"/aliased")
    os.setxattr(mnt + b"/aliased", "user.rekeyfs.alias", b"alias/default")
    os.mkdir(mnt + b"/empty-dir", 0o700)
    # Holes, and a page in the second segment.
    fd = os.open(mnt + b"/sparse", os.O_CREAT | os.O_RDWR, 0o600)
    os.pwrite(fd, b"first", 0)
    os.pwrite(fd, b"second segment", 3044 + 4068 * ((1 << 14) + 2))
    os.fsync(fd)
    os.close(fd)
    fd = os.open(mnt + b"/punched", os.O_CREAT | os.O_RDWR, 0o600)
    os.pwrite(fd, data(5, 30000), 0)
    os.fsync(fd)
    harness.fallocate(fd, harness.FALLOC_PUNCH_HOLE | harness.FALLOC_KEEP_SIZE, 5000, 20000)
    os.fsync(fd)
    os.ftruncate(fd, 28000)
    os.fsync(fd)
    os.close(fd)
    # Version 2: a new file, one re-wrapped by use (both slots), one overwritten in part, one truncated.
    vault.rotate()
    write(b"version-2", data(2, 5000))
    moved = mnt + b"/size-20000"
    vault.remount()
    with open(moved, "rb") as f:
        f.read()
    assert harness.wait_until(lambda: vault.version(moved) == 2)
    vault.remount("--no-rewrap")
    # Version 3 and 4, the latter without any file but one.
    vault.rotate()
    with open(mnt + b"/size-7113", "r+b") as f:
        f.seek(3040)
        f.write(b"overwritten")
    os.truncate(mnt + b"/size-7112", 4000)
    write(b"version-3", b"three")
    write(b"aliased/new", b"through the directory's alias")
    vault.rotate()
    write(b"version-4", b"four")


# What opened the vault before each revocation.
FORMER = ("the first passphrase", "the second passphrase")


def fill_and_revoke(vault):
    """Keys of all kinds and files that follow, stay and are pinned; then two revocations, with changes in between."""
    mnt = vault.mnt
    passphrases = iter([*FORMER, harness.PASSPHRASE])

    def kms(*args):
        printed = vault.ok("kms", *args, "--vault", mnt)
        return json.loads(printed) if printed else None

    def key(alias, *args):
        made = kms("create-key", *args)["KeyMetadata"]["KeyId"]
        kms("create-alias", "--alias-name", alias, "--target-key-id", made)
        return made

    def revoke(n):
        shutil.copy(vault.path / "keyring", vault.base / f"keyring.before-revocation-{n}")
        new = vault.base / "new-passphrase"
        new.write_text(next(passphrases) + "\n")
        vault.ok("unlock", "change", vault.path, "--revoke", "--passfile", vault.passfile, "--new-passfile", new,
                 "--kdf-memory", "8")  # fmt: skip
        os.replace(new, vault.passfile)
        slots = json.loads(vault.ok("unlock", "list", vault.path, "--json"))["slots"]
        (recovery,) = (slot["id"] for slot in slots if slot["kind"] == "recovery")
        vault.ok("unlock", "remove", vault.path, recovery, "--passfile", vault.passfile)

    vault.umount()
    first = vault.base / "first-passphrase"
    first.write_text(next(passphrases) + "\n")
    vault.ok("unlock", "change", vault.path, "--passfile", vault.passfile, "--new-passfile", first, "--kdf-memory", "8")
    os.replace(first, vault.passfile)
    vault.mount("--no-rewrap")
    (mnt / "at-default").write_bytes(b"follows alias/default")
    (mnt / "pinned").write_bytes(b"pinned to the first key")
    vault.ok("kms", "re-encrypt", mnt / "pinned", "--destination-key-id", "alias/default")
    key("alias/second")
    (mnt / "second").mkdir()
    os.setxattr(mnt / "second", "user.rekeyfs.alias", b"alias/second")
    (mnt / "second/file").write_bytes(b"follows alias/second")
    key("alias/gone")
    (mnt / "gone").mkdir()
    os.setxattr(mnt / "gone", "user.rekeyfs.alias", b"alias/gone")
    (mnt / "gone/file").write_bytes(b"followed an alias that is gone")
    kms("delete-alias", "--alias-name", "alias/gone")
    imported, material = key("alias/imported", "--origin", "EXTERNAL"), vault.base / "material"
    material.write_bytes(data(1, 32))
    kms("import-key-material", "--key-id", imported, "--key-material-file", material, "--expiration-model",
        "KEY_MATERIAL_DOES_NOT_EXPIRE")  # fmt: skip
    (mnt / "imported").mkdir()
    os.setxattr(mnt / "imported", "user.rekeyfs.alias", b"alias/imported")
    (mnt / "imported/file").write_bytes(data(2, 9000))
    kms("disable-key", "--key-id", key("alias/disabled"))
    vault.ok("rotate", "--new-key", "--alias", "alias/default", mnt)
    for name in ("reencrypted", "swept"):
        (mnt / name).write_bytes(b"written before the first revocation")
    vault.umount()
    revoke(1)
    vault.mount("--no-rewrap")
    (mnt / "between").write_bytes(b"written between two revocations")
    vault.ok("reencrypt", mnt / "reencrypted")
    vault.ok("rewrap", mnt / "swept", "--to-alias", "alias/default")
    vault.umount()
    revoke(2)
    vault.mount("--no-rewrap")
    (mnt / "after").write_bytes(data(3, 30000))


def fill_and_rotate_log(vault):
    """An event log of four files, the oldest of them pruned: closed mounted and not, with changes of keys in between."""
    (vault.mnt / "one").write_bytes(b"one")
    vault.rotate()
    for name in ("two", "three"):
        vault.ok("events", "rotate", vault.mnt)
        (vault.mnt / name).write_bytes(name.encode())
        vault.rotate()
    vault.umount()
    vault.ok("events", "rotate", vault.path, "--passfile", vault.passfile)
    vault.mount("--no-rewrap")
    vault.ok("events", "prune", vault.mnt, "--keep", "2")
    (vault.mnt / "four").write_bytes(data(4, 9000))


def fill_shared(vault):
    """Two members, one after the other; changes of keys by each, and between them."""
    vault.umount()
    vault.mount("--shared", "--no-rewrap")
    (vault.mnt / "one").write_bytes(b"of the first member")
    vault.rotate()
    vault.umount()
    vault.rotate()
    vault.mount("--no-rewrap")
    (vault.mnt / "two").write_bytes(data(5, 9000))
    vault.rotate()


FILLS = {"revoked": fill_and_revoke, "rotated": fill_and_rotate_log, "shared": fill_shared}


def main():
    name = sys.argv[1]
    tar = HERE / f"vault-{name}.tar"
    if tar.exists():
        sys.exit(f"{tar} is there: it is never made again")
    revoked = name == "revoked"
    with tempfile.TemporaryDirectory(dir=harness.TARGET) as base:
        vault = harness.Vault(base, suite=None if name in FILLS else name)
        vault.mount("--no-rewrap")
        try:
            FILLS.get(name, fill)(vault)
            vault.umount()
        finally:
            vault.close()
        keyfile = pathlib.Path(base) / "keyfile"
        keyfile.write_bytes(bytes(range(32)))
        unlock = ["unlock", "add", vault.path, "--passfile", vault.passfile]
        vault.ok(*unlock, "--new-keyfile", keyfile)
        recovery = vault.ok(*unlock, "--new-recovery-key")
        recovery = max(recovery.split(), key=len)
        python = harness.TARGET / "python/bin/python"
        dump = subprocess.run(
            [python, HERE / "reader.py", "--dump", vault.path, harness.PASSPHRASE, keyfile.read_bytes().hex(), recovery],
            check=True, stdout=subprocess.PIPE,
        ).stdout  # fmt: skip
        former = {"former": list(FORMER)} if revoked else {}
        tar.with_suffix(".json").write_text(json.dumps(former | json.loads(dump), indent=1) + "\n")
        for leaf in ("lock", "keyring.prev", *(path.name for path in vault.path.glob("keyring.reserve*"))):
            (vault.path / leaf).unlink(missing_ok=True)
        subprocess.run(
            ["tar", "--xattrs", "--xattrs-include=user.*", "--sparse", "--format=posix", "--owner=0", "--group=0",
             "--numeric-owner", "--sort=name", "-cf", tar, "-C", base, "vault",
             *sorted(path.name for path in pathlib.Path(base).glob("keyring.before-*"))],
            check=True,
        )  # fmt: skip
        assert stat.S_ISREG(tar.stat().st_mode)


if __name__ == "__main__":
    main()
