"""A history of one writer and many readers on the hosts of a cluster: the writer changes files at random, the readers judge what they
see, and meanwhile keys are rotated, disabled and enabled, and hosts are stopped, cut off, killed and brought back, the writer too.
At the end the vault is sound, and has what was written."""

import contextlib
import random
import signal
import subprocess
import threading
import time

from harness import is_gone, stays, wait_until
from members import LATE, LEASE, PATIENCE, Journal, Member, in_a_thread
from reader import same
from tree import Register
from writer import DISABLED, ENABLED, Writer

OTHER = "alias/other"
# What a client that was killed had sent is with the servers by then, in seconds.
DRAIN = 10
# Rests between two steps, so that others get a turn.
REST = 0.002


class History:
    """One run on one cluster."""

    def __init__(self, cluster, hosts, work, log, seed):
        self.random, self.seed = random.Random(seed), seed
        self.log = Journal(log)
        self.cluster = cluster
        self.keys = {"default": Register(ENABLED), "other": Register(ENABLED)}
        self.writer = Writer(None, seed, self.keys)
        self.members = [Member(cluster, f"h{n}", work, self.writer, seed + n, n == 1) for n in range(1, hosts + 1)]
        self.at = self.members[0]
        self.ended = threading.Event()
        self.begun = {}
        self.found = []

    # -- what there is --

    def start(self):
        """Mounts the vault everywhere, with what is written at first."""
        self.at.vault.mount("--shared")
        self.writer.directory = self.at.vault.mnt
        made = self._kms("create-key", "--query", "KeyMetadata.KeyId", "--output", "text").strip()
        self._kms("create-alias", "--alias-name", OTHER, "--target-key-id", made)
        found = self.at.vault.status()["aliases"]
        self.ids = {"other": made, "default": next(row["key_id"] for row in found if row["alias"].endswith("default"))}
        self.writer.start(OTHER)
        for reader in self.readers():
            wait_until((reader.vault.path / "hosts/00").exists)
            reader.read()

    def readers(self):
        """The members that only read."""
        return [member for member in self.members if member is not self.at]

    def _kms(self, *words):
        return self.at.vault.ok("kms", *words, "--vault", self.at.vault.mnt, timeout=PATIENCE)

    def wrong(self):
        """What doesn't hold: sentences."""
        found = [f"{self.at.name} writes: {why}" for why in self.writer.wrong]
        return [*self.found, *found] + [f"{member.name} reads: {why}" for member in self.members for why in member.reader.wrong]

    @contextlib.contextmanager
    def running(self):
        """The writer and the readers are at work meanwhile."""

        def until_the_end(turn, who):
            while not self.ended.is_set() and not who.wrong:
                try:
                    with turn:
                        done = who.step()
                except Exception as error:
                    who.wrong.append(f"{type(error).__name__}: {error}")
                    raise
                time.sleep(REST if done is not False else 0.05)

        actors = [(self.writer.turn, self.writer), *((member.turn, member.reader) for member in self.members)]
        threads = [threading.Thread(target=until_the_end, args=actor, daemon=True) for actor in actors]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.ended.set()
            for member in self.members:
                member.host.link(up=True)
            for thread in threads:
                thread.join(60)
        if any(thread.is_alive() for thread in threads):
            raise AssertionError("a program still waits for the vault")

    # -- keys --

    def rotate(self):
        """A new version of the default key."""
        self.log.say("rotate")
        self.at.vault.ok("rotate", self.at.vault.mnt, timeout=PATIENCE)

    def rewrap(self):
        """All files go to the version that is new."""
        self.log.say("rewrap")
        self.at.vault.ok("rewrap", self.at.vault.mnt, timeout=PATIENCE)

    def switch(self, key, value):
        """Disables or enables a key: in force everywhere when this returns."""
        began = time.monotonic()
        self.log.note(f"{value}: {key}")
        self.keys[key].begin(value)
        self._kms("disable-key" if value == DISABLED else "enable-key", "--key-id", self.ids[key])
        self.keys[key].end()
        self.log.say(f"{value}: {key}, after {time.monotonic() - began:.1f} s")

    def disable_for_a_while(self):
        """A key is disabled; no program is shown a page of it that it has mapped."""
        key = self.random.choice(("default", "default", "other"))
        maps = []
        if key == "default":
            fit = [reader for reader in self.readers() if not reader.trouble.value]
            maps = [(reader, reader.mapped()) for reader in fit]
            maps = [(reader, mapped) for reader, mapped in maps if mapped.look()]
        try:
            self.switch(key, DISABLED)
            for reader, mapped in maps:
                if reader.trouble.value != "stopped" and mapped.look():
                    self.found.append(f"{reader.name} shows a page that is mapped, under a key that is disabled")
        finally:
            for _, mapped in maps:
                mapped.end()
        time.sleep(self.random.uniform(0.2, 2))
        self.switch(key, ENABLED)

    def change_keys(self):
        """One change, or none."""
        self.random.choice((self.rotate, self.rewrap, self.disable_for_a_while, self.disable_for_a_while, lambda: None))()

    # -- what happens to readers --

    def fault_of_reader(self):
        """A reader has a fault, and keys are changed while it lasts, or while it comes back."""
        member = self.random.choice(self.readers())
        fault = self.random.choice((self.stopped, self.cut_off, self.killed, self.without_power))
        seconds = self.random.choice((1, 4, LEASE + 3))
        self.log.say(f"reader {member.name}: {fault.__name__}, {seconds} s")
        beside = self.random.random() < 0.5
        with fault(member):
            change = in_a_thread(self.change_keys)
            time.sleep(seconds)
            if not beside:
                change()
        if beside:
            change()

    @contextlib.contextmanager
    def stopped(self, member):
        """Its daemon is stopped."""
        member.trouble.settle("stopped")
        member.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            member.signal(signal.SIGCONT)
        self._back(member)

    @contextlib.contextmanager
    def cut_off(self, member):
        """Its cable is pulled out."""
        member.trouble.settle("cut off")
        member.host.link(up=False)
        try:
            yield
        finally:
            member.host.link(up=True)
        self._back(member)

    @contextlib.contextmanager
    def killed(self, member):
        """Its daemon is killed, and mounted again."""
        member.trouble.settle("killed")
        member.kill()
        yield
        member.read()

    @contextlib.contextmanager
    def without_power(self, member):
        """All of it is killed, and comes back."""
        member.trouble.settle("without power")
        member.lose_power()
        yield
        self.cluster.mount(member.name)
        member.read()

    def _back(self, member):
        """Waits until it is read there again: by itself, but where the cluster keeps the host out, or had given its lock away."""

        def reads():
            return member.is_alive() and member.goes_on(self.keys["default"].value)

        in_a_thread(lambda: wait_until(lambda: not member.is_alive() or reads(), 20 if self.cluster.fences else 60))()
        if reads():
            return member.trouble.settle(None)
        alive = member.is_alive()
        self.log.say(f"reader {member.name} {'is kept out by the cluster' if alive else 'has ended'}")
        if alive and not self.cluster.fences:
            raise AssertionError(f"{member.name} doesn't go on")
        if alive:
            member.signal(signal.SIGKILL)
        member.clear()
        member.client_anew()
        return member.read()

    # -- what happens to the writer --

    def _writer_in(self, trouble):
        self.writer.trouble.settle(trouble)
        self.at.trouble.settle(trouble)

    def _goes_on(self):
        self.writer.trouble.settle(None)
        self.at.trouble.settle(None)

    def hand_over(self):
        """The writer unmounts, and another host goes on."""
        to = self.random.choice(self.readers())
        self.log.say(f"{self.at.name} hands over to {to.name}")
        before = self.at
        with self.writer.turn:
            self._writer_in("handed over")
            before.umount()
            self._write_from(to, lost=None)
        before.read()

    def writer_stops(self):
        """The writer's daemon is stopped, for less than its lease or for more: then nothing of the vault is changed any more."""
        seconds = self.random.choice((1, 3, LEASE + 1))
        self.log.say(f"writer {self.at.name}: stopped, {seconds} s")
        self._writer_in("stopped")
        pid = self.at.pid
        self.at.signal(signal.SIGSTOP)
        time.sleep(seconds)
        if seconds < LEASE / 2:
            self.at.signal(signal.SIGCONT)
            return self._survives()
        if not wait_until(lambda: is_gone(pid), LATE):
            raise AssertionError("a writer that is stopped lives on when its lease is over")
        command_of = self.random.choice(self.readers())
        self.at.digest()
        before = command_of.digest()
        self.at.signal(signal.SIGCONT)
        if not stays(lambda: command_of.digest() == before, 3):
            raise AssertionError("the vault was changed by a host whose lease was over")
        self.at.clear()
        return self._succeeded()

    def writer_is_killed(self):
        """The writer's daemon is killed, while it changes keys or while it doesn't."""
        changes = self.random.random() < 0.5
        self.log.say(f"writer {self.at.name}: killed{' while it changes keys' if changes else ''}")
        change = in_a_thread(self.change_keys) if changes else None
        time.sleep(self.random.uniform(0, 0.6))
        self._writer_in("killed")
        self.at.kill()
        self._after(change)
        self._succeeded()

    def writer_is_cut_off(self):
        """The writer's cable is pulled out, for less than its lease or for more; then its mount has ended."""
        seconds = self.random.choice((1, 5, LEASE + 1, 30))
        self.log.say(f"writer {self.at.name}: cut off, {seconds} s")
        self._writer_in("cut off")
        cut, alive = self.at, self.at.is_alive
        cut.host.link(up=False)
        try:
            time.sleep(seconds)
            if seconds > LEASE and wait_until(lambda: not alive(), LATE) is False:
                raise AssertionError("a writer that is cut off lives on when its lease is over")
            if self.cluster.fences and seconds > LEASE:
                # It is shut out, and may come back when another one writes.
                cut.abort()
                self._succeeded(self.random.choice(self.readers()), back=False)
        finally:
            cut.host.link(up=True)
        if cut is not self.at:
            cut.clear()
            time.sleep(5)
            cut.client_anew()
            return cut.read()
        if alive() and seconds < LEASE + LATE and wait_until(lambda: not alive() or cut.goes_on()) and alive():
            return self._survives()
        cut.clear()
        return self._succeeded()

    def writer_loses_power(self):
        """The writer's daemon and its client are killed; another host goes on once the cluster gives the lock."""
        if not self.cluster.forgets_the_dead:
            return self.writer_is_killed()
        self.log.say(f"writer {self.at.name}: without power")
        self._writer_in("without power")
        lost = self.at
        lost.lose_power()
        self._succeeded(self.random.choice(self.readers()), back=False)
        self.cluster.mount(lost.name)
        return lost.read()

    def _after(self, change):
        """Waits for a change of keys whose host was lost: it may have failed."""
        if change:
            with contextlib.suppress(AssertionError, subprocess.SubprocessError):
                change()

    def _survives(self):
        if not wait_until(lambda: not self.at.is_alive() or self.at.goes_on() or DISABLED in self._states()):
            raise AssertionError(f"{self.at.name} doesn't go on")
        if not self.at.is_alive():
            raise AssertionError(f"the mount of {self.at.name} has ended before its lease was over")
        with self.writer.turn:
            self._goes_on()
            self._settle()

    def _states(self):
        return [key.value for key in self.keys.values()]

    def _succeeded(self, to=None, back=True):
        """The writer's mount has ended: the same host goes on, or another one. With `back` the lost one reads then."""
        lost = self.at
        to = to or self.random.choice(self.members)
        if back and to is not lost and not self.cluster.fences:
            # As a person does who is going to say that it is dead.
            lost.client_anew()
        with self.writer.turn:
            if to is not lost:
                to.umount()
            self._write_from(to, lost=None if to is lost else lost.name)
        if back and to is not lost:
            lost.read()

    def _write_from(self, to, lost):
        """Mounts the vault on a host as the writer; has it say that `lost` is dead, if need be."""
        if to.pid is not None:
            to.umount()
        began, last = time.monotonic(), ""
        if lost and not self.cluster.fences:
            said = ("hosts", "evict", to.vault.path, lost, "--host-is-dead", "--drain", str(DRAIN), "--passfile", to.vault.passfile)
            while (done := to.vault.run(*said)).returncode:
                last = self._again(f"evict {lost}", done.stderr.strip(), last, began)
        while (done := to.vault.try_mount("--shared")).returncode:
            last = self._again("mount", done.stderr.strip(), last, began)
        to.vault.pid = to.vault.daemon_pid()
        self.log.say(f"{to.name} writes, after {time.monotonic() - began:.1f} s")
        self.at = to
        self.writer.directory = to.vault.mnt
        self._goes_on()
        self._settle()

    def _again(self, what, said, last, began):
        if said != last:
            self.log.note(f"{what}: {said}")
        if time.monotonic() - began > PATIENCE:
            raise AssertionError(f"{what} is still refused: {said}")
        time.sleep(1)
        return said

    def _settle(self):
        """Ends what was under way, keys first."""
        for key, register in self.keys.items():
            if not register.settled:
                self.switch(key, ENABLED)
        self.writer.settle()

    # -- runs --

    ACTIONS = (
        (30, fault_of_reader), (15, change_keys), (8, hand_over), (12, writer_stops), (12, writer_is_killed), (12, writer_is_cut_off),
        (6, writer_loses_power),
    )  # fmt: skip

    def act(self):
        """Something happens."""
        weights, actions = zip(*self.ACTIONS, strict=True)
        action = self.random.choices(actions, weights)[0]
        self.begun[action.__name__] = self.begun.get(action.__name__, 0) + 1
        action(self)
        if not self.wrong():
            self.writer.settle()
            time.sleep(self.random.uniform(0, 2))

    def at_random(self, seconds):
        """Lets that happen for a time."""
        end = time.monotonic() + seconds
        with self.running():
            while time.monotonic() < end and not self.wrong():
                self.act()

    def in_a_fixed_order(self):
        """A few things one after the other, and nothing at the same time: what scripts/test.sh runs."""
        readers = self.readers()
        self._steps(25)
        self.rotate()
        self._steps(5)
        with self.stopped(readers[0]):
            self.switch("default", DISABLED)
            self._show_nothing((*readers[1:], self.at))
        self._show_nothing(self.members)
        self.switch("default", ENABLED)
        self._steps(5)
        lost = self.at
        self._writer_in("stopped")
        lost.signal(signal.SIGSTOP)
        if not wait_until(lambda: is_gone(lost.pid), LEASE + LATE):
            raise AssertionError("a writer that is stopped lives on when its lease is over")
        lost.clear()
        self._succeeded(readers[0])
        self._steps(5)
        self.hand_over()
        self._steps(5)

    def _steps(self, count):
        """Steps of the writer; all hosts see what each has done."""
        for _ in range(count):
            self.writer.step()
            found = same(self.writer, [member.vault.mnt for member in self.members])
            if found:
                raise AssertionError(found[0])

    def _show_nothing(self, members):
        for member in members:
            if member.goes_on():
                raise AssertionError(f"{member.name} shows content under a key that is disabled")

    def judge(self, work):
        """Runs `work`, and looks at everything afterwards: what doesn't hold."""
        try:
            self.start()
            work()
            found = self.wrong()
            if not found:
                found = self._at_the_end()
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            found = [*self.wrong(), f"{type(error).__name__}: {error}"]
        for text in found:
            self.log.note(f"WRONG: {text}")
        for began, ended, what in self.writer.steps:
            self.log.note(f"to {ended:.3f} {what}", at=began)
        for member in self.members:
            for opened, what in member.reader.known:
                self.log.note(f"{member.name}: {what}", at=opened)
            with contextlib.suppress(OSError):
                member.host.link(up=True)
            member.vault.close()
        return found

    def _at_the_end(self):
        for member in self.members:
            member.reader.let_go()
        if not self.writer.settle():
            return ["what failed can't be looked at"]
        found = same(self.writer, [member.vault.mnt for member in self.members])
        for member in (*self.readers(), self.at):
            member.umount()
        for words in (("fsck",), ("events", "--verify")):
            done = self.at.vault.run(words[0], self.at.vault.path, *words[1:], "--passfile", self.at.vault.passfile, timeout=600)
            if done.returncode:
                found.append(f"{' '.join(words)}: {(done.stdout + done.stderr).strip()[-1000:]}")
        return found

    def summary(self):
        """What there was."""
        looks = [member.reader for member in self.members]
        sums = {name: sum(getattr(reader, name) for reader in looks) for name in ("seen", "in_between", "withheld", "failed", "stale", "zeros")}
        return f"{len(self.writer.steps)} steps; looks {sums}; {self.begun}"
