"""Size and count: very many files, deep trees, long paths, huge sparse files; memory and descriptors of the daemon."""

import errno
import os
import pathlib
import resource
import time

import harness
from programs import copied_while_written
from suite import Cases, command, equal, full_only, refused

MIB = 1 << 20
RESIDENT_LIMIT = 300 * MIB
DESCRIPTOR_LIMIT = 1024  # whatever the daemon's own limit is: it may not need more for any of this
PER_DIRECTORY = 1000
TIB = 1 << 40


def resident(pid):
    """Resident memory of a process in bytes."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024


def drop_caches():
    """Has the kernel forget the inodes and names that nobody uses."""
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("2\n", encoding="ascii")


class Size(Cases):
    """How much there may be of everything."""

    name = "size"
    about = "very many files, depth, long paths, huge sparse files, a daemon with few descriptors and bounded memory"
    seconds = 6 * 3600

    def size(self):
        files = self.options.files
        return f"{files:,} files in a tree, {files // 5:,} in a directory, {self._depth()} levels"

    def _depth(self):
        return 100 if self.options.quick else 1000

    def _tree(self, files):
        """Makes a tree of small files, a thousand in each directory."""
        for number in range(0, files, PER_DIRECTORY):
            directory = os.path.join(self.dir, f"d{number // PER_DIRECTORY}")
            os.mkdir(directory)
            for within in range(min(PER_DIRECTORY, files - number)):
                fd = os.open(os.path.join(directory, f"file{number + within}"), os.O_WRONLY | os.O_CREAT, 0o644)
                os.write(fd, b"%d" % (number + within))
                os.close(fd)

    def _walk(self, files, read_every):
        """Walks, and looks at everything: each file is there once, with its size."""
        found = 0
        for directory, _, names in os.walk(self.dir):
            for name in names:
                number = int(name[4:])
                path = os.path.join(directory, name)
                equal(os.lstat(path).st_size, len(str(number)), path)
                if number % read_every == 0:
                    with open(path, "rb") as file:
                        equal(file.read(), b"%d" % number, path)
                found += 1
        equal(found, files, "files found")

    def _daemon(self, what):
        """The daemon's resident memory now, held against the limit, and its descriptors."""
        if not self.place.vault:
            return 0
        pid = self.place.vault.pid
        memory, descriptors = resident(pid), len(os.listdir(f"/proc/{pid}/fd"))
        print(f"  {what}: {memory / MIB:.0f} MiB resident, {descriptors} descriptors", flush=True)
        equal(memory < RESIDENT_LIMIT, True, f"{memory} bytes resident {what}")
        equal(descriptors < DESCRIPTOR_LIMIT, True, f"{descriptors} descriptors {what}")
        return memory

    def test_many_files_in_a_tree(self):
        files = self.options.files
        began = time.monotonic()
        self._tree(files)
        self._daemon(f"{files} files made in {time.monotonic() - began:.0f} s")
        drop_caches()
        began = time.monotonic()
        self._walk(files, 100)
        walked = self._daemon(f"walked in {time.monotonic() - began:.0f} s")
        if self.place.vault:
            drop_caches()
            dropped = harness.wait_until(lambda: resident(self.place.vault.pid) < max(walked // 2, 60 * MIB), 60)
            equal(bool(dropped), True, f"memory falls from {walked} bytes after drop_caches, to {resident(self.place.vault.pid)}")
            self._daemon("after drop_caches")
            self._walk_with_1024_descriptors(files)
        began = time.monotonic()
        command("rm", "-r", self.dir, timeout=self.seconds)
        self._daemon(f"deleted in {time.monotonic() - began:.0f} s")
        self.dir.mkdir()

    def _walk_with_1024_descriptors(self, files):
        """All of it once more by a daemon under `ulimit -n 1024`, while several hundred files are held open."""
        self._remount_with_1024_descriptors()
        try:
            held = [open(self.dir / "d0" / f"file{number}", "rb") for number in range(min(400, files))]
            began = time.monotonic()
            self._walk(files, 100)
            self._daemon(f"walked with 1024 descriptors in {time.monotonic() - began:.0f} s")
            for number, file in enumerate(held):
                equal(file.read(), b"%d" % number, "a file held open")
                file.close()
        finally:
            os.chdir("/")
            self.place.vault.remount(*self.mount_options)

    def test_many_files_in_one_directory(self):
        files = max(self.options.files // 5, 2)
        for number in range(files):
            os.close(os.open(self.dir / f"{number:07}-{'x' * (number % 50)}", os.O_CREAT | os.O_WRONLY, 0o644))
        drop_caches()
        names = os.listdir(self.dir)
        equal((len(names), len(set(names))), (files, files), "names listed, each once")
        equal(sum(1 for entry in os.scandir(self.dir) if entry.stat().st_size == 0), files, "entries with attributes")
        self._daemon(f"{files} files in one directory listed")
        # Deleting while listing takes the others along.
        with os.scandir(self.dir) as entries:
            for entry in entries:
                os.unlink(entry.path)
        equal(os.listdir(self.dir), [], "after deleting along the listing")

    def _remount_with_1024_descriptors(self):
        vault = self.place.vault
        os.chdir("/")
        vault.umount()
        mount = (harness.BIN, "mount", vault.path, vault.mnt, "--passfile", vault.passfile, *self.mount_options)
        command("bash", "-c", 'ulimit -n 1024; exec "$@"', "-", *mount, env=vault.env)
        vault.pid = vault.daemon_pid()
        equal(resource.prlimit(vault.pid, resource.RLIMIT_NOFILE), (1024, 1024), "the daemon's limit")

    def test_depth_of_a_thousand(self):
        depth = self._depth()
        os.chdir(self.dir)
        for level in range(depth):
            os.mkdir(f"level{level}")
            os.chdir(f"level{level}")
        pathlib.Path("leaf").write_bytes(b"deep down")
        os.chdir(self.dir)
        drop_caches()
        for level in range(depth):
            os.chdir(f"level{level}")
        equal(pathlib.Path("leaf").read_bytes(), b"deep down", "the leaf")
        # Its top moves: all below must still be found.
        os.rename(self.dir / "level0", self.dir / "moved")
        equal(pathlib.Path("leaf").read_bytes(), b"deep down", "after a move at the top")
        os.chdir(self.dir)
        found = command("find", "moved", "-type", "d").stdout.splitlines()
        equal(len(found), depth, "directories in a walk")
        command("rm", "-r", "moved")

    def test_a_path_of_4095_bytes(self):
        os.chdir(self.dir)
        prefix = len(os.fsencode(self.dir))
        path = str(self.dir)
        while prefix + 256 < 4095 - 12:
            path += "/" + "d" * 200
            os.mkdir(path)
            prefix = len(os.fsencode(path))
        path += "/" + "f" * (4095 - prefix - 1)
        equal(len(path), 4095, "length")
        for _ in range(2):
            pathlib.Path(path).write_bytes(b"x")
            equal(pathlib.Path(path).read_bytes(), b"x", "at the end of the longest path")
            drop_caches()
        os.rename(path, path[:-1] + "g")
        refused(errno.ENAMETOOLONG, os.stat, path + "h")
        (self.dir / ("n" * 255)).write_bytes(b"")
        refused(errno.ENAMETOOLONG, (self.dir / ("n" * 256)).write_bytes, b"")

    def test_a_sparse_file_of_a_tebibyte(self):
        path = self.dir / "sparse"
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        places = [0, 5 * MIB, TIB // 3, TIB // 2 + 1, TIB - 4]
        for place in places:
            os.pwrite(fd, b"here", place)
        os.fsync(fd)
        equal(os.fstat(fd).st_size, TIB, "size")
        equal(os.fstat(fd).st_blocks * 512 < MIB, True, f"{os.fstat(fd).st_blocks} blocks")
        os.close(fd)
        drop_caches()
        fd = os.open(path, os.O_RDWR)
        found, at = [], 0
        while True:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as error:
                equal(error.errno, errno.ENXIO, "SEEK_DATA at the end")
                break
            end = os.lseek(fd, at, os.SEEK_HOLE)
            found.append((at, end))
            at = end
        equal(len(found), len(places), f"pieces of data: {found}")
        for place in places:
            equal(any(start <= place and place + 4 <= end for start, end in found), True, f"data at {place}")
            equal(os.pread(fd, 4, place), b"here", f"at {place}")
        equal(os.pread(fd, 100, TIB // 4), bytes(100), "in a hole")
        os.ftruncate(fd, TIB // 2)
        os.ftruncate(fd, 2 * TIB)
        equal(os.pread(fd, 100, TIB // 2), bytes(100), "truncated and grown")
        os.close(fd)

    def test_a_file_copied_while_it_is_written(self):
        copied_while_written(self.dir / "growing", self.dir / "copy")

    @full_only
    def test_a_file_of_many_gibibytes(self):
        """Written and read once, with more than memory's share of it dirty."""
        block = os.urandom(MIB)
        count = 6 * 1024
        with open(self.dir / "f", "wb") as file:
            for number in range(count):
                file.write(number.to_bytes(8, "little") + block[8:])
        drop_caches()
        with open(self.dir / "f", "rb") as file:
            for number in range(count):
                equal(file.read(MIB) == number.to_bytes(8, "little") + block[8:], True, f"MiB {number}")
        self._daemon("after 6 GiB")
