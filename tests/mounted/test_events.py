"""The audit log of a mount: what is refused is there with who asked, the chain holds after a kill, names are
told to those who may ask for them."""

import errno
import json
import os
import subprocess
import sys

from harness import BIN, MountedTest, PASSPHRASE, wait_until

TAMPERED = 45


class Events(MountedTest):
    def lines(self):
        return [json.loads(line) for line in (self.vault.path / "events.jsonl").read_text().splitlines()]

    def types(self):
        return [event["detail-type"] for event in self.lines()]

    def verify(self, target, *args):
        return self.vault.run("events", target, "--verify", *args)

    def disable(self):
        key = self.vault.status()["aliases"][0]["key_id"]
        self.kms("disable-key", "--key-id", key)
        return key

    def test_refused_opens_are_there_with_uid_and_pid_and_no_plain_name(self):
        (self.mnt / "plans").mkdir()
        path = self.write("plans/attack at dawn", b"secret", fsync=True)
        key = self.disable()
        done = subprocess.run(
            [sys.executable, "-c", f"import os; print(os.getpid(), flush=True); open({str(path)!r})"],
            capture_output=True, text=True,
        )  # fmt: skip
        self.assertIn(os.strerror(errno.ENOKEY), done.stderr)
        event = [e for e in self.lines() if e["detail-type"] == "File Access Refused"][-1]
        detail = event["detail"]
        self.assertEqual((detail["uid"], detail["pid"]), (os.getuid(), int(done.stdout)))
        self.assertEqual((detail["reason"], detail["key-id"], detail["version"]), ("key-state", key, 1))
        lower = os.path.relpath(self.vault.lower(path), self.vault.path)
        self.assertEqual(detail["lower-path"], lower)
        raw = (self.vault.path / "events.jsonl").read_text()
        self.assertNotIn("attack", raw)
        # The command tells the name: the daemon's by the socket, its own with the passphrase.
        self.assertIn('file "plans/attack at dawn"', self.vault.ok("events", self.mnt))
        self.vault.umount()
        told = self.vault.ok("events", self.vault.path, "--passfile", self.vault.passfile)
        self.assertIn('file "plans/attack at dawn"', told)
        self.assertEqual(self.vault.ok("events", self.vault.path, "--json").splitlines()[: len(raw.splitlines())], raw.splitlines())

    def test_mounts_sweeps_and_verbs_are_there_and_who_asked(self):
        self.write("f", b"x", fsync=True)
        self.vault.rotate()
        self.vault.ok("rewrap", self.mnt)
        self.assertNotEqual(self.vault.run("kms", "disable-key", "--key-id", "nobody", "--vault", self.mnt).returncode, 0)
        self.vault.umount()
        types = self.types()
        for kind in ("Vault Created", "Vault Mounted", "KMS CMK Rotation", "Re-wrap Sweep Began",
                     "Re-wrap Sweep Ended", "KMS Key Operation"):  # fmt: skip
            self.assertIn(kind, types)
        self.assertEqual(types[-1], "Vault Unmounted")
        by_type = {event["detail-type"]: event["detail"] for event in self.lines()}
        self.assertEqual(by_type["Re-wrap Sweep Ended"]["files"], 1)
        self.assertEqual(by_type["KMS Key Operation"]["outcome"], "refused")
        # In the name of the command, not of the daemon.
        self.assertEqual(by_type["KMS CMK Rotation"]["uid"], os.getuid())
        self.assertNotEqual(by_type["KMS CMK Rotation"]["pid"], by_type["Vault Mounted"]["pid"])

    def test_filters_choose_what_is_shown(self):
        key = self.disable()
        self.kms("enable-key", "--key-id", key)

        def shown(*filters):
            text = self.vault.ok("events", self.mnt, "--json", *filters)
            return [json.loads(line)["sequence"] for line in text.splitlines()]

        def expected(takes):
            return [event["sequence"] for event in self.lines() if takes(event)]

        self.assertEqual(shown("--event", "disable"), expected(lambda e: e["detail"].get("event-name") == "DisableKey"))
        self.assertEqual(shown("--event", "vault mounted"), expected(lambda e: e["detail-type"] == "Vault Mounted"))
        of_key = expected(lambda e: e["detail"].get("key-id") == key)
        self.assertTrue(of_key)
        self.assertEqual(shown("--key", key), of_key)
        self.assertEqual(shown("--key", key[:8], "--who", str(os.getuid())), of_key)
        self.assertEqual(shown("--who", str(os.getuid() + 1)), [])
        day = self.lines()[0]["time"][:10]
        self.assertEqual(shown("--since", day, "--until", "2999"), expected(lambda e: True))
        self.assertEqual(shown("--until", "1999-12-31"), [])
        refused = self.vault.run("events", self.mnt, "--since", "yesterday")
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("'yesterday' is no time; write it as 2026-11-22", refused.stderr)

    def test_wrong_passphrases_are_told_of_at_the_next_mount(self):
        self.vault.umount()
        for _ in range(2):
            self.assertRefused(
                self.vault.run("mount", self.vault.path, self.mnt, "--extpass", "echo wrong"), status=12
            )
        self.vault.mount()
        failed = [e["detail"] for e in self.lines() if e["detail-type"] == "Unlock Failed"]
        self.assertEqual([detail["attempts"] for detail in failed], [2])

    def test_the_chain_holds_after_sigkill_and_a_torn_line_is_closed_and_said(self):
        self.write("f", b"x", fsync=True)
        self.vault.rotate()
        self.disable()
        for _ in range(5):
            self.assertErrno(errno.ENOKEY, open, self.mnt / "f", "rb")
        self.vault.kill()
        self.vault.clear_stale_mountpoint()
        done = self.verify(self.vault.path, "--passfile", self.vault.passfile)
        self.assertEqual(done.returncode, 0, done.stderr)
        log = self.vault.path / "events.jsonl"
        with open(log, "r+b") as f:
            f.truncate(log.stat().st_size - 30)
        done = self.verify(self.vault.path, "--passfile", self.vault.passfile)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("torn", done.stdout)
        self.vault.mount()
        done = self.verify(self.mnt, "--json")
        self.assertEqual((done.returncode, json.loads(done.stdout)["torn"]), (0, 1), done.stderr)
        self.assertIn("Event Log Line Torn", [json.loads(e)["detail-type"] for e in log.read_text().splitlines() if e.endswith('"}')])

    def test_what_was_done_to_the_log_is_seen_with_its_line(self):
        for _ in range(3):
            self.vault.rotate()
        log = self.vault.path / "events.jsonl"
        good = log.read_text()
        lines = good.splitlines()
        edited = lines.copy()
        edited[2] = edited[2].replace('"outcome":"success"', '"outcome":"refused"')
        self.assertNotEqual(edited, lines)
        swapped = [lines[0], lines[2], lines[1], *lines[3:]]
        removed = [lines[0], *lines[2:]]
        inserted = [*lines[:2], "{}", *lines[2:]]
        for bad, line in ((edited, 3), (swapped, 2), (removed, 2), (inserted, 3)):
            log.write_text("\n".join(bad) + "\n")
            self.assertRefused(self.verify(self.mnt), f"line {line} ", status=TAMPERED)
        log.write_text("\n".join(lines[:-1]) + "\n")
        self.assertRefused(self.verify(self.mnt), "truncated", status=TAMPERED)
        log.write_text(good)
        self.assertEqual(self.verify(self.mnt).returncode, 0)

    def test_a_forged_line_is_shown_as_such_and_followed_in_nothing(self):
        before = self.vault.status()["keys"]
        self.vault.umount()
        log = self.vault.path / "events.jsonl"
        last = json.loads(log.read_text().splitlines()[-1])
        last.update({"sequence": 2**64 - 1, "detail-type": "KMS CMK Deletion"})
        last["detail"]["generation"] = 2**64 - 1
        with log.open("a", encoding="utf-8") as text:
            text.write(json.dumps(last, separators=(",", ":")) + "\n")
        secret = ("--passfile", self.vault.passfile)
        told = self.vault.ok("events", self.vault.path, *secret)
        number = len(log.read_text().splitlines())
        (forged,) = [line for line in told.splitlines() if "KMS CMK Deletion" in line]
        self.assertTrue(forged.startswith(f"line {number} doesn't follow the one before it"), forged)
        self.assertEqual(told.count("doesn't follow"), 1)
        self.vault.mount()
        self.vault.rotate()
        self.assertEqual(len(self.vault.status()["keys"]), len(before))
        types = [event["detail-type"] for event in map(json.loads, log.read_text().splitlines())]
        self.assertIn("Event Log Lines Forged", types)
        self.assertNotIn("Keyring Changes Lost", types)
        told = self.vault.ok("events", self.mnt)
        (forged,) = [line for line in told.splitlines() if "KMS CMK Deletion" in line]
        self.assertTrue(forged.startswith(f"line {number} doesn't follow"), forged)
        self.assertEqual(told.count("doesn't follow"), 1, told)
        done = self.vault.run("events", self.mnt, "--verify", "--json")
        self.assertEqual(json.loads(done.stdout)["broken_lines"], [number])

    def test_an_event_without_a_mac_is_shown_as_forged(self):
        forged = json.dumps({
            "time": "2026-11-29T00:00:00.000Z", "detail-type": "KMS CMK Deletion",
            "detail": {"key-id": "x", "uid": 0, "pid": 1, "outcome": "success"},
        })  # fmt: skip
        log = self.vault.path / "events.jsonl"
        for before in ("", "torn\n"):
            with log.open("a", encoding="utf-8") as text:
                text.write(f"{before}{forged}\n")
            for _ in range(2):
                told = self.vault.ok("events", self.mnt)
                lines = [line for line in told.splitlines() if "KMS CMK Deletion" in line]
                self.assertTrue(lines)
                for line in lines:
                    self.assertRegex(line, r"^line \d+ doesn't follow the one before it, so it may be forged")
                # The next event says that a crash has left it.
                self.vault.rotate()

    def test_a_log_that_is_no_regular_file_is_neither_followed_nor_waited_for(self):
        log, elsewhere = self.vault.path / "events.jsonl", self.dir / "elsewhere"
        log.rename(elsewhere)
        for make in (lambda: log.symlink_to(elsewhere), lambda: os.mkfifo(log)):
            make()
            for how in ([], ["--json"], ["--verify"]):
                done = self.vault.run("events", self.mnt, *how, timeout=30)
                self.assertRefused(done, "events.jsonl", status=1)
                self.assertEqual(done.stdout, "")
            # No change of keys without its event.
            self.assertRefused(self.vault.run("rotate", self.mnt), "events.jsonl", status=24)
            log.unlink()
        elsewhere.rename(log)
        self.vault.rotate()

    def test_a_log_with_a_hole_takes_no_memory_of_the_mount(self):
        log = self.vault.path / "events.jsonl"
        size = log.stat().st_size
        with log.open("r+b") as raw:
            raw.truncate(1 << 40)
        for how in (["--verify"], []):
            done = self.vault.run("events", self.mnt, *how, timeout=60)
            self.assertNotIn("panicked", done.stderr)
        self.assertRefused(self.verify(self.mnt), "line ", status=TAMPERED)
        with open(f"/proc/{self.vault.pid}/status", encoding="ascii") as status:
            (peak,) = [int(line.split()[1]) for line in status if line.startswith("VmHWM:")]
        self.assertLess(peak, 300 << 10, "KiB of memory")
        with log.open("r+b") as raw:
            raw.truncate(size)

    def test_follow_sees_a_rotation_across_an_unmount(self):
        out = self.dir / "followed"
        with open(out, "w") as f:
            follow = subprocess.Popen([BIN, "events", "--follow", self.mnt], stdout=f, env=self.vault.env)
        self.addCleanup(follow.wait)
        self.addCleanup(follow.kill)
        seen = lambda what, n=1: wait_until(lambda: out.read_text().count(what) >= n)  # noqa: E731
        self.assertTrue(seen("Vault Mounted"))
        self.vault.rotate()
        self.assertTrue(seen("KMS CMK Rotation"))
        self.vault.umount()
        self.assertTrue(seen("Vault Unmounted"))
        self.vault.mount()
        self.vault.rotate()
        self.assertTrue(seen("KMS CMK Rotation", 2), out.read_text())
        self.assertIsNone(follow.poll())

    def test_a_storm_of_refused_opens_fills_nothing(self):
        self.write("f", b"x", fsync=True)
        self.disable()
        before = (self.vault.path / "events.jsonl").stat().st_size
        for _ in range(3000):
            self.assertErrno(errno.ENOKEY, open, self.mnt / "f", "rb")
        self.vault.umount()
        self.assertLess((self.vault.path / "events.jsonl").stat().st_size - before, 200 * 1024)
        held = sum(event.get("events-held-back", 0) for event in self.lines())
        written = self.types().count("File Access Refused")
        self.assertEqual(held + written, 3000)

    def test_the_log_asks_for_no_secret_where_it_needs_none(self):
        self.vault.umount()
        done = self.vault.run("events", self.vault.path, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRefused(self.vault.run("events", self.vault.path, stdin="not the passphrase\n"), status=12)
        self.assertEqual(self.vault.run("events", self.vault.path, stdin=PASSPHRASE + "\n").returncode, 0)
