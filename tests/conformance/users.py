"""Several users on one mount: modes, umask, groups, ACLs, set-user-ID bits and capabilities, owners."""

import errno
import os
import pwd
import shutil
import stat
import subprocess

from harness import sh
from suite import Cases, equal, need, refused

NOBODY, DAEMON = pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("daemon").pw_uid
GROUP = 12345  # of no one; some are put into it


def as_user(uid, command, cwd, groups=(), gid=None):
    """Runs a shell command as a user without rights; the finished process."""
    also = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    return subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={uid if gid is None else gid}", *also, "bash", "-euo", "pipefail", "-c", command],
        cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def mode(path):
    """Permission bits as octal text."""
    return oct(stat.S_IMODE(os.lstat(path).st_mode))


class Users(Cases):
    """Root and two users without rights, on a mount that lets others in and honours set-user-ID bits."""

    name = "users"
    about = "umask, setgid and sticky directories, ACLs, set-user-ID bits, file capabilities, chown, supplementary groups"

    def _may(self, uid, command, groups=(), gid=None):
        done = as_user(uid, command, self.dir, groups, gid)
        equal(done.returncode, 0, f"{command}: {done.stderr[-300:]}")
        return done.stdout

    def _may_not(self, uid, command, groups=()):
        done = as_user(uid, command, self.dir, groups)
        equal(done.returncode != 0, True, f"{command} was allowed")
        equal("denied" in done.stderr or "permitted" in done.stderr, True, f"{command}: {done.stderr[-300:]}")

    def test_umask_and_owner(self):
        for mask, file, directory in (("077", 0o600, 0o700), ("027", 0o640, 0o750), ("000", 0o666, 0o777), ("177", 0o600, 0o600)):
            self._may(NOBODY, f"umask {mask}; echo x > f{mask}; mkdir d{mask}; mkfifo p{mask}; ln -s x l{mask}")
            found = [mode(self.dir / f"{kind}{mask}") for kind in "fdp"]
            equal(found, [oct(file), oct(directory), oct(file)], f"modes under umask {mask}")
            for kind in "fdpl":
                owner = os.lstat(self.dir / f"{kind}{mask}")
                equal((owner.st_uid, owner.st_gid), (NOBODY, NOBODY), f"owner of {kind}{mask}")

    def test_setgid_directory(self):
        d = self.dir / "d"
        d.mkdir()
        os.chown(d, 0, GROUP)
        os.chmod(d, 0o2777)
        self._may(NOBODY, "umask 022; touch d/f; mkdir d/e; touch d/e/g; ln -s x d/l; chmod 2755 d/f; mkfifo d/p")
        for name in ("f", "e", "e/g", "l", "p"):
            equal(os.lstat(d / name).st_gid, GROUP, f"group of {name}")
        equal((mode(d / "f"), mode(d / "e"), mode(d / "e/g")), ("0o755", "0o2755", "0o644"),
              "setgid is taken from a file whose group the owner isn't in, and inherited by directories")  # fmt: skip
        self._may(NOBODY, "umask 022; touch d/h; chmod 2755 d/h", groups=[GROUP])
        equal(mode(d / "h"), "0o2755", "a member may set it")

    def test_sticky_directory(self):
        d = self.dir / "d"
        d.mkdir()
        os.chmod(d, 0o1777)
        self._may(NOBODY, "echo a > d/a; echo b > d/b; mkdir d/e; chmod 777 d/e")
        self._may(DAEMON, "echo own > d/own; mv d/own d/mine; rm d/mine; touch d/e/x")
        for command in ("rm -f d/a", "mv d/a d/c", "mv d/a .", "rmdir d/e", "touch d/z; mv -f d/z d/a"):
            self._may_not(DAEMON, command)
        os.chown(d, DAEMON, DAEMON)
        self._may(DAEMON, "rm -f d/a; mv d/b d/c")
        equal(sorted(os.listdir(d)), ["c", "e", "z"], "what is left")

    def test_acl_inheritance(self):
        need("setfacl", "getfacl")
        d = self.dir / "d"
        d.mkdir()
        os.chmod(d, 0o777)
        sh(f"setfacl -m u:{DAEMON}:rwx,g:{GROUP}:rx,m::rwx d; setfacl -d -m u::rwx,u:{DAEMON}:rwx,g:{GROUP}:rx,o::---,m::rwx d", self.dir)
        self._may(NOBODY, "umask 077; echo x > d/f; mkdir d/e; echo y > d/e/g; cp d/f d/e/h")
        seen = sh("getfacl -cpn d/f d/e d/e/g", self.dir).split("\n\n")
        equal(seen[0].split(), f"user::rw- user:{DAEMON}:rwx #effective:rw- group::rwx #effective:rw- group:{GROUP}:r-x"
              " #effective:r-- mask::rw- other::---".split(), "the file's ACL; no umask where there is a default ACL")  # fmt: skip
        equal(f"default:user:{DAEMON}:rwx" in seen[1] and f"default:group:{GROUP}:r-x" in seen[1], True, "the directory's")
        equal(seen[2].split(), seen[0].split(), "one level deeper")
        self._may(DAEMON, "cat d/f d/e/g; echo z >> d/f; touch d/e/new")
        self._may(65533, "cat d/f; ls d/e", groups=[GROUP])
        self._may_not(65533, "echo z >> d/f", groups=[GROUP])
        self._may_not(65533, "cat d/f")
        os.chmod(d / "f", 0o600)
        self._may_not(DAEMON, "cat d/f")
        equal("mask::---" in sh("getfacl -cpn d/f", self.dir), True, "chmod changes the mask")

    def test_set_user_id_bits_and_writes(self):
        changes = (
            "echo b >> f", ": > f", "truncate -s 1 f", "truncate -s 100000 f",
            "dd if=/dev/zero of=f bs=4096 count=1 oflag=direct conv=notrunc status=none", "fallocate -l 200000 f",
            "fallocate -p -o 0 -l 4096 f",
            "python3 -c 'import mmap; f = open(\"f\", \"r+b\"); m = mmap.mmap(f.fileno(), 4096); m[0] = 1; m.flush()'",
        )  # fmt: skip
        for change in changes:
            self._may(NOBODY, "rm -f f; head -c 9000 /dev/zero > f; chmod 6777 f")
            self._may(DAEMON, change)
            wanted = "0o6777" if "mmap" in change else "0o777"
            equal(mode(self.dir / "f"), wanted, f"mode after {change}")
            self._may(NOBODY, "chmod 6777 f")
            sh(change, self.dir)
            equal(mode(self.dir / "f"), "0o6777", f"mode after root's {change}")
        # Without the group's execute bit setgid goes only where the writer isn't in the group.
        self._may(NOBODY, "rm -f f; echo a > f; chmod 2766 f; echo b >> f")
        equal(mode(self.dir / "f"), "0o2766", "setgid without group execute, written by a member")

    def test_setgid_without_group_execute_written_by_one_outside_the_group(self):
        self._may(NOBODY, "echo a > f; chmod 2766 f")
        self._may(DAEMON, "echo b >> f")
        equal(mode(self.dir / "f"), "0o766", "mode")

    def test_chown(self):
        self._may(NOBODY, "echo a > f; chmod 6755 f; mkdir d; chmod 2755 d", groups=[GROUP])
        self._may_not(NOBODY, f"chown {DAEMON} f")
        self._may_not(NOBODY, f"chgrp {GROUP} f")
        self._may_not(DAEMON, "chmod 777 f")
        equal(mode(self.dir / "f"), "0o6755", "refusals change nothing")
        self._may(NOBODY, f"chgrp {GROUP} f", groups=[GROUP])
        equal((os.stat(self.dir / "f").st_gid, mode(self.dir / "f")), (GROUP, "0o755"), "chgrp to an own group")
        os.chmod(self.dir / "f", 0o6755)
        os.chown(self.dir / "f", DAEMON, -1)
        equal((os.stat(self.dir / "f").st_uid, mode(self.dir / "f")), (DAEMON, "0o755"), "root's chown")
        os.chmod(self.dir / "f", 0o6755)
        os.chown(self.dir / "f", -1, -1)
        after = mode(self.dir / "f")
        os.chown(self.dir / "d", DAEMON, GROUP)
        equal((after, mode(self.dir / "d")), (after, "0o2755"), "a directory's setgid bit stays")

    def test_file_capabilities(self):
        need("setcap", "getcap")
        program = self.dir / "program"
        shutil.copy(shutil.which("capsh"), program)
        os.chmod(program, 0o755)
        equal("cap_net_raw" in self._may(NOBODY, "./program --print | grep ^Current"), False, "before")
        sh("setcap cap_net_raw+ep program", self.dir)
        equal("cap_net_raw" in self._may(NOBODY, "./program --print | grep ^Current"), True, "a program gains it")
        for change in (": >> program; printf '' >> program; printf x >> program", "truncate -s -1 program", f"chown {DAEMON} program",
                       f"chgrp {DAEMON} program"):  # fmt: skip
            sh("setcap cap_net_raw+ep program", self.dir)
            equal("cap_net_raw" in sh("getcap program", self.dir), True, "it is there")
            sh(change, self.dir)
            equal(sh("getcap program", self.dir), "", f"after root's {change}")
        self._may_not(NOBODY, "setcap cap_net_raw+ep program")

    def test_programs_run_as_their_owner(self):
        program = self.dir / "id"
        shutil.copy("/usr/bin/id", program)
        os.chown(program, DAEMON, GROUP)
        os.chmod(program, 0o6755)
        out = self._may(NOBODY, "./id")
        equal(f"euid={DAEMON}" in out and f"egid={GROUP}" in out, True, out)
        self._may(NOBODY, "cp id mine; chmod 755 mine; ./mine")
        os.chmod(program, 0o644)
        self._may_not(NOBODY, "./id")
        refused(errno.EACCES, os.execv, program, ["id"])

    def test_supplementary_groups(self):
        (self.dir / "f").write_bytes(b"x")
        (self.dir / "d").mkdir()
        for name, bits in (("f", 0o640), ("d", 0o770)):
            os.chown(self.dir / name, 0, GROUP)
            os.chmod(self.dir / name, bits)
        self._may_not(NOBODY, "cat f")
        self._may_not(NOBODY, "ls d")
        self._may(NOBODY, "cat f; echo y > d/g; ls d; mv d/g d/h; rm d/h", groups=[4711, GROUP])
        self._may(NOBODY, "cat f; ls d", gid=GROUP)
        self._may_not(NOBODY, "echo y >> f", groups=[GROUP])
        # Many of them: more than a message to a daemon would hold.
        self._may(NOBODY, "cat f; touch d/x", groups=[*range(20000, 20040), GROUP])

    def test_removed_rights_and_open_files(self):
        out = self._may(NOBODY, "echo one > f; exec 3< f 4>> f; chmod 000 f; cat <&3; echo two >&4; ! cat f 2>/dev/null;"
                                "chmod 600 f; cat f")  # fmt: skip
        equal(out, "one\none\ntwo\n", "through the open files")
        self._may(NOBODY, "mkdir d; touch d/f; chmod 555 d; ! rm -f d/f 2>/dev/null; chmod 311 d; ! ls d 2>/dev/null; cat d/f;"
                          "chmod 700 d")  # fmt: skip

    def test_device_nodes_and_unix_sockets(self):
        self._may_not(NOBODY, "mknod n c 1 3")
        sh("mknod n c 1 3; chmod 666 n", self.dir)
        self._may(NOBODY, "echo x > n; test -z \"$(cat n)\"")
        script = ("import socket, os; s = socket.socket(socket.AF_UNIX); s.bind('s'); s.listen(); c = socket.socket(socket.AF_UNIX);"
                  "c.connect('s'); a, _ = s.accept(); c.send(b'hello'); assert a.recv(9) == b'hello'")  # fmt: skip
        self._may(NOBODY, f'python3 -c "{script}"')
        equal(stat.S_ISSOCK(os.lstat(self.dir / "s").st_mode), True, "a socket")
