"""Readers beside a writer, on two hosts of a cluster: close-to-open, keys, and a reader whose cable is pulled out."""

import contextlib
import errno
import os
import random
import time

from harness import wait_until
from suite import equal, refused

TURNS = 40
READER = ("--shared", "--read-only")
# Until a host that is cut off hinders nobody: a lease and a twentieth, or what the cluster takes to give it up (CephFS: over a minute).
PATIENCE = 240


def _names(writer, reader, number):
    """A name that comes, moves and goes."""
    (writer / f"n{number}").write_bytes(b"%d" % number)
    os.rename(writer / f"n{number}", writer / f"o{number}")
    equal((reader / f"o{number}").read_bytes(), b"%d" % number, "what was renamed")
    refused(errno.ENOENT, os.stat, reader / f"n{number}")
    os.unlink(writer / f"o{number}")
    refused(errno.ENOENT, os.stat, reader / f"o{number}")


def close_to_open(writer, reader):
    """What is closed is seen by what begins later."""
    log = b""
    for number in range(TURNS):
        data = os.urandom(random.randrange(90_000))
        (writer / "f").write_bytes(data)
        equal((reader / "f").read_bytes() == data, True, f"what was closed, of {len(data)} bytes")
        log += b"line %d\n" % number
        with open(writer / "log", "ab") as file:
            file.write(b"line %d\n" % number)
        equal((reader / "log").read_bytes(), log, "a log that grows")
        _names(writer, reader, number)


def keys(vault, reader):
    """A change of keys is in force on the reader when it returns: how long a disable-key took."""
    vault.rotate()
    (vault.mnt / "new").write_bytes(b"of a new version")
    equal((reader / "new").read_bytes(), b"of a new version", "content")
    took = disable(vault)
    try:
        refused(errno.ENOKEY, (reader / "new").read_bytes)
    finally:
        enable(vault)
    equal((reader / "new").read_bytes(), b"of a new version", "content")
    return took


def _key(vault):
    return ("--key-id", vault.status()["aliases"][0]["key_id"], "--vault", vault.mnt)


def disable(vault):
    """Disables the key of new files; how long that took."""
    began = time.monotonic()
    vault.ok("kms", "disable-key", *_key(vault))
    return time.monotonic() - began


def enable(vault):
    """Enables it again."""
    vault.ok("kms", "enable-key", *_key(vault))


def cut_off(vault, other, cluster, name):
    """A reader that the network doesn't reach shows nothing under a key that is disabled, and goes on afterwards: where the cluster has
    shut its host out, once both are mounted anew."""
    reader, host = other.mnt, cluster.network[name]
    host.link(up=False)
    try:
        took = disable(vault)
        print(f"  a change of keys beside a reader that is cut off: {took:.1f} s", flush=True)
        equal(took < PATIENCE, True, "a change of keys returns")
        refused(errno.ENOKEY, (reader / "new").read_bytes)
        enable(vault)
    finally:
        host.link(up=True)
    if cluster.fences:
        other.umount()
        cluster.mount_anew(name)
        other.mount(*READER)

    def goes_on():
        with contextlib.suppress(OSError):
            return (reader / "new").read_bytes() == b"of a new version"
        return False

    equal(wait_until(goes_on, 60), True, "the reader goes on")


def read_beside(vault, other, cluster, name):
    """A shared vault on one host, and a reader of it on another, `name`: title -> why it doesn't hold, or none."""
    found = {}

    def holds(title, act, *arguments):
        try:
            act(*arguments)
            found[title] = None
        except (AssertionError, OSError) as error:
            found[title] = str(error)

    vault.mount("--shared")
    try:
        # The other host sees it once its client asks.
        wait_until((other.path / "hosts/00").exists)
        other.mount(*READER)
        holds("a reader sees what was closed", close_to_open, vault.mnt, other.mnt)
        holds("a reader has changes of keys in force", keys, vault, other.mnt)
        holds("a reader that is cut off shows nothing", cut_off, vault, other, cluster, name)
        other.umount()
        vault.umount()
        holds("a shared vault is sound", lambda: vault.ok("fsck", vault.path, "--passfile", vault.passfile))
    finally:
        other.close()
        vault.close()
    return found
