"""Keys in the mount's memory: protected while they are needed, gone when they are not, and in no log."""

import json
import os
import pathlib
import pwd
import re
import signal
import subprocess

from harness import BIN, PASSPHRASE, ROOT, TARGET, MountedTest, is_gone, open_device_to_users, wait_until

LENGTH = 1 << 20
CHUNK = 16 << 20
# Roles that are in locked memory alone: they last as long as the mount.
LOCKED = ("root", "tree", "event", "former-endorsement", "material", "wrapping", "host-record", "names", "xattr-name", "dir-record", "symlink", "xattr-value")
# Roles that are needed for a moment only: to unlock, to open and save the keyring, to check an order, to import, to
# encrypt or decrypt a blob.
NEVER = ("kek", "slot-wrap", "keyring", "insist", "import-token", "endorsement", "kms-blob")
# Roles of open files: on the heap, wiped when the file is closed or its key goes.
OF_FILES = ("dek", "header-mac", "content")
# What is derived and no secret.
PUBLIC = ("material-id", "dir-id", "alias-id", "root-commitment")
# Roles of helpers of custodians: programs of their own.
ELSEWHERE = ("fido2-wrap",)
# The role that a label of crates/format/src/crypto/labels.rs leads to, where it has another name.
ROLES = {"wrap": "wrapping"}


class Region:
    """A mapping of a process, with the kernel's flags of it."""

    def __init__(self, line):
        span, access, _, _, _, *name = line.split(maxsplit=5)
        self.start, self.end = (int(part, 16) for part in span.split("-"))
        self.access, self.name = access, name[0].strip() if name else ""
        self.flags = set()


def regions(pid):
    found = []
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as smaps:
        for line in smaps:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                found.append(Region(line))
            elif line.startswith("VmFlags:"):
                found[-1].flags = set(line.split()[1:])
    return found


def where(pid, secrets):
    """For each role, the mappings of a process in which its secret is found."""
    found = {role: [] for role in secrets}
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for region in regions(pid):
            if "r" not in region.access or region.name.startswith(("[vvar", "[vsyscall")):
                continue
            for at in range(region.start, region.end, CHUNK):
                memory.seek(at)
                try:
                    # A secret may lie across the end of a chunk.
                    data = memory.read(min(CHUNK + 64, region.end - at))
                except OSError:
                    continue
                for role, secret in secrets.items():
                    if secret in data and region not in found[role]:
                        found[role].append(region)
    return found


class Secrets(MountedTest):
    options = None

    def setUp(self):
        self.need_root()
        super().setUp()
        # So that there are keys that were replaced, too.
        self.vault.ok("unlock", "change", self.vault.path, "--revoke", "--passfile", self.vault.passfile, "--new-passfile",
                      self.vault.passfile, "--kdf-memory", "8")  # fmt: skip
        slots = json.loads(self.vault.ok("unlock", "list", self.vault.path, "--json"))["slots"]
        (recovery,) = (slot["id"] for slot in slots if slot["kind"] == "recovery")
        self.vault.ok("unlock", "remove", self.vault.path, recovery, "--passfile", self.vault.passfile)
        self.vault.env["REKEYFS_LOG"] = "trace,fuser=trace"
        self.log = self.dir / "log"
        with open(self.log, "wb") as log:
            self.daemon = subprocess.Popen(
                [BIN, "mount", self.vault.path, self.mnt, "--passfile", self.vault.passfile, "--foreground", "--shared"],
                env=self.vault.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.addCleanup(self.daemon.wait, 30)
        self.addCleanup(self.vault.close)
        self.vault.pid = self.daemon.pid
        self.assertTrue(wait_until(self.vault.is_mounted))

    def kms(self, *args):
        printed = self.vault.ok("kms", *args, "--vault", self.mnt)
        return json.loads(printed) if printed else None

    def two_keys(self):
        """A file under each of two keys, both with open handles; the second key."""
        other = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("create-alias", "--alias-name", "alias/finance", "--target-key-id", other)
        os.mkdir(self.mnt / "finance")
        os.setxattr(self.mnt / "finance", "user.rekeyfs.alias", b"alias/finance")
        files = [self.write(name, os.urandom(LENGTH), fsync=True) for name in ("mine", "finance/theirs")]
        handles = [open(path, "r+b", buffering=0) for path in files]
        for handle in handles:
            self.addCleanup(handle.close)
            self.use(handle)
        return handles, other

    @staticmethod
    def use(handle):
        """Has the mount decrypt and encrypt, on each of its threads with some luck."""
        for at in range(0, LENGTH, LENGTH // 16):
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            os.pread(handle.fileno(), 4096, at)
            os.pwrite(handle.fileno(), b"changed", at)
        os.fsync(handle.fileno())

    def secrets(self):
        python = TARGET / "python/bin/python"
        if not python.exists():
            self.skipTest(f"{python} is missing: scripts/test.sh installs what the independent reader needs")
        script = ROOT / "tests/golden/secrets_of.py"
        done = subprocess.run([python, script, self.vault.path, PASSPHRASE], capture_output=True, text=True, check=True)
        return {role: bytes.fromhex(secret) for role, secret in json.loads(done.stdout).items()}

    def test_every_label_in_the_code_is_a_role_that_is_looked_for(self):
        labels = re.findall(r'Label = Label\(b"([^"]+)"\)', (ROOT / "crates/format/src/crypto/labels.rs").read_text())
        self.assertIn("wrap", labels)
        roles = {ROLES.get(label, label) for label in labels}
        roles -= set(ELSEWHERE)
        self.assertEqual(roles - {*LOCKED, *NEVER, *OF_FILES, *PUBLIC}, set(), "say where these may be")
        self.two_keys()
        found = {role.split()[0] for role in self.secrets()}
        self.assertEqual(roles - found, set(PUBLIC), "tests/golden/secrets_of.py computes all that is secret")

    def test_memory_is_not_dumped_and_keys_are_in_locked_pages(self):
        with open(f"/proc/{self.vault.pid}/limits", encoding="ascii") as limits:
            limits = limits.read()
        self.assertRegex(limits, r"Max core file size +1 +1 ")
        self.two_keys()
        secrets = self.secrets()
        self.assertLessEqual({"event 0", "former-endorsement 0"}, set(secrets))
        found = where(self.vault.pid, secrets)
        for role, places in found.items():
            if role.split()[0] in LOCKED:
                # That of a version is derived when it is first used.
                if role.split()[0] != "wrapping":
                    self.assertTrue(places, f"{role} is nowhere: the scan doesn't work")
                for region in places:
                    self.assertLessEqual({"lo", "dd", "dc"}, region.flags, f"{role} is in {region.name or 'a mapping'}")
            elif role.split()[0] in NEVER:
                self.assertEqual([r.name for r in places], [], f"{role} is still in memory")
        passphrase = where(self.vault.pid, {"passphrase": PASSPHRASE.encode()})["passphrase"]
        self.assertEqual([region.name for region in passphrase], [], "the passphrase")

    def test_a_command_on_an_unmounted_vault_is_closed_to_other_processes_of_its_user(self):
        self.need_tools("setpriv")
        os.chmod(self.dir, 0o755)
        base = self.dir / "theirs"
        base.mkdir()
        user = pwd.getpwnam("nobody").pw_uid
        os.chown(base, user, user)
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        init = [BIN, "init", base / "vault", "--extpass", "sleep 600; echo secret", "--kdf-memory", "8"]
        command = subprocess.Popen(
            [*as_user, *init], cwd="/", env={**os.environ, "HOME": str(base), "XDG_STATE_HOME": str(base)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.addCleanup(command.wait, 30)
        # With the helper, which it waits for.
        self.addCleanup(os.killpg, command.pid, signal.SIGKILL)
        name = f"/proc/{command.pid}"
        is_ours = lambda: os.readlink(f"{name}/exe") == str(pathlib.Path(BIN).resolve())  # noqa: E731
        self.assertTrue(wait_until(is_ours))
        self.assertTrue(wait_until(lambda: os.stat(f"{name}/mem").st_uid == 0), "the user's other processes can read it")

    def test_a_users_mount_is_closed_to_that_users_other_processes(self):
        """PR_SET_DUMPABLE 0: what /proc shows of the process belongs to root."""
        base = self.dir / "theirs"
        base.mkdir()
        os.chmod(self.dir, 0o755)
        self.need_tools("setpriv", "fusermount3")
        open_device_to_users(self)
        user = pwd.getpwnam("nobody").pw_uid
        try:
            vault = self.new_vault(base, uid=user)
            vault.mount()
        except AssertionError as error:
            self.skipTest(f"another user can't mount here: {str(error).splitlines()[-1]}")
        self.assertEqual(os.stat(f"/proc/{vault.pid}/mem").st_uid, 0)
        peek = "import sys; open(f'/proc/{sys.argv[1]}/mem', 'rb')"
        done = subprocess.run(
            ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "python3", "-c", peek, str(vault.pid)],
            capture_output=True, text=True, cwd="/",
        )  # fmt: skip
        self.assertIn("PermissionError", done.stderr)

    def test_data_keys_of_a_disabled_key_leave_the_memory_and_no_others(self):
        (mine, theirs), other = self.two_keys()
        secrets = self.secrets()
        numbers = [os.fstat(handle.fileno()).st_ino for handle in (mine, theirs)]
        of_file = lambda n: [f"{role} {n}" for role in ("dek", "header-mac", "content")]  # noqa: E731
        before = where(self.vault.pid, secrets)
        for role in of_file(numbers[0]) + of_file(numbers[1]) + [f"wrapping {other}/1"]:
            self.assertTrue(before[role], f"{role} is nowhere: the scan doesn't work")
        self.kms("disable-key", "--key-id", other)
        after = where(self.vault.pid, secrets)
        for role in of_file(numbers[1]) + [f"wrapping {other}/1"]:
            self.assertEqual([region.name for region in after[role]], [], f"{role} is still in memory")
        for role in of_file(numbers[0]):
            self.assertTrue(after[role], f"{role}, of the other key")
        self.kms("enable-key", "--key-id", other)
        self.use(theirs)
        self.assertTrue(where(self.vault.pid, secrets)[f"dek {numbers[1]}"])
        # Closed files keep none.
        theirs.close()
        mine.close()
        self.vault.ok("status", self.mnt)
        closed = where(self.vault.pid, secrets)
        for role in of_file(numbers[0]) + of_file(numbers[1]):
            self.assertEqual([region.name for region in closed[role]], [], f"{role} of a closed file")

    def test_the_log_holds_no_secret_and_unmounting_leaves_no_process(self):
        handles, other = self.two_keys()
        secrets = self.secrets()
        self.kms("disable-key", "--key-id", other)
        self.kms("enable-key", "--key-id", other)
        self.vault.ok("rotate", self.mnt)
        self.vault.ok("rewrap", self.mnt)
        pid = self.vault.pid
        for handle in handles:
            handle.close()
        self.vault.umount()
        self.assertTrue(is_gone(pid))
        log = self.log.read_bytes()
        self.assertIn(b"NOTICE mounted ", log)
        self.assertGreater(log.count(b"\n"), 50, "the most verbose level")
        events = (self.vault.path / "events.jsonl").read_bytes()
        for role, secret in {**secrets, "passphrase": PASSPHRASE.encode()}.items():
            for text in (log, events):
                self.assertNotIn(secret, text, role)
                self.assertNotIn(secret.hex().encode(), text.lower(), role)
                self.assertNotIn(", ".join(map(str, secret[:8])).encode(), text, role)
