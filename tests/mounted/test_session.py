"""The session with the kernel: it ends promptly in every way it can end, also under load and while syncs run, and it costs
nothing while nobody uses the mount."""

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from harness import BASE, Vault, is_gone, wait_until

# What would be waited for by mistake doesn't come at all.
PROMPTLY = 30
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.contextmanager
def load(directory):
    """Threads that create, sync, look up and remove files for as long as that works."""
    stop = threading.Event()

    def work(number):
        with contextlib.suppress(OSError):
            for turn in range(1 << 30):
                if stop.is_set():
                    return
                path = directory / f"{number}-{turn}"
                with open(path, "wb", buffering=0) as file:
                    file.write(b"x" * 5000)
                    if turn % 4 == 0:
                        os.fsync(file.fileno())
                os.path.exists(f"{path}-not")
                path.unlink()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Session(unittest.TestCase):
    def setUp(self):
        BASE.mkdir(parents=True, exist_ok=True)
        self.dir = tempfile.TemporaryDirectory(dir=BASE)
        self.addCleanup(self.dir.cleanup)
        self.v = Vault(self.dir.name)
        self.addCleanup(self.v.close)
        self.v.mount()

    def ends(self, pid):
        self.assertTrue(wait_until(lambda: is_gone(pid), PROMPTLY), "the daemon is still there")
        self.v.pid = None

    def abort_connection(self):
        connections = pathlib.Path("/sys/fs/fuse/connections")
        if not os.path.ismount(connections):
            subprocess.run(["mount", "-t", "fusectl", "fusectl", connections], check=True)
            self.addCleanup(subprocess.run, ["umount", connections], check=True)
        (connections / str(os.minor(os.stat(self.v.mnt).st_dev)) / "abort").write_text("1")

    def test_it_is_unmounted_at_once_after_work(self):
        for _ in range(5):
            with load(self.v.mnt):
                time.sleep(0.2)
            pid, began = self.v.pid, time.monotonic()
            self.v.umount()
            self.assertLess(time.monotonic() - began, PROMPTLY)
            self.ends(pid)
            self.v.mount()

    def test_a_lazy_unmount_under_load_ends_with_its_last_user(self):
        pid = self.v.pid
        with open(self.v.mnt / "held", "wb", buffering=0) as file:
            with load(self.v.mnt):
                time.sleep(0.2)
                self.v.ok("umount", "--lazy", self.v.mnt)
            file.write(b"still served")
            os.fsync(file.fileno())
            self.assertFalse(is_gone(pid))
        self.ends(pid)
        self.v.mount()
        self.assertEqual((self.v.mnt / "held").read_bytes(), b"still served")

    def test_sigterm_under_load_and_at_rest_ends_it(self):
        for busy in (True, False):
            pid = self.v.pid
            with load(self.v.mnt) if busy else contextlib.nullcontext():
                time.sleep(0.2)
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda: not self.v.is_mounted())
            self.ends(pid)
            self.v.mount()

    def test_a_connection_that_is_aborted_ends_it(self):
        if os.geteuid() != 0:
            self.skipTest("takes root")
        for busy in (True, False):
            pid = self.v.pid
            with load(self.v.mnt) if busy else contextlib.nullcontext():
                time.sleep(0.2)
                self.abort_connection()
            self.ends(pid)
            self.v.clear_stale_mountpoint()
            self.v.mount()

    def test_a_mount_at_rest_takes_no_processor_time(self):
        with load(self.v.mnt):
            time.sleep(0.5)

        def rests():
            before = cpu_seconds(self.v.pid)
            time.sleep(2)
            return cpu_seconds(self.v.pid) - before <= 0.05

        # A busy machine lets it end later what the load has left to be done.
        self.assertTrue(wait_until(rests))

    def companion(self):
        """The time in ns that the daemon's thread of SCHED_IDLE has run; None if there is no such thread."""
        for thread in pathlib.Path(f"/proc/{self.v.pid}/task").iterdir():
            if os.sched_getscheduler(int(thread.name)) == os.SCHED_IDLE:
                return int((thread / "schedstat").read_text().split()[0])
        return None

    def work_alone(self, times):
        for n in range(times):
            path = self.v.mnt / f"alone-{n}"
            path.write_bytes(b"x" * 100)
            path.unlink()

    def test_a_program_that_works_alone_is_served_on_its_core_and_nothing_waits_for_that(self):
        cores = len(os.sched_getaffinity(0))
        if cores < 2:
            self.skipTest("takes two cores")

        took = []

        def works():
            before, began = self.companion() or 0, time.monotonic()
            self.work_alone(200)
            took.append(time.monotonic() - began)
            return (self.companion() or 0) > before

        if not wait_until(works, 30) and os.getloadavg()[0] < cores:
            # Where a host takes the cores away requests come too slowly for it.
            self.assertGreater(min(took), 0.2, "requests come closely, and yet the core isn't shared")
        # What comes last on its core holds up nobody where all cores are busy, nor two programs at once.
        hogs = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(cores * 2)]
        try:
            began = time.monotonic()
            self.work_alone(300)
            with load(self.v.mnt):
                self.work_alone(300)
            self.assertLess(time.monotonic() - began, 240)
            pid, began = self.v.pid, time.monotonic()
            self.v.umount()
            self.assertLess(time.monotonic() - began, PROMPTLY)
            self.ends(pid)
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        self.v.mount()
        self.work_alone(300)
        pid, began = self.v.pid, time.monotonic()
        self.v.umount()
        self.assertLess(time.monotonic() - began, PROMPTLY, "a thread that nobody called for was waited for")
        self.ends(pid)
        self.v.mount()

    def test_many_syncs_at_once_are_all_answered_and_others_are_served_meanwhile(self):
        files = [open(self.v.mnt / f"file-{n}", "wb", buffering=0) for n in range(40)]

        def write_and_sync(file):
            for _ in range(10):
                file.write(b"x" * 10_000)
                os.fsync(file.fileno())

        threads = [threading.Thread(target=write_and_sync, args=(file,)) for file in files]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.assertFalse(os.path.exists(self.v.mnt / f"none-{time.monotonic_ns()}"))
        for thread in threads:
            thread.join()
        for n, file in enumerate(files):
            file.close()
            self.assertEqual(os.path.getsize(self.v.mnt / f"file-{n}"), 100_000)


if __name__ == "__main__":
    unittest.main()
