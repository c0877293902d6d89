"""`rekeyfs kms` by many processes at once on a vault that isn't mounted, or whose mount comes and goes, and processes
that are killed in the middle: no change that was reported is lost, and the keyring is there and whole at every
instant."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness import BIN, KMS_ENVIRONMENT_EXIT, MountedTest, wait_until


class Unmounted(MountedTest):
    options = None

    def setUp(self):
        super().setUp()
        # A key file opens at once; most of a passphrase's time would be its derivation.
        self.keyfile = self.dir / "keyfile"
        self.keyfile.write_bytes(os.urandom(32))
        unlock = ("--passfile", self.vault.passfile, "--new-keyfile", self.keyfile)
        self.vault.ok("unlock", "add", self.vault.path, *unlock)
        self.key = self.kms("describe-key", "--key-id", "alias/default")["KeyMetadata"]["KeyId"]

    def verb(self, *args):
        return ["kms", *args, "--vault", self.vault.path, "--keyfile", self.keyfile]

    def kms(self, *args):
        printed = self.vault.ok(*self.verb(*args))
        return json.loads(printed) if printed else None

    def aliases(self):
        return {alias["AliasName"] for alias in self.kms("list-aliases")["Aliases"]}

    def generation(self):
        """The generation that this host has seen last; None while it is being written down."""
        (record,) = (self.dir / "state" / "rekeyfs").glob("*.seen")
        return json.loads(record.read_text())["mark"]["generation"]

    def alias(self, name):
        return ["create-alias", "--alias-name", f"alias/{name}", "--target-key-id", self.key]

    def test_fifty_processes_at_once_lose_no_update(self):
        before, seen, stop = self.generation(), [], threading.Event()

        def watch():
            while not stop.is_set():
                seen.append(self.generation())
                time.sleep(0.001)

        def one(number):
            if number % 2:
                return self.kms("rotate-key-on-demand", "--key-id", self.key)["KeyId"]
            return self.kms(*self.alias(number))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            with ThreadPoolExecutor(50) as pool:
                list(pool.map(one, range(50)))
        finally:
            stop.set()
            watcher.join()
        self.assertLessEqual({f"alias/{number}" for number in range(0, 50, 2)}, self.aliases())
        rotations = self.kms("list-key-rotations", "--key-id", self.key)["Rotations"]
        self.assertEqual(len(rotations), 25)
        self.assertEqual(len({rotation["KeyMaterialId"] for rotation in rotations}), 25)
        self.assertEqual(self.generation(), before + 50)
        self.assertEqual(seen, sorted(seen))

    def test_a_mount_comes_and_goes_among_fifty_processes(self):
        """Each verb either takes effect or says that it can't now, and what it then did not do is not there."""
        stop, mounts = threading.Event(), []

        def come_and_go():
            while not stop.is_set():
                if self.vault.try_mount().returncode == 0:
                    mounts.append(self.vault.run("umount", self.mnt).returncode)
                time.sleep(random.random() * 0.05)

        def one(number):
            done = self.vault.run(*self.verb(*self.alias(number)))
            self.assertIn(done.returncode, (0, KMS_ENVIRONMENT_EXIT), done.stderr)
            return done.returncode == 0

        done, mounting = [], threading.Thread(target=come_and_go)
        mounting.start()
        try:
            with ThreadPoolExecutor(50) as pool:

                def more():
                    done.extend(pool.map(one, range(len(done), len(done) + 150)))
                    return mounts

                # All of them may come before the mount's turn.
                self.assertTrue(wait_until(more), "it was never mounted")
        finally:
            stop.set()
            mounting.join()
        self.vault.run("umount", self.mnt)
        there = self.aliases()
        self.assertLessEqual({f"alias/{number}" for number, ok in enumerate(done) if ok}, there)
        refused = {f"alias/{number}" for number, ok in enumerate(done) if not ok}
        self.assertFalse(refused & there)

    def killed(self, arguments, when):
        """Runs a command and kills it at an instant that `when` waits for. True if it had ended by itself before."""
        with subprocess.Popen(
            [BIN, *map(str, arguments)], env=self.vault.env, cwd=self.dir,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            when(process)
            process.send_signal(signal.SIGKILL)
            return process.wait() != -signal.SIGKILL

    def kill_points(self, typical):
        """Instants of a save: some time after the start, and just after another name appears or a keyring is new."""

        def after(process):
            time.sleep(random.random() * typical)

        def at_a_change(process):
            def state():
                return sorted((entry.name, entry.inode()) for entry in os.scandir(self.vault.path))

            before, skip = state(), random.randrange(4)
            while process.poll() is None:
                now = state()
                if now != before:
                    if skip == 0:
                        return
                    before, skip = now, skip - 1

        while True:
            yield after
            yield at_a_change

    def test_killed_processes_leave_the_old_keyring_or_the_new_one(self):
        began = time.monotonic()
        self.kms(*self.alias("first"))
        points = self.kill_points(time.monotonic() - began)
        promised, generation, ended = {"alias/first"}, self.generation(), 0
        for number in range(60):
            name = f"alias/{number}"
            done = self.killed(self.verb(*self.alias(number)), next(points))
            ended += done
            there = self.aliases()
            self.assertLessEqual(promised, there, f"round {number}")
            self.assertTrue(name in there or not done, f"round {number}")
            promised = there
            self.assertLessEqual(generation, self.generation())
            generation = self.generation()
        self.assertLess(ended, 60, "no process was killed in time")
        # What the killed ones left is cleared up by the next change.
        self.kms(*self.alias("last"))
        self.assertEqual([name for name in os.listdir(self.vault.path) if name.startswith(".tmp.")], [])

    def test_a_killed_daemon_leaves_every_change_that_it_reported(self):
        promised = set()
        for round_ in range(4):
            self.vault.mount()
            acknowledged, stop = set(), threading.Event()

            def ask(number, round_=round_, acknowledged=acknowledged, stop=stop):
                name = f"{round_}-{number}"
                if not stop.is_set() and self.vault.run("kms", *self.alias(name), "--vault", self.mnt).returncode == 0:
                    acknowledged.add(f"alias/{name}")

            def kill(round_=round_, acknowledged=acknowledged, stop=stop):
                if round_ == 0:
                    wait_until(lambda: acknowledged)
                time.sleep(random.random() * 0.5)
                self.vault.kill()
                stop.set()

            killer = threading.Thread(target=kill)
            killer.start()
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(ask, range(200)))
            killer.join()
            self.vault.clear_stale_mountpoint()
            promised |= acknowledged
            self.assertLessEqual(promised, self.aliases())
        self.assertTrue(promised)
