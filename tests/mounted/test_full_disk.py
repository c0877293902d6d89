"""A full lower disk, of blocks or of inodes: ENOSPC, nothing lost that was written before, and keys that can still be
changed. On loop devices of their own."""

import errno
import json
import os
import subprocess

from harness import FALLOC_KEEP_SIZE, MountedTest, fallocate, sh, wait_until

MIB = 1 << 20
KEPT = 200_000
REFUSALS = 300  # more lines than the log has room for on a full disk


class OnADisk(MountedTest):
    """A vault on a filesystem of its own at `self.disk`."""

    options = None
    filesystem = "ext4"
    size = 64
    mkfs = ("mkfs.ext4", "-q", "-b", "4096", "-m", "0")
    mount_options = "loop"

    def setUp(self):
        super().setUp()
        self.need_root()
        self.need_tools(self.mkfs[0], "mount", "losetup")
        self.disk = self.dir / "disk"
        self.disk.mkdir()
        self.image = self.dir / "image"
        with open(self.image, "wb") as f:
            f.truncate(self.size * MIB)
        sh(" ".join([*self.mkfs, str(self.image)]), self.dir)
        mounted = subprocess.run(
            ["mount", "-t", self.filesystem, "-o", self.mount_options, self.image, self.disk],
            capture_output=True, text=True,
        )  # fmt: skip
        if mounted.returncode:
            self.skipTest(f"{self.filesystem} can't be mounted on a loop device here: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk], capture_output=True)
        (self.dir / "b").mkdir()
        self.vault = self.new_vault(self.dir / "b", vault=self.disk / "vault")
        self.mnt = self.vault.mnt
        self.vault.mount()

    def keep(self, count):
        kept = {}
        for i in range(count):
            data = os.urandom(KEPT)
            kept[self.write(f"kept{i}", data, fsync=True)] = data
        return kept

    def assertKept(self, kept):
        for path, data in kept.items():
            self.assertTrue(self.read(path) == data, f"{path} has changed")

    def leave(self, free):
        """Has something outside the vault take all room but about `free` bytes."""
        st = os.statvfs(self.disk)
        take = st.f_bavail * st.f_frsize - free
        if take > 0:
            with open(self.disk / "ballast", "wb") as f:
                fallocate(f.fileno(), 0, 0, take)

    def fill_to_the_last_block(self):
        """Outside the vault, as small pieces as there are."""
        with open(self.disk / "filler", "ab", buffering=0) as f:
            for piece in (MIB, 4096):
                try:
                    while True:
                        f.write(os.urandom(piece))
                        os.fsync(f.fileno())
                except OSError as e:
                    self.assertEqual(e.errno, errno.ENOSPC)
        self.assertErrno(errno.ENOSPC, self.write, "no-room", os.urandom(KEPT), fsync=True)
        self.make_room(self.mnt / "no-room")

    def fill_what_was_freed(self):
        """Once more, when the journal has let go of the blocks of what was removed."""
        with open(self.disk / "filler", "ab", buffering=0) as f:
            os.fsync(f.fileno())
            with self.assertRaises(OSError):
                while True:
                    f.write(os.urandom(4096))
                    os.fsync(f.fileno())

    def make_room(self, path):
        if path.exists():
            os.unlink(path)

    def change_keys(self):
        """A rotation, and a change of the passphrase, which saves the keyring three times."""
        self.vault.rotate()
        second = self.dir / "second"
        second.write_text("another passphrase\n")
        old = ["--passfile", self.vault.passfile]
        self.vault.ok("unlock", "change", self.mnt, *old, "--new-passfile", second, "--kdf-memory", "8")
        self.vault.passfile = second
        return self.version_in_use()

    def version_in_use(self):
        aliases = {alias["alias"]: alias["version"] for alias in self.vault.status()["aliases"]}
        return aliases["alias/default"]


class FullDisk:
    """The same on each filesystem."""

    def test_a_write_that_finds_no_room_harms_nothing_else(self):
        kept = self.keep(6)
        self.leave(6 * MIB)
        path = self.mnt / "large"
        with self.assertRaises(OSError) as raised:
            with open(path, "wb", buffering=0) as f:
                while True:
                    f.write(b"F" * MIB)
                    os.fsync(f.fileno())
        self.assertEqual(raised.exception.errno, errno.ENOSPC)
        self.assertKept(kept)
        # A file that was there before can't grow, and keeps what it had.
        first = next(iter(kept))
        with self.assertRaises(OSError) as raised:
            with open(first, "ab", buffering=0) as f:
                f.write(os.urandom(8 * MIB))
                os.fsync(f.fileno())
        self.assertEqual(raised.exception.errno, errno.ENOSPC)
        self.assertEqual(self.read(path).strip(b"F").strip(b"\0"), b"")
        # Room that is freed is used.
        os.unlink(path)
        os.truncate(first, KEPT)
        after = self.write("after", os.urandom(KEPT), fsync=True)
        kept[after] = self.read(after)
        self.vault.remount()
        self.assertKept(kept)
        fd = os.open(after, os.O_RDWR)
        try:
            self.assertErrno(errno.ENOSPC, fallocate, fd, FALLOC_KEEP_SIZE, 0, 1 << 30)
        finally:
            os.close(fd)
        self.assertKept(kept)

    def test_keys_are_changed_on_a_full_disk(self):
        kept = self.keep(3)
        self.leave(3 * MIB)
        self.fill_to_the_last_block()
        before = self.version_in_use()
        self.assertEqual(self.change_keys(), before + 1)
        self.assertKept(kept)
        # A mount that begins on a full disk, too.
        self.vault.remount()
        self.assertEqual(self.version_in_use(), before + 1)
        self.assertKept(kept)
        os.unlink(self.disk / "filler")
        self.make_room(self.disk / "ballast")
        self.assertEqual(self.vault.rotate()["new_version"], before + 2)
        for number in ("", 2, 3, 4, 5, 6):
            name = f"keyring.reserve{number}"
            self.assertGreaterEqual((self.disk / "vault" / name).stat().st_blocks * 512, 64 << 10)
        for path in kept:
            self.assertTrue(wait_until(lambda p=path: self.read(p) and self.vault.version(p) == before + 2))
        self.vault.remount()
        self.assertKept(kept)


class Ext4(FullDisk, OnADisk):
    def events(self):
        return [json.loads(line) for line in (self.disk / "vault" / "events.jsonl").read_text().splitlines()]

    def test_no_event_is_lost_unsaid_on_a_full_disk(self):
        kept = self.keep(1)
        self.leave(3 * MIB)
        self.fill_to_the_last_block()
        self.fill_what_was_freed()
        before = self.version_in_use()
        refused = ["kms", "enable-key-rotation", "--key-id", "alias/nothing", "--vault", self.mnt]
        for _ in range(REFUSALS):
            self.assertRefused(self.vault.run(*refused))
        self.assertKept(kept)
        # What is refused takes none of the room that changes of keys have.
        for n in (1, 2, 3):
            self.assertEqual(self.vault.rotate()["new_version"], before + n)
        there = [e["detail-type"] for e in self.events()]
        self.assertEqual(there.count("KMS CMK Rotation"), before + 2)
        self.assertLess(there.count("KMS Key Operation"), REFUSALS)
        # Still full when the mount ends: what waited is counted.
        self.vault.umount()
        events = self.events()
        lost = [e for e in events if e["detail-type"] == "Events Lost"]
        self.assertEqual(len(lost), 1)
        written = sum(e["detail-type"] == "KMS Key Operation" for e in events)
        unmounted = sum(e["detail-type"] == "Vault Unmounted" for e in events)
        self.assertEqual(lost[0]["detail"]["events"], REFUSALS - written + 1 - unmounted)
        self.assertLessEqual(lost[0]["detail"]["since"], lost[0]["detail"]["until"])
        self.vault.mount()
        self.assertRefused(self.vault.run(*refused))
        # With room again, what waits is written before the next event.
        os.unlink(self.disk / "filler")
        self.make_room(self.disk / "ballast")
        self.vault.rotate()
        self.assertRefused(self.vault.run(*refused))
        self.vault.umount()
        self.assertEqual(sum(e["detail-type"] == "KMS Key Operation" for e in self.events()), written + 2)
        self.vault.ok("events", self.vault.path, "--verify", "--passfile", self.vault.passfile)


class Xfs(FullDisk, OnADisk):
    filesystem, size, mkfs = "xfs", 320, ("mkfs.xfs", "-q")


class Btrfs(FullDisk, OnADisk):
    filesystem, size, mkfs = "btrfs", 160, ("mkfs.btrfs", "-q")


class NoInodes(OnADisk):
    mkfs = (*OnADisk.mkfs, "-N", "128")

    def test_nothing_is_created_and_keys_are_changed(self):
        kept = self.keep(3)
        (self.disk / "many").mkdir()
        with self.assertRaises(OSError) as raised:
            for i in range(1000):
                (self.disk / "many" / str(i)).touch()
        self.assertEqual(raised.exception.errno, errno.ENOSPC)
        self.assertErrno(errno.ENOSPC, self.write, "new", b"x")
        self.assertErrno(errno.ENOSPC, os.mkdir, self.mnt / "new")
        before = self.version_in_use()
        self.assertEqual(self.change_keys(), before + 1)
        path = next(iter(kept))
        with open(path, "ab") as f:
            f.write(b"more")
        kept[path] += b"more"
        self.vault.remount()
        self.assertKept(kept)
        os.unlink(self.disk / "many/0")
        self.write("new", b"x", fsync=True)
        self.assertEqual(self.vault.rotate()["new_version"], before + 2)


class FullWithoutWriteback(OnADisk):
    size = 24

    def test_the_write_that_finds_the_disk_full_says_so(self):
        self.vault.remount("--no-writeback")
        kept = self.keep(5)
        fd = os.open(self.mnt / "f", os.O_WRONLY | os.O_CREAT)
        written = 0
        with self.assertRaises(OSError) as full:
            while True:
                written += os.write(fd, os.urandom(65536))
        self.assertEqual(full.exception.errno, errno.ENOSPC)
        self.assertEqual(os.fstat(fd).st_size, written)
        os.close(fd)
        self.assertKept(kept)
