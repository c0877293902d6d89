"""Key policies by uid, on a mount that others may enter: what a user who isn't allowed gets, whatever the modes."""

import errno
import json
import os
import subprocess
import sys

from harness import MountedTest

ALLOWED, DENIED = 4001, 4002

# What one user tries, in one process: each line is a name and what came of it.
TRIES = """if True:
    import ctypes, errno, os, subprocess, sys
    libc = ctypes.CDLL(None, use_errno=True)

    def attempt(name, call):
        try:
            result = call()
        except OSError as error:
            result = errno.errorcode[error.errno]
        print(name, result, flush=True)

    def opened(path, flags, then=lambda fd: "ok"):
        fd = os.open(path, flags, 0o666)
        try:
            return then(fd)
        finally:
            os.close(fd)

    def linked():
        os.link("cached", "mine/linked")
        try:
            return opened("mine/linked", os.O_RDONLY)
        finally:
            os.unlink("mine/linked")

    os.chdir(sys.argv[1])
    attempt("read", lambda: opened("cached", os.O_RDONLY, lambda fd: os.read(fd, 6).decode()))
    attempt("write", lambda: opened("cached", os.O_WRONLY))
    attempt("append", lambda: opened("cached", os.O_RDWR | os.O_APPEND))
    attempt("o_trunc", lambda: opened("scratch", os.O_WRONLY | os.O_TRUNC))
    attempt("truncate", lambda: os.truncate("scratch", 3) or "ok")
    attempt("create", lambda: opened("mine/new-%d" % os.getuid(), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    attempt("mknod", lambda: os.mknod("mine/node-%d" % os.getuid(), 0o100666) or "ok")
    attempt("empty", lambda: opened("empty", os.O_RDWR))
    attempt("link", linked)
    attempt("exec", lambda: subprocess.run(["./program"], stdout=subprocess.PIPE, text=True).stdout.strip())
    attempt("stat", lambda: os.stat("cached").st_size)
    attempt("list", lambda: "cached" in os.listdir("."))
    attempt("rename", lambda: os.rename("renamed", "renamed2") or os.rename("renamed2", "renamed") or "ok")
    attempt("other key", lambda: opened("../plain/file", os.O_RDWR, lambda fd: os.read(fd, 5).decode()))
"""

ALL = {
    "read": "cached", "write": "ok", "append": "ok", "o_trunc": "ok", "truncate": "ok", "create": "ok", "mknod": "ok",
    "empty": "ok", "link": "ok", "exec": "ran", "stat": "300000", "list": "True", "rename": "ok", "other key": "plain",
}  # fmt: skip
NONE = {
    **ALL,
    **dict.fromkeys(("read", "write", "append", "o_trunc", "truncate", "create", "mknod", "empty", "link", "exec"),
                    "EACCES"),  # fmt: skip
}


class Policy(MountedTest):
    options = ("--allow-other",)

    def setUp(self):
        self.need_root()
        self.need_tools("setpriv")
        super().setUp()
        os.chmod(self.dir, 0o755)
        self.key = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("create-alias", "--alias-name", "alias/finance", "--target-key-id", self.key)
        for name in ("finance", "plain"):
            os.mkdir(self.mnt / name)
        os.setxattr(self.mnt / "finance", "user.rekeyfs.alias", b"alias/finance")
        os.mkdir(self.mnt / "finance/mine")
        os.setxattr(self.mnt / "finance/mine", "user.rekeyfs.alias", b"alias/finance")
        self.write("finance/cached", b"cached" * 50_000, fsync=True)
        for name in ("scratch", "renamed"):
            self.write(f"finance/{name}", b"x" * 1000)
        self.write("finance/empty", b"")
        self.write("finance/program", b"#!/bin/sh\necho ran\n")
        self.write("plain/file", b"plain")
        for directory, dirs, files in os.walk(self.mnt):
            for name in dirs + files + ["."]:
                os.chmod(os.path.join(directory, name), 0o777)

    def put(self, *statements, bypass=False):
        policy = {"Version": "2012-10-17", "Statement": [
            {"Effect": effect, "Principal": {"AWS": who}, "Action": actions, "Resource": "*"}
            for effect, who, actions in statements
        ]}  # fmt: skip
        args = ["put-key-policy", "--key-id", self.key, "--policy", json.dumps(policy)]
        self.kms(*args, *(["--bypass-policy-lockout-safety-check"] if bypass else []))
        self.assertEqual(json.loads(self.kms("get-key-policy", "--key-id", self.key)["Policy"]), policy)

    def tries(self, uid):
        """What a user gets; a user whom the tests' directory shuts out can't be asked."""
        done = subprocess.run(
            ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", sys.executable, "-c", TRIES,
             self.mnt / "finance"],
            capture_output=True, text=True, timeout=60, cwd="/",
        )  # fmt: skip
        if done.returncode and "PermissionError" in done.stderr:
            self.skipTest("the directory of the tests can't be reached by other users")
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in ("new", "node"):
            if os.path.exists(self.mnt / f"finance/mine/{name}-{uid}"):
                os.unlink(self.mnt / f"finance/mine/{name}-{uid}")
        return dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())

    def test_whom_a_policy_allows_may_and_nobody_else(self):
        self.assertEqual(self.tries(DENIED), ALL, "the default lets everybody")
        self.read(self.mnt / "finance/cached")  # the kernel has its pages now
        self.put(("Allow", ["uid:0", f"uid:{ALLOWED}"], "kms:*"))
        self.assertEqual(self.tries(ALLOWED), ALL)
        self.assertEqual(self.tries(DENIED), NONE)
        self.assertEqual(self.tries(0), ALL)
        self.vault.remount(*self.options)
        self.assertEqual(self.tries(ALLOWED), ALL)
        self.assertEqual(self.tries(DENIED), NONE)

    def test_a_deny_wins_and_actions_are_told_apart(self):
        everybody = ("Allow", "*", "kms:*")
        self.put(everybody, ("Deny", f"uid:{DENIED}", "kms:Encrypt"))
        reader = self.tries(DENIED)
        self.assertEqual((reader["read"], reader["link"], reader["exec"]), ("cached", "ok", "ran"))
        writing = ("write", "append", "o_trunc", "truncate", "create", "mknod", "empty")
        self.assertEqual({reader[name] for name in writing}, {"EACCES"})
        self.assertEqual(self.tries(ALLOWED), ALL)
        self.put(everybody, ("Deny", [f"uid:{DENIED}"], ["kms:De*"]))
        writer = self.tries(DENIED)
        self.assertEqual({writer[name] for name in ("read", "write", "append", "link", "exec", "empty")}, {"EACCES"})
        self.assertEqual((writer["create"], writer["truncate"]), ("ok", "ok"))

    def test_root_is_no_exception_and_a_lock_out_has_to_be_meant(self):
        done = self.vault.run(
            "kms", "put-key-policy", "--key-id", self.key, "--vault", self.mnt, "--policy",
            json.dumps({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Principal": {"AWS": f"uid:{ALLOWED}"}, "Action": "kms:*", "Resource": "*"}]}),
        )  # fmt: skip
        self.assertEqual(done.returncode, 254)
        self.assertIn("MalformedPolicyDocumentException", done.stderr)
        self.assertIn("--bypass-policy-lockout-safety-check", done.stderr)
        self.assertEqual(self.tries(DENIED), ALL, "nothing changed")
        with open(self.mnt / "finance/cached", "r+b", buffering=0) as f:
            self.put(("Allow", f"uid:{ALLOWED}", "kms:*"), bypass=True)
            self.assertErrno(errno.EACCES, open, self.mnt / "finance/cached", "rb")
            self.assertEqual(self.tries(0), NONE)
            self.assertEqual(self.tries(ALLOWED), ALL)
            # A handle that is open goes on, and so does the mount's own work.
            self.assertEqual(f.read(6), b"cached")
            self.vault.ok("rotate", self.mnt, "--key-id", self.key)
            swept = json.loads(self.vault.ok("rewrap", self.mnt, "--json"))
            self.assertEqual(swept.get("failed", 0), 0)
            self.assertEqual(self.vault.version(self.mnt / "finance/cached"), 2)
        self.put(("Allow", "*", "kms:*"))
        self.assertEqual(self.tries(0), ALL)

    def test_awss_principal_of_the_whole_account_is_the_user_who_mounted(self):
        self.put(("Allow", "arn:aws:iam::111122223333:root", "kms:*"))
        self.assertEqual(self.tries(0), ALL)
        self.assertEqual(self.tries(DENIED), NONE)
        self.put(("Allow", ["111122223333", f"uid:{ALLOWED}"], "kms:*"))
        self.vault.remount(*self.options)
        self.assertEqual((self.tries(0), self.tries(ALLOWED), self.tries(DENIED)), (ALL, ALL, NONE))
        # What isn't understood leaves the policy as it is.
        self.assertKmsError("MalformedPolicyDocumentException", "put-key-policy", "--key-id", self.key, "--policy", json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Sid": "s", "Effect": "Allow", "Principal": {"Service": "x.amazonaws.com"},
                                                     "Action": "kms:*", "Resource": "*"}]}))  # fmt: skip
        self.assertEqual((self.tries(ALLOWED), self.tries(DENIED)), (ALL, NONE))
