"""How the committed vaults were made: vault-SUITE.tar and vault-SUITE.json, with the rekeyfs of that day.

They are never made anew, since every later version has to open them: an existing one is refused. A change of the
format that the old program could not read gets a vault of its own beside them.

    REKEYFS=target/release/rekeyfs python3 tests/golden/make_vault.py SUITE
"""

import os
import pathlib
import random
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
    # Version 2: a new file, one re-wrapped by use (both slots), one overwritten in part, one cut.
    vault.rotate()
    write(b"version-2", data(2, 5000))
    moved = mnt + b"/size-20000"
    vault.remount()
    with open(moved, "rb") as f:
        f.read()
    assert harness.wait_until(lambda: vault.version(moved) == 2, 10)
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


def main():
    suite = sys.argv[1]
    tar = HERE / f"vault-{suite}.tar"
    if tar.exists():
        sys.exit(f"{tar} is there: it is never made anew")
    with tempfile.TemporaryDirectory(dir=harness.TARGET) as base:
        vault = harness.Vault(base, suite=suite)
        vault.mount("--no-rewrap")
        try:
            fill(vault)
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
        tar.with_suffix(".json").write_bytes(dump)
        for leaf in ("lock", "keyring.prev"):
            (vault.path / leaf).unlink(missing_ok=True)
        subprocess.run(
            ["tar", "--xattrs", "--xattrs-include=user.*", "--sparse", "--format=posix", "--owner=0", "--group=0",
             "--numeric-owner", "--sort=name", "-cf", tar, "-C", base, "vault"],
            check=True,
        )  # fmt: skip
        assert stat.S_ISREG(tar.stat().st_mode)


if __name__ == "__main__":
    main()
