"""Key policies against users who move, link and rename: a file stays under the key of the alias under which it was
wrapped, wherever its names lie, and only a directory's owner who may use the key gives the directory an alias."""

import errno
import json
import os
import subprocess
import sys

from harness import MountedTest, renameat2, wait_until, RENAME_EXCHANGE

OWNER, MALLORY = 4001, 4002
ALIAS = "user.rekeyfs.alias"


class KeyPolicies(MountedTest):
    """A vault of root's that all may enter. `secret/` is under a key that MALLORY may not use, `open/` under one that
    everybody may; both directories can be written by everybody."""

    options = ("--allow-other",)

    def setUp(self):
        self.need_root()
        self.need_tools("setpriv")
        super().setUp()
        os.chmod(self.dir, 0o755)
        os.chmod(self.mnt, 0o777)
        self.secret = self.key("alias/secret")
        self.open = self.key("alias/open")
        policy = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": ["uid:0", f"uid:{OWNER}"]}, "Action": "kms:*", "Resource": "*"},
        ]}  # fmt: skip
        self.kms("put-key-policy", "--key-id", self.secret, "--policy", json.dumps(policy))
        for name in ("secret", "open"):
            os.mkdir(self.mnt / name)
            os.setxattr(self.mnt / name, ALIAS, f"alias/{name}".encode())
            os.chmod(self.mnt / name, 0o777)
        self.file = self.write("secret/file", b"what Mallory may not read", fsync=True)
        os.chmod(self.file, 0o666)
        if self.as_user(MALLORY, "os.listdir(sys.argv[1])", self.mnt).returncode:
            self.skipTest("the directory of the tests can't be reached by other users")
        self.as_user(MALLORY, "os.mkdir(sys.argv[1])", self.mnt / "mine", check=True)

    def key(self, alias):
        key = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("create-alias", "--alias-name", alias, "--target-key-id", key)
        return key

    def as_user(self, uid, code, *args, check=False):
        """Runs a line of Python as this user."""
        done = subprocess.run(
            ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", sys.executable, "-c",
             f"import os, sys\n{code}", *map(str, args)],
            capture_output=True, text=True, timeout=60, cwd="/",
        )  # fmt: skip
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def refused(self, uid, error, code, *args):
        done = self.as_user(uid, code, *args)
        self.assertNotEqual(done.returncode, 0, "nothing was refused")
        self.assertIn(f"[Errno {error}]", done.stderr)

    def key_of(self, path):
        return os.getxattr(path, "user.rekeyfs.key-id").decode()

    def sweep(self, *args):
        return json.loads(self.vault.ok("rewrap", *args, self.mnt, "--json"))

    def assertStaysSecret(self, path):
        """MALLORY doesn't get it, whoever opens it and whatever sweeps the tree."""
        for _ in range(2):
            self.refused(MALLORY, errno.EACCES, "open(sys.argv[1], 'rb')", path)
            self.assertEqual(self.read(path), b"what Mallory may not read")
            # The lazy re-wrap gathers for a fifth of a second.
            self.assertFalse(wait_until(lambda: self.key_of(path) != self.secret, 1))
            self.sweep()
            self.assertEqual(self.key_of(path), self.secret)
            self.assertEqual(os.getxattr(path, ALIAS), b"alias/secret")
            self.vault.remount(*self.options)

    def test_a_file_that_is_moved_into_a_directory_of_another_alias_stays_under_its_key(self):
        self.as_user(MALLORY, "os.setxattr(sys.argv[1], 'user.rekeyfs.alias', b'alias/open')", self.mnt / "mine", check=True)
        self.as_user(MALLORY, "os.rename(*sys.argv[1:])", self.file, self.mnt / "mine/file", check=True)
        self.assertStaysSecret(self.mnt / "mine/file")
        self.assertEqual(self.vault.events("Files Moved To Another Key"), [])

    def test_a_file_that_is_exchanged_stays_under_its_key(self):
        os.chmod(self.write("open/bait", b"bait"), 0o666)
        renameat2(self.file, self.mnt / "open/bait", RENAME_EXCHANGE)
        self.assertStaysSecret(self.mnt / "open/bait")
        self.assertEqual(self.key_of(self.file), self.open)

    def test_a_file_that_is_linked_stays_under_its_key_when_its_first_name_is_gone(self):
        link = self.mnt / "open/link"
        self.as_user(MALLORY, "os.link(*sys.argv[1:])", self.file, link, check=True)
        self.assertStaysSecret(link)
        os.unlink(self.file)
        self.assertStaysSecret(link)

    def test_a_directory_that_is_given_another_alias_changes_new_files_only(self):
        os.setxattr(self.mnt / "secret", ALIAS, b"alias/open")
        self.assertStaysSecret(self.file)
        self.assertEqual(self.key_of(self.write("secret/new", b"x")), self.open)
        os.removexattr(self.mnt / "secret", ALIAS)
        self.assertStaysSecret(self.file)

    def test_a_directory_that_is_moved_changes_new_files_only(self):
        os.setxattr(self.mnt, ALIAS, b"alias/secret")
        os.mkdir(self.mnt / "dir")
        self.write("dir/file", b"what Mallory may not read", fsync=True)
        os.chmod(self.mnt / "dir/file", 0o666)
        os.removexattr(self.mnt, ALIAS)
        os.rename(self.mnt / "dir", self.mnt / "open/dir")
        self.assertStaysSecret(self.mnt / "open/dir/file")
        self.assertEqual(self.key_of(self.write("open/dir/new", b"x")), self.open)

    def test_a_directory_record_that_has_gone_missing_moves_no_file(self):
        record = os.path.join(self.vault.lower(self.mnt / "secret"), ".dir")
        self.vault.umount()
        os.unlink(record)
        self.vault.mount(*self.options)
        # A record of a directory that was never moved is derived: the names are there, the alias isn't.
        self.assertErrno(errno.ENODATA, os.getxattr, self.mnt / "secret", ALIAS)
        self.assertStaysSecret(self.file)

    def test_a_file_that_was_truncated_takes_its_own_key_again_whichever_name_is_found_first(self):
        self.as_user(MALLORY, "os.setxattr(sys.argv[1], 'user.rekeyfs.alias', b'alias/open')", self.mnt / "mine", check=True)
        self.as_user(MALLORY, "os.link(*sys.argv[1:])", self.file, self.mnt / "mine/link", check=True)
        self.vault.remount(*self.options)
        # The only name that the mount knows now.
        os.stat(self.mnt / "mine/link")
        os.truncate(self.mnt / "mine/link", 0)
        self.assertEqual(os.getxattr(self.mnt / "mine/link", ALIAS), b"alias/secret")
        self.refused(MALLORY, errno.EACCES, "open(sys.argv[1], 'rb')", self.mnt / "mine/link")
        with open(self.mnt / "mine/link", "wb") as f:
            f.write(b"what Mallory may not read")
        self.assertStaysSecret(self.file)

    def while_open(self, name, steal):
        """OWNER makes a file and writes to it, which the kernel keeps; meanwhile it is taken elsewhere; OWNER closes it."""
        code = ("f = open(sys.argv[1], 'w'); os.fchmod(f.fileno(), 0o666); f.write('what Mallory may not read')\n"
                "if sys.argv[2] == 'write': f.flush()\n"
                "print('made', flush=True); sys.stdin.readline(); f.close(); print('written', flush=True)")  # fmt: skip
        for when in ("before", "write"):
            path = self.mnt / "secret" / name.format(when)
            owner = subprocess.Popen(
                ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups", sys.executable, "-c",
                 f"import os, sys\n{code}", path, when],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
            )  # fmt: skip
            with owner:
                self.assertEqual(owner.stdout.readline(), "made\n")
                taken = steal(path)
                owner.stdin.write("\n")
                owner.stdin.flush()
                self.assertEqual(owner.stdout.readline(), "written\n")
            self.assertStaysSecret(taken)

    def test_a_new_file_that_is_taken_elsewhere_before_its_first_write_is_under_the_alias_where_it_was_made(self):
        self.as_user(MALLORY, "os.setxattr(sys.argv[1], 'user.rekeyfs.alias', b'alias/open')", self.mnt / "mine", check=True)

        def moved(path):
            self.as_user(MALLORY, "os.rename(*sys.argv[1:])", path, self.mnt / "mine" / path.name, check=True)
            return self.mnt / "mine" / path.name

        def linked_and_removed(path):
            code = "os.link(*sys.argv[1:]); os.unlink(sys.argv[1])"
            self.as_user(MALLORY, code, path, self.mnt / "mine" / path.name, check=True)
            return self.mnt / "mine" / path.name

        def moved_with_its_directory(path):
            taken = self.mnt / "mine" / path.parent.name
            self.as_user(MALLORY, "os.rename(*sys.argv[1:])", path.parent, taken, check=True)
            return taken / path.name

        self.while_open("moved-{}", moved)
        self.while_open("linked-{}", linked_and_removed)
        for name in ("before", "write"):
            os.mkdir(self.mnt / "secret" / name)
            os.chmod(self.mnt / "secret" / name, 0o777)
        # A directory of root's: MALLORY may move it since he may write the one above.
        self.while_open("{}/file", moved_with_its_directory)

    def test_only_the_owner_of_a_directory_sets_its_alias_and_only_to_a_key_that_he_may_use(self):
        setting = "os.setxattr(sys.argv[1], 'user.rekeyfs.alias', sys.argv[2].encode())"
        removing = "os.removexattr(sys.argv[1], 'user.rekeyfs.alias')"
        self.refused(MALLORY, errno.EPERM, setting, self.mnt / "open", "alias/default")
        self.refused(MALLORY, errno.EPERM, removing, self.mnt / "open")
        self.refused(MALLORY, errno.EACCES, setting, self.mnt / "mine", "alias/secret")
        self.assertErrno(errno.ENODATA, os.getxattr, self.mnt / "mine", ALIAS)
        self.as_user(MALLORY, setting, self.mnt / "mine", "alias/open", check=True)
        # In a directory whose new files he may not encrypt, he may not take an alias away either.
        os.setxattr(self.mnt, ALIAS, b"alias/secret")
        self.refused(MALLORY, errno.EACCES, removing, self.mnt / "mine")
        os.removexattr(self.mnt, ALIAS)
        self.as_user(MALLORY, removing, self.mnt / "mine", check=True)
        # Root is the owner of all, but asks the policy as others do.
        os.setxattr(self.mnt / "mine", ALIAS, b"alias/secret")
        changed = self.vault.events("Directory Alias Changed")
        inode = os.stat(self.mnt / "mine").st_ino
        of_mine = [(e["uid"], e["key-id"], e["removed"]) for e in changed if e["inode"] == inode]
        default = self.kms("describe-key", "--key-id", "alias/default")["KeyMetadata"]["KeyId"]
        self.assertEqual(of_mine, [(MALLORY, self.open, False), (MALLORY, default, True), (0, self.secret, False)])
        refused = [e for e in self.vault.events("File Access Refused") if e["event-name"] == "set-alias"]
        self.assertEqual([(e["uid"], e["reason"]) for e in refused], [(MALLORY, "key-policy")] * 2)

    def test_an_alias_that_is_pointed_at_another_key_takes_its_files_along_and_says_so(self):
        os.rename(self.file, self.mnt / "open/file")
        self.write("open/other", b"other")
        self.kms("update-alias", "--alias-name", "alias/secret", "--target-key-id", self.open)
        self.assertEqual(self.sweep()["rewrapped"], 1)
        self.assertEqual(self.key_of(self.mnt / "open/file"), self.open)
        moved = self.vault.events("Files Moved To Another Key")
        self.assertEqual([(e["previous-key-id"], e["key-id"], e["files"]) for e in moved], [(self.secret, self.open, 1)])
        # And back.
        self.kms("update-alias", "--alias-name", "alias/secret", "--target-key-id", self.secret)
        self.read(self.mnt / "open/file")
        self.assertTrue(wait_until(lambda: self.key_of(self.mnt / "open/file") == self.secret))
        self.assertEqual(self.key_of(self.mnt / "open/other"), self.open)

    def test_the_owner_moves_files_on_purpose_and_they_follow_from_then_on(self):
        below = self.write("secret/below", b"below")
        os.mkdir(self.mnt / "secret/dir")
        deep = self.write("secret/dir/deep", b"deep")
        self.assertEqual(self.vault.run("rewrap", "--to-alias", "alias/none", self.mnt).returncode, 44)
        outside = self.dir / "outside"
        outside.write_bytes(b"")
        self.assertRefused(self.vault.run("rewrap", self.mnt, "--to-alias", "alias/open", outside), "not in the mount")
        self.vault.ok("rewrap", self.mnt, "--to-alias", "alias/open", self.mnt / "secret/dir", below)
        self.assertEqual([self.key_of(f) for f in (below, deep, self.file)], [self.open, self.open, self.secret])
        # A path inside the mount is what is meant, not all of the vault.
        self.write("plain", b"plain")
        self.vault.ok("rewrap", self.file, "--to-alias", "alias/open")
        self.assertEqual(self.key_of(self.file), self.open)
        self.assertNotEqual(self.key_of(self.mnt / "plain"), self.open)
        self.as_user(MALLORY, "open(sys.argv[1], 'rb')", self.file, check=True)
        third = self.key("alias/third")
        self.kms("update-alias", "--alias-name", "alias/open", "--target-key-id", third)
        self.sweep()
        self.assertEqual({self.key_of(f) for f in (below, deep, self.file)}, {third})
        self.vault.umount()
        self.vault.ok("rewrap", self.vault.path, "--to-alias", "alias/secret", "--passfile", self.vault.passfile)
        self.vault.mount(*self.options)
        self.assertEqual({self.key_of(f) for f in (below, deep, self.file, self.mnt / "plain")}, {self.secret})

    def test_a_symlink_of_another_user_has_the_owner_move_no_other_file(self):
        self.as_user(MALLORY, "os.symlink(*sys.argv[1:])", self.mnt / "secret", self.mnt / "mine/link", check=True)
        path = self.mnt / "mine/link/file"
        done = self.vault.run("rewrap", self.mnt, "--to-alias", "alias/open", path)
        self.assertRefused(done, f"symlink that uid {MALLORY} made")
        self.assertRefused(self.vault.run("rewrap", path, "--to-alias", "alias/open"), f"symlink that uid {MALLORY} made")
        done = self.vault.run("kms", "re-encrypt", path, "--destination-key-id", self.open)
        self.assertRefused(done, f"symlink that uid {MALLORY} made")
        self.assertStaysSecret(self.file)

    def test_what_no_alias_moves_is_counted(self):
        pinned, gone = self.write("secret/pinned", b"pinned"), self.write("secret/gone", b"gone")
        self.kms("create-alias", "--alias-name", "alias/old", "--target-key-id", self.secret)
        self.vault.ok("rewrap", gone, "--to-alias", "alias/old")
        self.kms("delete-alias", "--alias-name", "alias/old")
        # Made again it is another one.
        self.kms("create-alias", "--alias-name", "alias/old", "--target-key-id", self.open)
        self.vault.ok("kms", "re-encrypt", pinned, "--destination-key-id", self.secret)
        status = json.loads(self.vault.ok("status", self.mnt, "--count", "--json"))
        self.assertEqual(status["files_staying"], {"pinned": 1, "alias_gone": 1, "undecided": 0, "newer": 0})
        self.assertEqual(status["files_stale"], 0)
        text = self.vault.ok("status", self.mnt)
        self.assertIn("1 file stays under its key: pinned by `kms re-encrypt`", text)
        self.assertIn("1 file stays under its key: the alias that was followed is gone", text)
        self.kms("update-alias", "--alias-name", "alias/secret", "--target-key-id", self.open)
        self.assertEqual(self.sweep()["staying"]["pinned"], 1)
        self.assertEqual([self.key_of(f) for f in (pinned, gone)], [self.secret] * 2)
        error = self.assertKmsError(
            "ConflictException", "schedule-key-deletion", "--key-id", self.secret, "--pending-window-in-days", "7"
        )
        self.assertIn("2 files need key", error)
        self.assertIn("2 of them no alias moves", error)

    def test_with_an_older_keyring_put_back_no_file_moves_to_where_its_aliases_pointed(self):
        self.older_keyring_put_back()

    def test_nor_does_one_on_a_host_that_remembers_nothing(self):
        self.older_keyring_put_back(str(self.dir / "another host"))

    def older_keyring_put_back(self, host=None):
        keyring = self.vault.path / "keyring"
        self.kms("update-alias", "--alias-name", "alias/secret", "--target-key-id", self.open)
        older = keyring.read_bytes()
        # The owner thinks better of it; what is written from then on is not for everybody.
        self.kms("update-alias", "--alias-name", "alias/secret", "--target-key-id", self.secret)
        after = self.write("secret/after", b"what Mallory may not read", fsync=True)
        os.chmod(after, 0o666)
        self.assertEqual(self.key_of(after), self.secret)
        self.vault.umount()
        keyring.write_bytes(older)
        if host:
            self.vault.env["XDG_STATE_HOME"] = host
        else:
            self.assertRefused(self.vault.try_mount(), "--accept-rollback", status=41)
        self.vault.mount(*self.options, "--accept-rollback")
        for _ in range(2):
            self.assertEqual(self.read(after), b"what Mallory may not read")
            self.sweep()
            self.assertEqual(self.key_of(after), self.secret)
            self.assertErrno(errno.ENODATA, os.getxattr, after, ALIAS)
            status = json.loads(self.vault.ok("status", self.mnt, "--count", "--json"))
            self.assertEqual(status["files_staying"]["newer"], 1)
            # The keyring passes the generation.
            for _ in range(3):
                self.key(f"alias/x{os.urandom(4).hex()}")
            self.vault.remount(*self.options)
        self.vault.ok("rewrap", after, "--to-alias", "alias/open")
        self.assertEqual(self.key_of(after), self.open)
