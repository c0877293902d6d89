"""The battery: what programs do, each case in an empty directory, on a cluster itself and on a vault that lies in it. Then what
is done with a vault: rotation, re-wrap, re-encryption, a check, a remount, and the same on another host."""

import errno
import fcntl
import json
import mmap
import os
import threading

import fsx
from harness import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, RENAME_EXCHANGE, RENAME_NOREPLACE, fallocate, renameat2, sh
from suite import Cases, Skip, command, equal, full_only, need, refused

GIT = {
    "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
}  # fmt: skip


class Battery(Cases):
    """On a cluster and on rekeyfs alike."""

    name = "battery"
    seconds = 900

    def _file(self, name="f", data=b""):
        """An open file with this content."""
        fd = os.open(self.dir / name, os.O_RDWR | os.O_CREAT, 0o644)
        self.descriptors.append(fd)
        os.pwrite(fd, data, 0)
        return fd

    def _kept_stat(self, name):
        """What the cluster has of a file's attributes: those of a mount may be the kernel's for a while."""
        path, vault = self.dir / name, self.place.vault
        return os.stat(vault.lower(path) if vault else path)

    # -- programs --

    def test_shell_tools(self):
        sh(
            "mkdir -p a/b; for i in $(seq 30); do head -c $((i * 3013)) /dev/urandom > a/f$i; done; : > a/empty;"
            "cp -r a c; diff -r a c; tar -cf pack a; mkdir d; tar -xf pack -C d; diff -r a d/a; ln -s a/f1 link;"
            "cmp link c/f1; mv c/f2 c/b/moved; cmp c/b/moved a/f2; printf 'one\\ntwo\\n' > t; sed -i s/two/three/ t;"
            "printf 'four\\n' >> t; test \"$(tr '\\n' ' ' < t)\" = 'one three four '; chmod 640 t; test $(stat -c %a t) = 640;"
            "chown 1:2 t; test $(stat -c %u:%g t) = 1:2; test $(find . -type f | wc -l) = 95;"
            "truncate -s 5000 a/f9; head -c 5000 d/a/f9 | cmp - a/f9; rm -r c; test ! -e c; mkdir c; rmdir c;"
            "n=$(printf 'n%.0s' $(seq 240)); echo long > $n; mv $n b$n; test \"$(cat b$n)\" = long; rm b$n; ls -la > /dev/null",
            self.dir,
        )  # fmt: skip

    @full_only
    def test_a_thousand_small_files(self):
        for number in range(1000):
            with open(self.dir / f"f{number}", "wb") as file:
                file.write(b"%d" % number * 20)
        equal(len(os.listdir(self.dir)), 1000, "names")
        for number in range(1000):
            equal((self.dir / f"f{number}").read_bytes(), b"%d" % number * 20, f"f{number}")

    @full_only
    def test_fio_verifies(self):
        need("fio")
        for how in ("--rw=randwrite --bsrange=1k-64k", "--rw=write --bs=1M --end_fsync=1"):
            command(
                "fio", "--name=verify", f"--filename={self.dir}/f", "--size=48M", *how.split(), "--ioengine=psync",
                "--verify=crc32c", "--verify_state_save=0", "--verify_fatal=1", "--do_verify=1", "--output-format=terse",
            )  # fmt: skip

    @full_only
    def test_fsx(self):
        """Without the calls that are missing here: other cases tell of them."""
        if not (self.options.tools / "bin/fsx").exists():
            raise Skip("fsx isn't installed")
        fd = self._file("probe", b"x" * 70_000)  # punched so that whole pages go
        can = {"punch": 4, "copy": 4}
        for name, call in (
            ("punch", lambda: fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 10_000, 50_000)),
            ("copy", lambda: os.copy_file_range(fd, self._file("to"), 4096, 0, 0)),
        ):
            try:
                call()
            except OSError:
                can[name] = 0
        written = self.options.work / "fsx.toml"
        written.write_text(fsx.config(lazy=True, allocate=0, **can))
        for seed in (1, 2):
            done = command(
                self.options.tools / "bin/fsx", "-q", "-f", written, "-N", 4000, "-S", seed,
                self.dir / f"fsx{seed}", check=False,
            )  # fmt: skip
            if done.returncode or "A-OK" not in done.stdout:
                raise AssertionError(f"seed {seed}: {' / '.join(done.stdout.strip().splitlines()[-8:])}")

    @full_only
    def test_git(self):
        need("git")
        sh(
            "git init -q -b main origin; cd origin; for i in $(seq 10); do seq $((i * 60)) > f$((i % 5)); git add -A;"
            "git commit -qm c$i; done; cd ..; git clone -q file://$PWD/origin far; git -C far gc -q --prune=now;"
            "for r in origin far; do git -C $r fsck --full --strict; test -z \"$(git -C $r status --porcelain)\"; done",
            self.dir, **GIT,
        )  # fmt: skip

    def _sqlite(self, mode):
        need("sqlite3")
        turns = 20 if self.options.quick else 100
        sh(
            f"sqlite3 db 'pragma journal_mode={mode}; create table t(n integer primary key, text)' > /dev/null;"
            f"for i in $(seq {turns}); do echo \"insert into t(text) values(hex(randomblob($((i * 50)))));\"; done > script;"
            "sqlite3 db < script; sqlite3 db 'delete from t where n % 2; vacuum'; sqlite3 db 'pragma integrity_check' > out;"
            f"sqlite3 db 'select count(*) from t' >> out; test \"$(tr '\\n' ' ' < out)\" = 'ok {turns // 2} '",
            self.dir,
        )  # fmt: skip

    def test_sqlite_rollback_journal(self):
        self._sqlite("delete")

    @full_only
    def test_sqlite_wal(self):
        self._sqlite("wal")

    # -- calls --

    @full_only
    def test_shared_memory_map(self):
        fd = self._file(data=bytes(100_000))
        with mmap.mmap(fd, 100_000) as mapped:
            mapped[50_000:50_004] = b"here"
            mapped.flush()
        equal(os.pread(fd, 4, 50_000), b"here", "through the descriptor")

    @full_only
    def test_direct_io(self):
        fd = os.open(self.dir / "f", os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
        self.descriptors.append(fd)
        with mmap.mmap(-1, 8192) as page:
            page[:] = b"d" * 8192
            equal(os.pwrite(fd, page, 4096), 8192, "written")
            equal(os.preadv(fd, [page], 0), 8192, "read")
            equal(page[:], bytes(4096) + b"d" * 4096, "content")

    def test_a_removed_file_that_is_open(self):
        fd = self._file(data=b"kept" * 5000)
        os.fsync(fd)
        os.unlink(self.dir / "f")
        equal(os.pread(fd, 20_000, 0), b"kept" * 5000, "content")
        os.pwrite(fd, b"more", 30_000)
        os.ftruncate(fd, 30_002)
        os.fchmod(fd, 0o600)
        os.fsync(fd)
        equal((os.fstat(fd).st_size, os.fstat(fd).st_mode & 0o777), (30_002, 0o600), "size and mode")

    def test_a_removed_file_that_is_opened_again(self):
        fd = self._file(data=b"kept" * 5000)
        os.unlink(self.dir / "f")
        with open(f"/proc/self/fd/{fd}", "rb") as again:
            equal(again.read(), b"kept" * 5000, "content")

    def test_a_file_renamed_over_while_it_is_open(self):
        fd = self._file(data=b"old")
        self._file("new", b"new")
        os.rename(self.dir / "new", self.dir / "f")
        equal((os.pread(fd, 9, 0), (self.dir / "f").read_bytes()), (b"old", b"new"), "old and new")

    def test_hard_links(self):
        self._file(data=b"one")
        os.link(self.dir / "f", self.dir / "g")
        (self.dir / "g").write_bytes(b"other")
        equal(((self.dir / "f").read_bytes(), os.stat(self.dir / "f").st_nlink), (b"other", 2), "content and links")
        os.unlink(self.dir / "f")
        equal((self.dir / "g").read_bytes(), b"other", "content")

    @full_only
    def test_fifos(self):
        os.mkfifo(self.dir / "p")
        sh("echo through > p & read -r text < p; test \"$text\" = through; wait", self.dir, timeout=20)

    def test_locks(self):
        one, other = self._file(), self._file()
        fcntl.flock(one, fcntl.LOCK_EX)
        refused(errno.EWOULDBLOCK, fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_rename_without_replacing(self):
        self._file("a")
        self._file("b")
        refused(errno.EEXIST, renameat2, self.dir / "a", self.dir / "b", RENAME_NOREPLACE)
        renameat2(self.dir / "a", self.dir / "c", RENAME_NOREPLACE)

    @full_only
    def test_rename_exchange(self):
        self._file("a", b"a")
        self._file("b", b"b")
        renameat2(self.dir / "a", self.dir / "b", RENAME_EXCHANGE)
        equal((self.dir / "a").read_bytes(), b"b", "content")

    def test_punching_holes(self):
        fd = self._file(data=b"x" * 100_000)
        fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 10_000, 50_000)
        equal(os.pread(fd, 100_000, 0), b"x" * 10_000 + bytes(50_000) + b"x" * 40_000, "content")

    def test_shrinking_and_growing(self):
        fd = self._file(data=b"x" * 100_000)
        for size in (50_001, 4068, 3044, 1, 90_000):
            os.ftruncate(fd, size)
        equal(os.pread(fd, 100_000, 0), b"x" + bytes(89_999), "content")

    @full_only
    def test_fallocate(self):
        fd = self._file(data=b"x")
        fallocate(fd, 0, 0, 100_000)
        equal(os.fstat(fd).st_size, 100_000, "size")

    @full_only
    def test_holes_are_seen(self):
        fd = self._file()
        os.pwrite(fd, b"end", 5 << 20)
        os.fsync(fd)
        equal(os.lseek(fd, 0, os.SEEK_DATA) > 0, True, "a hole before the data")

    @full_only
    def test_nanoseconds(self):
        self._file()
        os.utime(self.dir / "f", ns=(1_000_000_001, 1_500_000_000_987_654_321))
        equal(self._kept_stat("f").st_mtime_ns, 1_500_000_000_987_654_321, "time")

    @full_only
    def test_times_before_1970(self):
        self._file()
        os.utime(self.dir / "f", (-450_000_000, -450_000_000))
        equal(int(self._kept_stat("f").st_mtime), -450_000_000, "time")

    def test_attributes(self):
        self._file()
        os.setxattr(self.dir / "f", "user.note", b"text")
        equal(os.getxattr(self.dir / "f", "user.note"), b"text", "value")
        equal("user.note" in os.listxattr(self.dir / "f"), True, "listed")

    @full_only
    def test_attributes_of_2_kib(self):
        self._file()
        os.setxattr(self.dir / "f", "user.note", b"x" * 2000)
        equal(os.getxattr(self.dir / "f", "user.note"), b"x" * 2000, "value")

    @full_only
    def test_posix_acls(self):
        need("setfacl")
        sh("touch f; setfacl -m u:daemon:rw f; getfacl -c f | grep -q '^user:daemon:rw-'", self.dir)

    @full_only
    def test_directories_are_synced(self):
        os.mkdir(self.dir / "d")
        fd = os.open(self.dir / "d", os.O_RDONLY | os.O_DIRECTORY)
        self.descriptors.append(fd)
        os.fsync(fd)


class OfAVault(Cases):
    """What is done with a vault, its content compared each time. `place.vault` is mounted."""

    name = "vault"
    seconds = 300

    def _kept(self):
        """Files of this case; what they hold."""
        kept = {}
        for name, length in (("small", 100), ("page", 4068), ("large", 3 << 20)):
            kept[self.dir / name] = os.urandom(length)
            (self.dir / name).write_bytes(kept[self.dir / name])
        return kept

    def _same(self, kept):
        for path, data in kept.items():
            equal(path.read_bytes() == data, True, f"content of {path.name}")

    def test_rotate_rewrap_reencrypt(self):
        vault, kept = self.place.vault, self._kept()
        version = vault.rotate()["new_version"]
        vault.ok("rewrap", vault.mnt)
        for path in kept:
            equal(vault.version(path), version, f"key version of {path.name}")
        vault.ok("reencrypt", self.dir / "large")
        self._same(kept)

    def test_a_key_is_disabled_and_enabled(self):
        vault, kept = self.place.vault, self._kept()
        key = json.loads(vault.ok("kms", "describe-key", "--vault", vault.mnt, "--key-id", "alias/default"))
        words = ["--vault", vault.mnt, "--key-id", key["KeyMetadata"]["KeyId"]]
        vault.ok("kms", "disable-key", *words)
        try:
            refused(errno.ENOKEY, (self.dir / "large").read_bytes)
        finally:
            vault.ok("kms", "enable-key", *words)
        self._same(kept)

    def test_remounted_and_checked(self):
        vault, kept = self.place.vault, self._kept()
        vault.umount()
        try:
            found = vault.ok("fsck", vault.path, "--passfile", vault.passfile)
            equal("error" in found, False, found)
        finally:
            vault.mount(*self.mount_options)
        self._same(kept)

    @full_only
    def test_killed_and_mounted_again(self):
        vault, kept = self.place.vault, self._kept()
        for path in kept:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        vault.kill()
        vault.clear_stale_mountpoint()
        vault.mount(*self.mount_options)
        self._same(kept)

    def test_a_name_that_is_replaced_is_there_all_the_time(self):
        """Whoever opens it while a file is renamed over it gets one of the two."""
        path, beside, failed = self.dir / "f", self.dir / "beside", []
        path.write_bytes(b"first")
        ended = threading.Event()

        def opens():
            while not ended.is_set():
                try:
                    path.read_bytes()
                except OSError as error:
                    # As on NFS, if it was replaced twice meanwhile.
                    if error.errno != errno.ESTALE:
                        failed.append(error)

        threads = [threading.Thread(target=opens) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(300):
            beside.write_bytes(b"%d" % number)
            os.rename(beside, path)
        ended.set()
        for thread in threads:
            thread.join()
        equal([str(error) for error in failed[:1]], [], "errors")

    def test_another_host_is_refused_by_name(self):
        """The lock is the cluster's: the other host's own mount of the vault is refused, and it says who has it."""
        done = self.place.other.try_mount()
        if done.returncode == 0:
            self.place.other.umount()
        equal(done.returncode, 40, f"exit status; {done.stderr}")
        equal("h1" in done.stderr, True, done.stderr)

    def test_another_host_goes_on_after_a_host_was_lost(self):
        """The daemon is killed: its lock is free, and its record names the host. By itself where the cluster fences."""
        vault, other, kept = self.place.vault, self.place.other, self._kept()
        for path in kept:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        vault.kill()
        vault.clear_stale_mountpoint()
        try:
            if not json.loads(other.ok("hosts", other.path, "--json"))["fences"]:
                done = other.try_mount()
                equal((done.returncode, "host h1 ended" in done.stderr), (40, True), done.stderr)
                other.ok("hosts", "evict", other.path, "h1", "--host-is-dead", "--drain", 0, "--passfile", other.passfile)
            other.mount(*self.mount_options)
            try:
                self._same({other.mnt / path.relative_to(vault.mnt): data for path, data in kept.items()})
            finally:
                other.umount()
        finally:
            vault.mount(*self.mount_options)
        self._same(kept)

    def test_another_host_goes_on_after_an_unmount(self):
        """What one host wrote and unmounted is there on the other, and the other way round."""
        vault, other, kept = self.place.vault, self.place.other, self._kept()
        vault.umount()
        try:
            other.mount(*self.mount_options)
            try:
                there = {other.mnt / path.relative_to(vault.mnt): data for path, data in kept.items()}
                self._same(there)
                (other.mnt / self.dir.relative_to(vault.mnt) / "small").write_bytes(b"from the other host")
                other.rotate()
            finally:
                other.umount()
        finally:
            vault.mount(*self.mount_options)
        kept[self.dir / "small"] = b"from the other host"
        self._same(kept)

    def test_another_host_goes_on_after_a_rewrap(self):
        """What a host has cached of a header isn't taken for the one that another host has written since, by a re-wrap."""
        vault, other, path = self.place.vault, self.place.other, self.dir / "cut"
        data = os.urandom(5000)
        path.write_bytes(data)
        vault.umount()
        other.mount(*self.mount_options)
        other.umount()
        vault.mount(*self.mount_options)
        equal(path.read_bytes(), data, "content")
        vault.umount()
        try:
            other.mount(*self.mount_options)
            try:
                other.rotate()
                other.ok("rewrap", other.mnt)
            finally:
                other.umount()
        finally:
            vault.mount(*self.mount_options)
        os.truncate(path, 1926)
        equal(path.read_bytes(), data[:1926], "content")
