"""`rekeyfs reencrypt` on a mount: the same file under another data key at once for whoever uses its name, and one whole
file, old or new, whenever it ends early."""

import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import threading
import time

from harness import BIN, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, MountedTest, fallocate, sh, tree_digest, wait_until

USAGE, INTERRUPTED, LEFT = 2, 15, 1


class Reencrypting(MountedTest):
    def reencrypt(self, *args):
        return self.vault.ok("reencrypt", *args, timeout=300)

    def report(self, *args, status=0):
        done = self.vault.run("reencrypt", "--json", *args, timeout=300)
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout)

    def file_id(self, path):
        out = json.loads(self.vault.ok("inspect", "--json", self.vault.lower(path)))
        return out["file_id"]

    def wrapped(self, path):
        """The wrapped DEK: bytes 64..136 of the lower file."""
        with open(self.vault.lower(path), "rb") as f:
            return f.read(136)[64:]

    def temporaries(self):
        return sh("find tree -name '.tmp.*'", self.vault.path).split()


class OneFile(Reencrypting):
    def test_all_of_it_is_kept_but_its_inode_and_data_key(self):
        self.need_tools("setfacl", "getfacl", "setcap", "getcap")
        path = self.write("f", os.urandom(300_000))
        with open(path, "r+b") as f:
            f.truncate(20 << 20)
            f.seek(10 << 20)
            f.write(b"island" * 1000)
            f.flush()
            os.fsync(f.fileno())
            fallocate(f.fileno(), FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 40_000, 80_000)
        if os.getuid() == 0:
            os.chown(path, 1234, 2345)
        os.chmod(path, 0o2751)
        os.setxattr(path, "user.note", b"a note")
        os.setxattr(path, "user.long", b"x" * 1500)
        sh("setfacl -m u:7:rx,g:8:r f", self.mnt)
        if os.getuid() == 0:
            sh("setcap cap_net_bind_service+ep f", self.mnt)
        os.utime(path, ns=(1_111_111_111_123_456_789, 1_222_222_222_987_654_321))
        os.utime(self.mnt, ns=(1_333_333_333_000_000_001, 1_444_444_444_000_000_002))

        def known():
            st, parent = os.stat(path), os.stat(self.mnt)
            tools = sh("getfacl -n f; getcap f; getfattr -d -m user.note f; getfattr -d -m user.long f", self.mnt)
            return {
                "metadata": (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns, st.st_nlink),
                "parent": parent.st_mtime_ns, "tools": tools,
                "content": hashlib.sha256(path.read_bytes()).hexdigest(),
            }  # fmt: skip

        atime, blocks, ino = os.stat(path).st_atime_ns, os.stat(path).st_blocks, os.stat(path).st_ino
        before, id_before, wrapped = known(), self.file_id(path), self.wrapped(path)
        os.utime(path, ns=(atime, os.stat(path).st_mtime_ns))
        self.assertIn("1 re-encrypted", self.reencrypt(path))
        self.assertEqual(os.stat(path).st_atime_ns, atime)
        self.assertEqual(known(), before)
        self.assertNotEqual(os.stat(path).st_ino, ino)
        self.assertNotEqual(self.file_id(path), id_before)
        self.assertNotEqual(self.wrapped(path), wrapped)
        self.assertLess(os.stat(path).st_blocks, blocks + 64, "holes were filled")
        with open(path, "rb") as f:
            self.assertLessEqual(os.lseek(f.fileno(), 1 << 20, os.SEEK_DATA), 10 << 20)
            self.assertGreater(os.lseek(f.fileno(), 1 << 20, os.SEEK_DATA), 9 << 20)
        self.vault.remount()
        self.assertEqual(known(), before)
        self.assertEqual(self.temporaries(), [])

    def test_it_moves_to_what_its_alias_resolves_to(self):
        path = self.write("f", b"x" * 9000, fsync=True)
        self.vault.rotate()
        self.reencrypt(path)
        self.assertEqual(self.vault.version(path), 2)
        self.assertEqual(self.read(path), b"x" * 9000)

    def test_what_can_not_be_is_left_and_said(self):
        one = self.write("one", b"x" * 5000, fsync=True)
        os.link(one, self.mnt / "two")
        used, empty = self.write("used", b"y" * 5000, fsync=True), self.write("empty", b"")
        (self.mnt / "dir").mkdir()
        os.symlink("used", self.mnt / "symlink")
        ids = [self.file_id(one), self.file_id(used)]
        said = {
            one: "it has several names (hard links)", used: "it is open in some program",
            self.mnt / "dir": "a directory; -r goes into it", self.mnt / "symlink": "no regular file",
        }  # fmt: skip
        with open(used, "rb"):
            for path, why in said.items():
                self.assertRefused(self.vault.run("reencrypt", path), str(path), "left as it is: " + why, status=LEFT)
        report = self.report(empty)
        self.assertEqual((report["files"], report["reencrypted"], report["nothing_to_do"]), (1, 0, 1))
        self.assertRefused(self.vault.run("reencrypt", self.mnt / "none"), "none", "no such file")
        self.assertRefused(self.vault.run("reencrypt", self.vault.path), "a vault's directory; -r", status=USAGE)
        self.assertEqual([self.file_id(one), self.file_id(used)], ids)
        self.assertEqual(self.report(used)["reencrypted"], 1)
        # Of a mounted vault, its directory stands for the mount.
        report = self.report("-r", self.vault.path, status=LEFT)
        self.assertEqual((report["files"], report["reencrypted"], len(report["left"])), (4, 1, 2))

    def test_mapped_executed_and_followed_files_are_in_use(self):
        path = self.write("f", b"m" * 10_000, fsync=True)
        with open(path, "r+b") as f:
            mapped = mmap.mmap(f.fileno(), 10_000)
        self.assertRefused(self.vault.run("reencrypt", path), "open in some program", status=LEFT)
        mapped[5000:5004] = b"edit"
        mapped.close()
        self.reencrypt(path)
        self.assertEqual(self.read(path), b"m" * 5000 + b"edit" + b"m" * 4996)
        program = self.mnt / "sleep"
        shutil.copy(shutil.which("sleep"), program)
        for command in (["tail", "-f", path], [program, "60"]):
            with self.subTest(command[0]), subprocess.Popen(command, stdout=subprocess.DEVNULL) as user:
                target = path if command[0] == "tail" else program
                busy = lambda: self.vault.run("reencrypt", target).returncode == LEFT  # noqa: E731, B023
                self.assertTrue(wait_until(busy))
                user.kill()
            self.assertEqual(self.report(target)["reencrypted"], 1)

    def test_a_full_page_cache_and_known_names_show_the_new_file_at_once(self):
        """Each look is another process's or another call's: none may meet ESTALE."""
        (self.mnt / "d").mkdir()
        path = self.write("d/f", b"1" * 100_000, fsync=True)
        looks = {
            "open": lambda: open(path, "rb").read(1), "stat": lambda: os.stat(path), "chmod": lambda: os.chmod(path, 0o600),
            "truncate": lambda: os.truncate(path, 50_000), "utime": lambda: os.utime(path),
            "setxattr": lambda: os.setxattr(path, "user.a", b"b"), "listxattr": lambda: os.listxattr(path),
            "access": lambda: self.assertTrue(os.access(path, os.R_OK)), "append": lambda: open(path, "ab").write(b"1"),
            "create": lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY)),
            "link": lambda: (os.link(path, self.mnt / "g"), os.unlink(self.mnt / "g")),
            "rename": lambda: (os.rename(path, self.mnt / "r"), open(self.mnt / "r").close(), os.rename(self.mnt / "r", path)),
            "replace": lambda: (self.write("n", b"1" * 9), os.rename(self.mnt / "n", path)),
            "unlink": lambda: (os.unlink(path), self.write("d/f", b"1" * 9)),
        }  # fmt: skip
        with subprocess.Popen(["bash"], cwd=self.mnt / "d", text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as shell:  # fmt: skip

            def ask(command):
                shell.stdin.write(f"{command}; printf '\\n:%s\\n' $?\n")
                shell.stdin.flush()
                lines = iter(shell.stdout.readline, "")
                out = []
                for line in lines:
                    if line.startswith(":"):
                        break
                    out.append(line)
                self.assertEqual(line, ":0\n", out)
                return "".join(out).strip()

            for name, look in looks.items():
                with self.subTest(name):
                    ask("ls -l > /dev/null; cat f > /dev/null; stat f > /dev/null")
                    # The command looks the name up itself; that of a daemon asked by something else would not be.
                    ino = os.stat(path).st_ino
                    self.reencrypt(path)
                    look()
                    if name not in ("replace", "unlink"):
                        self.assertNotEqual(os.stat(path).st_ino, ino)
                    self.assertEqual(ask("ls -i f").split()[0], str(os.stat(path).st_ino))
                    self.assertEqual(ask("ls -i").split()[0], str(os.stat(path).st_ino))
                    self.assertEqual(set(ask("cat f")), {"1"})
            shell.stdin.close()
        self.assertEqual(os.listdir(self.mnt / "d"), ["f"])

    def test_it_is_an_event(self):
        path = self.write("plain name", b"x", fsync=True)
        ino = os.stat(path).st_ino
        self.reencrypt(path)
        (event,) = self.vault.events("File Re-encrypted")
        lower = self.vault.lower(path)
        want = {
            "replaced-inode": ino, "inode": os.stat(path).st_ino, "file-id": self.file_id(path), "version": 1,
            "lower-path": os.path.relpath(lower, self.vault.path), "outcome": "success", "uid": os.getuid(),
        }  # fmt: skip
        self.assertEqual(event, event | want)
        self.assertIn("plain name", self.vault.ok("events", self.mnt))
        self.vault.ok("events", self.mnt, "--verify")

    def test_a_key_that_is_disabled_leaves_it(self):
        path = self.write("f", b"x" * 9000, fsync=True)
        key = os.getxattr(path, "user.rekeyfs.key-id").decode()
        self.vault.ok("kms", "disable-key", "--key-id", key, "--vault", self.mnt)
        done = self.vault.run("reencrypt", path)
        self.assertRefused(done, "f: left as it is", key, status=LEFT)
        self.vault.ok("kms", "enable-key", "--key-id", key, "--vault", self.mnt)
        self.reencrypt(path)
        self.assertEqual(self.read(path), b"x" * 9000)
        self.assertEqual(self.temporaries(), [])

    def test_a_read_only_mount_refuses(self):
        path = self.write("f", b"x" * 9000, fsync=True)
        self.vault.remount("--read-only")
        self.assertRefused(self.vault.run("reencrypt", path), "read-only")


class Trees(Reencrypting):
    def fill(self, count, size=6000):
        for i in range(count):
            directory = self.mnt / f"d{i % 7}"
            directory.mkdir(exist_ok=True)
            (directory / f"f{i}").write_bytes(b"%d " % i * (size // 4))
        # The times that the kernel has made up for what it wrote late are those of the files then.
        self.vault.remount()

    def run_in_background(self, *args):
        return subprocess.Popen(
            [BIN, "reencrypt", "-r", *map(str, args)],
            env=self.vault.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ids(self):
        """File ids by lower path of all files of the vault."""
        ids = {}
        for directory, _, names in os.walk(self.vault.path / "tree"):
            for name in names:
                with open(os.path.join(directory, name), "rb") as f:
                    ids[os.path.join(directory, name)] = f.read(32)[16:]
        return ids

    def test_every_file_below_and_an_event_with_the_counts(self):
        self.write("outside", b"x" * 100, fsync=True)
        self.fill(60)
        ids, digest = self.ids(), tree_digest(self.mnt)
        report = self.report("-r", *sorted(self.mnt.glob("d*")))
        self.assertEqual((report["files"], report["reencrypted"], report["complete"]), (60, 60, True))
        now = self.ids()
        self.assertEqual(len([path for path in ids if now[path] == ids[path]]), 1)
        self.assertEqual(tree_digest(self.mnt), digest)
        ended = self.vault.events("Re-encryption Ended")
        self.assertEqual(len(self.vault.events("Re-encryption Began")), len(ended))
        self.assertEqual(sum(event["reencrypted"] for event in ended), 60)
        self.vault.remount()
        self.assertEqual(tree_digest(self.mnt), digest)

    def test_with_a_writer_at_work(self):
        self.fill(80)
        stop, problems, want = threading.Event(), [], {}

        def writer():
            rng = random.Random(5)
            try:
                while not stop.is_set():
                    i = rng.randrange(80)
                    path = self.mnt / f"d{i % 7}/f{i}"
                    data = b"%d " % rng.randrange(1000) * rng.randrange(1, 4000)
                    how = rng.randrange(3)
                    if how == 0:
                        path.write_bytes(data)
                        want[path] = data
                    elif how == 1:
                        with open(path, "ab") as f:
                            f.write(data)
                        want[path] = want.get(path, b"%d " % i * 1500) + data
                    else:
                        (self.mnt / "new").write_bytes(data)
                        os.rename(self.mnt / "new", path)
                        want[path] = data
                    if path.read_bytes() != want[path]:
                        problems.append(f"{path} is not what was written")
            except Exception as e:
                problems.append(repr(e))

        thread = threading.Thread(target=writer)
        thread.start()
        try:
            for _ in range(4):
                done = self.vault.run("reencrypt", "-r", "--json", self.mnt, timeout=300)
                self.assertIn(done.returncode, (0, LEFT), done.stderr)
                self.assertNotIn("stale", done.stderr.lower())
                self.assertGreater(json.loads(done.stdout)["reencrypted"], 0)
        finally:
            stop.set()
            thread.join()
        self.assertEqual(problems, [])
        for _ in range(2):
            for i in range(80):
                path = self.mnt / f"d{i % 7}/f{i}"
                self.assertEqual(path.read_bytes(), want.get(path, b"%d " % i * (1500)), path)
            self.vault.remount()
        self.assertEqual(self.temporaries(), [])

    def test_sigkill_of_the_mount_at_any_time(self):
        self.fill(40, size=200_000)
        digest = tree_digest(self.mnt)
        for round in range(8):
            run = self.run_in_background(self.mnt)
            time.sleep(random.uniform(0.05, 0.8))
            self.vault.kill()
            run.communicate(timeout=30)
            self.vault.clear_stale_mountpoint()
            self.vault.mount()
            self.assertEqual(tree_digest(self.mnt), digest, f"after kill {round}")
        self.assertEqual(self.report("-r", self.mnt)["reencrypted"], 40)
        self.assertEqual(tree_digest(self.mnt), digest)
        self.vault.umount()
        found = self.vault.run("fsck", self.vault.path, "--passfile", self.vault.passfile, "--repair")
        self.assertIn(found.returncode, (0, 1), found.stdout + found.stderr)
        self.assertEqual(self.temporaries(), [])

    def test_an_interrupted_run_goes_on_with_before(self):
        self.fill(150)
        if sh("stat -c %W keyring", self.vault.path).strip() in ("-", "0"):
            self.skipTest("the filesystem here does not say when files were made")
        time.sleep(1.1)
        ids = self.ids()
        run = self.run_in_background(self.mnt)
        self.assertTrue(wait_until(lambda: len(self.vault.events("File Re-encrypted")) > 10, step=0.01))
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=30)
        self.assertEqual(run.returncode, INTERRUPTED)
        # The mount ends what it was at when nobody waits for it any more.
        self.assertTrue(wait_until(lambda: self.temporaries() == []))
        before = said.rsplit("--before ", 1)[1].split()[0]
        done = len([path for path, id in self.ids().items() if ids[path] != id])
        self.assertTrue(10 < done < 150, done)
        self.assertFalse(self.vault.events("Re-encryption Ended")[-1]["complete"])
        self.assertEqual(self.temporaries(), [])
        report = self.report("-r", self.mnt, "--before", before)
        self.assertEqual((report["files"], report["reencrypted"], report["nothing_to_do"]), (150, 150 - done, done))
        now = self.ids()
        self.assertEqual([path for path in ids if now[path] == ids[path]], [])

    def test_of_a_vault_that_is_not_mounted(self):
        self.write("used", b"x", fsync=True)
        os.link(self.mnt / "used", self.mnt / "linked")
        self.fill(30)
        digest, ids = tree_digest(self.mnt), self.ids()
        self.vault.umount()
        done = self.vault.run("reencrypt", "-r", self.vault.path, "--json", "--passfile", self.vault.passfile)
        self.assertEqual(done.returncode, LEFT, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual((report["files"], report["reencrypted"], len(report["left"])), (31, 30, 1))
        self.assertIn("several names", done.stderr)
        self.assertEqual(self.vault.events("Re-encryption Ended")[-1]["reencrypted"], 30)
        now = self.ids()
        self.assertEqual(len([path for path in ids if now[path] == ids[path]]), 2)
        self.vault.mount()
        self.assertEqual(tree_digest(self.mnt), digest)
        self.vault.ok("events", self.mnt, "--verify")
