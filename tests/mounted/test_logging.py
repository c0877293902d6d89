"""What a mount logs: spans of requests, damage, and never a name (docs/logging.md)."""

import contextlib
import errno
import os
import pathlib
import re
import signal
import socket
import subprocess

from harness import BIN, MountedTest, fallocate, wait_until

REQUEST = re.compile(r'DEBUG request\{operation="(\w+)" ino=(\d+)\}: answered errno=(\d+) duration_us=(\d+)$')
PAGE = 4096


class Logging(MountedTest):
    options = None

    def serve(self, level, *options):
        """Mounts in the foreground; what is logged goes to `self.log`."""
        self.log = self.dir / "log"
        with open(self.log, "wb") as out:
            self.daemon = subprocess.Popen(
                [BIN, "mount", self.vault.path, self.mnt, "--foreground", "--passfile", self.vault.passfile, *options],
                env={**self.vault.env, "REKEYFS_LOG": level}, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        self.addCleanup(self.daemon.wait, 30)
        self.addCleanup(self.daemon.kill)
        self.vault.pid = self.daemon.pid
        self.assertTrue(wait_until(self.vault.is_mounted), self.log.read_text())

    def stop(self):
        """Unmounts; the lines that were logged."""
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(30), 0)
        self.vault.pid = None
        return self.log.read_text().splitlines()

    def use_much(self):
        """Many kinds of requests; the plain texts that came up, and the inode number of a file."""
        names = ["a-plain-name", "another-plain-name", "plain-directory", "a-plain-link", "a-plain-target", "plain-attribute",
                 "plain-value", "plain-content", "a-long-plain-name" * 12]  # fmt: skip
        file, other, directory, link, target, attribute, value, content, long = names
        self.write(file, content.encode() * 5000, fsync=True)
        ino = os.stat(self.mnt / file).st_ino
        (self.mnt / directory).mkdir()
        self.write(long, b"x")
        os.symlink(target, self.mnt / link)
        self.assertEqual(os.readlink(self.mnt / link), target)
        os.setxattr(self.mnt / file, f"user.{attribute}", value.encode())
        os.getxattr(self.mnt / file, f"user.{attribute}")
        os.listxattr(self.mnt / file)
        self.assertErrno(errno.ENODATA, os.getxattr, self.mnt / file, "user.not-there")
        with open(self.mnt / file, "r+b") as f:
            fallocate(f.fileno(), 0, 0, 10 * PAGE)
            os.lseek(f.fileno(), 0, os.SEEK_HOLE)
            f.seek(0)
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self.assertTrue(f.read().startswith(content.encode()))
        os.truncate(self.mnt / file, 10)
        os.link(self.mnt / file, self.mnt / directory / other)
        self.assertErrno(errno.ENOTEMPTY, os.rmdir, self.mnt / directory)
        os.rename(self.mnt / file, self.mnt / other)
        os.listdir(self.mnt)
        os.statvfs(self.mnt)
        fd = os.open(self.mnt / directory, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        os.unlink(self.mnt / other)
        return names, ino

    def test_each_request_has_a_line_with_inode_errno_and_duration_and_no_name(self):
        self.serve("debug")
        names, ino = self.use_much()
        lines = self.stop()
        requests = [found.groups() for line in lines if (found := REQUEST.search(line))]
        self.assertEqual(
            {operation for operation, *_ in requests}
            - {"access", "forget", "readdir", "opendir", "releasedir"},
            {"lookup", "getattr", "setattr", "readlink", "mkdir", "unlink", "rmdir", "symlink", "rename", "link", "open",
             "create", "read", "write", "flush", "release", "fsync", "fsyncdir", "readdirplus", "statfs", "setxattr", "getxattr",
             "listxattr", "fallocate", "lseek"},
        )  # fmt: skip
        answered = {(operation, int(number), int(code)) for operation, number, code, _ in requests}
        self.assertIn(("fsync", ino, 0), answered)
        self.assertIn(("read", ino, 0), answered)
        self.assertIn(("getxattr", ino, errno.ENODATA), answered)
        self.assertIn(("lseek", ino, 0), answered)
        self.assertIn(("rmdir", 1, errno.ENOTEMPTY), answered)
        self.assertTrue(all(int(duration) < 60_000_000 for *_, duration in requests))
        for name in names:
            self.assertEqual([line for line in lines if name in line], [], name)

    def test_requests_can_be_asked_for_alone(self):
        self.serve("rekeyfs::request=debug")
        self.write("f", b"x")
        lines = self.stop()
        self.assertTrue(any(REQUEST.search(line) for line in lines), lines)
        self.assertEqual([line for line in lines if not REQUEST.search(line) and " WARN " not in line and " NOTICE " not in line], [])

    def test_a_list_of_levels_that_cannot_be_parsed_is_named(self):
        self.vault.env["REKEYFS_LOG"] = "rekeyfs=loud"
        done = self.vault.run("status", self.vault.path, "--passfile", self.vault.passfile)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("rekeyfs: WARN REKEYFS_LOG=rekeyfs=loud: ", done.stderr)

    def test_without_debug_nothing_is_logged_of_requests(self):
        self.serve("info")
        self.use_much()
        self.assertEqual([line for line in self.stop() if "request" in line or "answered" in line], [])

    def test_damage_names_vault_mountpoint_and_lower_path_and_floods_no_log(self):
        self.serve("warn")
        path = self.write("f", b"x" * 3 * PAGE, fsync=True)
        other = self.write("other", b"x" * 3 * PAGE, fsync=True)
        lower, other_lower = (pathlib.Path(self.vault.lower(of)) for of in (path, other))
        self.stop()
        for damaged in (lower, other_lower):
            with open(damaged, "r+b") as f:
                f.seek(PAGE + 100)
                f.write(b"flipped")
        self.serve("warn")
        for _ in range(500):
            self.assertErrno(errno.EIO, self.read, path)
        self.assertErrno(errno.EIO, self.read, other)
        lines = self.stop()
        about_other = [line for line in lines if f'lower="{other_lower.relative_to(self.vault.path)}"' in line]
        self.assertTrue(about_other, "the flood about one file hides the other one")
        told = [int(more) for line in about_other for more in re.findall(r"and (\d+) more like it", line)]
        self.assertTrue(told and told[0] >= 400, about_other)
        lines = [line for line in lines if line not in about_other]
        damage = [line for line in lines if "is damaged" in line]
        self.assertGreaterEqual(len(damage), 5)
        self.assertLess(len(damage), 15)
        where = f'vault="{self.vault.path}" mountpoint="{self.mnt}"'
        for line in damage:
            self.assertTrue(line.startswith("rekeyfs: ERROR "), line)
            self.assertIn(f"ino={os.stat(lower).st_ino} ", line)
            self.assertIn(f'lower="{lower.relative_to(self.vault.path)}" ', line)
            self.assertIn(where, line)

    def test_a_daemon_logs_to_the_system_log_in_its_own_name(self):
        self.need_root()
        system = pathlib.Path("/dev/log")
        if os.path.lexists(system):
            self.skipTest("this machine has a system log")
        with contextlib.ExitStack() as stack:
            listening = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            listening.bind(str(system))
            stack.callback(system.unlink)
            listening.settimeout(20)
            self.vault.env["REKEYFS_LOG"] = "rekeyfs::request=debug"
            self.vault.mount()
            os.listdir(self.mnt)
            pid = self.vault.pid
            lines = iter(lambda: listening.recv(1 << 16).decode(), None)
            first = next(line for line in lines if f"[{pid}]" in line)
            self.assertRegex(first, rf"^<29>rekeyfs\[{pid}\]: NOTICE mounted ")
            first = next(line for line in lines if f"[{pid}]" in line)
            self.assertRegex(first, rf"^<31>rekeyfs\[{pid}\]: {REQUEST.pattern}")

    def use_keys(self):
        """Operations that are events; the key that they are about."""
        self.write("f", b"x", fsync=True)
        self.vault.rotate()
        key = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("disable-key", "--key-id", key)
        self.vault.run("kms", "disable-key", "--key-id", "nobody", "--vault", self.mnt)
        self.vault.ok("rewrap", self.mnt)
        return key

    def test_a_quiet_mount_logs_each_event_of_operation_once(self):
        self.serve("")
        key = self.use_keys()
        lines = self.stop()
        where = f' vault="{self.vault.path}" mountpoint="{self.mnt}"'
        notices = [line for line in lines if line.startswith("rekeyfs: NOTICE ")]
        self.assertTrue(all(line.endswith(where) and " uid=0 pid=" in line for line in notices), notices)
        said = [line.removeprefix("rekeyfs: NOTICE ").partition(" uid=")[0] for line in notices]
        self.assertRegex(said.pop(1), r"^a key was rotated from version 1 to 2 key=[0-9a-f-]{36} version=2$")
        self.assertEqual(said, [
            "mounted", f"CreateKey was done key={key}", f"DisableKey was done key={key}",
            "DisableKey was refused: NotFoundException", "a re-wrap of all files began",
            "the re-wrap of all files ended: 1 file seen, 1 re-wrapped, 0 not", "unmounted (SIGTERM)",
        ])  # fmt: skip

    def test_fewer_lines_can_be_asked_for(self):
        self.serve("warn")
        self.vault.rotate()
        self.assertEqual([line for line in self.stop() if " WARN " not in line], [])

    def test_a_command_shows_no_notices_of_its_own(self):
        done = self.vault.run("rotate", self.vault.path, "--passfile", self.vault.passfile)
        self.assertEqual((done.returncode, done.stderr.count("NOTICE")), (0, 0), done.stderr)

    def journal(self, stack):
        """A socket in the place of journald's, in this test's mount namespace."""
        self.need_root()
        place = pathlib.Path("/run/systemd/journal")
        if place.exists():
            self.skipTest("this machine has a journal")
        place.mkdir(parents=True)
        stack.callback(os.removedirs, place)
        listening = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        listening.bind(str(place / "socket"))
        stack.callback((place / "socket").unlink)
        listening.settimeout(20)
        return listening

    def test_the_journal_gets_the_fields_of_a_mount_in_the_background(self):
        with contextlib.ExitStack() as stack:
            listening = self.journal(stack)
            self.vault.mount()
            self.use_keys()
            self.vault.umount()
            entries = []
            while not entries or "unmounted" not in entries[-1]["MESSAGE"]:
                datagram = listening.recv(1 << 16).decode()
                entries.append(dict(line.split("=", 1) for line in datagram.splitlines()))
        for entry in entries:
            self.assertEqual(
                [entry[name] for name in ("SYSLOG_IDENTIFIER", "PRIORITY", "REKEYFS_VAULT", "REKEYFS_MOUNTPOINT", "REKEYFS_UID")],
                ["rekeyfs", "5", str(self.vault.path), str(self.mnt), "0"],
            )
        rotated = next(entry for entry in entries if "rotated" in entry["MESSAGE"])
        self.assertEqual((len(rotated["REKEYFS_KEY"]), rotated["REKEYFS_VERSION"]), (36, "2"))
        self.assertIn("unmounted (umount)", entries[-1]["MESSAGE"])

    def test_a_service_without_a_journal_socket_writes_priorities_to_its_stream(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        stat = os.fstat(theirs.fileno())
        env = {**self.vault.env, "JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
        command = [BIN, "mount", self.vault.path, self.mnt, "--foreground", "--passfile", self.vault.passfile]
        daemon = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
        self.addCleanup(daemon.wait, 30)
        self.addCleanup(daemon.kill)
        theirs.close()
        self.vault.pid = daemon.pid
        self.assertTrue(wait_until(self.vault.is_mounted))
        self.vault.umount()
        ours.settimeout(20)
        text = "".join(iter(lambda: ours.recv(1 << 16).decode(), ""))
        self.assertRegex(text, r"(?m)^<5>NOTICE mounted ")
        self.assertRegex(text, r"(?m)^<5>NOTICE unmounted \(umount\) ")
