"""What becomes of files, open ones too, when their key is disabled, scheduled for deletion, and back."""

import ctypes
import errno
import mmap
import os
import signal
import subprocess
import sys
import threading

from harness import MountedTest, libc

LENGTH = 300_000
ENOKEY_OR_EIO = (errno.ENOKEY, errno.EIO)


def cached_pages(fd, length):
    """How many pages of a file the kernel has in its cache."""
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    at = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    pages = (length + 4095) // 4096
    present = (ctypes.c_ubyte * pages)()
    try:
        if libc.mincore(ctypes.c_void_p(at), ctypes.c_size_t(length), present):
            raise OSError(ctypes.get_errno(), "mincore")
    finally:
        libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(length))
    return sum(byte & 1 for byte in present)


class KeyStates(MountedTest):
    def setUp(self):
        super().setUp()
        self.other = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("create-alias", "--alias-name", "alias/finance", "--target-key-id", self.other)
        for name, alias in (("finance", b"alias/finance"), ("plain", b"alias/default")):
            os.mkdir(self.mnt / name)
            os.setxattr(self.mnt / name, "user.rekeyfs.alias", alias)
        self.mine = self.write("plain/mine", b"m" * LENGTH, fsync=True)
        self.theirs = self.write("finance/theirs", b"t" * LENGTH, fsync=True)

    def disable(self):
        self.kms("disable-key", "--key-id", self.other)

    def enable(self):
        self.kms("enable-key", "--key-id", self.other)

    def assertErrnoIn(self, errnos, call, *args):
        with self.assertRaises(OSError) as raised:
            call(*args)
        self.assertIn(raised.exception.errno, errnos)

    def test_handles_stop_with_their_key_and_go_on_with_it(self):
        with open(self.theirs, "r+b", buffering=0) as theirs, open(self.mine, "r+b", buffering=0) as mine:
            self.assertEqual(os.pread(theirs.fileno(), 4, 0), b"tttt")
            self.assertGreater(cached_pages(theirs.fileno(), LENGTH), 0)
            self.disable()
            self.assertEqual(cached_pages(theirs.fileno(), LENGTH), 0, "plaintext in the kernel's cache")
            self.assertErrnoIn(ENOKEY_OR_EIO, os.pread, theirs.fileno(), 4, 0)
            self.assertErrno(errno.ENOKEY, open, self.theirs, "rb")
            self.assertErrno(errno.ENOKEY, os.truncate, self.theirs, 0)
            self.assertErrno(errno.ENOKEY, os.ftruncate, theirs.fileno(), 0)
            self.assertEqual(os.fstat(theirs.fileno()).st_size, LENGTH)
            self.assertEqual(os.pread(mine.fileno(), 4, 0), b"mmmm")
            os.pwrite(mine.fileno(), b"M", 0)
            os.fsync(mine.fileno())
            self.enable()
            self.assertEqual(os.pread(theirs.fileno(), LENGTH + 1, 0), b"t" * LENGTH)
            os.pwrite(theirs.fileno(), b"after", LENGTH)
            os.fsync(theirs.fileno())
        self.assertEqual(self.read(self.theirs), b"t" * LENGTH + b"after")
        self.vault.remount()
        self.assertEqual(self.read(self.theirs), b"t" * LENGTH + b"after")

    def test_dirty_data_is_written_before_the_key_goes(self):
        fresh = self.mnt / "finance/fresh"
        with open(self.theirs, "r+b", buffering=0) as f, open(fresh, "xb", buffering=0) as new:
            with mmap.mmap(f.fileno(), LENGTH) as mapped:
                mapped[100_000:100_006] = b"mapped"
                os.pwrite(f.fileno(), b"written", 0)
                new.write(b"never had a header")
                self.disable()
                self.vault.kill()
                self.vault.clear_stale_mountpoint()
        self.vault.mount()
        self.assertErrno(errno.ENOKEY, open, self.theirs, "rb")
        self.enable()
        content = self.read(self.theirs)
        self.assertEqual((content[:7], content[100_000:100_006]), (b"written", b"mapped"))
        self.assertEqual(self.read(fresh), b"never had a header")

    def test_a_mapped_reader_faults_and_sees_nothing_stale(self):
        reader = """if True:
            import mmap, sys
            with open(sys.argv[1], "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                assert mapped[0] == ord("t") and mapped[200_000] == ord("t")
                print("mapped", flush=True)
                sys.stdin.readline()
                print(mapped[200_000], flush=True)
        """
        with subprocess.Popen(
            [sys.executable, "-c", reader, self.theirs], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            self.assertEqual(process.stdout.readline(), "mapped\n")
            self.disable()
            out, _ = process.communicate("go\n", timeout=60)
        self.assertEqual((process.returncode, out), (-signal.SIGBUS, ""))

    def test_what_is_written_later_is_refused_and_told_by_fsync(self):
        with open(self.theirs, "r+b", buffering=0) as f:
            self.disable()
            with self.assertRaises(OSError):
                # A write of whole pages may wait in the kernel: fsync tells.
                os.pwrite(f.fileno(), b"L" * 8192, 4096)
                os.fsync(f.fileno())
            self.enable()
            self.assertEqual(os.pread(f.fileno(), LENGTH, 0), b"t" * LENGTH)
            os.pwrite(f.fileno(), b"again", 0)
            os.fsync(f.fileno())
        self.assertEqual(self.read(self.theirs)[:6], b"againt")

    def test_pending_deletion_cancel_and_enable(self):
        with open(self.theirs, "rb", buffering=0) as f:
            self.assertEqual(f.read(1), b"t")
            self.kms("schedule-key-deletion", "--key-id", self.other, "--pending-window-in-days", "7",
                     "--force", "--passfile", self.vault.passfile)  # fmt: skip
            self.assertErrnoIn(ENOKEY_OR_EIO, f.read, 1)
            self.assertErrno(errno.ENOKEY, open, self.mnt / "finance/new", "xb")
            self.kms("cancel-key-deletion", "--key-id", self.other)
            self.assertErrnoIn(ENOKEY_OR_EIO, f.read, 1)
            self.enable()
            self.assertEqual(f.read(1), b"t")
        self.write("finance/new", b"n", fsync=True)

    def test_names_and_attributes_need_no_key(self):
        self.disable()
        os.rename(self.theirs, self.mnt / "plain/moved")
        self.assertEqual(os.stat(self.mnt / "plain/moved").st_size, LENGTH)
        os.chmod(self.mnt / "plain/moved", 0o600)
        os.link(self.mnt / "plain/moved", self.theirs)
        os.unlink(self.mnt / "plain/moved")
        self.enable()
        self.assertEqual(self.read(self.theirs), b"t" * LENGTH)

    def test_update_alias_and_rollback_with_open_files(self):
        second = self.kms("create-key")["KeyMetadata"]["KeyId"]
        with open(self.theirs, "r+b", buffering=0) as f:
            self.kms("update-alias", "--alias-name", "alias/finance", "--target-key-id", second)
            os.pwrite(f.fileno(), b"1", 0)
            os.fsync(f.fileno())
            self.vault.ok("rewrap", self.mnt)
            self.assertEqual(os.getxattr(self.theirs, "user.rekeyfs.key-id").decode(), second)
            # The old key is needed no more, by the open file neither.
            self.disable()
            self.assertEqual(os.pread(f.fileno(), 2, 0), b"1t")
            os.pwrite(f.fileno(), b"2", 1)
            os.fsync(f.fileno())
            self.enable()
            self.kms("update-alias", "--alias-name", "alias/finance", "--target-key-id", self.other)
            self.vault.ok("rewrap", self.mnt)
            self.kms("disable-key", "--key-id", second)
            self.assertEqual(os.pread(f.fileno(), 3, 0), b"12t")
        self.assertEqual(self.read(self.theirs)[:3], b"12t")

    def test_writers_beside_a_key_that_comes_and_goes(self):
        stop = threading.Event()
        trouble = []

        def work(n):
            path = self.mnt / f"finance/w{n}"
            try:
                with open(path, "r+b", buffering=0) as f:
                    while not stop.is_set():
                        try:
                            os.pwrite(f.fileno(), bytes([n + 65]) * 10_000, n * 1000)
                            if n % 4 == 0:
                                os.fsync(f.fileno())
                        except OSError as error:
                            if error.errno not in ENOKEY_OR_EIO:
                                raise
            except OSError as error:
                if error.errno not in ENOKEY_OR_EIO:
                    trouble.append(error)

        for n in range(16):
            self.write(f"finance/w{n}", b"")
        writers = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for writer in writers:
            writer.start()
        for _ in range(8):
            self.disable()
            self.vault.ok("rotate", self.mnt)
            self.enable()
            self.vault.ok("rotate", self.mnt, "--key-id", self.other)
            self.vault.ok("rewrap", self.mnt)
        stop.set()
        for writer in writers:
            writer.join(60)
            self.assertFalse(writer.is_alive(), "a writer that waits for ever")
        self.assertEqual(trouble, [])
        for n in range(16):
            content = self.read(self.mnt / f"finance/w{n}")
            self.assertLessEqual(set(content), {0, n + 65})
