"""Records a workload, and checks a rebuilt disk. Everything lies in a box: a tmpfs in the rig's own mount namespace."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import kernel
import recorder
from disk import copy
from systems import Broken, run, unmount

IMAGE_SIZE = 96 << 20
_CHECK_SECONDS = 90


class Interrupted(Exception):
    """Ctrl-C, SIGTERM or SIGHUP."""


class RigError(Exception):
    """The rig itself failed, which says nothing about a filesystem."""


def _interrupt(_number, _frame):
    raise Interrupted


class Box:
    """The place where it all happens, and where its parts are."""

    def __init__(self, binary):
        self.binary = binary
        self.path = tempfile.mkdtemp(prefix="powercut-")
        kernel.mount("powercut", self.path, "tmpfs", 0, "mode=711")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        self.lower = self._directory("lower")
        self.mnt = self._directory("mnt")
        self.rec = self._directory("rec")
        self.runtime = self._directory("runtime")
        os.chmod(self.runtime, 0o700)
        self.image = os.path.join(self.path, "cut.img")
        self.spare = os.path.join(self.path, "repaired.img")
        self.passfile = os.path.join(self.path, "passfile")
        with open(self.passfile, "w", encoding="ascii") as file:
            file.write("a passphrase\n")

    def _directory(self, name):
        path = os.path.join(self.path, name)
        os.mkdir(path)
        return path

    def fresh(self, name):
        """An empty directory, new each time."""
        path = os.path.join(self.path, name)
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path)
        return path

    def clear(self):
        """Takes down whatever is mounted, in order; lazily where it is in use."""
        for place in (self.mnt, self.lower, self.rec):
            while os.path.ismount(place):
                try:
                    unmount(place)
                except Broken:
                    subprocess.run(["umount", "-l", place], capture_output=True, check=False)
        shutil.rmtree(self.runtime, ignore_errors=True)
        os.mkdir(self.runtime, 0o700)

    def close(self):
        """Leaves nothing behind."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.clear()
        subprocess.run(["umount", "-l", self.path], check=False)
        os.rmdir(self.path)


def fork(work):
    """Runs `work` in a child process that dies with this one; returns its id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        kernel.die_with_parent()
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        work()
        status = 0
    except Exception as problem:  # a child of fork must not return into its parent's code
        sys.stderr.write(f"\n{problem!r}\n")
    os._exit(status)


def _finish(child, what, seconds):
    """Waits for a child; RigError if it failed or took too long."""
    deadline = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            if status:
                raise RigError(f"{what} failed with status {os.waitstatus_to_exitcode(status)}")
            return
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise RigError(f"{what} did not end in time")
        time.sleep(0.01)


def mount_image(image, place):
    """Mounts the ext4 of an image."""
    # commit=1: the journal commits each second by itself, so that metadata gets ahead of what was synced.
    run("mount", "-t", "ext4", "-o", "loop,commit=1,noatime", image, place)


def record(box, directory, system, workload, beside, seed, seconds):
    """Runs a workload over a recorded disk. Leaves base.img, log.idx and log.dat in `directory`, and the disk as it was
    after a clean unmount in the place of cut disks."""
    base, current = os.path.join(directory, "base.img"), box.image
    with open(base, "wb") as file:
        file.truncate(IMAGE_SIZE)
    run("mkfs.ext4", "-q", "-b", "4096", "-J", "size=4", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", base)
    try:
        mount_image(base, box.lower)
        system.prepare()
        if hasattr(workload, "prepare"):
            system.mount()
            workload.prepare(system.root)
            system.umount()
        unmount(box.lower)
        copy(base, current)
        serving = recorder.start(current, directory, box.rec)
        mount_image(os.path.join(box.rec, "disk.img"), box.lower)
        system.mount()
        _work(box, system, workload, beside, seed, seconds)
        system.umount()
        unmount(box.lower)
        unmount(box.rec)
        _finish(serving, "the recorder", 30)
    finally:
        box.clear()


def _work(box, system, workload, beside, seed, seconds):
    marks = os.open(os.path.join(box.rec, "mark"), os.O_WRONLY)

    def mark(promise):
        os.write(marks, json.dumps(promise).encode())

    started = time.monotonic()

    def stop():
        return time.monotonic() > started + seconds

    mark({"run": "begin"})
    helpers = [fork(lambda: _stir(box, system, random.Random(f"{seed} stir"), stop))]
    if beside:
        helpers.append(fork(lambda: system.beside(mark, random.Random(f"{seed} beside"), stop)))
    worker = fork(lambda: workload.run(system.root, mark, seed, stop))
    try:
        _finish(worker, f"{workload.name} on {system.name}", seconds + 60)
        for helper in helpers:
            _finish(helper, f"what runs beside {workload.name} on {system.name}", 60)
        mark({"run": "end"})
    finally:
        os.close(marks)


def _stir(box, system, rng, stop):
    """Does what a busy machine does beside a workload: writes dirty pages back at any time, and has the journal
    commit, in any order with the workload's own syncs. Nothing is promised by it."""
    noise = os.open(os.path.join(box.lower, "noise"), os.O_RDWR | os.O_CREAT, 0o600)
    while not stop():
        time.sleep(rng.random() * 0.03)
        if rng.random() < 0.15:
            os.pwrite(noise, b"noise", rng.randrange(8192))
            os.fsync(noise)
            continue
        top = rng.choice((system.root, system.under(), system.under()))
        files = [os.path.join(at, name) for at, _, names in os.walk(top) for name in names]
        rng.shuffle(files)
        for path in files[:5]:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            except OSError:
                continue  # gone, or a symlink
            try:
                kernel.start_writeback(fd)
            except OSError:
                pass  # the workload's own syncs are where an error counts
            finally:
                os.close(fd)
    os.close(noise)


def check(box, system, workload, marks):
    """Mounts the rebuilt disk and holds it against the promises; what doesn't hold, as sentences. Where the filesystem's
    own check finds something to repair, the promises hold as the disk is and on a copy that was repaired."""
    problems = []
    try:
        mount_image(box.image, box.lower)
        if system.needs_repair(marks):
            unmount(box.lower)
            copy(box.image, box.spare)
            mount_image(box.spare, box.lower)
            system.repair(marks)
            problems = [f"after fsck --repair: {problem}" for problem in _promises(box, system, workload, marks)]
            system.set_aside(marks)
            unmount(box.lower)
            mount_image(box.image, box.lower)
        return problems + _promises(box, system, workload, marks)
    except Broken as problem:
        return problems + [str(problem)]
    finally:
        box.clear()


def _promises(box, system, workload, marks):
    """Mounts the filesystem on the mounted lower one, and checks."""
    try:
        system.mount(marks)
    except Broken as problem:
        return [f"{system.name} does not mount: {problem}"]
    problems = _checked_apart(lambda: workload.check(system.root, marks) + system.check(marks))
    try:
        system.umount()
    except Broken as problem:
        problems.append(str(problem))
    return problems


def _checked_apart(work):
    """Runs a check in a process of its own, so that a filesystem that hangs is a finding."""
    read, write = os.pipe()

    def report():
        try:
            problems = work()
        except Broken as problem:
            problems = [str(problem)]
        # Short enough for the pipe to take it before anyone reads.
        os.write(write, json.dumps([problem[:1000] for problem in problems[:12]]).encode())

    child = fork(report)
    os.close(write)
    try:
        _finish(child, "the check", _CHECK_SECONDS)
    except RigError as problem:
        return [str(problem)]
    finally:
        reply = os.read(read, 1 << 20)
        os.close(read)
    return json.loads(reply)
