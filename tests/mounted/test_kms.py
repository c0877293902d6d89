"""`rekeyfs kms` on a mounted vault: no passphrase, in effect at once, for that key's files only."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from harness import MountedTest, wait_until
from terminals import output_at_terminal


class Kms(MountedTest):
    def key_of(self, path):
        return os.getxattr(path, "user.rekeyfs.key-id").decode()

    def two_keys(self):
        """A file under the key of alias/default, one under a new key, and that key."""
        other = self.kms("create-key", "--description", "finance")["KeyMetadata"]["KeyId"]
        self.kms("create-alias", "--alias-name", "alias/finance", "--target-key-id", other)
        os.mkdir(self.mnt / "finance")
        os.setxattr(self.mnt / "finance", "user.rekeyfs.alias", b"alias/finance")
        mine = self.write("mine", b"under the first key" * 1000, fsync=True)
        theirs = self.write("finance/theirs", b"under the second key" * 1000, fsync=True)
        self.assertEqual(self.key_of(theirs), other)
        self.assertNotEqual(self.key_of(mine), other)
        return mine, theirs, other

    def test_a_disabled_key_shuts_its_files_at_once_and_no_others(self):
        mine, theirs, other = self.two_keys()
        for shut, opened in (
            (["disable-key"], ["enable-key"]),
            (
                # Its files need it: --force has to be given.
                ["schedule-key-deletion", "--pending-window-in-days", "7", "--force", "--passfile", self.vault.passfile],
                ["cancel-key-deletion"],
            ),
        ):
            self.kms(*shut, "--key-id", other)
            self.assertErrno(errno.ENOKEY, open, theirs, "rb")
            self.assertErrno(errno.ENOKEY, open, theirs, "r+b")
            self.assertErrno(errno.ENOKEY, os.truncate, theirs, 10)
            self.assertErrno(errno.ENOKEY, open, self.mnt / "finance/new", "wb")
            self.assertEqual(os.stat(theirs).st_size, 20_000)
            self.assertEqual(os.listdir(self.mnt / "finance"), ["theirs"])
            self.assertEqual(self.read(mine), b"under the first key" * 1000)
            self.write("beside", b"the first key still creates")
            self.kms(*opened, "--key-id", other)
            if opened == ["cancel-key-deletion"]:
                self.assertErrno(errno.ENOKEY, open, theirs, "rb")
                self.kms("enable-key", "--key-id", other)
            self.assertEqual(self.read(theirs), b"under the second key" * 1000)
        self.vault.remount()
        self.assertEqual(self.read(theirs), b"under the second key" * 1000)

    def test_ids_are_taken_by_their_beginning_mounted_or_not(self):
        key = self.kms("describe-key", "--key-id", "alias/default")["KeyMetadata"]["KeyId"]
        short, secret = key[:8], ["--passfile", self.vault.passfile]
        for target, opened in ((self.mnt, []), (self.vault.path, secret)):
            if opened:
                self.vault.umount()
            answer = json.loads(self.vault.ok("kms", "describe-key", "--vault", target, "--key-id", short, *opened))
            self.assertEqual(answer["KeyMetadata"]["KeyId"], key)
            rotated = json.loads(self.vault.ok("rotate", target, "--key-id", short, "--json", *opened))
            self.assertEqual(rotated["key_id"], key)
            below = str(rotated["new_version"])
            done = self.vault.ok("key", "retire", target, "--key-id", short, "--below", below, "--json", *opened)
            self.assertEqual(json.loads(done)["key_id"], key)
            done = self.vault.run("kms", "describe-key", "--vault", target, "--key-id", "0123-4567-89", *opened)
            self.assertRefused(done, "NotFoundException", status=254)
            self.assertRefused(self.vault.run("rotate", target, "--key-id", "012", *opened), "is no key id", status=2)
            self.assertRefused(self.vault.run("rotate", target, "--key-id", "0123456789", *opened), "is no key id", status=44)
        slots = json.loads(self.vault.ok("unlock", "list", self.vault.path, "--json"))["slots"]
        slot = slots[0]["id"]
        said = self.vault.ok("unlock", "change", self.vault.path, "--slot", slot[:6], *secret, "--new-passfile",
                             self.vault.passfile, "--kdf-memory", "8")
        self.assertIn(f"slot {slot} ", said)
        done = self.vault.run("unlock", "remove", self.vault.path, slot[:6], *secret)
        self.assertRefused(done, "begins so", status=2)

    def test_a_key_disabled_before_the_mount_is_enabled_through_it(self):
        _, theirs, other = self.two_keys()
        self.kms("disable-key", "--key-id", other)
        self.vault.remount()
        self.assertErrno(errno.ENOKEY, open, theirs, "rb")
        self.kms("enable-key", "--key-id", other)
        self.assertEqual(self.read(theirs), b"under the second key" * 1000)

    def test_manual_rotation_by_alias_and_its_rollback(self):
        old = self.write("old", b"before", fsync=True)
        first = self.key_of(old)
        second = self.kms("create-key")["KeyMetadata"]["KeyId"]
        self.kms("update-alias", "--alias-name", "alias/default", "--target-key-id", second)
        new = self.write("new", b"after", fsync=True)
        self.assertEqual(self.key_of(new), second)
        self.assertEqual(self.read(old), b"before")
        self.assertTrue(wait_until(lambda: self.key_of(old) == second), "not re-wrapped to the new key")
        self.kms("update-alias", "--alias-name", "alias/default", "--target-key-id", first)
        self.assertEqual(self.key_of(self.write("back", b"back", fsync=True)), first)
        self.assertEqual((self.read(old), self.read(new)), (b"before", b"after"))

    def test_fifty_processes_at_once_lose_no_update(self):
        before = len(self.kms("list-keys")["Keys"])
        with ThreadPoolExecutor(50) as pool:
            made = list(pool.map(lambda _: self.kms("create-key")["KeyMetadata"]["KeyId"], range(50)))
        listed = {key["KeyId"] for key in self.kms("list-keys")["Keys"]}
        self.assertEqual(len(listed), before + 50)
        self.assertLessEqual(set(made), listed)
        self.vault.umount()
        unlock = ("--vault", self.vault.path, "--passfile", self.vault.passfile)
        kept = json.loads(self.vault.ok("kms", "list-keys", *unlock))["Keys"]
        self.assertEqual({key["KeyId"] for key in kept}, listed)

    def test_rotation_on_demand_and_the_schedule(self):
        self.kms("enable-key-rotation", "--key-id", "alias/default", "--rotation-period-in-days", "90")
        status = self.kms("get-key-rotation-status", "--key-id", "alias/default")
        self.assertEqual((status["KeyRotationEnabled"], status["RotationPeriodInDays"]), (True, 90))
        self.kms("rotate-key-on-demand", "--key-id", "alias/default")
        self.assertEqual(self.vault.version(self.write("f", b"x", fsync=True)), 2)
        self.assertEqual(self.kms("get-key-rotation-status", "--key-id", "alias/default"), status)
        self.assertEqual(self.vault.ok("rotate", self.mnt, "--due"), "")
        self.assertKmsError("ValidationException", "enable-key-rotation", "--key-id", "alias/default",
                     "--rotation-period-in-days", "89")  # fmt: skip
        self.assertKmsError("NotFoundException", "describe-key", "--key-id", "alias/none")

    def test_answers_of_a_mount_are_queried_paged_and_put_in_each_form(self):
        mounted = ("--vault", self.mnt)
        made = sorted(self.kms("create-key")["KeyMetadata"]["KeyId"] for _ in range(3))
        ids = [key["KeyId"] for key in self.kms("list-keys")["Keys"]]
        self.assertEqual((len(ids), set(made) - set(ids)), (5, set()))
        token, walked = (), []
        while True:
            part = self.kms("list-keys", "--max-items", "2", "--page-size", "1", *token)
            walked += [key["KeyId"] for key in part["Keys"]]
            if "NextToken" not in part:
                break
            token = ("--starting-token", part["NextToken"])
        self.assertEqual(walked, ids)
        page = self.kms("list-keys", "--limit", "2")
        self.assertEqual((len(page["Keys"]), page["Truncated"], page["NextMarker"]), (2, True, ids[1]))
        self.assertEqual(self.kms("list-keys", "--marker", ids[3], "--query", "Keys[].KeyId"), ids[4:])
        lines = self.vault.ok("kms", "list-keys", *mounted, "--query", "Keys[].KeyId", "--output", "text", "--page-size", "2")
        self.assertEqual(lines, "".join("\t".join(ids[at : at + 2]) + "\n" for at in (0, 2, 4)))
        query = f"Keys[?KeyId==`{ids[2]}`].KeyArn | [0]"
        self.assertTrue(self.kms("list-keys", "--query", query).endswith(f":key/{ids[2]}"))
        created = self.kms("describe-key", "--key-id", ids[2], "--query", "KeyMetadata.CreationDate")
        wire = self.kms("describe-key", "--key-id", ids[2], "--query", "KeyMetadata.CreationDate",
                        "--cli-timestamp-format", "wire")  # fmt: skip
        self.assertAlmostEqual(datetime.fromisoformat(created).timestamp(), wire, places=3)
        self.assertEqual(self.vault.ok("kms", "disable-key", *mounted, "--key-id", ids[2], "--output", "off"), "")
        self.assertEqual(self.kms("describe-key", "--key-id", ids[2], "--query", "KeyMetadata.KeyState"), "Disabled")

    def test_a_table_fits_the_terminal_as_the_aws_cli_makes_it_fit(self):
        """One object's fields are beside each other if there is room, else under each other."""
        query = "KeyMetadata.{Arn:Arn,Id:KeyId,State:KeyState}"
        describe = ("kms", "describe-key", "--vault", self.mnt, "--key-id", "alias/default", "--query", query, "--output", "table")
        for columns, rows in ((200, 1), (80, 0)):
            shown, said = output_at_terminal(self.vault, *describe, columns=columns)
            self.assertEqual(said, "")
            beside = [line for line in shown.splitlines() if " Arn " in line and " State " in line]
            self.assertEqual(len(beside), rows, shown)
