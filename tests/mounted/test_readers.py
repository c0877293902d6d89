"""One host writes a vault and others read it at the same time. Hosts are UTS namespaces on one directory; a host that can be cut off
from it has a bindfs of its own in between. REKEYFS_READERS_SECONDS: for how long a random history is made, in
seconds (20)."""

import errno
import json
import mmap
import os
import random
import signal
import subprocess
import threading
import time

import shared_history
from harness import PATIENCE, MountedTest, is_gone, sh, wait_until
from test_hosts import IN_USE, OnHost


class Shared(MountedTest):
    options = None

    def setUp(self):
        self.need_root()
        self.need_tools("unshare")
        super().setUp()
        self.writer = self.on("writer", self.dir / "vault")

    def on(self, name, path):
        vault = OnHost(name, self.dir / name, path)
        self.addCleanup(vault.close)
        return vault

    def reader(self, name, path=None):
        reader = self.on(name, path or self.writer.path)
        reader.mount("--shared", "--read-only")
        return reader

    def mount_writer(self, *options):
        self.writer.mount("--shared", *options)

    def switch(self, verb):
        key = self.writer.status()["aliases"][0]["key_id"]
        self.writer.ok("kms", verb, "--key-id", key, "--vault", self.writer.mnt)

    def disable(self):
        self.switch("disable-key")

    def enable(self):
        self.switch("enable-key")


class Contents(Shared):
    # No key is changed, so nobody waits for it.

    def setUp(self):
        super().setUp()
        self.mount_writer()
        self.w = self.writer.mnt

    def test_what_is_closed_is_seen_by_each_open_and_stat_that_begins_later(self):
        readers = [self.reader(name).mnt for name in ("one", "two")]
        path = self.w / "f"

        def same():
            data = path.read_bytes()
            for reader in readers:
                self.assertEqual((reader / "f").read_bytes(), data)
                self.assertEqual(os.stat(reader / "f").st_size, len(data))
                self.assertEqual(os.stat(reader / "f").st_mtime_ns, os.stat(path).st_mtime_ns)

        for size in (10, 100_000, 3044, 0, 5_000_000):
            path.write_bytes(os.urandom(size))
            same()
        for _ in range(20):
            # Of one size, and often within one tick of the clock.
            path.write_bytes(os.urandom(5000))
            same()
        with open(path, "ab") as out:
            out.write(b"more")
            out.flush()
            os.fsync(out.fileno())
            same()
        with open(path, "r+b") as out:
            out.truncate(100)
            out.seek(1_000_000)
            out.write(b"behind a hole")
        same()
        (self.w / "beside").write_bytes(b"in its place")
        os.rename(self.w / "beside", path)
        same()
        with open(path, "r+b") as out:
            with mmap.mmap(out.fileno(), 0) as mapped:
                mapped[0:2] = b"on"
                mapped.flush()
        same()
        os.setxattr(path, "user.tag", b"value")
        os.symlink("f", self.w / "link")
        for n in range(40):
            (self.w / f"d{n}").mkdir()
            (self.w / f"d{n}" / ("l" * 200)).write_bytes(b"long")
        for reader in readers:
            self.assertEqual(os.getxattr(reader / "f", "user.tag"), b"value")
            self.assertEqual(os.readlink(reader / "link"), "f")
            self.assertEqual(sorted(os.listdir(reader)), sorted(os.listdir(self.w)))
            self.assertEqual((reader / "d7" / ("l" * 200)).read_bytes(), b"long")
        os.removexattr(path, "user.tag")
        for reader in readers:
            self.assertErrno(errno.ENODATA, os.getxattr, reader / "f", "user.tag")

    def test_a_reader_changes_nothing_and_says_who_writes(self):
        (self.w / "f").write_bytes(b"content")
        reader = self.reader("one")
        self.assertErrno(errno.EROFS, open, reader.mnt / "g", "wb")
        self.assertErrno(errno.EROFS, os.unlink, reader.mnt / "f")
        self.assertNotEqual(reader.run("reencrypt", reader.mnt / "f").returncode, 0)
        self.assertRefused(reader.run("rotate", reader.mnt), "another host", status=IN_USE)
        self.assertRefused(reader.run("rotate", reader.path, "--passfile", reader.passfile), status=IN_USE)
        self.assertTrue(reader.status()["mount"]["read_only"])
        before = (self.writer.path / "events.jsonl").read_bytes()
        reader.remount("--shared", "--read-only")
        self.assertEqual((self.writer.path / "events.jsonl").read_bytes(), before)

    def test_a_file_that_grows_can_be_followed(self):
        reader = self.reader("one")
        (self.w / "log").write_bytes(b"")
        out = open(self.dir / "followed", "wb")
        tail = subprocess.Popen(["tail", "-c", "+1", "-s", "0.02", "-f", reader.mnt / "log"], stdout=out)
        self.addCleanup(tail.kill)
        lines = b""
        with open(self.w / "log", "ab", buffering=0) as log:
            for n in range(400):
                line = f"line {n} ".encode() + b"x" * random.randrange(200) + b"\n"
                log.write(line)
                lines += line
                if n % 10 == 0:
                    os.fsync(log.fileno())
                    time.sleep(0.01)
        followed = self.dir / "followed"
        wait_until(lambda: followed.stat().st_size >= len(lines))
        self.assertEqual(followed.read_bytes(), lines)

    def test_what_is_removed_and_made_again_is_found_and_what_is_held_goes_on(self):
        reader = self.reader("one").mnt
        (self.w / "d").mkdir()
        (self.w / "d" / "f").write_bytes(b"first")
        held = open(reader / "d" / "f", "rb", buffering=0)
        self.addCleanup(held.close)
        inside = os.open(reader / "d", os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, inside)
        self.assertEqual(held.read(), b"first")
        os.rename(self.w / "d", self.w / "moved")
        (self.w / "moved" / "g").write_bytes(b"in the moved one")
        self.assertEqual(sorted(os.listdir(inside)), ["f", "g"])
        with open("g", "rb", opener=lambda name, flags: os.open(name, flags, dir_fd=inside)) as source:
            self.assertEqual(source.read(), b"in the moved one")
        for n in range(30):
            path = self.w / "d"
            path.mkdir()
            (path / "f").write_bytes(f"of {n}".encode())
            self.assertEqual((reader / "d" / "f").read_bytes(), f"of {n}".encode())
            (path / "f").unlink()
            path.rmdir()
            # A file in the place of the directory, and often under its number.
            path.write_bytes(f"file {n}".encode())
            self.assertEqual((reader / "d").read_bytes(), f"file {n}".encode())
            path.unlink()
            self.assertFalse((reader / "d").exists())
        held.seek(0)
        self.assertEqual(held.read(), b"first")

    def test_a_random_history_is_close_to_open_and_the_vault_is_whole(self):
        readers = [self.reader(name) for name in ("one", "two")]
        seconds = float(os.environ.get("REKEYFS_READERS_SECONDS", "20"))
        seed = random.randrange(1 << 32)
        writer, saw = shared_history.run(self.w, [reader.mnt for reader in readers], seconds, seed)
        for reader in saw:
            self.assertEqual(reader.wrong, [], f"seed {seed}")
            self.assertGreater(reader.seen, 50)
            self.assertGreater(reader.in_between, 0)
        for vault in (*readers, self.writer):
            vault.umount()
        self.writer.ok("fsck", self.writer.path, "--passfile", self.writer.passfile)


class WithKeys(Shared):
    def setUp(self):
        super().setUp()
        self.mount_writer()
        self.w = self.writer.mnt
        (self.w / "f").write_bytes(b"content " * 2000)

    def reads(self, path):
        try:
            return path.read_bytes()
        except OSError as error:
            return error.errno


class Keys(WithKeys):
    def test_a_key_that_is_disabled_opens_nothing_on_any_reader_when_that_returns(self):
        readers = [self.reader(name) for name in ("one", "two")]
        held = [open(reader.mnt / "f", "rb", buffering=0) for reader in readers]
        for file in held:
            self.addCleanup(file.close)
            self.assertEqual(len(file.read()), 16_000)
        self.disable()
        for reader, file in zip(readers, held, strict=True):
            self.assertErrno(errno.ENOKEY, open, reader.mnt / "f", "rb")
            file.seek(0)
            self.assertErrno(errno.ENOKEY, file.read)
        self.enable()
        for reader, file in zip(readers, held, strict=True):
            self.assertEqual(len((reader.mnt / "f").read_bytes()), 16_000)
            file.seek(0)
            self.assertEqual(len(file.read()), 16_000)

    def test_a_reader_opens_what_was_written_under_a_version_that_is_new(self):
        readers = [self.reader(name) for name in ("one", "two")]
        for n in range(3):
            self.writer.rotate()
            (self.w / f"g{n}").write_bytes(b"under a new version")
            for reader in readers:
                self.assertEqual((reader.mnt / f"g{n}").read_bytes(), b"under a new version")
                self.assertEqual(reader.version(reader.mnt / f"g{n}"), n + 2)
        self.writer.ok("rewrap", self.w)
        for reader in readers:
            self.assertEqual(len((reader.mnt / "f").read_bytes()), 16_000)

    def test_a_reader_that_joins_while_a_key_is_disabled_reads_nothing_afterwards(self):
        reader = self.on("one", self.writer.path)
        joined = threading.Thread(target=lambda: reader.mount("--shared", "--read-only"))
        joined.start()
        time.sleep(random.random() * 0.3)
        self.disable()
        joined.join()
        self.assertEqual(self.reads(reader.mnt / "f"), errno.ENOKEY)

    def test_what_is_mapped_is_not_shown_any_more(self):
        reader = self.reader("one")
        program = (
            "import mmap, sys, time\n"
            "f = open(sys.argv[1], 'rb')\n"
            "m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)\n"
            "print(m[:7].decode(), flush=True)\n"
            "sys.stdin.readline()\n"
            "print(m[:7].decode(), flush=True)\n"
        )
        child = subprocess.Popen(
            ["python3", "-c", program, reader.mnt / "f"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(child.kill)
        self.assertEqual(child.stdout.readline(), "content\n")
        self.disable()
        shown, _ = child.communicate("go on\n", timeout=PATIENCE)
        self.assertEqual((shown, child.returncode), ("", -signal.SIGBUS))


class CutOff(WithKeys):
    """A reader behind a bindfs that is stopped: what a cable that is cut is to a cluster's client."""

    def setUp(self):
        self.need_tools("bindfs")
        super().setUp()
        self.below = self.dir / "below"
        self.below.mkdir()
        self.addCleanup(subprocess.run, ["umount", "-l", self.below], capture_output=True)
        self.client = subprocess.Popen(["bindfs", "-f", "--multithreaded", "--enable-lock-forwarding", "-o", "subtype=juicefs", self.dir, self.below])
        self.addCleanup(self.end_client)
        self.assertTrue(wait_until(lambda: os.path.ismount(self.below)))
        self.far = self.reader("far", self.below / "vault")

    def end_client(self):
        self.client.send_signal(signal.SIGCONT)
        self.client.kill()
        self.client.wait()

    def test_a_reader_that_is_cut_off_shows_nothing_once_its_lease_is_over(self):
        held = open(self.far.mnt / "f", "rb", buffering=0)
        self.addCleanup(held.close)
        self.assertEqual(len(held.read()), 16_000)
        self.client.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        self.disable()
        took = time.monotonic() - begun
        # It doesn't wait for the reader to come back.
        self.assertLess(took, PATIENCE)
        # Neither by name nor by what is open, and none of it waits for the cluster.
        done = subprocess.run(
            ["python3", "-c", "import sys; open(sys.argv[1], 'rb').read()", self.far.mnt / "f"],
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        self.assertIn("Required key not available", done.stderr)
        held.seek(0)
        self.assertErrno(errno.ENOKEY, held.read)
        self.client.send_signal(signal.SIGCONT)
        # It is renewed, with the keys that are in force now.
        self.assertTrue(wait_until(lambda: os.path.exists(self.far.mnt / "f")))
        self.assertErrno(errno.ENOKEY, open, self.far.mnt / "f", "rb")
        self.enable()
        self.assertEqual(len((self.far.mnt / "f").read_bytes()), 16_000)
        held.seek(0)
        self.assertEqual(len(held.read()), 16_000)


    def members(self):
        return json.loads(self.writer.ok("hosts", self.writer.path, "--json"))["members"]

    def lease_of(self, host):
        return next((row["lease_in_force"] for row in self.members() if row["host"] == host), None)

    def evict(self, vault, host):
        return vault.run("hosts", "evict", vault.path, host, "--json", "--passfile", vault.passfile, timeout=PATIENCE)

    def test_a_reader_that_is_gone_is_evicted_though_its_lock_is_kept_and_no_change_waits_for_it(self):
        near = self.reader("near")
        self.assertTrue(self.lease_of("far"))
        lease = near.status()["mount"]["lease"]
        self.assertTrue(lease["in_force"] and 0 <= lease["seconds_left"] <= 10, lease)
        self.assertNotIn("lease", self.writer.status()["mount"])
        self.assertRefused(self.evict(self.writer, "near"), "host near reads it, and renews its lease", status=IN_USE)
        self.assertRefused(self.evict(near, "far"), status=IN_USE)
        self.client.send_signal(signal.SIGSTOP)
        self.assertTrue(wait_until(lambda: self.lease_of("far") is False))
        self.assertRegex(self.writer.ok("hosts", self.writer.path), r"far: process \d+ .* s ago \(it is over\)")
        # Asked by its endpoint: no path leads through a client that doesn't answer.
        evicted = self.evict(self.writer, "far")
        self.assertEqual(evicted.returncode, 0, evicted.stderr)
        self.assertEqual(len(json.loads(evicted.stdout)["slots"]), 1)
        self.assertEqual({row["host"] for row in self.members()}, {"writer", "near"})
        self.assertEqual([event["host"] for event in self.writer.events("Host Evicted")], ["far"])
        self.disable()
        self.assertEqual(self.writer.events("Keyring Change Unconfirmed"), [])
        self.assertEqual(self.reads(near.mnt / "f"), errno.ENOKEY)
        self.enable()
        # It ends when it comes back, or is a member as before, if it was stopped in the middle of a renewal.
        self.client.send_signal(signal.SIGCONT)
        self.assertTrue(wait_until(lambda: is_gone(self.far.pid) or self.lease_of("far")))
        if is_gone(self.far.pid):
            self.far.pid = None
            self.far.clear_stale_mountpoint()


class Refused(Shared):
    def test_a_vault_that_is_not_shared_has_no_readers(self):
        self.assertRefused(self.writer.try_mount("--shared", "--read-only"), "shared")

    def test_a_reader_that_cannot_say_that_it_is_there_is_refused(self):
        self.mount_writer()
        (self.writer.mnt / "f").write_bytes(b"content")
        copy = self.dir / "seen"
        copy.mkdir()
        self.addCleanup(subprocess.run, ["umount", "-l", copy], capture_output=True)
        sh(f"mount --bind {self.writer.path} {copy} && mount -o remount,bind,ro {copy}", self.dir)
        reader = self.on("one", copy)
        self.assertRefused(reader.try_mount("--shared", "--read-only"), "register")
