"""docs/backup.md, run: each of its commands that is in a block with a name, as it stands there. Those that copy are run
while a key is rotated and files are re-wrapped."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import threading
import time

from harness import BIN, PASSPHRASE, ROOT, MountedTest

DOCUMENT = ROOT / "docs" / "backup.md"
BLOCKS = dict(re.findall(r"^```sh ([a-z-]+)\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL))
FILES = 120
SPARSE = 8 << 20
ROLLED_BACK = 41


class Procedures(MountedTest):
    def setUp(self):
        super().setUp()
        self.backup = self.dir / "backup"
        self.restored = self.dir / "restored"
        self.mnt2 = self.dir / "mnt2"
        for directory in (self.backup, self.restored, self.mnt2, self.dir / "bin"):
            directory.mkdir()
        (self.dir / "bin" / "rekeyfs").symlink_to(BIN)
        self.env = {
            **self.vault.env,
            "PATH": f"{self.dir / 'bin'}:{os.environ['PATH']}",
            "V": str(self.vault.path), "M": str(self.mnt), "B": str(self.backup),
            "N": str(self.restored), "M2": str(self.mnt2),
            "RESTIC_PASSWORD_FILE": str(self.vault.passfile),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
            "BORG_BASE_DIR": str(self.dir / "borg"),
            "RESTIC_CACHE_DIR": str(self.dir / "restic-cache"),
        }  # fmt: skip
        self.addCleanup(subprocess.run, ["fusermount3", "-u", "-q", "-z", self.mnt2], check=False)

    def shell(self, command, status=0):
        """Runs a command as a user would who types it; every passphrase asked for is the vault's."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=self.dir, env=self.env, timeout=120,
            input=f"{PASSPHRASE}\n" * 20, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.assertEqual(done.returncode, status, f"{command}\n{done.stdout[-3000:]}")
        return done.stdout

    def block(self, name, status=0):
        return self.shell(BLOCKS[name], status)

    def fill(self):
        """Files of all kinds that a copy must keep; their content by name."""
        content = {}
        (self.mnt / "letters").mkdir()
        for number in range(FILES):
            name = f"letters/{number}" if number % 2 else f"{number}-" + "long" * 45
            content[name] = os.urandom(100 * number)
            self.write(name, content[name])
        content["letters/one"] = b"one letter"
        path = self.write("letters/one", content["letters/one"])
        os.setxattr(path, "user.colour", b"red")
        os.link(path, self.mnt / "letters" / "hard")
        os.symlink("letters/one", self.mnt / "link")
        with open(self.mnt / "sparse", "wb") as file:
            file.truncate(SPARSE)
        for directory, _, files in os.walk(self.mnt):
            for name in files:
                file = os.open(os.path.join(directory, name), os.O_RDONLY)
                os.fsync(file)
                os.close(file)
        return content

    @contextlib.contextmanager
    def rotating(self):
        """Meanwhile keys are rotated and files re-wrapped; at least once before it begins, and once after."""
        stop, rounds, problems = threading.Event(), [0], []

        def work():
            while True:
                last = stop.is_set()
                try:
                    self.vault.rotate()
                    self.vault.ok("rewrap", self.mnt)
                except Exception as problem:  # noqa: BLE001
                    problems.append(problem)
                    return
                rounds[0] += 1
                if last:
                    return

        thread = threading.Thread(target=work)
        thread.start()
        while rounds[0] == 0 and thread.is_alive():
            time.sleep(0.01)
        try:
            yield
        finally:
            stop.set()
            thread.join()
        self.assertEqual(problems, [])
        self.assertGreater(rounds[0], 1)

    def assert_restored(self, path, content, holes=True):
        """The vault in `path` has everything, by its own keyring, on a host that never saw the vault."""
        here = self.dir / "elsewhere"
        here.mkdir()
        other = self.new_vault(here, vault=path)
        other.ok("fsck", path, "--passfile", other.passfile)
        other.mount()
        for name, data in content.items():
            self.assertEqual(self.read(other.mnt / name), data, name)
        self.assertEqual(os.getxattr(other.mnt / "letters" / "one", "user.colour"), b"red")
        self.assertEqual((other.mnt / "letters" / "hard").stat().st_nlink, 2)
        self.assertEqual(os.readlink(other.mnt / "link"), "letters/one")
        self.assertEqual((other.mnt / "sparse").stat().st_size, SPARSE)
        if holes:
            self.assertLess((other.mnt / "sparse").stat().st_blocks, 100)
        other.umount()


class Document(MountedTest):
    options = None

    def test_every_block_is_run_by_a_test(self):
        source = pathlib.Path(__file__).read_text()
        run = set(re.findall(r'self\.block\("([a-z-]+)"', source))
        self.assertEqual(run, set(BLOCKS))
        self.assertEqual(DOCUMENT.read_text().count("```"), 2 * len(BLOCKS), "a block without a name")


class WhileRotating(Procedures):
    def test_rsync(self):
        self.need_tools("rsync")
        content = self.fill()
        self.block("rsync")
        with self.rotating():
            content["letters/3"] = b"changed"
            self.write("letters/3", b"changed", fsync=True)
            (self.mnt / "letters" / "5").unlink()
            del content["letters/5"]
            self.block("rsync")
        # Here a newer keyring was seen, in the vault that is there still; another machine has seen none.
        self.block("restore", ROLLED_BACK)
        self.env["XDG_STATE_HOME"] = str(self.dir / "another machine")
        self.block("restore")
        self.vault.ok("umount", self.mnt2)
        self.assertFalse((self.restored / "letters" / "5").exists())
        self.assert_restored(self.restored, content)

    def test_tar(self):
        content = self.fill()
        with self.rotating():
            self.block("tar")
        self.block("tar-restore")
        self.assert_restored(self.restored, content)

    def test_borg(self):
        self.need_tools("borg")
        content = self.fill()
        self.shell('borg init -e none "$B"')
        with self.rotating():
            self.block("borg")
        self.block("borg-restore")
        self.assert_restored(self.restored, content, holes=False)

    def test_restic(self):
        self.need_tools("restic")
        content = self.fill()
        self.shell('restic init -q --repo "$B"')
        with self.rotating():
            self.block("restic")
        self.block("restic-restore")
        self.assert_restored(pathlib.Path(f"{self.restored}{self.vault.path}"), content, holes=False)

    def test_a_btrfs_snapshot(self):
        self.need_root()
        self.need_tools("mkfs.btrfs", "btrfs", "losetup")
        image, lower = self.dir / "image", self.dir / "lower"
        lower.mkdir()
        image.touch()
        os.truncate(image, 256 << 20)
        self.shell(f"mkfs.btrfs -q {image} && mount -o loop {image} {lower}")
        self.addCleanup(subprocess.run, ["umount", "-l", lower], check=False)
        self.shell(f"btrfs -q subvolume create {lower}/vault")
        self.vault.umount()
        self.shell(f'cp -a "$V/." {lower}/vault/')
        here = self.dir / "on-btrfs"
        here.mkdir()
        self.vault = self.new_vault(here, vault=lower / "vault")
        self.mnt = self.vault.mnt
        self.vault.mount()
        self.env.update(V=str(self.vault.path), M=str(self.mnt), B=str(lower))
        content = self.fill()
        with self.rotating():
            self.block("btrfs")
        (snapshot,) = lower.glob("vault-*")
        # Where it is: nothing can be written there. A save of the keyring may have been under way.
        done = self.vault.run("fsck", snapshot, "--passfile", self.vault.passfile)
        self.assertNotIn("error", done.stdout)
        self.assertIn(done.returncode, (0, 4), done.stdout + done.stderr)
        self.env["B"] = str(snapshot)
        self.block("restore")
        self.vault.ok("umount", self.mnt2)
        self.assert_restored(self.restored, content)
        self.vault.umount()


class Copies(Procedures):
    def test_a_copy_is_made_again_after_a_rewrap_before_versions_go(self):
        self.need_tools("rsync")
        content = self.fill()
        self.block("rsync")
        self.vault.rotate()
        self.vault.ok("rewrap", self.mnt)
        # As rsync has it, nothing has changed.
        self.block("rsync")
        self.block("verify")
        refused = self.block("trim", status=44)
        self.assertIn("of this copy need versions below 2", refused)
        self.block("rsync-after-rewrap")
        self.block("trim")
        self.shell('cp -p "$V/keyring" "$B/keyring"; rsync -a "$V/events.jsonl" "$B/"')
        self.block("verify")
        self.assert_restored(self.backup, content)

    def test_the_table_of_programs_says_who_sees_a_rewrap(self):
        self.need_tools("rsync", "restic", "borg")
        self.write("file", b"content", fsync=True)
        lower = self.vault.lower(self.mnt / "file")
        past = time.time() - 100
        os.utime(self.mnt / "file", (past, past))
        self.vault.remount()
        self.shell('cp -a "$V/tree" "$B/cp"; rsync -a "$V/tree" "$B/rsync"; restic init -q --repo "$B/restic"; borg init -e none '
                   '"$B/borg"; tar -cf /dev/null -g "$B/snar" "$V/tree"; restic backup -q --repo "$B/restic" "$V/tree"; '
                   'borg create "$B/borg::1" "$V/tree"')  # fmt: skip
        before = os.stat(lower)
        time.sleep(1.1)
        self.vault.rotate()
        self.vault.ok("rewrap", self.mnt)
        after = os.stat(lower)
        self.assertEqual((before.st_size, before.st_mtime_ns), (after.st_size, after.st_mtime_ns))
        self.assertGreater(after.st_ctime_ns, before.st_ctime_ns)
        name = os.path.basename(lower)
        same = lambda copy: self.shell(f"cmp -s {lower} {self.backup}/{copy}/{name} && echo same || echo old").strip()  # noqa: E731
        self.shell('rsync -a "$V/tree" "$B/rsync"; cp -au "$V/tree/." "$B/cp/"')
        self.assertEqual((same("rsync/tree"), same("cp")), ("old", "old"))
        self.shell('rsync -ac "$V/tree" "$B/rsync"; cp -a "$V/tree/." "$B/cp/"')
        self.assertEqual((same("rsync/tree"), same("cp")), ("same", "same"))
        self.assertIn(name, self.shell('tar -cf - -g "$B/snar" "$V/tree" 2>/dev/null | tar -t'))
        self.assertIn("1 changed", self.shell('restic backup --repo "$B/restic" "$V/tree" | grep Files'))
        self.assertIn(name, self.shell('borg create --list --filter=AM "$B/borg::2" "$V/tree"'))

    def test_an_older_copy_is_restored_on_the_host_that_saw_the_newer_keyring(self):
        self.need_tools("rsync")
        content = self.fill()
        self.block("rsync")
        self.vault.rotate()
        self.vault.umount()
        shutil.rmtree(self.vault.path)
        self.shell(BLOCKS["restore"].replace("rekeyfs mount", "true"))
        os.rename(self.restored, self.vault.path)
        self.assertEqual(self.vault.try_mount().returncode, ROLLED_BACK)
        self.env["N"] = str(self.vault.path)
        self.block("accept-rollback")
        self.assertEqual(self.read(self.mnt2 / "letters" / "1"), content["letters/1"])
        self.vault.ok("umount", self.mnt2)

    def test_one_file_from_a_copy(self):
        self.need_tools("rsync")
        content = self.fill()
        self.block("rsync")
        (self.mnt / "letters" / "one").unlink()
        self.vault.rotate()
        before = {path: path.lstat().st_mtime_ns for path in self.backup.rglob("*")}
        self.block("one-file")
        self.assertEqual(self.read(self.mnt / "letters" / "one.restored"), content["letters/one"])
        self.assertEqual(before, {path: path.lstat().st_mtime_ns for path in self.backup.rglob("*")})

    def test_a_key_backup_opens_a_copy_whose_keyring_is_too_old(self):
        content = self.fill()
        shutil.copy(self.vault.path / "keyring", self.backup)
        self.vault.rotate()
        self.vault.ok("rewrap", self.mnt)
        self.block("key-backup")
        self.block("key-backup-test")
        self.shell('cp -a "$V/tree" "$V/events.jsonl" "$B/"')
        self.shell('rekeyfs fsck "$B" --keyring "$B/keyring"', status=4)
        self.block("key-backup-restore")
        self.shell('rm "$B"/keys-* "$B"/keyring.replaced-by-*')
        self.assert_restored(self.backup, content)

    def test_a_kept_backup_opens_a_copy_whose_keyring_is_lost(self):
        self.need_tools("rsync", "age", "age-keygen")
        content = self.fill()
        self.block("keep")
        self.block("keep-age")
        self.vault.rotate()
        self.write("letters/3", b"after the rotation", fsync=True)
        content["letters/3"] = b"after the rotation"
        self.block("key-backup-pipe")
        self.block("keep-list")
        self.vault.rotate()
        copy = self.dir / "copy"
        self.shell(f'rsync -aHAXS "$V/tree" "$V/events.jsonl" {copy}/')
        kept = self.vault.status()["key_backup"]["kept"]
        self.assertEqual([(one["opened_by"], one["state"]) for one in kept], [("age", "current")])
        (self.backup / "kept-age").rename(copy / "kept-age")
        self.env.update(B=str(copy), XDG_STATE_HOME=str(self.dir / "another machine"))
        self.block("key-backup-restore-age")
        self.assert_restored(copy, content)

class OfTheMount(Procedures):
    """What goes by ctime takes each file that was re-wrapped for a changed one, unless it is told to go by mtime."""

    def rewrapped(self):
        # git looks at whole seconds.
        time.sleep(1.1)
        self.vault.rotate()
        self.vault.ok("rewrap", self.mnt)
        # The kernel forgets what it has.
        self.vault.remount()

    def old(self, name, data):
        path = self.write(name, data)
        past = time.time() - 100
        os.utime(path, (past, past))

    def test_restic_and_borg(self):
        self.need_tools("restic", "borg")
        for number in range(20):
            self.old(f"{number}", os.urandom(5000))
        self.vault.remount()
        time.sleep(1.1)
        self.write("newest", b"borg leaves the newest file out of what it remembers")
        self.vault.remount()
        repo, self.env["B"] = self.env["B"], f"{self.env['B']}/restic"
        self.shell('restic init -q --repo "$B"')
        self.block("restic-mount")
        self.rewrapped()
        self.assertIn("0 changed", self.block("restic-mount"))
        self.rewrapped()
        self.assertIn("21 changed", self.shell('restic backup --repo "$B" "$M"'))
        self.env["B"] = f"{repo}/borg"
        self.shell('borg init -e none "$B"')
        create = BLOCKS["borg-mount"].replace("borg create", "borg create --list --filter=AM").replace("{now}", "{now:%H%M%S.%f}")
        self.block("borg-mount")
        self.rewrapped()
        changed = [line for line in self.shell(create).splitlines() if line[:2] in ("A ", "M ")]
        self.assertLessEqual(len(changed), 1, changed)

    def test_git(self):
        self.need_tools("git")
        repository = self.mnt / "repository"
        self.shell(f"git init -q {repository}")
        for number in range(20):
            self.old(f"repository/{number}", b"%d" % number)
        self.vault.remount()
        self.shell(f'cd {repository}; git add .; git -c user.name=a -c user.email=a@a commit -qm x; git diff-index HEAD')
        self.rewrapped()
        self.assertEqual(len(self.shell(f"git -C {repository} diff-index HEAD").splitlines()), 20)
        self.block("git-mount")
        self.assertEqual(self.shell(f"git -C {repository} diff-index HEAD"), "")

    def test_without_lazy_rewrap_reading_changes_no_ctime_and_a_sweep_does(self):
        self.vault.umount()
        self.block("no-rewrap")
        self.vault.pid = self.vault.daemon_pid()
        path = self.write("file", b"content", fsync=True)
        lower = self.vault.lower(path)
        self.vault.rotate()
        before = os.stat(lower).st_ctime_ns
        self.assertEqual(self.read(path), b"content")
        time.sleep(0.5)
        self.assertEqual((os.stat(lower).st_ctime_ns, self.vault.version(path)), (before, 1))
        self.block("sweep")
        self.assertEqual(self.vault.version(path), 2)
        self.assertGreater(os.stat(lower).st_ctime_ns, before)
