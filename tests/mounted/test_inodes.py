"""Who is who: inodes whose numbers are used again, names that go while they are looked at, attributes and ACLs of
what isn't a file."""

import ctypes
import errno
import json
import os
import socket
import stat
import struct
import subprocess
import threading
import time

from harness import BIN, PATIENCE, MountedTest, libc

ALIAS = "user.rekeyfs.alias"
ACL = "system.posix_acl_access"


def handle_of(path):
    """The file handle that an NFS server would give out."""
    handle = ctypes.create_string_buffer(136)
    struct.pack_into("Ii", handle, 0, 128, 0)
    mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, os.fsencode(path), handle, ctypes.byref(mount), 0) < 0:
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    return handle


def open_handle(mount, handle, flags=os.O_RDONLY):
    fd = libc.open_by_handle_at(mount, handle, flags)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "open_by_handle_at")
    return fd


class Inodes(MountedTest):
    def setUp(self):
        super().setUp()
        self.need_root()

    def test_the_handle_of_a_removed_file_finds_no_other_one(self):
        mount = os.open(self.mnt, os.O_RDONLY)
        self.addCleanup(os.close, mount)
        reuses = self.lower_fs() in ("ext4", "xfs")
        reused = turns = 0
        deadline = time.monotonic() + 60
        # What else makes files on that disk meanwhile takes numbers, too: it goes on until one was used again.
        while turns < 200 or (reuses and not reused and time.monotonic() < deadline):
            turns += 1
            old = self.write("old", b"old")
            handle, ino = handle_of(old), os.stat(old).st_ino
            os.unlink(old)
            new = self.write("new", b"another user's")
            if os.stat(new).st_ino == ino:
                reused += 1
                self.assertErrno(errno.ESTALE, open_handle, mount, handle, os.O_RDWR)
            self.assertEqual(self.read(new), b"another user's")
            os.unlink(new)
        if reuses:
            self.assertGreater(reused, 0)

    def lower_fs(self):
        found = subprocess.run(["stat", "-f", "-c", "%T", self.vault.path], capture_output=True, text=True, check=True)
        return {"ext2/ext3": "ext4"}.get(found.stdout.strip(), found.stdout.strip())

    def test_the_handle_of_a_file_is_good_in_the_next_mount_too(self):
        handle = handle_of(self.write("f", b"content"))
        self.vault.remount()
        mount = os.open(self.mnt, os.O_RDONLY)
        try:
            os.stat(self.mnt / "f")
            fd = open_handle(mount, handle)
            self.assertEqual(os.read(fd, 99), b"content")
            os.close(fd)
        finally:
            os.close(mount)

    def test_files_that_are_held_without_a_name_stay_themselves(self):
        held = []
        os.mkdir(self.mnt / "d")
        for i in range(300):
            path = self.write(f"f{i}", b"held %d" % i)
            os.link(path, self.mnt / f"d/l{i}")
            held.append(os.open(path, os.O_PATH))
            os.unlink(path)
        for i in range(300):
            os.unlink(self.mnt / f"d/l{i}")
        for i in range(300):
            self.write(f"new{i}", b"new")
        for i, fd in enumerate(held):
            self.assertEqual(os.fstat(fd).st_nlink, 0)
            self.assertEqual(self.read(f"/proc/self/fd/{fd}"), b"held %d" % i)
            os.close(fd)

    def test_a_file_that_is_re_encrypted_always_has_its_link(self):
        names = [f"f{i}" for i in range(4)]
        for name in names:
            self.write(name, os.urandom(3000))
        began, counts = time.monotonic(), {"renewed": 0}

        def goes_on():
            """For some seconds, and until some of it has been done on a busy machine too."""
            took = time.monotonic() - began
            return took < 6 or (counts["renewed"] <= 5 and took < PATIENCE)

        def reencrypt():
            while goes_on():
                done = self.vault.run("reencrypt", "-r", self.mnt, "--json")
                counts["renewed"] += json.loads(done.stdout)["reencrypted"]

        worker = threading.Thread(target=reencrypt)
        worker.start()
        directory = os.open(self.mnt, os.O_RDONLY)
        at, wrong = {"dir_fd": directory}, []
        while goes_on():
            for name in names:
                os.chmod(name, 0o640, **at)
                if (links := os.stat(name, **at).st_nlink) != 1:
                    wrong.append(links)
                os.link(name, "t" + name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
                os.unlink("t" + name, **at)
        worker.join()
        os.close(directory)
        self.assertEqual(wrong, [])
        self.assertGreater(counts["renewed"], 5)

    def test_long_names_that_move_while_they_are_listed_are_no_damage(self):
        os.mkdir(self.mnt / "d")
        long = "L" * 190
        for i in range(400):
            (self.mnt / f"d/{i}{long}").touch()
        began, looked = time.monotonic(), {"listings": 0, "sweeps": 0}

        def goes_on():
            took = time.monotonic() - began
            return took < 8 or (min(looked.values()) <= 3 and took < PATIENCE)

        def lister():
            while goes_on():
                os.listdir(self.mnt / "d")
                looked["listings"] += 1

        def sweeper():
            while goes_on():
                subprocess.run([BIN, "rewrap", self.mnt], capture_output=True, env=self.vault.env, check=True)
                looked["sweeps"] += 1

        def mover(first):
            i = first
            while goes_on():
                i = (i + 7) % 400
                os.rename(self.mnt / f"d/{i}{long}", self.mnt / f"d/x{i}-{first}{long}")
                os.rename(self.mnt / f"d/x{i}-{first}{long}", self.mnt / f"d/{i}{long}")

        threads = [threading.Thread(target=lister), threading.Thread(target=sweeper)]
        threads += [threading.Thread(target=mover, args=(0,))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertGreater(min(looked.values()), 3, looked)
        self.assertEqual(self.vault.events("Damaged Ciphertext"), [])
        self.assertIn("nothing found", self.vault.ok("fsck", self.mnt))

    def test_what_is_neither_file_nor_directory_keeps_its_attributes(self):
        os.symlink("target", self.mnt / "link")
        os.mkfifo(self.mnt / "fifo")
        os.mknod(self.mnt / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        with socket.socket(socket.AF_UNIX) as listening:
            here = os.getcwd()
            os.chdir(self.mnt)
            listening.bind("socket")
            os.chdir(here)
        names = ["link", "fifo", "device", "socket"]
        for name in names:
            for attribute in ("trusted.t", "security.selinux"):
                os.setxattr(self.mnt / name, attribute, b"a label", follow_symlinks=False)
        self.vault.remount()
        for name in names:
            path = self.mnt / name
            self.assertEqual(os.getxattr(path, "trusted.t", follow_symlinks=False), b"a label")
            self.assertEqual(sorted(os.listxattr(path, follow_symlinks=False)), ["security.selinux", "trusted.t"])
        self.assertIn("nothing found", self.vault.ok("fsck", self.mnt))
        subprocess.run(["cp", "-a", self.mnt / "link", self.mnt / "copy"], check=True)
        self.assertEqual(os.getxattr(self.mnt / "copy", "trusted.t", follow_symlinks=False), b"a label")

    def test_a_copy_of_a_directory_keeps_its_alias(self):
        key = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("create-alias", "--alias-name", "alias/fin", "--target-key-id", key)
        os.mkdir(self.mnt / "fin")
        os.mkdir(self.mnt / "fin/below")
        os.setxattr(self.mnt / "fin", ALIAS, b"alias/fin")
        self.assertEqual(os.listxattr(self.mnt / "fin"), [ALIAS])
        self.assertEqual(os.listxattr(self.mnt / "fin/below"), [], "inherited")
        self.write("fin/a", b"a")
        subprocess.run(["cp", "-a", self.mnt / "fin", self.mnt / "copy"], check=True)
        tar = f"tar -C {self.mnt} --xattrs --xattrs-include='*' -cf - fin | tar -C {self.mnt}/out --xattrs --xattrs-include='*' -xf -"
        os.mkdir(self.mnt / "out")
        subprocess.run(tar, shell=True, check=True)
        for copy in ("copy", "out/fin"):
            self.assertEqual(os.getxattr(self.mnt / copy, ALIAS), b"alias/fin")
            path = self.write(f"{copy}/new", b"new")
            self.assertEqual(os.getxattr(path, "user.rekeyfs.key-id").decode(), key)


class Owners(MountedTest):
    options = ("--allow-other", "--suid")

    def setUp(self):
        super().setUp()
        self.need_root()

    def test_an_acl_from_an_owner_outside_the_group_clears_setgid(self):
        entries = [(1, 7), (4, 5), (32, 5)]
        acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, perm, 0xFFFFFFFF) for tag, perm in entries)
        for groups, left in (([], 0o755), ([70], 0o2755)):
            path = self.write("f", b"x")
            os.chown(path, 4711, 70)
            os.chmod(path, 0o2755)
            # The directory above the mount is closed to others.
            fd = os.open(path, os.O_RDONLY)
            child = os.fork()
            if child == 0:
                try:
                    os.setgroups(groups)
                    os.setgid(4711)
                    os.setuid(4711)
                    os.setxattr(fd, ACL, acl)
                    os._exit(0)
                finally:
                    os._exit(1)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
            os.close(fd)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), left, groups)
