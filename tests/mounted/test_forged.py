"""As someone who can write the ciphertext: pages that are zeroed, unlock slots and file headers that are forged. Each claim of
docs/threat-model.md on them names its test here or beside the code."""

import ctypes
import errno
import json
import os
import struct
import time
import uuid

from harness import PATIENCE, MountedTest, wait_until

PAGE = 4096
LIBC = ctypes.CDLL(None, use_errno=True)
KEEP_SIZE, PUNCH_HOLE = 1, 2


def punch(path, start, length):
    fd = os.open(path, os.O_WRONLY)
    try:
        if LIBC.fallocate(fd, KEEP_SIZE | PUNCH_HOLE, ctypes.c_long(start), ctypes.c_long(length)):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(fd)


class Forged(MountedTest):
    def floor(self, lower):
        """The floor in the slot that counts."""
        with open(lower, "rb") as file:
            slots = [file.read(512) for _ in range(2)]
        return max((struct.unpack_from("<Q", slot, 8)[0], struct.unpack_from("<Q", slot, 56)[0]) for slot in slots)[1]

    def closed(self, lower, pages):
        """The kernel tells of the last close a moment later."""
        self.assertTrue(wait_until(lambda: self.floor(lower) == pages), self.floor(lower))

    def test_pages_that_are_zeroed_after_an_fsync_and_close_are_noticed(self):
        data = os.urandom(3 << 20)
        path = self.write("file", data, fsync=True)
        lower = self.vault.lower(path)
        self.closed(lower, os.stat(lower).st_size // PAGE)
        mtime = os.stat(path).st_mtime_ns
        self.vault.remount()
        self.assertEqual((self.read(path), os.stat(path).st_mtime_ns), (data, mtime))
        self.vault.umount()
        punch(lower, 300 * PAGE, 5 * PAGE)
        self.vault.mount()
        fd = os.open(path, os.O_RDONLY)
        try:
            self.assertEqual(os.pread(fd, 1000, 0), data[:1000])
            self.assertErrno(errno.EIO, os.pread, fd, 1000, 300 * 4068)
        finally:
            os.close(fd)
        self.vault.umount()
        checked = self.vault.run("fsck", self.vault.path, "--passfile", self.vault.passfile, "--json")
        self.assertEqual(checked.returncode, 4, checked.stderr)
        found = [json.loads(line) for line in checked.stdout.splitlines()]
        self.assertEqual([line["code"] for line in found if "code" in line], ["page-missing"])
        # All of it but the header.
        punch(lower, PAGE, os.stat(lower).st_size - PAGE)
        self.vault.mount()
        for at in (5000, 1 << 20, 3_000_000):
            fd = os.open(path, os.O_RDONLY)
            try:
                self.assertErrno(errno.EIO, os.pread, fd, 100, at)
            finally:
                os.close(fd)

    def test_holes_truncates_and_appends_of_files_with_a_floor_stay_what_they_are(self):
        data = os.urandom(500_000)
        path = self.write("file", data, fsync=True)
        lower = self.vault.lower(path)
        self.closed(lower, os.stat(lower).st_size // PAGE)
        model = bytearray(data)
        with open(path, "r+b", buffering=0) as file:
            for step in range(40):
                size = len(model)
                if step % 4 == 0:
                    del model[size - 9000:]
                    os.ftruncate(file.fileno(), len(model))
                elif step % 4 == 1:
                    model += bytes(5000)
                    os.ftruncate(file.fileno(), len(model))
                elif step % 4 == 2:
                    at = size // 2 - step * 3000
                    LIBC.fallocate(file.fileno(), KEEP_SIZE | PUNCH_HOLE, ctypes.c_long(at), ctypes.c_long(10_000))
                    model[at:at + 10_000] = bytes(10_000)
                else:
                    more = os.urandom(7000)
                    os.pwrite(file.fileno(), more, size)
                    model += more
                if step % 7 == 0:
                    os.fsync(file.fileno())
        self.vault.remount()
        self.assertEqual(self.read(path), model)
        self.assertLess(self.floor(lower), 100, "it has a hole")

    def keyring_with_slots(self, change):
        """Writes the keyring again with what `change` makes of its slots."""
        keyring = self.vault.path / "keyring"
        raw = keyring.read_bytes()
        length = struct.unpack_from("<I", raw, 14)[0]
        header = json.loads(raw[18:18 + length])
        header["slots"] = change(header["slots"])
        text = json.dumps(header, separators=(",", ":")).encode()
        keyring.write_bytes(raw[:14] + struct.pack("<I", len(text)) + text + raw[18 + length:])
        return raw

    def forged(self, slot, count, memory_mib, passes):
        kdf = {"memory_kib": memory_mib << 10, "passes": passes, "lanes": 1}
        return [{**slot, "id": str(uuid.uuid4()), "kdf": kdf} for _ in range(count)]

    def test_forged_unlock_slots_cost_no_time(self):
        self.vault.umount()
        secret = ["--passfile", self.vault.passfile]
        refusals = [
            (1000, 4096, 64, True, "1001 unlock slots"),
            (40, 1024, 3, True, "120 gib"),
            (20, 4096, 64, False, "asks for 64 passes over 4096 mib"),
        ]
        for count, memory, passes, kept, word in refusals:
            good = self.keyring_with_slots(
                lambda slots: self.forged(slots[0], count, memory, passes) + (slots if kept else []))  # noqa: B023
            for command in (["mount", self.vault.path, self.mnt, *secret], ["status", self.vault.path, *secret],
                            ["unlock", "add", self.vault.path, *secret, "--new-passfile", self.vault.passfile]):
                began = time.monotonic()
                done = self.vault.run(*command)
                # One of them takes minutes.
                self.assertLess(time.monotonic() - began, PATIENCE / 2, command)
                self.assertRefused(done, word, "--any-cost", status=8)
            listed = self.vault.ok("unlock", "list", self.vault.path)
            self.assertGreater(len(listed.splitlines()), count)
            (self.vault.path / "keyring").write_bytes(good)
        # A user who knows better lifts the limit; what was changed is noticed all the same.
        good = self.keyring_with_slots(lambda slots: slots + self.forged(slots[0], 70, 8, 1))
        self.assertRefused(self.vault.try_mount(), "71 unlock slots", status=8)
        self.assertRefused(self.vault.try_mount("--any-cost"), "damaged", status=8)
        (self.vault.path / "keyring").write_bytes(good)
        self.vault.mount("-o", "any_cost")

    def test_a_forged_header_is_named_by_what_it_blocks(self):
        os.mkdir(self.mnt / "d")
        real = self.write("d/real name", os.urandom(20_000), fsync=True)
        lower = self.vault.lower(real)
        old = open(lower, "rb").read()
        self.vault.rotate()
        self.vault.ok("rewrap", self.mnt)
        key = self.vault.status()["aliases"][0]["key_id"]
        retire = ["key", "retire", self.mnt, "--key-id", key, "--below", "2"]
        forged = os.path.join(os.path.dirname(lower), "AAAA\x1b[2Jforged")
        with open(forged, "wb") as file:
            file.write(old[:64] + bytes(72) + old[136:512] + bytes(3584))
            file.truncate(5000)
        done = self.vault.run(*retire)
        self.assertRefused(done, "AAAA%1B[2Jforged", "damaged", "inode", status=44)
        self.assertNotIn("\x1b", done.stderr)
        self.assertGreater(len(done.stderr.splitlines()), 1, done.stderr)
        told = json.loads(self.vault.run(*retire, "--json").stdout)
        self.assertEqual([file["inode"] for file in told["files"]], [os.stat(forged).st_ino])
        counted = self.vault.ok("status", self.mnt, "--count")
        self.assertIn("AAAA%1B[2Jforged", counted)
        self.assertNotIn("\x1b", counted)
        told = json.loads(self.vault.ok("status", self.mnt, "--count", "--json"))
        self.assertEqual([file["inode"] for file in told["files_noted"]], [os.stat(forged).st_ino])
        # A real one, by the path that its user knows; a version that doesn't exist keeps nothing.
        os.unlink(forged)
        with open(os.path.join(os.path.dirname(lower), "AAAAhighest"), "wb") as file:
            file.write(old[:48] + struct.pack("<I", 2 ** 32 - 1) + old[52:512] + bytes(3584))
            file.truncate(5000)
        self.vault.ok(*retire)
        self.vault.ok(*retire, "--undo")
        with open(lower, "r+b") as file:
            file.write(old[:1024])
        self.vault.remount("--no-rewrap")
        done = self.vault.run(*retire)
        self.assertRefused(done, "d/real name", status=44)
        other = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("update-alias", "--alias-name", "alias/default", "--target-key-id", other)
        self.assertIn(os.path.basename(lower), self.assertKmsError("ConflictException", "schedule-key-deletion", "--key-id", key))
