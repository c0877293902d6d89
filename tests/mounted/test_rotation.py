"""Rotation while mounted: old and new files stay readable, new files bear the new version, used files move."""

import os
import signal
import subprocess
import threading
import time

from harness import BIN, PATIENCE, MountedTest, quick_once, sha, sh, wait_until

# The status of a command for which another one has to end first.
BUSY = 43


class Rotation(MountedTest):
    def test_new_files_bear_the_new_version_and_old_ones_move_when_used(self):
        old = self.write("old", b"written under version 1" * 300, fsync=True)
        untouched = self.write("untouched", b"not opened again", fsync=True)
        self.assertEqual(self.vault.version(old), 1)
        os.utime(old, ns=(1_111_111_111_111_111_111, 1_222_222_222_222_222_222))
        report = self.vault.rotate()
        self.assertIn("alias/default", str(report))
        new = self.write("new", b"written under version 2", fsync=True)
        self.assertEqual(self.vault.version(new), 2)
        self.assertEqual(self.read(old), b"written under version 1" * 300)
        self.assertTrue(wait_until(lambda: self.vault.version(old) == 2), "no lazy re-wrap")
        self.assertEqual(self.vault.version(untouched), 1)
        self.assertEqual(old.stat().st_mtime_ns, 1_222_222_222_222_222_222)
        self.vault.remount()
        self.assertEqual(self.vault.version(old), 2)
        self.assertEqual(self.read(old), b"written under version 1" * 300)
        self.assertEqual(self.read(untouched), b"not opened again")

    def test_rotate_changes_no_file_and_does_not_depend_on_their_number(self):
        for i in range(2000):
            with open(self.mnt / f"f{i}", "wb") as f:
                f.write(b"x")
        os.sync()
        before = sh("find tree -type f -newermt @0 -printf '%p %C@\\n' | sort | sha256sum", self.vault.path)
        # The 50 ms are the mount's; here a process starts and two files are fsynced on a busy machine.
        quick = quick_once(self.vault.rotate, 0.5)
        after = sh("find tree -type f -newermt @0 -printf '%p %C@\\n' | sort | sha256sum", self.vault.path)
        self.assertEqual(before, after)
        self.assertTrue(quick)

    def test_an_empty_file_takes_its_version_at_the_first_write(self):
        path = self.write("f", b"")
        self.vault.rotate()
        with open(path, "wb") as f:
            f.write(b"now")
        self.assertEqual(self.vault.version(path), 2)
        self.vault.rotate()
        os.truncate(path, 0)
        self.write("f", b"again")
        self.assertEqual(self.vault.version(path), 3)

    def test_twenty_rotations_under_load(self):
        stop = threading.Event()
        problems = []

        def worker(k):
            i = 0
            try:
                while not stop.is_set():
                    path = self.mnt / f"w{k}-{i % 40}"
                    data = os.urandom(100 + (i * 997) % 30000)
                    with open(path, "wb") as f:
                        f.write(data)
                    with open(path, "rb") as f:
                        if f.read() != data:
                            problems.append(f"{path} differs")
                    if i % 7 == 3:
                        os.rename(path, self.mnt / f"w{k}-moved")
                    if i % 11 == 5:
                        os.truncate(self.mnt / f"w{k}-{(i + 3) % 40}", 50) if (i > 40) else None
                    i += 1
            except FileNotFoundError:
                pass
            except Exception as e:
                problems.append(repr(e))

        keep = {}
        threads = [threading.Thread(target=worker, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        try:
            for version in range(2, 22):
                self.vault.rotate()
                data = os.urandom(9000)
                path = self.write(f"keep{version}", data, fsync=True)
                self.assertGreaterEqual(self.vault.version(path), version)
                keep[path] = sha(data)
                time.sleep(0.05)
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(problems, [])
        for _ in range(2):
            for path, digest in keep.items():
                self.assertEqual(sha(self.read(path)), digest)
            sh("cat w* > /dev/null", self.mnt)
            self.vault.remount()

    def test_rotations_from_several_processes_at_once(self):
        running = [
            subprocess.Popen([BIN, "rotate", str(self.mnt), "--json"], env=self.vault.env, stdout=subprocess.DEVNULL)
            for _ in range(8)
        ]
        self.assertEqual([p.wait(PATIENCE) for p in running], [0] * 8)
        self.assertEqual(self.vault.version(self.write("f", b"x", fsync=True)), 9)
        self.vault.remount()
        self.assertEqual(self.vault.version(self.write("g", b"x", fsync=True)), 9)

    def test_rotate_an_unmounted_vault(self):
        path = self.write("f", b"before", fsync=True)
        self.vault.umount()
        self.vault.rotate()
        self.vault.mount("--no-rewrap")
        self.assertEqual(self.read(path), b"before")
        self.assertEqual(self.vault.version(path), 1)
        self.assertEqual(self.vault.version(self.write("g", b"after", fsync=True)), 2)

    def test_rotate_takes_any_path_inside_the_mount(self):
        os.makedirs(self.mnt / "a/b")
        self.vault.ok("rotate", self.mnt / "a/b")
        self.vault.ok("rotate", self.write("a/f", b"x"))
        self.assertEqual(self.vault.version(self.write("g", b"x", fsync=True)), 3)

    def test_hard_links_and_read_only_files_move_too(self):
        path = self.write("f", b"x" * 10000, fsync=True)
        os.link(path, self.mnt / "g")
        os.chmod(path, 0o444)
        self.vault.rotate()
        self.assertEqual(self.read(self.mnt / "g"), b"x" * 10000)
        self.assertTrue(wait_until(lambda: self.vault.version(path) == 2))
        self.assertEqual(self.vault.version(self.mnt / "g"), 2)

    def test_write_through_a_descriptor_opened_before(self):
        path = self.write("f", b"a" * 10000, fsync=True)
        with open(path, "r+b", buffering=0) as f:
            for i in range(5):
                self.vault.rotate()
                f.seek(i * 1000)
                f.write(b"b" * 1000)
                os.fsync(f.fileno())
        self.vault.remount()
        self.assertEqual(self.read(path), b"b" * 5000 + b"a" * 5000)


class NoRewrap(MountedTest):
    options = ("--no-rewrap",)

    def test_old_versions_are_read_after_twenty_rotations(self):
        files = {}
        for version in range(1, 21):
            data = os.urandom(version * 1500)
            files[self.write(f"v{version}", data, fsync=True)] = (version, sha(data))
            self.vault.rotate()
        for _ in range(2):
            for path, (version, digest) in files.items():
                self.assertEqual(sha(self.read(path)), digest)
                self.assertEqual(self.vault.version(path), version)
            self.vault.remount("--no-rewrap")
        time.sleep(1)
        for path, (version, _) in files.items():
            self.assertEqual(self.vault.version(path), version)
        self.vault.ok("rewrap", self.mnt, timeout=120)
        for path, (_, digest) in files.items():
            self.assertEqual(self.vault.version(path), 21)
            self.assertEqual(sha(self.read(path)), digest)

    def test_status_and_inspect_tell(self):
        path = self.write("f", b"x" * 100, fsync=True)
        status = self.vault.status()
        text = str(status)
        self.assertIn("alias/default", text)
        self.assertIn("aes-256-gcm", text)
        key = os.getxattr(path, "user.rekeyfs.key-id").decode()
        self.assertIn(key, text)
        out = self.vault.ok("inspect", path)
        self.assertIn(key, out)
        self.assertNotIn("stale: yes", out.lower())
        self.vault.rotate()
        out = self.vault.ok("inspect", path).lower()
        self.assertIn("stale", out)
        below = self.vault.ok("inspect", self.vault.lower(path))
        self.assertIn(key, below)


class Sweep(MountedTest):
    options = ("--no-rewrap",)

    def test_interrupted_and_resumed(self):
        count = 600
        for i in range(count):
            with open(self.mnt / f"f{i}", "wb") as f:
                f.write(b"%d " % i * 500)
        self.vault.rotate()
        versions = lambda: [self.vault.version(self.mnt / f"f{i}") for i in range(count)]  # noqa: E731
        sweep = subprocess.Popen(
            [BIN, "rewrap", str(self.mnt)], env=self.vault.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(0.15)
        sweep.send_signal(signal.SIGINT)
        sweep.wait(PATIENCE)
        self.assertLessEqual(set(versions()), {1, 2})
        # The one that was interrupted ends after its batch, for which a busy disk may take longer than a new one waits.
        again = wait_until(lambda: (done := self.vault.run("rewrap", self.mnt)).returncode != BUSY and done)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(set(versions()), {2})
        self.vault.remount()
        for i in range(count):
            self.assertEqual(self.read(self.mnt / f"f{i}"), b"%d " % i * 500)

    def test_sigkill_of_the_mount_in_the_middle(self):
        count = 400
        for i in range(count):
            with open(self.mnt / f"f{i}", "wb") as f:
                f.write(b"%d " % i * 500)
                os.fsync(f.fileno()) if i % 50 == 0 else None
        sh("sync -f f0", self.mnt)
        self.vault.remount("--no-rewrap")
        for round in range(3):
            self.vault.rotate()
            sweep = subprocess.Popen(
                [BIN, "rewrap", str(self.mnt)], env=self.vault.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(0.05 + 0.1 * round)
            self.vault.kill()
            sweep.wait(PATIENCE)
            self.vault.clear_stale_mountpoint()
            self.vault.mount("--no-rewrap")
            for i in range(count):
                self.assertEqual(self.read(self.mnt / f"f{i}"), b"%d " % i * 500)
        self.vault.ok("rewrap", self.mnt, timeout=120)
        self.assertEqual({self.vault.version(self.mnt / f"f{i}") for i in range(count)}, {4})

    def test_of_an_unmounted_vault(self):
        path = self.write("f", b"x" * 5000, fsync=True)
        self.vault.rotate()
        self.vault.umount()
        self.vault.ok("rewrap", self.vault.path, "--passfile", self.vault.passfile)
        self.vault.mount("--no-rewrap")
        self.assertEqual(self.vault.version(path), 2)
        self.assertEqual(self.read(path), b"x" * 5000)
