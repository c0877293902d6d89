"""Who can write a vault's ciphertext: what is noticed, and what is not. Each claim of docs/threat-model.md on that names
its test here; a limit is shown like a promise, so that the page can't say more or less than what holds."""

import contextlib
import errno
import json
import os
import pathlib
import shutil

from harness import MountedTest

PAGE = 4096
HEADER = 1024


class Ciphertext(MountedTest):
    @contextlib.contextmanager
    def tampering(self):
        """What is done within is done to a vault that isn't mounted, as a cloud provider or a thief would."""
        self.vault.umount()
        yield
        self.vault.mount()

    def file(self, name, pages=4):
        """A synced file of some pages with a content of its own, and its lower file."""
        path = self.write(name, name.encode()[:1] * (3044 + 4068 * (pages - 1)), fsync=True)
        return path, self.lower(path)

    def lower(self, path):
        return pathlib.Path(self.vault.lower(path))

    def change(self, lower, offset, data):
        with open(lower, "r+b") as f:
            f.seek(offset)
            f.write(data)

    def part(self, lower, offset, length):
        with open(lower, "rb") as f:
            f.seek(offset)
            return f.read(length)

    def flip(self, lower, offset):
        self.change(lower, offset, bytes([self.part(lower, offset, 1)[0] ^ 1]))

    def assertDamaged(self, path):
        """Reading it is EIO, and the event log says so."""
        before = self.events()
        self.assertErrno(errno.EIO, self.read, path)
        self.assertIn("Damaged Ciphertext", self.events()[len(before) :])

    def events(self):
        log = self.vault.ok("events", self.vault.path, "--json")
        return [json.loads(line)["detail-type"] for line in log.splitlines()]

    def test_a_changed_byte_of_a_page_is_eio_and_an_event(self):
        for offset in (HEADER, HEADER + 20, HEADER + 500, PAGE, PAGE + 30, 3 * PAGE - 1):
            path, lower = self.file(f"f{offset}")
            with self.tampering():
                self.flip(lower, offset)
            self.assertDamaged(path)

    def test_a_changed_header_is_eio_unless_the_other_slot_is_whole(self):
        path, lower = self.file("a")
        self.vault.rotate()
        self.vault.ok("rewrap", self.mnt)
        with self.tampering():
            self.flip(lower, 70)
        self.assertEqual(self.read(path)[:1], b"a")
        with self.tampering():
            self.flip(lower, 512 + 70)
        self.assertDamaged(path)

    def test_pages_moved_within_a_file_or_to_another_are_eio(self):
        path, lower = self.file("a")
        other, other_lower = self.file("b")
        with self.tampering():
            one, two = self.part(lower, PAGE, PAGE), self.part(lower, 2 * PAGE, PAGE)
            self.change(lower, PAGE, two)
            self.change(lower, 2 * PAGE, one)
            self.change(other_lower, PAGE, one)
        self.assertDamaged(path)
        self.assertDamaged(other)

    def test_a_header_put_over_another_files_opens_none_of_its_pages(self):
        path, lower = self.file("a")
        other, other_lower = self.file("b")
        with self.tampering():
            self.change(other_lower, 0, self.part(lower, 0, HEADER))
        self.assertErrno(errno.EIO, self.read, other)

    def test_an_older_page_or_file_is_not_noticed(self):
        path, lower = self.file("a")
        page, whole = self.part(lower, PAGE, PAGE), lower.read_bytes()
        self.write("a", b"b" * (3044 + 4068 * 3), fsync=False)
        # The same file id only where the file wasn't emptied.
        with open(path, "r+b") as f:
            f.write(b"c" * (3044 + 4068 * 3))
            os.fsync(f.fileno())
        now = self.part(lower, 2 * PAGE, PAGE)
        with open(path, "r+b") as f:
            f.write(b"d" * (3044 + 4068 * 3))
            os.fsync(f.fileno())
        with self.tampering():
            self.change(lower, 2 * PAGE, now)
        data = self.read(path)
        self.assertEqual({data[0:1], data[3044 + 4068 : 3044 + 4068 + 1]}, {b"d", b"c"})
        with self.tampering():
            self.change(lower, PAGE, page)
        self.assertErrno(errno.EIO, self.read, path)
        with self.tampering():
            lower.write_bytes(whole)
        self.assertEqual(self.read(path), b"a" * (3044 + 4068 * 3))

    def test_files_and_symlinks_swapped_under_each_others_names_are_not_noticed(self):
        path, lower = self.file("a")
        other, other_lower = self.file("b")
        os.symlink("to a", self.mnt / "la")
        os.symlink("to b", self.mnt / "lb")
        links = [self.lower(self.mnt / name) for name in ("la", "lb")]
        with self.tampering():
            for one, two in ((lower, other_lower), links):
                aside = one.with_name(".tmp.aside")
                one.rename(aside)
                two.rename(one)
                aside.rename(two)
        self.assertEqual((self.read(path)[:1], self.read(other)[:1]), (b"b", b"a"))
        self.assertEqual(os.readlink(self.mnt / "la"), "to b")

    def test_a_hard_link_in_a_files_place_is_not_noticed(self):
        path, lower = self.file("a")
        log, log_lower = self.file("log")
        with self.tampering():
            log_lower.unlink()
            os.link(lower, log_lower)
        with open(log, "ab") as f:
            f.write(b"of the user")
        self.assertEqual(self.read(path)[-11:], b"of the user")
        self.assertEqual(self.vault.run("fsck", self.mnt).returncode, 0)

    def test_a_file_cut_within_its_last_page_or_to_nothing_is_not_noticed(self):
        """The floor counts pages: of a file below it, all but what is in its last page, or nothing at all."""
        small, small_lower = self.file("s", pages=1)
        path, lower = self.file("a")
        gone, gone_lower = self.file("b")
        size = path.stat().st_size
        with self.tampering():
            os.truncate(small_lower, PAGE + 1)
            os.truncate(lower, 4 * PAGE + 1)
            os.truncate(gone_lower, 0)
        self.assertEqual((self.read(small), self.read(gone)), (b"s", b""))
        self.assertEqual(self.read(path), b"a" * (size - 4068 + 1))
        # A page less, and the floor tells; so does a size that no file has.
        for shorter in (3 * PAGE + 10, PAGE - 1):
            with self.tampering():
                os.truncate(lower, shorter)
            self.assertDamaged(path)

    def test_attributes_of_one_name_swapped_between_files_are_not_noticed(self):
        path, lower = self.file("a")
        other, other_lower = self.file("b")
        for file in (path, other):
            os.setxattr(file, "user.note", b"of " + file.name.encode())
            os.setxattr(file, "user.title", b"title of " + file.name.encode())
        with self.tampering():
            note, title = sorted(
                (name for name in os.listxattr(lower) if name.startswith("user.rkf.")),
                key=lambda name: len(os.getxattr(lower, name)),
            )
            theirs = os.getxattr(other_lower, note)
            os.setxattr(other_lower, title, os.getxattr(other_lower, note))
            os.setxattr(lower, note, theirs)
        self.assertEqual(os.getxattr(path, "user.note"), b"of b")
        # Of another name: its name is authenticated with the value.
        self.assertErrno(errno.EIO, os.getxattr, other, "user.title")

    def test_an_entry_moved_to_another_directory_shows_as_bad(self):
        for name in ("d", "e"):
            (self.mnt / name).mkdir()
        path, lower = self.file("d/a")
        directory = self.lower(self.mnt / "e")
        with self.tampering():
            lower.rename(directory / lower.name)
        self.assertEqual(os.listdir(self.mnt / "d"), [])
        (bad,) = os.listdir(self.mnt / "e")
        self.assertTrue(bad.startswith(".rekeyfs-bad."), bad)

    def test_a_directory_record_put_into_another_directory_makes_its_names_bad(self):
        for name in ("d", "e"):
            (self.mnt / name).mkdir()
            # Stored with the first rename.
            (self.mnt / name).rename(self.mnt / f"{name}2")
        path, _ = self.file("d2/a")
        ours, theirs = (self.lower(self.mnt / name) / ".dir" for name in ("d2", "e2"))
        with self.tampering():
            shutil.copyfile(theirs, ours)
        (bad,) = os.listdir(self.mnt / "d2")
        self.assertTrue(bad.startswith(".rekeyfs-bad."), bad)
        with self.tampering():
            self.flip(ours, 20)
        self.assertErrno(errno.EIO, os.listdir, self.mnt / "d2")

    def test_removing_extending_and_modes_are_not_noticed(self):
        path, lower = self.file("a")
        gone, gone_lower = self.file("b")
        size = path.stat().st_size
        with self.tampering():
            os.truncate(lower, 6 * PAGE + 10)
            lower.chmod(0o777)
            gone_lower.unlink()
        self.assertEqual(self.read(path), b"a" * size + bytes(path.stat().st_size - size))
        self.assertGreater(path.stat().st_size, size)
        self.assertEqual(path.stat().st_mode & 0o777, 0o777)
        self.assertFalse(gone.exists())

    def test_a_symlink_or_an_attribute_with_a_changed_byte_is_eio(self):
        path, lower = self.file("a")
        os.symlink("somewhere", self.mnt / "l")
        os.setxattr(path, "user.note", b"a note")
        link = self.lower(self.mnt / "l")
        with self.tampering():
            target = os.readlink(link)
            link.unlink()
            os.symlink(target[:20] + ("A" if target[20] != "A" else "B") + target[21:], link)
            name = next(name for name in os.listxattr(lower) if name.startswith("user.rkf."))
            value = bytearray(os.getxattr(lower, name))
            value[-1] ^= 1
            os.setxattr(lower, name, bytes(value))
        self.assertErrno(errno.EIO, os.readlink, self.mnt / "l")
        self.assertErrno(errno.EIO, os.getxattr, path, "user.note")

    def test_a_changed_keyring_opens_nothing(self):
        self.vault.umount()
        keyring = self.vault.path / "keyring"
        whole = keyring.read_bytes()
        for offset in (8, len(whole) // 2, len(whole) - 1):
            self.flip(keyring, offset)
            done = self.vault.try_mount()
            self.assertNotEqual(done.returncode, 0)
            self.assertNotIn("panicked", done.stderr)
            keyring.write_bytes(whole)
        self.vault.mount()


class Reader(MountedTest):
    """What a reader of the ciphertext finds."""

    MARK = "plainmark"

    def test_nothing_plain_lies_in_the_vault(self):
        mark = self.MARK
        (self.mnt / f"{mark}-directory").mkdir()
        self.write(f"{mark}-directory/{mark}-name", f"{mark} content ".encode() * 500, fsync=True)
        self.write(f"{mark}-{'long' * 55}", b"", fsync=True)
        os.symlink(f"{mark}-target", self.mnt / f"{mark}-link")
        os.setxattr(self.mnt / f"{mark}-directory/{mark}-name", f"user.{mark}", f"{mark} value".encode())
        key = self.kms("create-key", "--description", f"{mark} description", "--tags", f"TagKey={mark},TagValue={mark}")
        key = key["KeyMetadata"]["KeyId"]
        self.kms("create-alias", "--alias-name", f"alias/{mark}", "--target-key-id", key)
        os.setxattr(self.mnt / f"{mark}-directory", "user.rekeyfs.alias", f"alias/{mark}".encode())
        self.write(f"{mark}-directory/{mark}-other", b"under another key", fsync=True)
        self.vault.ok("rotate", self.mnt, "--alias", f"alias/{mark}")
        self.kms("disable-key", "--key-id", key)
        with contextlib.suppress(OSError):
            self.read(self.mnt / f"{mark}-directory/{mark}-other")
        found = []
        for stage in ("mounted", "not mounted"):
            found += [f"{stage}: {what}" for what in self.plain()]
            if stage == "mounted":
                self.vault.umount()
        self.assertEqual(found, [])

    def test_equal_names_look_equal_only_within_a_directory(self):
        for name in ("d", "e"):
            (self.mnt / name).mkdir()
            self.write(f"{name}/same", b"")
        lower = {name: pathlib.Path(self.vault.lower(self.mnt / name / "same")).name for name in ("d", "e")}
        self.assertNotEqual(lower["d"], lower["e"])
        # The limit: a directory's id is derived from its first name, so one that takes a moved one's name has the same.
        (self.mnt / "d").rename(self.mnt / "moved")
        (self.mnt / "d").mkdir()
        self.write("d/same", b"")
        self.assertEqual(pathlib.Path(self.vault.lower(self.mnt / "d/same")).name, lower["d"])

    def plain(self):
        """Where the mark lies in the vault: in a name, a file, a symlink's target, an attribute."""
        mark = self.MARK.encode()
        for at, directories, names in os.walk(os.fsencode(self.vault.path)):
            for name in directories + names:
                path = pathlib.Path(os.fsdecode(os.path.join(at, name)))
                texts = {"its name": name}
                if path.is_symlink():
                    texts["its target"] = os.fsencode(os.readlink(path))
                else:
                    texts |= {f"attribute {a}": a.encode() + os.getxattr(path, a) for a in os.listxattr(path)}
                    if path.is_file():
                        texts["its content"] = path.read_bytes()
                yield from (f"{path}: {what}" for what, text in texts.items() if mark in text)
