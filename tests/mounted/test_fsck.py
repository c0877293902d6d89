"""rekeyfs fsck: beside a mount that is in use, and after damage, repair, quarantine."""

import json
import os
import shutil
import signal
import subprocess
import threading

from harness import BIN, MountedTest, Vault, sh, wait_until
from test_golden import GOLDEN

CLEAN, CORRECTED, LEFT, FAILED, USAGE, CANCELLED = 0, 1, 4, 8, 16, 32
PAGE = 4096


class FsckTest(MountedTest):
    def fsck(self, *args, status, target=None):
        """Runs fsck with JSON; its findings and its summary."""
        target = target or (self.mnt if self.vault.pid else self.vault.path)
        secret = [] if self.vault.pid else ["--passfile", self.vault.passfile]
        done = self.vault.run("fsck", target, *args, "--json", *secret)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        *findings, summary = [json.loads(line) for line in done.stdout.splitlines()]
        return findings, summary

    def damage(self, path, at, data=b"\xff\x00\xff\x00"):
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(data)


class Online(FsckTest):
    def test_a_mount_in_use_raises_no_alarm(self):
        stop, problems = threading.Event(), []

        def work(number):
            top = self.mnt / f"worker{number}"
            top.mkdir()
            n = 0
            try:
                while not stop.is_set():
                    n += 1
                    path = top / (f"f{n % 7}" if n % 3 else f"{n % 5}" * 210)
                    with open(path, "wb") as file:
                        file.write(os.urandom(5000 * (n % 40)))
                        if n % 4 == 0:
                            file.flush()
                            os.fsync(file.fileno())
                        if n % 5 == 0:
                            file.truncate(1000 * (n % 17))
                    os.setxattr(path, "user.n", str(n).encode())
                    (top / f"d{n % 3}").mkdir(exist_ok=True)
                    if n % 6 == 0:
                        os.rename(top / f"d{n % 3}", top / f"moved{n}")
                        os.rename(path, top / f"moved{n}" / path.name)
                    if n % 18 == 0:
                        shutil.rmtree(top / f"moved{n}")
            except OSError as problem:
                problems.append(problem)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            seen = 0
            for round_ in range(12):
                if round_ % 4 == 1:
                    self.vault.rotate()
                if round_ % 4 == 3:
                    self.vault.ok("rewrap", self.mnt)
                findings, summary = self.fsck(status=CLEAN)
                self.assertEqual(findings, [])
                seen += summary["files"]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(problems, [])
        self.assertGreater(seen, 0)
        self.vault.umount()
        self.assertEqual(self.fsck(status=CLEAN)[0], [])

    def test_damage_is_found_and_a_path_limits_it(self):
        (self.mnt / "sub").mkdir()
        good = self.write("good", os.urandom(100_000), fsync=True)
        # Not synced: above the floor.
        bad = self.write("sub/bad", os.urandom(100_000))
        self.assertEqual(self.fsck(status=CLEAN)[0], [])
        self.damage(self.vault.lower(bad), 5 * PAGE + 50)
        findings, summary = self.fsck(status=LEFT)
        self.assertEqual([(f["code"], f["path"], f["pages"]) for f in findings],
                         [("page-damaged", "/sub/bad", {"first": 5, "count": 1})])
        self.assertEqual((summary["files"], summary["errors"], summary["complete"]), (2, 1, True))
        self.assertEqual(self.fsck(good, status=CLEAN)[0], [])
        self.assertEqual(len(self.fsck("sub", status=LEFT)[0]), 1)
        self.assertEqual(len(self.fsck("/sub/bad", status=LEFT)[0]), 1)
        text = self.vault.run("fsck", self.mnt)
        self.assertIn("error: page-damaged: /sub/bad: page 5", text.stdout)
        self.assertRefused(self.vault.run("fsck", self.mnt, "none"), "none", status=FAILED)
        self.assertRefused(self.vault.run("fsck", self.mnt, "--repair"), "unmount", status=FAILED)
        self.assertRefused(self.vault.run("fsck", self.mnt, "--bad"), "--bad", status=USAGE)
        self.assertRefused(self.vault.run("fsck", self.dir), "vault", status=FAILED)

    def test_a_path_is_taken_from_the_current_directory_or_from_the_root_of_the_mount(self):
        (self.mnt / "d").mkdir()
        (self.mnt / "d" / "e").mkdir()
        self.write("1", b"root")
        self.write("d/1", b"one")
        os.symlink("1", self.mnt / "d" / "link")
        link = self.dir / "link"
        link.symlink_to(self.mnt)

        def checked(directory, target, path):
            done = subprocess.run([BIN, "fsck", target, path, "--json"], cwd=directory, env=self.vault.env,
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, CLEAN, (directory, target, path, done.stderr))
            summary = json.loads(done.stdout.splitlines()[-1])
            return summary["files"], summary["symlinks"]

        file, symlink, d, everything = (1, 0), (0, 1), (1, 1), (2, 1)
        for directory, target, path, found in (
            (self.dir, "mnt", "mnt/d/1", file),
            (self.dir, "./mnt", "mnt/d/1", file),
            (self.dir, "mnt/", self.mnt / "d" / "1", file),
            (self.dir, "link", "link/d/1", file),
            (self.dir, self.mnt, "link/d/1", file),
            (self.dir, "link", "mnt/d/e/../1", file),
            (self.dir, "mnt", "mnt/d/link", symlink),
            (self.dir, "mnt", "d/1", file),
            (self.dir, "mnt", "/d/1", file),
            (self.dir, "mnt", "d/e/..", d),
            (self.mnt / "d", "..", "1", file),
            (self.mnt / "d", ".", ".", d),
            (self.mnt / "d", ".", "e/..", d),
            (self.mnt / "d", ".", "..", everything),
            (self.mnt, ".", ".", everything),
            (self.mnt, ".", "d", d),
        ):
            self.assertEqual(checked(directory, target, path), found, (directory, target, path))
        done = self.vault.run("fsck", "mnt", "mnt/d/none")
        self.assertRefused(done, "d/none", status=FAILED)

    def test_a_keyring_that_is_not_the_mounts_is_found(self):
        keyring = self.vault.path / "keyring"
        old = keyring.read_bytes()
        self.vault.rotate()
        whole = keyring.read_bytes()
        self.assertEqual(self.vault.run("fsck", self.mnt).returncode, 0)
        for bad in (old, whole[:-1], whole[:-20] + bytes(20), b""):
            keyring.write_bytes(bad)
            done = self.vault.run("fsck", self.mnt)
            self.assertEqual(done.returncode, 4, done.stdout)
            self.assertIn("keyring-replaced", done.stdout)
        keyring.write_bytes(whole)
        self.assertEqual(self.vault.run("fsck", self.mnt).returncode, 0)

    def test_an_interrupted_check_says_so(self):
        for number in range(300):
            self.write(f"f{number}", os.urandom(200_000))
        os.sync()
        check = subprocess.Popen([BIN, "fsck", str(self.mnt), "--json"], env=self.vault.env, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
        check.send_signal(signal.SIGSTOP)
        check.send_signal(signal.SIGINT)
        check.send_signal(signal.SIGCONT)
        out, _ = check.communicate(timeout=60)
        # Before its handlers are set, the signal ends it as it ends any program.
        self.assertIn(check.returncode, (CANCELLED, -signal.SIGINT))
        if check.returncode == CANCELLED:
            self.assertFalse(json.loads(out.splitlines()[-1])["complete"])
        self.assertTrue(wait_until(lambda: self.vault.run("fsck", self.mnt, "f1").returncode == CLEAN))


class Offline(FsckTest):
    def test_repair_and_quarantine(self):
        # Not synced: above the floor, and with one slot.
        self.write("torn", os.urandom(50_000))
        self.write("lost", os.urandom(50_000))
        kept = os.urandom(70_000)
        self.write("kept", kept, fsync=True)
        torn, lost = self.vault.lower(self.mnt / "torn"), self.vault.lower(self.mnt / "lost")
        self.vault.umount()
        self.damage(torn, 3 * PAGE + 10)
        self.damage(lost, 100)
        (self.vault.path / "tree" / ".tmp.AAAAAAAAAAAAAAAA").write_bytes(b"x")
        findings, _ = self.fsck(status=LEFT)
        self.assertEqual(sorted(f["code"] for f in findings), ["header-damaged", "page-damaged", "temporary"])
        findings, summary = self.fsck("--repair", status=CORRECTED | LEFT)
        fates = {f["code"]: f["fate"] for f in findings}
        self.assertEqual(fates, {"header-damaged": "left", "page-damaged": "repaired", "temporary": "repaired"})
        self.assertEqual((summary["repaired"], summary["errors"]), (2, 1))
        self.assertTrue((self.vault.path / "fsck-undo.jsonl").exists())
        away = self.dir / "away"
        findings, _ = self.fsck("--quarantine", away, status=CORRECTED)
        self.assertEqual(findings[0]["into"], str(away / "000001"))
        self.assertEqual((away / "000001" / "ciphertext").stat().st_size, 13 * PAGE + (50_000 - 3044) % 4068)
        self.assertEqual(self.fsck(status=CLEAN)[0], [])
        self.vault.mount()
        self.assertEqual(sorted(os.listdir(self.mnt)), ["kept", "torn"])
        self.assertEqual(self.read(self.mnt / "kept"), kept)
        data = self.read(self.mnt / "torn")
        start = 3044 + 2 * 4068
        self.assertEqual(data[start : start + 4068], bytes(4068))
        self.assertNotIn(bytes(100), data[:start] + data[start + 4068 :])

    def test_a_killed_mount_is_clean_or_repaired(self):
        for number in range(40):
            self.write(f"{number}" * 80, os.urandom(30_000))
            if number == 30:
                self.vault.kill()
                self.vault.clear_stale_mountpoint()
                break
        done = self.vault.run("fsck", self.vault.path, "--passfile", self.vault.passfile)
        self.assertIn(done.returncode, (CLEAN, LEFT), done.stdout + done.stderr)
        self.fsck("--repair", status=CORRECTED if done.returncode else CLEAN)
        self.fsck(status=CLEAN)

    def test_a_wrong_passphrase_and_a_damaged_keyring_are_failures(self):
        self.vault.umount()
        (self.dir / "wrong").write_text("wrong\n")
        done = self.vault.run("fsck", self.vault.path, "--passfile", self.dir / "wrong")
        self.assertRefused(done, "passphrase", status=FAILED)
        self.damage(self.vault.path / "keyring", 30)
        done = self.vault.run("fsck", self.vault.path, "--passfile", self.vault.passfile)
        self.assertRefused(done, "keyring", status=FAILED)


class Committed(FsckTest):
    options = None

    def test_the_committed_vaults_are_clean(self):
        for tar in sorted(GOLDEN.glob("vault-*.tar")):
            base = self.dir / tar.stem
            base.mkdir()
            sh(f"tar --xattrs --xattrs-include='user.*' --no-same-owner -xpf {tar}", base)
            vault = Vault(base)
            vault.passfile.write_text(json.loads(tar.with_suffix(".json").read_text())["passphrase"])
            done = vault.run("fsck", vault.path, "--passfile", vault.passfile)
            self.assertEqual(done.returncode, CLEAN, done.stdout + done.stderr)
            self.assertNotIn("error", done.stdout)
