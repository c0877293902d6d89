"""The filesystems that go through the rig. Each lies in the recorded ext4, mounted at `box.lower`."""

import hashlib
import json
import os
import subprocess
import tempfile
import time

import slots
from files import sync_directory

_WRONG_PASSPHRASE = 12
# rekeyfs fsck: something is wrong; it could not look (a wrong passphrase is one reason).
_FSCK_LEFT, _FSCK_FAILED = 4, 8


_OWN_FILES = 12
# rekeyfs reencrypt: the file is open or has several names; it is gone, or no regular file.
_LEFT_AS_IT_IS = (1, 22)
# rekeyfs reencrypt: the path led nowhere already when it was resolved.
_NO_SUCH_PATH = 6
# Verbs with the states that they promise, in turn.
_STATES = (
    (("disable-key", "Disabled"),),
    (("disable-key", "Disabled"), ("enable-key", "Enabled")),
    (("schedule-key-deletion", "PendingDeletion"),),
    (("schedule-key-deletion", "PendingDeletion"), ("cancel-key-deletion", "Disabled")),
)


class Broken(Exception):
    """A filesystem can't be used after a cut: itself a loss."""

    def __init__(self, what, status=None):
        super().__init__(what)
        self.status = status


def run(*command, env=None, timeout=60):
    """Runs a command and returns its standard output; Broken says what it said when it failed."""
    # Files, not pipes: a daemon that the command leaves behind would hold a pipe open.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            done = subprocess.run(command, env=env, timeout=timeout, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                  check=False)
        except subprocess.TimeoutExpired:
            raise Broken(f"{' '.join(command[:3])}: no answer within {timeout} s") from None
        out.seek(0)
        err.seek(0)
        output, said = out.read(), err.read()
    if done.returncode != 0:
        said = (said.strip() or output.strip() or "nothing").splitlines()
        raise Broken(f"{os.path.basename(command[0])} {command[1]}: exit {done.returncode}: {' / '.join(said)[:600]}",
                     done.returncode)
    return output


def unmount(place):
    """Unmounts; a daemon that was told to go may hold the place for a moment longer."""
    for tries in range(100):
        try:
            run("umount", place)
            return
        except Broken:
            if tries == 99:
                raise
            time.sleep(0.02)


class Ext4:
    """The control: what an application gets without encryption."""

    name = "ext4"
    rotates = False

    def __init__(self, box):
        self.root = os.path.join(box.lower, "work")

    def prepare(self):
        """Makes the filesystem on the base image; it is durable before the recording begins."""
        os.mkdir(self.root)

    def mount(self, _marks=()):
        """Brings it up, as it must be by these marks; what is promised lies below `root`."""

    def umount(self):
        """Takes it down."""

    def check(self, _marks):
        """Promises of the filesystem itself that don't hold: a list of sentences."""
        return []

    def needs_repair(self, _marks):
        """Whether its own check, if it has one, finds something to repair."""
        return False

    def repair(self, _marks):
        """Repairs it as far as that can be done in place."""

    def set_aside(self, _marks):
        """Moves out what can't be repaired; Broken if its own check finds anything after that."""

    def under(self):
        """Where its lower files are."""
        return self.root


class Gocryptfs(Ext4):
    """For comparison."""

    name = "gocryptfs"

    def __init__(self, box):
        self._cipher = os.path.join(box.lower, "vault")
        self._passfile = box.passfile
        self.root = box.mnt

    def prepare(self):
        os.mkdir(self._cipher)
        run("gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", self._passfile, self._cipher)

    def mount(self, _marks=()):
        run("gocryptfs", "-q", "-nosyslog", "-allow_other", "-passfile", self._passfile, self._cipher, self.root)

    def umount(self):
        unmount(self.root)

    def under(self):
        return self._cipher


class Rekeyfs(Ext4):
    """What this is about. Its state directory lies on the recorded disk too: a power cut takes both."""

    name = "rekeyfs"
    rotates = True

    def __init__(self, box):
        self._binary = box.binary
        self._vault = os.path.join(box.lower, "vault")
        self._box = box
        self._said = ""
        self._broken = []
        self.root = box.mnt
        self._env = dict(os.environ, XDG_STATE_HOME=os.path.join(box.lower, "state"), XDG_RUNTIME_DIR=box.runtime)

    def _run(self, *arguments):
        return run(self._binary, *arguments, env=self._env)

    def _passfile(self, number):
        path = f"{self._box.passfile}-{number}"
        with open(path, "w", encoding="ascii") as file:
            file.write(f"passphrase {number}\n")
        return path

    def prepare(self):
        os.mkdir(self._env["XDG_STATE_HOME"])
        self._run("init", self._vault, "--passfile", self._passfile(0), "--kdf-memory", "8", "--no-recovery-key")

    def mount(self, marks=()):
        # Before a mount re-wraps what is opened.
        self._broken = slots.problems(self.under(), marks)

        def mount(passphrase):
            self._run("mount", self._vault, self.root, "--allow-other", "--passfile", self._passfile(passphrase))

        self._unlocked(marks, _WRONG_PASSPHRASE, mount)

    @staticmethod
    def _unlocked(marks, wrong, work):
        """Calls `work` with the number of the passphrase that counts: the last one that was promised, or, if that
        fails with the status `wrong`, the one whose change was under way."""
        promised = max((mark["passphrase"] for mark in marks if mark.get("slot") == "changed"), default=0)
        tried = max((mark["passphrase"] for mark in marks if mark.get("slot") == "change"), default=0)
        try:
            return work(promised)
        except Broken as problem:
            if problem.status != wrong or tried == promised:
                raise
            return work(tried)

    def _fsck(self, marks, *options):
        """Runs fsck; returns its status, which is 8 or more only as Broken."""

        def fsck(passphrase):
            self._run("fsck", self._vault, "--passfile", self._passfile(passphrase), *options)
            return 0

        try:
            return self._unlocked(marks, _FSCK_FAILED, fsck)
        except Broken as problem:
            if problem.status is None or problem.status >= _FSCK_FAILED:
                raise
            self._said = str(problem)
            return problem.status

    def needs_repair(self, marks):
        return bool(self._fsck(marks) & _FSCK_LEFT)

    def repair(self, marks):
        self._fsck(marks, "--repair")

    def set_aside(self, marks):
        # What nothing repairs is moved out, such as a file that was never synced and lacks its header.
        self._fsck(marks, "--repair", "--quarantine", self._box.fresh("quarantine"))
        if self._fsck(marks) != 0:
            raise Broken(f"fsck after fsck --repair --quarantine: {self._said}")

    def damaged_pages(self):
        """How many pages fsck can't open."""
        with tempfile.TemporaryFile("w+") as out:
            command = (self._binary, "fsck", self._vault, "--passfile", self._passfile(0), "--json")
            subprocess.run(command, env=self._env, stdin=subprocess.DEVNULL, stdout=out, check=False)
            out.seek(0)
            *findings, summary = [json.loads(line) for line in out] or [{}]
        if not summary.get("complete"):
            raise Broken("rekeyfs fsck did not check all of it")
        return sum(finding["pages"]["count"] for finding in findings if finding["code"].startswith("page-damaged"))

    def umount(self):
        self._run("umount", self.root)

    def under(self):
        return os.path.join(self._vault, "tree")

    def beside(self, mark, rng, stop):
        """Rotates, re-wraps, re-encrypts, makes keys and aliases and changes the passphrase until `stop` says so; marks
        promise what returned."""
        passphrase, version = 0, 1
        self._own_files(mark)
        while not stop():
            pick = rng.random()
            if pick < 0.2:
                self._kms_verb(mark, rng)
            elif pick < 0.6:
                version = json.loads(self._run("rotate", self.root, "--json"))["new_version"]
                mark({"version": version})
                if rng.random() < 0.7:
                    self._sweep(mark, version)
            elif pick < 0.7:
                self._sweep(mark, version)
            elif pick < 0.9:
                self._reencrypt(mark, rng)
            else:
                passphrase += 1
                mark({"slot": "change", "passphrase": passphrase})
                self._run("unlock", "change", self.root, "--passfile", self._passfile(passphrase - 1),
                          "--new-passfile", self._passfile(passphrase), "--kdf-memory", "8")
                mark({"slot": "changed", "passphrase": passphrase})
            time.sleep(rng.random() * 0.1)

    @staticmethod
    def _content(number):
        return hashlib.shake_128(f"beside {number}".encode()).digest(200 + 900 * number)

    def _own_files(self, mark):
        """Some durable files that no workload opens or changes: what becomes of them is the keys' doing."""
        top = os.path.join(self.root, "beside")
        os.mkdir(top)
        for number in range(_OWN_FILES):
            with open(os.path.join(top, str(number)), "wb") as file:
                file.write(self._content(number))
                file.flush()
                os.fsync(file.fileno())
        sync_directory(top)
        sync_directory(self.root)
        mark({"own": _OWN_FILES})

    def _sweep(self, mark, version):
        before, _ = slots.below(self.under())
        self._run("rewrap", self.root)
        mark({"swept": version, "settled": slots.settled(before, slots.below(self.under())[0], version)})

    def _reencrypt(self, mark, rng):
        """One of its own files, or of the workload's, which are refused while they are open."""
        top = rng.choice((os.path.join(self.root, "beside"), self.root))
        path = rng.choice(sorted(os.path.join(at, name) for at, _, names in os.walk(top) for name in names))
        try:
            file, _ = slots.below(self.under())[1].get(os.lstat(path).st_ino, (None, None))
            done = json.loads(self._run("reencrypt", path, "--json"))
        except OSError:
            return  # removed meanwhile
        except Broken as problem:
            gone = problem.status == _NO_SUCH_PATH and os.path.ismount(self.root)
            if problem.status not in _LEFT_AS_IT_IS and not gone:
                raise
            return
        if file and done["reencrypted"] == 1:
            mark({"reencrypted": file})

    def _kms(self, *arguments):
        printed = self._run("kms", *arguments, "--vault", self.root)
        return json.loads(printed) if printed else None

    def _kms_verb(self, mark, rng):
        """A key with an alias of its own, and the verbs that change its state: its files are none of the workload's."""
        key = self._kms("create-key")["KeyMetadata"]["KeyId"]
        mark({"kms": key, "state": "Enabled"})
        alias = f"alias/{key}"
        self._kms("create-alias", "--alias-name", alias, "--target-key-id", key)
        mark({"kms": key, "alias": alias})
        for verb, state in rng.choice(_STATES):
            mark({"kms": key, "trying": state})
            self._kms(verb, "--key-id", key)
            mark({"kms": key, "state": state})

    def check(self, marks):
        return self._broken + self._check_own(marks) + self._check_rotation(marks) + self._check_kms(marks)

    def _check_own(self, marks):
        problems = []
        for number in range(max((mark.get("own", 0) for mark in marks), default=0)):
            try:
                with open(os.path.join(self.root, "beside", str(number)), "rb") as file:
                    if file.read() != self._content(number):
                        problems.append(f"beside/{number} has another content")
            except OSError as problem:
                problems.append(f"beside/{number}: {problem}")
        return problems

    def _check_rotation(self, marks):
        promised = max((mark["version"] for mark in marks if "version" in mark), default=None)
        if promised is None:
            return []
        status = json.loads(self._run("status", self.root, "--json"))
        version = max(alias["version"] for alias in status["aliases"] if alias["alias"] == "alias/default")
        return [] if version >= promised else [f"rotation to version {promised} was promised, the vault has {version}"]

    def _check_kms(self, marks):
        states, aliases = {}, {}
        for mark in marks:
            if "state" in mark:
                states[mark["kms"]] = {mark["state"]}
            elif "trying" in mark:
                states[mark["kms"]].add(mark["trying"])
            elif "kms" in mark:
                aliases[mark["alias"]] = mark["kms"]
        if not states:
            return []
        problems = []
        found = {alias["AliasName"]: alias["TargetKeyId"] for alias in self._kms("list-aliases")["Aliases"]}
        for alias, key in aliases.items():
            if found.get(alias) != key:
                problems.append(f"{alias} was promised for {key}, it is of {found.get(alias)}")
        # The last ones: each look costs a process.
        for key, allowed in list(states.items())[-4:]:
            try:
                state = self._kms("describe-key", "--key-id", key)["KeyMetadata"]["KeyState"]
            except Broken as problem:
                state = str(problem)
            if state not in allowed:
                problems.append(f"key {key} was promised to be {' or '.join(sorted(allowed))}, it is: {state}")
        return problems


SYSTEMS = {system.name: system for system in (Ext4, Gocryptfs, Rekeyfs)}
