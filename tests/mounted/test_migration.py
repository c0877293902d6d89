"""What a person sees of the move from one key version to the next, and `kms re-encrypt`, which moves single files."""

import contextlib
import datetime
import errno
import json
import os
import re
import signal
import subprocess
import threading
import time

from harness import MountedTest, wait_until
from terminals import Terminal, output_at_terminal

KMS, NOT_MOUNTED, FAILED = 254, 42, 1


class Migration(MountedTest):
    options = ("--no-rewrap",)

    def files(self, count):
        return [self.write(f"f{i}", b"%d" % i * 1000, fsync=True) for i in range(count)]

    def kms(self, *args):
        return self.vault.ok("kms", *args, "--vault", self.mnt if self.vault.pid else self.vault.path, *self.vault._unlock())

    def key(self):
        return json.loads(self.kms("create-key"))["KeyMetadata"]["KeyId"]

    def default_key(self):
        return self.vault.status()["aliases"][0]["key_id"]

    def counted(self):
        target = self.mnt if self.vault.pid else self.vault.path
        return json.loads(self.vault.ok("status", target, "--count", "--json", *self.vault._unlock()))

    def by_version(self, status):
        return {seen["version"]: seen["files"] for seen in status["versions"]}

    def rows(self, text):
        """The table of versions: (version, use, files, rest of the line)."""
        row = re.compile(
            r"^[0-9a-f]{8}(-[0-9a-f-]{27})? +(\d+)  (current|old|retired|no material|unknown key) +(\d+) +(\d+\.\d)%(.*)$", re.M
        )
        return [(int(m[2]), m[3], int(m[4]), m[6]) for m in row.finditer(text)]


class Status(Migration):
    def test_counts_are_exact_after_half_a_re_wrap(self):
        files = self.files(20)
        self.write("empty", b"")
        os.link(files[0], self.mnt / "again")
        os.symlink("f1", self.mnt / "symlink")
        self.vault.rotate()
        self.vault.remount("--no-rewrap")
        self.assertIsNone(self.vault.status()["counted"])
        key = self.default_key()
        for path in files[:7]:
            self.vault.ok("kms", "re-encrypt", path, "--destination-key-id", key)
        for path in files[18:]:
            os.unlink(path)
        status = self.counted()
        self.assertEqual(self.by_version(status), {1: 11, 2: 7})
        self.assertEqual((status["files_seen"], status["files_stale"]), (18, 11))
        # Kept count of from then on, also of what nobody has opened since the count.
        self.vault.ok("reencrypt", files[8])
        os.unlink(files[9])
        self.write("f10", b"anew")
        self.write("more", b"x", fsync=True)
        self.assertEqual(self.by_version(self.vault.status()), {1: 8, 2: 10})
        self.assertEqual(self.by_version(self.counted()), {1: 8, 2: 10})
        self.vault.ok("rewrap", self.mnt)
        self.assertEqual(self.by_version(self.vault.status()), {2: 18})
        self.vault.umount()
        unmounted = self.counted()
        self.assertEqual((self.by_version(unmounted), unmounted["mount"]), ({2: 18}, None))
        self.assertEqual(self.by_version(self.vault.status()), {2: 18}, "what was counted is kept")

    def test_json_has_every_field(self):
        self.files(3)
        mounted = self.counted()
        fields = {
            "vault_id", "vault", "suite", "mount", "aliases", "keys", "counted", "versions", "files_seen",
            "files_stale", "files_staying", "files_unknown", "pending_rewraps", "pending_deletions", "schema", "key_backup",
        }  # fmt: skip
        self.assertEqual(set(mounted), fields)
        mount = {"mountpoint", "pid", "read_only", "always_read_only", "detached", "lazy_rewrap", "shared"}
        self.assertEqual(set(mounted["mount"]), mount)
        self.assertEqual(set(mounted["versions"][0]), {"key_id", "version", "files", "state"})
        key = {"key_id", "description", "service_managed", "state", "current", "min_decryption", "rotation_period_days",
               "next_rotation", "versions"}  # fmt: skip
        self.assertLessEqual(key, set(mounted["keys"][0]))
        self.vault.umount()
        self.assertEqual(set(self.vault.status()), fields)

    def test_a_pipe_gets_no_escapes_and_a_terminal_bars(self):
        self.files(6)
        self.vault.rotate()
        self.write("new", b"x", fsync=True)
        self.write("newer", b"x", fsync=True)
        text = self.vault.ok("status", self.mnt, "--count")
        self.assertTrue(text.isascii() and "\x1b" not in text and "#" not in text, text)
        self.assertEqual(self.rows(text), [(1, "old", 6, ""), (2, "current", 2, "")])
        self.assertIn("8 files that hold data, counted at", text)
        self.assertIn("; 6 stale", text)
        lines = [line for line in text.splitlines() if re.search(r"\d%$|share$", line)]
        self.assertEqual(len({len(line) for line in lines}), 1, text)
        for locale, cell in (("C.UTF-8", "█"), ("C", "#")):
            with self.subTest(locale):
                rows = self.rows(output_at_terminal(self.vault, "status", self.mnt, columns=0, LC_ALL=locale)[0])
                # 80 columns, of which the bar of all files would take what the table leaves.
                left = 80 - len(lines[0]) - 2
                wanted = [-(-files * left // 8) for files in (6, 2)]
                self.assertEqual([row[3].strip().count(cell) for row in rows], wanted, rows)
        self.vault.umount()
        text = self.vault.ok("status", self.vault.path, "--passfile", self.vault.passfile)
        self.assertIn("not mounted", text)
        self.assertIn("8 files that hold data, counted at", text)

    def test_the_time_left_of_a_sweep_of_a_limited_rate_is_the_time_that_it_takes(self):
        files, rate = 240, 60
        for n in range(files):
            self.write(f"f{n}", b"x")

        def wrong():
            self.vault.rotate()
            took, told = self.told_left("rewrap", self.mnt, "--max-rate", rate)
            # The last batch of a second's worth needn't be waited for.
            self.assertGreaterEqual(took, files / rate - 1)
            # A fifth, and what is lost where whole seconds are shown.
            wrong = [line for line in told if abs(line[2] - line[3]) > line[3] / 5 + 1]
            return wrong or took >= files / rate + 3 or len({part for _, part, _, _ in told}) <= 1

        self.assert_one_is_right(wrong)

    def assert_one_is_right(self, wrong):
        """Of several runs one is as it is told: a busy machine may make any of them slower than it was."""
        found = []
        for _ in range(5):
            found.append(wrong())
            if not found[-1]:
                return
        self.fail(f"{found}")

    def told_left(self, *args):
        """What a command at a terminal tells of the time left: when, of how many files, and how much was left then."""
        command = [self.vault.command(args[0])[0], *args]
        work, told, read = Terminal(self, command, {**self.vault.env, "TERM": "xterm"}), [], 0
        began = time.monotonic()
        while work.program.poll() is None:
            work.hear(0.05)
            found = re.findall(r"(\d+)/(\d+) files [^(]*\((?:(\d+)m ?)?(?:(\d+)s)? left\)", work.shown[read:])
            read = len(work.shown)
            told += [(time.monotonic(), int(seen) / int(of), 60 * int(m or 0) + int(s or 0)) for seen, of, m, s in found]
        took = time.monotonic()
        self.assertEqual(work.program.returncode, 0, work.shown)
        return took - began, [(at - began, part, left, took - at) for at, part, left in told]

    def told_wrong(self, *args):
        took, told = self.told_left(*args)
        # From a tenth of the files on. The rule is a fifth, or a second: here other work takes the machine too, and whole seconds
        # are shown.
        told = [(at, told, left) for at, part, told, left in told if part >= 0.1]
        wrong = [(round(at, 1), told, round(left, 1)) for at, told, left in told if abs(told - left) > left * 0.4 + 2]
        right = len(told) > 5 and len(wrong) <= len(told) / 5
        return None if right else f"{args}, {took:.1f} s, told {len(told)} times: {wrong}"

    def test_the_time_left_of_work_without_a_limit_is_the_time_that_it_takes(self):
        (self.mnt / "mixed").mkdir()
        for n in range(60):
            self.write(f"mixed/f{n}", b"x")
            if n % 15 == 0:
                self.write(f"mixed/large{n}", b"x" * 4_000_000)
        for n in range(2000):
            self.write(f"f{n}", b"x")
        for work in (("rewrap", self.mnt), ("reencrypt", "-r", self.mnt / "mixed")):

            def wrong(work=work):
                # Once as fast as this machine does it, to know how long that is.
                for full_speed in (True, False):
                    self.vault.rotate()
                    # A sweep ends with a sync of all that is there.
                    subprocess.run(["sync", "-f", self.vault.path], check=True)
                    if full_speed:
                        began = time.monotonic()
                        self.vault.ok(*work)
                        took = time.monotonic() - began
                        continue
                    with self.slowed_down(5 / took):
                        return self.told_wrong(*work)

            self.assert_one_is_right(wrong)

    @contextlib.contextmanager
    def slowed_down(self, times):
        """Has the daemon run for a small part of the time: work of a second takes several, at an even speed."""
        ended = threading.Event()

        def slow_down(pid):
            while not ended.is_set():
                os.kill(pid, signal.SIGSTOP)
                ended.wait(0.002 * max(times - 1, 0))
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.002)

        thread = threading.Thread(target=slow_down, args=(self.vault.pid,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def test_what_is_to_come(self):
        key, other = self.default_key(), self.key()
        self.kms("enable-key-rotation", "--key-id", key, "--rotation-period-in-days", "90")
        began = time.time()
        self.kms("schedule-key-deletion", "--key-id", other, "--pending-window-in-days", "7")
        status = self.vault.status()
        rotates = next(known["next_rotation"] for known in status["keys"] if known["key_id"] == key)
        (pending,) = status["pending_deletions"]

        def local(text):
            at = datetime.datetime.fromisoformat(text).astimezone()
            return at.isoformat(" ", "minutes")[:16] + " " + at.isoformat()[-6:]

        self.assertEqual(pending["key_id"], other)
        # A day may end meanwhile.
        days = {time.strftime("%Y-%m-%d", time.gmtime(at + 7 * 86400)) for at in (began, time.time())}
        self.assertIn(pending["date"][:10], days)
        for mounted in (True, False):
            if not mounted:
                self.vault.umount()
            target = self.mnt if mounted else self.vault.path
            text = self.vault.ok("status", target, *self.vault._unlock())
            _, coming = text.split("\nto come\n")
            self.assertIn(f"{local(rotates)}  key {key[:8]} rotates, as every 90 days", coming)
            self.assertIn(f"{local(pending['date'])}  key {other[:8]} is deleted", coming)
            dates = [line[:16] for line in coming.splitlines() if "  key " in line]
            self.assertEqual(dates, sorted(dates))


class ReEncrypt(Migration):
    def re_encrypt(self, path, key, *args):
        return self.vault.run("kms", "re-encrypt", path, "--destination-key-id", key, *args)

    def arn(self, key):
        return f"arn:rekeyfs:kms:local:000000000000:key/{key}"

    def test_the_key_moves_and_nothing_else(self):
        (path,) = self.files(1)
        os.utime(path, ns=(1_111_111_111_111_111_111, 1_222_222_222_222_222_222))
        old, new = self.default_key(), self.key()
        ino, content = os.stat(path).st_ino, self.read(path)
        done = self.re_encrypt(path, new)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout), {"SourceKeyId": self.arn(old), "KeyId": self.arn(new)})
        self.assertTrue(done.stdout.startswith('{\n    "'), done.stdout)
        self.assertEqual(done.stderr, "")
        st = os.stat(path)
        self.assertEqual((st.st_ino, st.st_mtime_ns), (ino, 1_222_222_222_222_222_222))
        inspected = json.loads(self.vault.ok("inspect", "--json", path))
        self.assertEqual((inspected["key_id"], inspected["version"]), (new, 1))
        below = json.loads(self.vault.ok("inspect", "--json", self.vault.lower(path)))
        self.assertEqual((below["key_id"], below["version"]), (new, 1))
        self.vault.remount("--no-rewrap")
        self.assertEqual(os.getxattr(path, "user.rekeyfs.key-id").decode(), new)
        self.assertEqual(self.read(path), content)

    def test_output_is_as_that_of_aws(self):
        one, two = self.files(2)
        old, new = self.default_key(), self.key()
        text = self.vault.ok("kms", "re-encrypt", one, two, "--destination-key-id", self.arn(new), "--output", "text")
        # Columns by the fields' names, as aws sorts them: KeyId, SourceKeyId.
        self.assertEqual(text.splitlines(), [f"{self.arn(new)}\t{self.arn(old)}"] * 2)
        self.kms("create-alias", "--alias-name", "alias/new", "--target-key-id", new)
        table = self.vault.ok("kms", "re-encrypt", one, "--destination-key-id", "alias/new", "--output", "table")
        self.assertIn("ReEncrypt", table.splitlines()[1])
        self.assertRegex(table, rf"\|  KeyId +\|  {self.arn(new)} +\|")
        self.assertRegex(table, rf"\|  SourceKeyId *\|  {self.arn(new)} +\|")

    def test_refusals_have_the_names_of_kms(self):
        (path,) = self.files(1)
        empty = self.write("empty", b"")
        old, new = self.default_key(), self.key()
        self.kms("disable-key", "--key-id", new)
        tree = next(k["key_id"] for k in self.vault.status()["keys"] if k["service_managed"])
        cases = [
            (path, new, "DisabledException"), (path, "alias/none", "NotFoundException"), (empty, old, "ValidationException"),
            (path, "11111111-2222-4333-8444-555555555555", "NotFoundException"), (self.mnt, old, "ValidationException"),
            (path, tree, ""),
        ]  # fmt: skip
        for file, key, name in cases:
            with self.subTest(f"{file.name} {name}"):
                done = self.re_encrypt(file, key)
                self.assertRefused(done, "when calling the ReEncrypt operation", name, str(file), status=KMS)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.kms("enable-key", "--key-id", new)
        self.kms("disable-key", "--key-id", old)
        self.assertRefused(self.re_encrypt(path, new), "DisabledException", status=KMS)
        self.kms("enable-key", "--key-id", old)
        outside = self.dir / "outside"
        outside.write_bytes(b"x")
        self.assertRefused(self.re_encrypt(outside, new), "not in a mount", status=NOT_MOUNTED)
        self.assertRefused(self.re_encrypt(self.mnt / "none", new), "no such file", status=FAILED)
        # One that fails doesn't keep the others.
        done = self.vault.run("kms", "re-encrypt", outside, path, "--destination-key-id", new)
        self.assertEqual(done.returncode, NOT_MOUNTED)
        self.assertEqual(json.loads(done.stdout)["KeyId"], self.arn(new))
        self.assertEqual(os.getxattr(path, "user.rekeyfs.key-id").decode(), new)

    def test_a_file_in_its_directorys_alias_stays(self):
        (path,) = self.files(1)
        new = self.key()
        self.kms("create-alias", "--alias-name", "alias/finance", "--target-key-id", new)
        os.setxattr(self.mnt, "user.rekeyfs.alias", b"alias/finance")
        done = self.re_encrypt(path, "alias/finance")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.vault.remount()
        self.read(path)
        time.sleep(1)
        self.assertEqual(os.getxattr(path, "user.rekeyfs.key-id").decode(), new)

    def test_it_is_pinned_and_follows_the_keys_versions_alone(self):
        path, beside = self.files(2)
        new = self.key()
        self.kms("create-alias", "--alias-name", "alias/new", "--target-key-id", new)
        self.assertEqual(self.re_encrypt(path, new).returncode, 0)
        self.assertErrno(errno.ENODATA, os.getxattr, path, "user.rekeyfs.alias")
        self.assertEqual(os.getxattr(beside, "user.rekeyfs.alias"), b"alias/default")
        self.vault.remount()
        self.vault.rotate("--key-id", new)
        for alias in ("alias/new", "alias/default"):
            self.kms("update-alias", "--alias-name", alias, "--target-key-id", self.key())
        self.read(path)
        self.assertTrue(wait_until(lambda: self.vault.version(path) == 2))
        self.vault.ok("rewrap", self.mnt)
        self.assertEqual((os.getxattr(path, "user.rekeyfs.key-id").decode(), self.vault.version(path)), (new, 2))
        self.assertNotEqual(os.getxattr(beside, "user.rekeyfs.key-id").decode(), new)

    def test_what_the_filesystem_below_refuses_is_what_is_said(self):
        self.need_root()
        self.need_tools("chattr")
        (path,) = self.files(1)
        lower, new = self.vault.lower(path), self.key()
        if subprocess.run(["chattr", "+i", lower], capture_output=True).returncode:
            self.skipTest("the filesystem here has no immutable files")
        self.addCleanup(subprocess.run, ["chattr", "-i", lower], capture_output=True)
        done = self.re_encrypt(path, new)
        self.assertRefused(done, os.strerror(errno.EPERM))
        self.assertNotIn(os.strerror(errno.EAGAIN), done.stderr)
        subprocess.run(["chattr", "-i", lower], check=True)
        self.vault.remount("--no-rewrap")
        self.assertEqual(self.re_encrypt(path, new).returncode, 0)
