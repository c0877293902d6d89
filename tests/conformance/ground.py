"""Where suites run: an ext4 on a loop image, and rekeyfs mounts whose vaults lie in that same ext4."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading

import harness
from suite import command, remove

IMAGE_GIB = 40


class Place:
    """A directory under test. `vault` is None on ext4 itself."""

    def __init__(self, name, root, vault=None):
        self.name = name
        self.root = pathlib.Path(root)
        self.vault = vault

    @contextlib.contextmanager
    def rotating(self, every=1.0):
        """Rotations and sweeps one after the other beside what runs inside; their failure is raised at the end.
        Nothing on ext4."""
        if self.vault is None:
            yield
            return
        stop, errors = threading.Event(), []

        def work():
            try:
                while not stop.is_set():
                    self.vault.rotate()
                    stop.wait(every / 2)
                    self.vault.ok("rewrap", self.vault.mnt)
                    stop.wait(every / 2)
            except (AssertionError, subprocess.SubprocessError) as error:
                errors.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            stop.set()
            worker.join()
        if errors:
            raise errors[0]


class Ground:
    """The image, mounted; made and taken down with `with`. Runs in a mount namespace of its own."""

    def __init__(self, image, binary):
        self.image = pathlib.Path(image)
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="rkf-"))
        self.lower = self.base / "lower"
        self.work = self.base / "work"
        self._binary = binary

    def __enter__(self):
        os.chmod(self.base, 0o755)
        self.lower.mkdir()
        self.work.mkdir()
        # Other users run it too: it must lie where they can reach it.
        harness.BIN = str(shutil.copy(self._binary, self.work / "rekeyfs"))
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_GIB << 30)
        command("mkfs.ext4", "-q", "-b", 4096, "-E", "lazy_itable_init=1,lazy_journal_init=1", self.image)
        command("mount", "-o", "loop,noinit_itable,discard", self.image, self.lower)
        return self

    def __exit__(self, *_):
        os.chdir("/")
        subprocess.run(["umount", "-l", self.lower], check=False, capture_output=True)
        with contextlib.suppress(OSError):
            self.image.unlink()
        shutil.rmtree(self.base, ignore_errors=True)

    @contextlib.contextmanager
    def ext4(self, name):
        """An empty directory of the ext4."""
        root = self.lower / f"{name}-ext4"
        root.mkdir()
        os.chmod(root, 0o777)
        try:
            yield Place("ext4", root)
        finally:
            remove(root)

    @contextlib.contextmanager
    def rekeyfs(self, name, options):
        """A fresh vault, mounted."""
        base = self.lower / f"{name}-vault"
        base.mkdir()
        vault = harness.Vault(base)
        try:
            vault.mount(*options)
            os.chmod(vault.mnt, 0o777)
            yield Place("rekeyfs", vault.mnt, vault)
        finally:
            vault.close()
            remove(base)
