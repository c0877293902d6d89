"""Bad input, damage and interruption: a clear refusal, nothing lost, never wrong plaintext."""

import contextlib
import errno
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys

from harness import (
    BIN,
    NOBODY,
    PASSPHRASE,
    WRONG_PASSPHRASE_EXIT,
    MountedTest,
    UserMountTest,
    as_user,
    is_gone,
    sh,
    wait_until,
)


class Refusals(MountedTest):
    options = None

    def test_wrong_passphrase(self):
        bad = self.dir / "bad"
        bad.write_text("not it\n")
        done = self.vault.run("mount", self.vault.path, self.mnt, "--passfile", bad)
        self.assertRefused(done, "passphrase", status=WRONG_PASSPHRASE_EXIT)
        self.assertFalse(self.vault.is_mounted())
        self.assertRefused(self.vault.run("rotate", self.vault.path, "--passfile", bad), status=WRONG_PASSPHRASE_EXIT)

    def test_passphrase_from_each_source(self):
        for args, stdin in (
            (["--passfile", self.vault.passfile], None),
            (["--extpass", f"cat {self.vault.passfile}"], None),
            ([], PASSPHRASE + "\n"),
        ):
            self.vault.ok("mount", self.vault.path, self.mnt, *args, stdin=stdin)
            self.vault.pid = self.vault.daemon_pid()
            cmdline = pathlib.Path(f"/proc/{self.vault.pid}/cmdline").read_bytes()
            self.assertNotIn(PASSPHRASE.encode(), cmdline)
            self.vault.umount()

    def test_options_as_other_fuse_programs_take_them(self):
        self.vault.ok("mount", self.vault.path, self.mnt, "-o", f"rw,fsname=mine,norewrap,passfile={self.vault.passfile}")
        self.vault.pid = self.vault.daemon_pid()
        self.assertIn(f"mine {self.mnt} fuse", pathlib.Path("/proc/self/mounts").read_text())
        self.write("f", b"x")
        self.vault.umount()
        self.vault.mount("-o", "ro")
        self.assertErrno(errno.EROFS, open, self.mnt / "g", "wb")
        self.assertEqual(self.read(self.mnt / "f"), b"x")

    def test_mountpoints(self):
        missing = self.vault.run("mount", self.vault.path, self.dir / "nowhere", "--passfile", self.vault.passfile)
        self.assertRefused(missing, "nowhere", status=10)
        (self.mnt / "something").write_text("here")
        self.assertRefused(self.vault.try_mount(), "empty", status=10)
        (self.mnt / "something").unlink()
        plain = self.dir / "file"
        plain.write_text("")
        self.assertRefused(self.vault.run("mount", self.vault.path, plain, "--passfile", self.vault.passfile))
        inside = self.vault.path / "tree"
        self.assertRefused(self.vault.run("mount", self.vault.path, inside, "--passfile", self.vault.passfile))

    def test_not_a_vault(self):
        (self.dir / "other").mkdir()
        done = self.vault.run("mount", self.dir / "other", self.mnt, "--passfile", self.vault.passfile)
        self.assertRefused(done, "keyring")
        done = self.vault.run("init", self.vault.path, "--passfile", self.vault.passfile, "--kdf-memory", "8")
        self.assertRefused(done)
        (self.dir / "other/file").write_text("x")
        done = self.vault.run("init", self.dir / "other", "--passfile", self.vault.passfile, "--kdf-memory", "8")
        self.assertRefused(done)
        self.assertRefused(self.vault.run("umount", self.mnt), "mounted", status=42)

    def test_second_mount_names_the_holder(self):
        self.vault.mount()
        other = self.dir / "other"
        other.mkdir()
        done = self.vault.run("mount", self.vault.path, other, "--passfile", self.vault.passfile)
        self.assertRefused(done, str(self.vault.pid), status=40)
        self.write("f", b"still works")

    def test_no_dev_fuse(self):
        self.need_root()
        self.need_tools("unshare")
        script = f'mount -t tmpfs none /dev && exec {BIN} mount {self.vault.path} {self.mnt} --passfile {self.vault.passfile}'
        done = subprocess.run(
            ["unshare", "-m", "bash", "-c", script], env=self.vault.env, capture_output=True, text=True, timeout=60
        )
        self.assertRefused(done, "/dev/fuse", status=19)

    def test_as_mount_8_calls_it(self):
        options = f"rw,nosuid,nodev,noatime,fsname=f,passfile={self.vault.passfile}"
        self.vault.ok(self.vault.path, self.mnt, "-o", options)
        self.vault.pid = self.vault.daemon_pid()
        self.assertTrue(self.vault.is_mounted())
        self.vault.umount()
        self.need_root()
        self.need_tools("mount")
        helper = pathlib.Path("/sbin/mount.fuse.rekeyfs")
        if helper.exists():
            self.skipTest(f"{helper} is there already")
        helper.symlink_to(BIN)
        self.addCleanup(helper.unlink)
        done = subprocess.run(
            ["mount", "-t", "fuse.rekeyfs", "-o", f"passfile={self.vault.passfile}", self.vault.path, self.mnt],
            env=self.vault.env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.vault.pid = self.vault.daemon_pid()
        self.write("f", b"through mount(8)")
        done = subprocess.run(["umount", self.mnt], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(wait_until(lambda: is_gone(self.vault.pid)))
        self.vault.pid = None

    def test_slots_change_while_mounted_only_with_a_secret(self):
        self.vault.mount()
        second, wrong = self.dir / "second", self.dir / "wrong"
        second.write_text("another passphrase\n")
        wrong.write_text("neither\n")
        old = ["--passfile", self.vault.passfile]
        new = ["--new-passfile", second, "--kdf-memory", "8"]
        done = self.vault.run("unlock", "add", self.mnt, "--passfile", wrong, *new)
        self.assertRefused(done, status=WRONG_PASSPHRASE_EXIT)
        self.vault.ok("unlock", "add", self.mnt, *old, *new)
        slots = json.loads(self.vault.ok("unlock", "list", self.mnt, "--json"))
        self.assertEqual(str(slots).count("'passphrase'"), 2, slots)
        self.vault.umount()
        self.vault.ok("mount", self.vault.path, self.mnt, "--passfile", second)
        self.vault.pid = self.vault.daemon_pid()
        self.vault.umount()
        third = self.dir / "third"
        third.write_text("a third one\n")
        self.vault.ok("unlock", "change", self.vault.path, *old, "--new-passfile", third, "--kdf-memory", "8")
        self.assertRefused(self.vault.try_mount(), status=WRONG_PASSPHRASE_EXIT)
        self.vault.ok("mount", self.vault.path, self.mnt, "--passfile", third)
        self.vault.pid = self.vault.daemon_pid()

    def test_slots(self):
        old = ["--passfile", self.vault.passfile]
        listing = self.vault.ok("unlock", "list", self.vault.path)
        self.assertIn("passphrase", listing)
        keyfile = self.dir / "key"
        keyfile.write_bytes(os.urandom(32))
        vault2 = self.vault.path.with_name("vault2")
        out = self.vault.ok("init", vault2, *old, "--kdf-memory", "8")
        recovery = max((w for line in out.splitlines() for w in line.split()), key=len)
        self.assertGreater(len(recovery), 40, out)
        (self.dir / "recovery").write_text(recovery + "\n")
        self.vault.ok("init", self.dir / "vault3", "--keyfile", keyfile, "--no-recovery-key")
        self.vault.ok("mount", self.dir / "vault3", self.mnt, "--keyfile", keyfile)
        self.vault.umount()
        keyfile.write_bytes(os.urandom(32))
        done = self.vault.run("mount", self.dir / "vault3", self.mnt, "--keyfile", keyfile)
        self.assertRefused(done)


class Keyring(MountedTest):
    options = None

    def setUp(self):
        super().setUp()
        self.keyring = self.vault.path / "keyring"
        self.vault.mount()
        self.write("f", b"content", fsync=True)
        self.vault.rotate()
        self.vault.umount()

    def test_missing_or_damaged_says_what_to_do(self):
        good = self.keyring.read_bytes()
        self.keyring.unlink()
        self.assertRefused(self.vault.try_mount(), "keyring.prev")
        for data in (b"", good[:10], good[: len(good) // 2], good[:-1], bytes(len(good))):
            self.keyring.write_bytes(data)
            self.assertRefused(self.vault.try_mount(), "keyring")
        self.keyring.write_bytes(good)
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "f"), b"content")

    def test_flipped_bytes(self):
        good = self.keyring.read_bytes()
        step = max(1, len(good) // 24)
        for at in sorted({0, 3, 4, 6, 10, 14, 17, 18, len(good) - 1, *range(0, len(good), step)}):
            bad = bytearray(good)
            bad[at] ^= 0x40
            self.keyring.write_bytes(bad)
            done = self.vault.try_mount()
            self.assertRefused(done)
            self.assertFalse(self.vault.is_mounted(), f"byte {at}")
        self.keyring.write_bytes(good)
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "f"), b"content")

    def test_newer_format_and_unknown_incompat_bit(self):
        good = self.keyring.read_bytes()
        for at in (4, 6):
            bad = bytearray(good)
            bad[at] = 0xEE
            self.keyring.write_bytes(bad)
            self.assertRefused(self.vault.try_mount(), "newer", status=8)
        self.keyring.write_bytes(good)

    def test_rolled_back(self):
        old = self.keyring.read_bytes()
        self.vault.rotate()
        self.keyring.write_bytes(old)
        self.assertRefused(self.vault.try_mount(), "--accept-rollback", status=41)
        self.vault.mount("--accept-rollback")
        self.assertEqual(self.read(self.mnt / "f"), b"content")

    def test_forked(self):
        before = self.keyring.read_bytes()
        self.vault.rotate()
        mine = self.keyring.read_bytes()
        state = self.dir / "state"
        shutil.move(state, self.dir / "state-kept")
        state.mkdir()
        self.keyring.write_bytes(before)
        self.vault.rotate()
        theirs = self.keyring.read_bytes()
        self.assertNotEqual(mine, theirs)
        shutil.rmtree(state)
        shutil.move(self.dir / "state-kept", state)
        done = self.vault.try_mount()
        self.assertRefused(done, "--accept-rollback")
        self.keyring.write_bytes(mine)
        self.vault.mount()

    def test_crash_leftovers_are_no_matter(self):
        for name in (".tmp.0123", "keyring.tmp"):
            (self.vault.path / name).write_bytes(b"half")
        for record in (self.dir / "state").rglob("*"):
            if record.is_file():
                record.write_bytes(record.read_bytes()[:-3])
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "f"), b"content")


class Tampering(MountedTest):
    """Someone changes the ciphertext below. Remounts drop what the kernel has cached."""

    def damaged(self, name, size=20000):
        data = os.urandom(size)
        path = self.write(name, data, fsync=True)
        lower = self.vault.lower(path)
        return path, lower, data

    @staticmethod
    def flip(lower, at, mask=1):
        with open(lower, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ mask]))

    def reads_or_eio(self, path, data):
        """Reads in pieces: each is the right bytes or EIO. Returns how many pieces failed."""
        failed = 0
        fd = os.open(path, os.O_RDONLY)
        try:
            for at in range(0, len(data), 2000):
                try:
                    piece = os.pread(fd, 2000, at)
                    self.assertEqual(piece, data[at : at + len(piece)])
                    # The kernel gives what lies before a page that can't be read.
                    failed += at + len(piece) < len(data) and len(piece) < 2000
                except OSError as e:
                    self.assertEqual(e.errno, errno.EIO)
                    failed += 1
        finally:
            os.close(fd)
        return failed

    def test_page_bytes(self):
        path, lower, data = self.damaged("f")
        for at in (1024, 1036, 1052, 4095, 4096, 4108, 4124, 5000, 8191, 8192, 16384 + 100):
            self.vault.umount()
            self.flip(lower, at)
            self.vault.mount("--no-rewrap")
            self.assertGreater(self.reads_or_eio(path, data), 0, f"byte {at}")
            self.vault.umount()
            self.flip(lower, at)
            self.vault.mount("--no-rewrap")
            self.assertEqual(self.reads_or_eio(path, data), 0)

    def test_a_damaged_page_spares_the_others_and_a_full_write_mends_it(self):
        path, lower, data = self.damaged("f")
        self.vault.umount()
        self.flip(lower, 4096 + 50)
        self.vault.mount()
        failed = self.reads_or_eio(path, data)
        self.assertTrue(0 < failed < len(data) // 2000)
        page = slice(3044, 3044 + 4068)
        with open(path, "r+b", buffering=0) as f:
            f.seek(page.start)
            # Whole kernel pages around it are read first, so the write goes by way of O_DIRECT-sized steps.
            try:
                f.write(data[page])
                os.fsync(f.fileno())
            except OSError as e:
                self.assertEqual(e.errno, errno.EIO)
        os.truncate(path, 0)
        self.write("f", data, fsync=True)
        self.vault.remount()
        self.assertEqual(self.reads_or_eio(path, data), 0)

    def test_pages_swapped_moved_and_zeroed(self):
        path, lower, data = self.damaged("f")
        self.vault.umount()
        good = pathlib.Path(lower).read_bytes()
        page = lambda i: good[4096 * i : 4096 * i + 4096]  # noqa: E731
        for bad in (
            page(0) + page(2) + page(1) + good[4096 * 3 :],
            page(0) + page(1) + page(1) + good[4096 * 3 :],
        ):
            pathlib.Path(lower).write_bytes(bad)
            self.vault.mount("--no-rewrap")
            self.assertGreater(self.reads_or_eio(path, data), 0)
            self.vault.umount()
        pathlib.Path(lower).write_bytes(good)
        self.vault.mount()
        self.assertEqual(self.reads_or_eio(path, data), 0)

    def test_slots(self):
        path, lower, data = self.damaged("f", 5000)
        self.vault.umount()
        good = pathlib.Path(lower).read_bytes()
        # The close after the fsync sealed a floor, into both slots: one is to be alone.
        good = good[:512] + bytes(512) + good[1024:]
        for at in (0, 4, 6, 8, 16, 32, 48, 52, 56, 64, 88, 120, 136, 300, 479, 480, 511):
            pathlib.Path(lower).write_bytes(good)
            self.flip(lower, at, 0x80)
            self.vault.mount("--no-rewrap")
            try:
                self.assertEqual(self.read(path), data, f"byte {at}")
                self.fail(f"a slot with byte {at} changed was taken")
            except OSError as e:
                self.assertIn(e.errno, (errno.EIO, errno.ENOKEY, errno.EOPNOTSUPP), f"byte {at}")
            self.assertEqual(path.stat().st_size, 5000)
            self.vault.umount()
        pathlib.Path(lower).write_bytes(good)
        self.vault.mount()
        self.assertEqual(self.read(path), data)
        os.unlink(path)

    def test_one_damaged_slot_of_two_is_no_loss(self):
        path, lower, data = self.damaged("f", 5000)
        self.vault.rotate()
        self.read(path)
        self.assertTrue(wait_until(lambda: self.vault.version(path) == 2))
        self.vault.umount()
        raw = pathlib.Path(lower).read_bytes()
        self.assertEqual((raw[:4], raw[512:516]), (b"RKFS", b"RKFS"))
        for at in (100, 612):
            self.flip(lower, at)
            self.vault.mount("--no-rewrap")
            self.assertEqual(self.read(path), data)
            self.vault.umount()
            self.flip(lower, at)

    def test_swapped_files_and_foreign_ones(self):
        a, lower_a, data_a = self.damaged("a", 9000)
        b, lower_b, data_b = self.damaged("b", 9000)
        self.vault.umount()
        half = pathlib.Path(lower_a).read_bytes()[:4096] + pathlib.Path(lower_b).read_bytes()[4096:]
        good = pathlib.Path(lower_a).read_bytes()
        pathlib.Path(lower_a).write_bytes(half)
        tree = self.vault.path / "tree"
        (tree / "not-base64!").write_bytes(b"garbage")
        (tree / ".hidden-by-someone").write_bytes(b"garbage")
        (tree / ("A" * 43)).write_bytes(b"garbage" * 1000)
        os.symlink("/etc/passwd", tree / ("B" * 43))
        self.vault.mount()
        self.assertGreater(self.reads_or_eio(a, data_a), 0)
        self.assertEqual(self.reads_or_eio(b, data_b), 0)
        names = set(os.listdir(self.mnt))
        self.assertLessEqual({"a", "b", ".rekeyfs-bad." + "A" * 43, ".rekeyfs-bad.not-base64!"}, names)
        self.assertNotIn(".hidden-by-someone", names)
        with self.assertRaises(OSError):
            self.read(self.mnt / (".rekeyfs-bad." + "A" * 43))
        with self.assertRaises(OSError):
            self.read(self.mnt / (".rekeyfs-bad." + "B" * 43))
        self.assertErrno(errno.ENOENT, os.stat, self.mnt / ".rekeyfs-bad.made-up")
        with self.assertRaises(OSError):
            open(self.mnt / ".rekeyfs-bad.made-up", "wb")
        for bad in names - {"a", "b"}:
            os.unlink(self.mnt / bad)
        self.vault.umount()
        pathlib.Path(lower_a).write_bytes(good)
        self.vault.mount()
        self.assertEqual(self.reads_or_eio(a, data_a), 0)

    def test_impossible_sizes(self):
        path, lower, data = self.damaged("f", 9000)
        for size in (1, 1023, 4095, 4096 * 2 + 4069):
            self.vault.umount()
            keep = pathlib.Path(lower).read_bytes()
            os.truncate(lower, size)
            self.vault.mount()
            with self.assertRaises(OSError) as raised:
                self.read(path)
            self.assertEqual(raised.exception.errno, errno.EIO, f"lower size {size}")
            self.vault.umount()
            pathlib.Path(lower).write_bytes(keep)
            self.vault.mount()
        self.assertEqual(self.read(path), data)

    def test_directory_record(self):
        os.makedirs(self.mnt / "a/d")
        self.write("a/d/f", b"x", fsync=True)
        os.rename(self.mnt / "a/d", self.mnt / "d")
        lower = pathlib.Path(self.vault.lower(self.mnt / "d"))
        record = lower / ".dir"
        good = record.read_bytes()
        for at in (0, 1, 2, 20, 26, 30, len(good) - 1):
            self.vault.umount()
            bad = bytearray(good)
            bad[at] ^= 1
            record.write_bytes(bad)
            self.vault.mount()
            with self.assertRaises(OSError) as raised:
                self.read(self.mnt / "d/f")
            self.assertIn(raised.exception.errno, (errno.EIO, errno.EOPNOTSUPP), f"byte {at}")
            with self.assertRaises(OSError):
                self.write("d/new", b"x")
        self.vault.umount()
        record.write_bytes(good)
        self.vault.mount()
        self.assertEqual(self.read(self.mnt / "d/f"), b"x")
        self.assertEqual(os.listdir(self.mnt / "d"), ["f"])

    def test_symlinks_and_xattrs(self):
        os.symlink("target", self.mnt / "l")
        path = self.write("f", b"x", fsync=True)
        os.setxattr(path, "user.a", b"value a")
        link, lower = self.vault.lower(self.mnt / "l"), self.vault.lower(path)
        self.vault.umount()
        text = os.readlink(link)
        os.unlink(link)
        os.symlink(text[:-3] + ("AAA" if text[-3:] != "AAA" else "BBB"), link)
        name = next(n for n in os.listxattr(lower) if n.startswith("user.rkf."))
        value = bytearray(os.getxattr(lower, name))
        value[-1] ^= 1
        os.setxattr(lower, name, bytes(value))
        self.vault.mount()
        self.assertErrno(errno.EIO, os.readlink, self.mnt / "l")
        self.assertErrno(errno.EIO, os.getxattr, path, "user.a")
        self.assertEqual(self.read(path), b"x")

    def test_while_mounted(self):
        path, lower, data = self.damaged("f", 200000)
        with open(lower, "r+b") as f:
            f.seek(4096 * 20 + 100)
            f.write(os.urandom(16))
        sh("echo 3 > /proc/sys/vm/drop_caches || true", self.dir)
        self.reads_or_eio(path, data)

    def test_events_are_recorded(self):
        path, lower, data = self.damaged("f")
        self.vault.umount()
        self.flip(lower, 5000)
        self.vault.mount()
        self.assertGreater(self.reads_or_eio(path, data), 0)
        self.vault.rotate()
        self.vault.umount()
        lines = (self.vault.path / "events.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        self.assertTrue(any("KMS CMK Rotation" in json.dumps(e) for e in events))
        damage = [e for e in events if e["detail-type"] == "Damaged Ciphertext"]
        self.assertTrue(damage, lines)
        self.assertEqual((damage[0]["detail"]["part"], damage[0]["detail"]["page"]), ("page", 1))


class Interrupted(MountedTest):
    def test_sigkill_and_remount(self):
        synced = {}
        for i in range(30):
            data = os.urandom(i * 1777)
            synced[self.write(f"f{i}", data, fsync=True)] = data
        os.mkdir(self.mnt / "d")
        os.rename(self.mnt / "d", self.mnt / "e")
        for i in range(30):
            self.write(f"unsynced{i}", b"u" * 50000)
        for path in list(synced)[:5]:
            os.truncate(path, 0) if path.stat().st_size == 0 else None
        self.vault.kill()
        with self.assertRaises(OSError) as raised:
            os.listdir(self.mnt)
        # A request that the end of the daemon overtakes is aborted; those after it find nobody.
        self.assertIn(raised.exception.errno, (errno.ENOTCONN, errno.ECONNABORTED))
        done = self.vault.try_mount()
        if done.returncode:  # a stale mountpoint may be refused, but then says how to clear it
            self.assertRefused(done, "umount")
            self.vault.ok("umount", self.mnt)
            self.vault.mount()
        else:
            self.vault.pid = self.vault.daemon_pid()
        for path, data in synced.items():
            self.assertEqual(self.read(path), data)
        for i in range(30):
            path = self.mnt / f"unsynced{i}"
            if path.exists():
                data = self.read(path)
                self.assertEqual(data.strip(b"u").strip(b"\0"), b"")
        self.write("after", b"works")

    def test_a_mount_follows_a_sigkill_whose_attributes_the_kernel_still_knows(self):
        for _ in range(3):
            self.mnt.stat()
            self.vault.kill()
            done = self.vault.try_mount()
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("unmounted what a killed daemon had left there", done.stderr)
            self.vault.pid = self.vault.daemon_pid()
            self.write("f", b"works", fsync=True)

    def test_umount_of_a_stale_mountpoint(self):
        self.vault.kill()
        self.vault.run("umount", self.mnt)
        self.assertFalse(self.vault.is_mounted())
        self.vault.mount()

    def test_sigterm_unmounts_cleanly(self):
        path = self.write("f", b"z" * 100000)
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            pid = self.vault.pid
            os.kill(pid, sig)
            self.assertTrue(wait_until(lambda: not self.vault.is_mounted() and is_gone(pid)))
            self.vault.pid = None
            self.vault.mount()
            self.assertEqual(self.read(path), b"z" * 100000)

    def test_umount_returns_when_the_daemon_is_gone_and_a_mount_follows_at_once(self):
        for i in range(5):
            self.write(f"f{i}", b"q" * 300000)
            pid = self.vault.pid
            self.vault.umount()
            self.assertTrue(is_gone(pid))
            self.vault.mount()
        self.assertEqual(len(os.listdir(self.mnt)), 5)

    def test_umount_of_a_busy_mount_says_so(self):
        with open(self.write("f", b"x"), "rb"):
            done = self.vault.run("umount", self.mnt)
            if done.returncode:
                self.assertRefused(done, "busy", status=43)
                self.assertTrue(self.vault.is_mounted())
        if not self.vault.is_mounted():
            self.vault.pid = None

    def test_foreground(self):
        self.vault.umount()
        daemon = subprocess.Popen(
            [BIN, "mount", self.vault.path, self.mnt, "--foreground", "--passfile", self.vault.passfile],
            env=self.vault.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.assertTrue(wait_until(self.vault.is_mounted))
        self.write("f", b"x")
        daemon.send_signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(10), 0)
        self.assertFalse(self.vault.is_mounted())


class Unprivileged(UserMountTest):
    def test_mount_work_rotate_and_unmount_as_a_user(self):
        self.vault.mount()
        script = (
            "echo hello > f; mkdir d; mv f d/g; ln -s d/g l; cat l; chmod 600 d/g; head -c 100000 /dev/urandom > r;"
            "cp r r2; cmp r r2; chmod 400 r2; cat r2 > /dev/null; ls -la"
        )
        self.assertIn("hello", self.shell_ok(f"cd mnt; {script}"))
        self.vault.ok("rotate", self.mnt)
        self.shell_ok("cd mnt; cat d/g; cmp r r2")
        self.vault.remount()
        self.assertEqual(self.shell_ok("cat mnt/l"), "hello\n")
        self.vault.umount()


    def test_a_mountpoint_of_any_bytes_serves_and_hides_no_other_mount(self):
        (self.dir / "own").mkdir()
        own = self.new_vault(self.dir / "own")
        own.mount()
        self.vault.mnt = self.vault.base / os.fsdecode(b"no utf-8 \xff\xfe \\040 \t\n")
        self.vault.mnt.mkdir()
        os.chown(self.vault.mnt, NOBODY, NOBODY)
        self.vault.mount()
        self.assertEqual(json.loads(self.vault.ok("status", self.vault.mnt, "--json"))["mount"]["pid"], self.vault.pid)
        self.assertEqual(own.status()["mount"]["pid"], own.pid)
        own.umount()
        self.vault.rotate()
        self.vault.umount()


class AllowOther(MountedTest):
    options = ("--allow-other",)

    def test_files_belong_to_the_caller_and_modes_count(self):
        self.need_root()
        self.need_tools("setpriv")
        for d in (self.dir, *self.dir.parents):
            if d.stat().st_mode & 0o005 != 0o005:
                if d == self.dir:
                    d.chmod(0o755)
                else:
                    self.skipTest(f"{d} is closed to other users")
        self.mnt.chmod(0o777)
        secret = self.write("root-only", b"x")
        secret.chmod(0o600)
        done = as_user(f"umask 027; cd {self.mnt}; echo mine > f; mkdir d; cat f")
        self.assertEqual(done.returncode, 0, done.stderr)
        st = (self.mnt / "f").stat()
        self.assertEqual((st.st_uid, st.st_gid, st.st_mode & 0o7777), (NOBODY, NOBODY, 0o640))
        self.assertEqual((self.mnt / "d").stat().st_mode & 0o7777, 0o750)
        self.assertNotEqual(as_user(f"cat {secret}").returncode, 0)


class ManyFiles(MountedTest):
    options = None

    def mount(self, limit):
        """Mounts with a hard limit of open files."""
        return subprocess.run(
            ["bash", "-c", f'ulimit -n {limit}; exec "$@"', "-", BIN, "mount", str(self.vault.path), str(self.mnt),
             "--passfile", str(self.vault.passfile)],
            env=self.vault.env, capture_output=True, text=True,
        )  # fmt: skip

    def mount_with(self, limit):
        done = self.mount(limit)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.vault.pid = self.vault.daemon_pid()

    def test_a_walk_under_a_low_descriptor_limit(self):
        count = 2400
        self.mount_with(256)
        for i in range(count):
            d = self.mnt / f"d{i % 600}"
            d.mkdir(exist_ok=True)
            with open(d / f"f{i}", "wb") as f:
                f.write(b"x")
        self.assertEqual(sh("find . -type f | wc -l", self.mnt).strip(), str(count))
        self.assertEqual(sh("find . -type f -exec cat {} + | wc -c", self.mnt).strip(), str(count))
        fds = len(os.listdir(f"/proc/{self.vault.pid}/fd"))
        self.assertLess(fds, 256)

    def test_too_few_descriptors_are_refused_before_a_secret_is_asked_for(self):
        self.vault.passfile.unlink()
        self.assertRefused(self.mount(127), "open files", "128", "127", "ulimit -n", status=1)

    def test_programs_that_hold_all_files_leave_the_daemon_what_it_needs(self):
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], 4096), limits[1]))
        for limit in (128, 300):
            self.mount_with(limit)
            (self.mnt / "d").mkdir(exist_ok=True)
            with contextlib.ExitStack() as held:
                refused = 0
                for n in range(limit):
                    # New ones and old ones take the same.
                    path = self.mnt / "d" / f"f{n % (limit // 4)}"
                    try:
                        held.enter_context(open(path, "ab"))
                        held.enter_context(open(self.mnt / "d" / f"n{n}", "wb"))
                    except OSError as error:
                        self.assertEqual(error.errno, errno.ENFILE)
                        refused += 1
                self.assertGreater(refused, 0)
                self.assertEqual(self.vault.status()["mount"]["pid"], self.vault.pid)
                version = self.vault.rotate()["new_version"]
                self.assertEqual(self.vault.run("events", self.mnt, "--verify").returncode, 0)
            # What was closed can be used again, and bears the new version.
            self.write("after", b"x", fsync=True)
            self.assertEqual(self.vault.version(self.mnt / "after"), version)
            for n in range(600):
                (self.mnt / f"e{n % 100}").mkdir(exist_ok=True)
                (self.mnt / f"e{n % 100}" / f"f{n}").write_bytes(b"x")
            self.vault.rotate()
            swept = json.loads(self.vault.ok("rewrap", self.mnt, "--json"))
            self.assertEqual(swept["failed"], 0, swept)
            self.vault.umount()


if __name__ == "__main__":
    sys.exit("run tests/mounted/run.py")
