"""Vaults that custodians open: slots, unattended mounts, what is refused and how, prompts, and what follows a rotation.

The custodian is tests/custodians/rekeyfs-custodian-double, which does what a file of orders says.
"""

import json
import pathlib
import shutil
import struct
import subprocess
import time
import uuid

import harness
from custodian_host import NOT_SEEN, OFFLINE, UNREAD, WRONG, CustodianTest, install_helper
from harness import PASSPHRASE, PATIENCE, ROOT, UserMountTest, quick_once
from terminals import Terminal
from test_console_data import Browser

KDF = ("--kdf-memory", "8")
DOUBLE = ROOT / "tests/custodians/rekeyfs-custodian-double"


class Custodians(CustodianTest):
    wanted = DOUBLE

    def setUp(self):
        super().setUp()
        self.helpers = self.helper.parent
        self.orders = self.dir / "orders"
        self.conf.write_text(f"double file={self.orders}\n")

    def order(self, **orders):
        self.orders.write_text(json.dumps(orders))

    def add(self, *args, **params):
        given = ("--params", json.dumps(params)) if params else ()
        printed = self.vault.ok("unlock", "add", self.vault.path, "--plugin", "double", *given, *self.secret, *args)
        return printed.split()[1]

    def slots(self):
        return json.loads(self.vault.ok("unlock", "list", self.vault.path, "--json", *self.secret))["slots"]

    # -- opening --

    def test_a_custodian_opens_a_vault_unattended_and_the_log_has_its_slot(self):
        params = ("--params", '{"key":"alias/vault"}')
        printed = self.vault.ok("unlock", "add", self.vault.path, "--plugin", "double", *params, "--label", "server", *self.secret)
        slot = printed.split()[1]
        self.assertEqual(printed, f"slot {slot} (double) is added\n")
        (listed,) = self.custodians()
        found = [listed[name] for name in ("id", "label", "custodian", "params", "key_version")]
        self.assertEqual(found, [slot, "server", "double", {"key": "alias/vault"}, "v1"])
        shown = self.vault.ok("unlock", "list", self.vault.path, *self.secret)
        self.assertIn('server; double {"key":"alias/vault"}, version v1', " ".join(shown.split()))
        tried = json.loads(self.vault.ok("unlock", "test", self.vault.path, "--custodian", slot[:6], "--json"))
        self.assertEqual((tried["slot_id"], tried["kind"], tried["label"]), (slot, "custodian", "server"))
        self.mount_unattended()
        self.write("file", b"content", fsync=True)
        mounted = self.vault.events("Vault Mounted")[-1]
        self.assertEqual((mounted["slot-id"], mounted["slot-kind"]), (slot, "custodian"))
        # The console names it too.
        self.assertEqual(Browser(self, self.vault).get("vault").row(slot)[1], "custodian double")
        self.vault.umount()
        # Other commands open it so too, and by name alone.
        self.vault.ok("rotate", self.vault.path)
        self.vault.ok("fsck", self.vault.path, "--custodian", "double")
        self.assertRefused(self.vault.run("status", self.vault.path, "--custodian", "age"), '"age"', "unlock list", status=2)
        self.vault.ok("unlock", "remove", self.vault.path, slot, *self.secret)
        self.assertEqual(self.custodians(), [])

    def test_the_passphrase_opens_a_vault_whatever_its_custodian_does(self):
        slot = self.add()
        expected = {
            "offline": (OFFLINE, "can't be reached"), "busy 9": (OFFLINE, "too many requests"),
            "denied": (WRONG, "doesn't let you"), "disabled": (WRONG, "disabled the key"), "not-found": (WRONG, "no such key"),
            "wrong-state": (WRONG, "unlock rebind"), "pin": (UNREAD, "terminal"), "damaged": (WRONG, "changed"),
            "wrong-key": (WRONG, "doesn't open the slot"), "megabyte": (UNREAD, "64 KiB"), "nothing": (UNREAD, "broke down"),
            "two": (UNREAD, "broke down"), "garbage": (UNREAD, "broke down"), "half": (UNREAD, "broke down"),
            "v2": (UNREAD, "broke down"), "exit": (UNREAD, "exit"), "escape": (WRONG, "\\u{1b}"), "kill-read": (UNREAD, "signal"),
            "kill-half": (UNREAD, "signal"),
        }  # fmt: skip
        for order, (status, words) in expected.items():
            with self.subTest(order):
                self.order(unwrap=order)
                done = self.unattended()
                lines = [line for line in done.stderr.splitlines() if f"slot {slot} (double): its custodian " in line]
                self.assertEqual((done.returncode, len(lines)), (status, 1), done.stderr)
                self.assertIn(words, lines[0])
                self.assertNotIn("\x1b", done.stderr)
                self.assertFalse(self.vault.is_mounted())
        done = self.unattended(stdin=PASSPHRASE + "\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("signal", done.stderr, "why it wasn't the custodian")
        self.vault.pid = self.vault.daemon_pid()
        failed = self.vault.events("Unlock Failed")[-1]
        asked = [order for order, (status, _) in expected.items() if status == WRONG]
        self.assertEqual((failed["attempts"], failed["secret-kind"], failed["slot-id"]), (len(asked), "custodian", slot))

    def test_what_is_not_allowed_or_not_there_is_said_and_the_passphrase_asked_for(self):
        slot = self.add()
        self.helper.rename(self.helpers / "away")
        done = self.unattended()
        self.assertRefused(done, slot, "rekeyfs-custodian-double", "install", status=UNREAD)
        self.assertEqual(done.stderr.count("no custodian opened it"), 1, done.stderr)
        (self.helpers / "away").rename(self.helper)
        self.helper.chmod(0o777)
        self.assertRefused(self.unattended(), slot, "others could change", status=UNREAD)
        self.helper.chmod(0o755)
        self.conf.write_text("age\n")
        self.assertRefused(self.unattended(), slot, "custodians.conf has no line `double`", status=UNREAD)
        self.conf.write_text("double what=1\n")
        done = self.unattended()
        self.assertRefused(done, "custodians.conf, line 1", "no custodian was asked", status=UNREAD)
        self.assertEqual(len(done.stderr.splitlines()), 2, done.stderr)
        done = self.unattended(stdin=PASSPHRASE + "\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.vault.pid = self.vault.daemon_pid()

    def test_a_secret_and_no_custodian_leave_custodians_alone(self):
        self.add()
        self.order(unwrap="report")
        for args in (self.secret, ("-o", f"passfile={self.vault.passfile}"), ("--no-custodian",), ("-o", "no_custodian")):
            done = self.unattended(*args, stdin=PASSPHRASE + "\n")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.vault.pid = self.vault.daemon_pid()
            self.vault.umount()
        self.assertFalse((self.dir / "report").exists())
        self.mount_unattended("-o", "custodian=double")
        self.assertTrue((self.dir / "report").exists())
        self.vault.umount()
        self.assertRefused(self.unattended("--custodian", "double", *self.secret), "--custodian", status=2)
        self.assertRefused(self.unattended("-o", f"custodian=double,passfile={self.vault.passfile}"), "only one", status=2)
        self.order(unwrap="denied")
        done = self.unattended("--custodian", "double", stdin=PASSPHRASE + "\n")
        self.assertRefused(done, "no custodian opened it", status=WRONG)

    def test_a_line_of_fstab_names_a_custodian_and_its_helper_gets_no_variables(self):
        self.conf.write_text(f"double file={self.orders} env=DOUBLE_PROFILE\n")
        self.add()
        self.order(unwrap="report")
        self.vault.env["DOUBLE_PROFILE"] = "x"
        of_mount = self.dir / "mount.fuse.rekeyfs"
        of_mount.symlink_to(harness.BIN)
        command = [of_mount, self.vault.path, self.mnt, "-o", "rw,custodian=double"]
        subprocess.run(command, env=self.vault.env, stdin=subprocess.DEVNULL, check=True)
        self.vault.pid = self.vault.daemon_pid()
        report = json.loads((self.dir / "report").read_text())
        self.assertEqual(set(report["environment"]) - {"LC_CTYPE"}, {"PATH", "LC_ALL", "HOME"})

    def test_custodians_that_hang_cost_one_deadline_together_and_nothing_where_another_answers(self):
        self.order(unwrap="ok")
        hanging = [self.add(unwrap=how) for how in ("hang", "deaf", "mute")]
        self.orders.unlink()

        def refused():
            began = time.monotonic()
            done = self.unattended("--custodian-timeout", "2s")
            self.assertRefused(done, *hanging, "no answer in 2 s", status=OFFLINE)
            self.assertGreater(time.monotonic() - began, 1.9)

        # One after another they would take six seconds, and one for that which has to be killed.
        self.assertTrue(quick_once(refused, 6))
        good = self.add()
        began = time.monotonic()
        self.mount_unattended("--custodian-timeout", "5m")
        self.assertLess(time.monotonic() - began, PATIENCE)
        self.assertEqual(self.vault.events("Vault Mounted")[-1]["slot-id"], good)

    def test_the_time_of_custodians_is_an_option_and_has_bounds(self):
        self.add()
        self.order(unwrap="hang")
        self.assertRefused(self.unattended("-o", "custodian_timeout=1s"), "no answer in 1 s", status=OFFLINE)
        self.assertRefused(self.vault.run("rotate", self.vault.path, "--custodian-timeout", "1s"), "no answer in 1 s", status=OFFLINE)
        self.order(wrap="hang")
        add = ("unlock", "add", self.vault.path, "--plugin", "double", *self.secret, "--custodian-timeout", "1s")
        self.assertRefused(self.vault.run(*add), "custodian double: it can't be reached: no answer in 1 s", status=OFFLINE)
        for text in ("0s", "11m", "5", "x"):
            self.assertRefused(self.unattended("--custodian-timeout", text), "from 1s to 10m", status=2)
            self.assertRefused(self.unattended("-o", f"custodian_timeout={text}"), "from 1s to 10m", status=2)

    def test_a_command_that_changes_the_vault_replaces_the_slot_of_a_rotated_key_and_others_do_not(self):
        old = self.add("--label", "server")
        self.order(wrap="rotated", unwrap="rotated")
        self.vault.ok("fsck", self.vault.path)
        self.vault.ok("unlock", "label", self.vault.path, "server", "web")
        self.assertEqual([slot["id"] for slot in self.custodians()], [old])
        self.vault.ok("rotate", self.vault.path)
        (new,) = self.custodians()
        self.assertEqual((new["label"], new["key_version"]), ("web", "v2"))
        self.vault.ok("rotate", self.vault.path)
        self.assertEqual([slot["id"] for slot in self.custodians()], [new["id"]])

    def test_a_pin_is_asked_for_at_the_terminal_and_a_wrong_one_is_typed_again(self):
        slot = self.add()
        self.order(unwrap="pin")
        terminal = Terminal(self, [harness.BIN, "mount", self.vault.path, self.mnt], self.vault.env)
        terminal.wait_for("The custodian double asks: PIN of the double: ")
        terminal.type_secret("no-such-pin")
        terminal.wait_for("2 tries are left")
        terminal.wait_for("PIN of the double: ", 2)
        terminal.type_secret("1234")
        self.assertEqual(terminal.ended(), 0, terminal.shown)
        self.assertNotIn("no-such-pin", terminal.shown)
        self.vault.pid = self.vault.daemon_pid()
        self.assertEqual(self.vault.events("Vault Mounted")[-1]["slot-id"], slot)

    def test_a_stored_pin_that_is_wrong_is_asked_for_at_a_terminal_and_tried_once(self):
        self.add()
        self.order(unwrap="stored-pin")
        self.assertRefused(self.unattended(), "refuses the PIN (2 tries are left)", status=WRONG)
        tries = self.dir / "count"
        self.assertEqual(tries.read_text(), "1")
        terminal = Terminal(self, [harness.BIN, "mount", self.vault.path, self.mnt], self.vault.env)
        for pin, left in (("4321", "(2 tries are left)"), ("1234", "(1 try is left)")):
            terminal.wait_for(left)
            terminal.wait_for("PIN of the double: ")
            terminal.type_secret(pin)
        self.assertEqual(terminal.ended(), 0, terminal.shown)
        self.assertEqual(tries.read_text(), "2")
        self.vault.pid = self.vault.daemon_pid()

    # -- a host that doesn't know the vault --

    def test_a_host_that_does_not_know_a_vault_asks_no_custodian_until_it_is_told_to(self):
        self.add()
        self.order(unwrap="report")
        self.vault.env["XDG_STATE_HOME"] = str(self.dir / "another-host")
        self.assertRefused(self.unattended(), "doesn't know this vault", "unlock trust", status=NOT_SEEN)
        self.assertFalse((self.dir / "report").exists(), "nothing runs for a vault that may be anybody's")
        vault = json.loads(self.vault.ok("unlock", "trust", self.vault.path, "--json"))
        self.assertEqual(vault["kind"], "custodian")
        self.mount_unattended()
        self.vault.umount()
        # A secret of one's own is as good.
        self.vault.env["XDG_STATE_HOME"] = str(self.dir / "a-third-host")
        self.vault.mount()
        self.vault.umount()
        self.mount_unattended()

    def test_a_header_with_more_slots_than_rekeyfs_makes_has_no_custodian_asked(self):
        self.add()
        self.order(unwrap="report")
        keyring = self.vault.path / "keyring"
        raw = keyring.read_bytes()
        length = struct.unpack_from("<I", raw, 14)[0]
        header = json.loads(raw[18 : 18 + length])
        header["slots"] += [{**header["slots"][-1], "id": str(uuid.uuid4())} for _ in range(1000)]
        text = json.dumps(header, separators=(",", ":")).encode()
        keyring.write_bytes(raw[:14] + struct.pack("<I", len(text)) + text + raw[18 + length :])
        for args in ((), ("--custodian", "double")):
            done = self.unattended(*args)
            self.assertRefused(done, "unlock slots", status=8)
            self.assertLess(len(done.stderr.splitlines()), 3)
        self.assertFalse((self.dir / "report").exists())

    # -- slots --

    def test_no_slot_is_made_that_its_custodian_does_not_open(self):
        before = (self.vault.path / "keyring").read_bytes()
        for orders, status in (({"wrap": "denied"}, WRONG), ({"unwrap": "offline"}, OFFLINE), ({"unwrap": "wrong-key"}, UNREAD)):
            self.order(**orders)
            done = self.vault.run("unlock", "add", self.vault.path, "--plugin", "double", *self.secret)
            self.assertRefused(done, "custodian double", status=status)
        for params in ("[]", '{"n":1.5}', '{"url":"http://x"}'):
            done = self.vault.run("unlock", "add", self.vault.path, "--plugin", "double", "--params", params, *self.secret)
            self.assertNotEqual(done.returncode, 0, params)
        self.assertEqual((self.vault.path / "keyring").read_bytes(), before)

    def test_the_last_slot_that_no_custodian_keeps_stays(self):
        self.add()
        (passphrase,) = [slot["id"] for slot in self.slots() if slot["kind"] == "passphrase"]
        done = self.vault.run("unlock", "remove", self.vault.path, passphrase, "--custodian", "double")
        self.assertRefused(done, "last one that no custodian keeps")

    def test_rebind_makes_a_new_slot_with_the_label_and_other_parameters(self):
        old = self.add("--label", "server")
        self.order(unwrap="wrong-state")
        self.assertRefused(self.vault.run("unlock", "rebind", self.vault.path, "server", *self.secret), "another state", status=WRONG)
        self.assertEqual([slot["id"] for slot in self.custodians()], [old], "the old one stays")
        self.order()
        self.vault.ok("unlock", "rebind", self.vault.path, "server", "--params", '{"pcrs":[7,11]}', *self.secret)
        (new,) = self.custodians()
        self.assertNotEqual(new["id"], old)
        self.assertEqual((new["label"], new["params"]), ("server", {"pcrs": [7, 11]}))
        self.mount_unattended()
        self.vault.umount()
        (passphrase,) = [slot["id"] for slot in self.slots() if slot["kind"] == "passphrase"]
        self.assertRefused(self.vault.run("unlock", "rebind", self.vault.path, passphrase, *self.secret), "no custodian's", status=2)

    def test_a_rotated_key_of_the_custodian_gets_the_slot_at_the_next_writable_mount(self):
        old = self.add("--label", "server")
        self.order(wrap="rotated", unwrap="rotated")
        self.mount_unattended("--read-only")
        self.vault.umount()
        self.assertEqual([slot["id"] for slot in self.custodians()], [old], "a read-only mount changes nothing")
        self.order(wrap="denied", unwrap="rotated")
        done = self.unattended()
        self.assertIn("stays under the old version", done.stderr)
        self.assertEqual(done.returncode, 0)
        self.vault.pid = self.vault.daemon_pid()
        self.vault.umount()
        self.assertEqual([slot["id"] for slot in self.custodians()], [old])
        self.order(wrap="rotated", unwrap="rotated")
        self.mount_unattended()
        (new,) = self.custodians()
        self.assertEqual((new["label"], new["key_version"]), ("server", "v2"))
        self.assertNotEqual(new["id"], old)
        removed = [event["slot-id"] for event in self.vault.events("Unlock Slot Removed")]
        self.assertEqual(removed, [old])
        mounted = self.vault.events("Vault Mounted")[-1]
        self.assertEqual((mounted["slot-id"], mounted["slot-kind"]), (old, "custodian"), "the one that opened it")
        self.vault.umount()
        self.mount_unattended()
        self.assertEqual([slot["id"] for slot in self.custodians()], [new["id"]])

    def test_revoke_wraps_anew_where_it_can_and_names_the_slots_that_it_drops(self):
        kept, dropped = self.add("--label", "server"), self.add(wrap="ok")
        gone = self.vault.ok(
            "unlock", "add", self.vault.path, *self.secret, "--new-passfile", self.file("x", "another one"), *KDF
        ).split()[1]  # fmt: skip
        # The second one wraps no more.
        self.helper.write_text(DOUBLE.read_text().replace("def main():\n", DROPPING))
        printed = self.vault.ok("unlock", "remove", self.vault.path, gone, "--revoke", *self.secret)
        self.assertIn(f"slot {dropped} is dropped", printed)
        (slot,) = self.custodians()
        self.assertEqual(slot["label"], "server")
        self.assertNotIn(slot["id"], (kept, dropped))
        self.mount_unattended()
        self.assertEqual(self.vault.events("Vault Mounted")[-1]["slot-id"], slot["id"])

    def test_an_identity_of_age_opens_a_vault_unattended_and_the_passphrase_where_it_is_gone(self):
        self.need_tools("age", "age-keygen")
        helper = pathlib.Path(harness.BIN).parent / "rekeyfs-custodian-age"
        shutil.copy(helper, self.helpers)
        identity = self.conf.parent / "identity.txt"
        made = subprocess.run(["age-keygen", "-o", identity], capture_output=True, text=True, check=True)
        self.conf.write_text(f"age file={identity}\n")
        self.vault.ok("unlock", "add", self.vault.path, "--age", made.stderr.split()[-1], *self.secret)
        self.mount_unattended()
        self.write("file", b"content", fsync=True)
        self.vault.umount()
        identity.unlink()
        self.assertRefused(self.unattended(), "(age): its custodian")
        self.vault.mount()

    def test_a_keyring_sealed_by_someone_else_for_the_same_recipient_is_refused(self):
        self.need_tools("age", "ssh-keygen")
        shutil.copy(pathlib.Path(harness.BIN).parent / "rekeyfs-custodian-age", self.helpers)
        identity = self.conf.parent / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", identity], check=True)
        self.conf.write_text(f"age file={identity}\n")
        self.vault.ok("unlock", "add", self.vault.path, "--age", pathlib.Path(f"{identity}.pub").read_text().strip(), *self.secret)
        self.assertRefusesSomeoneElses("age")

    def file(self, name, text):
        path = self.dir / name
        path.write_text(text + "\n")
        return path


class OfAUser(UserMountTest):
    def test_a_user_lets_custodians_run_for_own_vaults_and_gives_them_variables(self):
        install_helper(self, DOUBLE)
        orders = self.vault.base / "orders"
        add = ("unlock", "add", self.vault.path, "--plugin", "double", "--passfile", self.vault.passfile)
        self.assertRefused(self.vault.run(*add), "custodians.conf has no line `double`", status=UNREAD)
        conf = self.vault.base / ".config/rekeyfs/custodians.conf"
        self.shell_ok(f"mkdir -p -m 0700 .config/rekeyfs; echo 'double file={orders} env=DOUBLE_PROFILE' > {conf}")
        slot = self.vault.ok(*add).split()[1]
        self.shell_ok("""echo '{"unwrap":"report"}' > orders""")
        self.vault.env |= {"DOUBLE_PROFILE": "x", "PYTHONPATH": "/nonexistent", "http_proxy": "http://127.0.0.1:1"}
        self.vault.ok("mount", self.vault.path, self.mnt)
        self.vault.pid = self.vault.daemon_pid()
        report = json.loads((self.vault.base / "report").read_text())
        self.assertEqual(set(report["environment"]) - {"LC_CTYPE"}, {"PATH", "LC_ALL", "HOME", "DOUBLE_PROFILE"})
        self.assertEqual(self.vault.events("Vault Mounted")[-1]["slot-id"], slot)


DROPPING = """def main():
    global answer
    whole = answer

    def answer(request, version):
        if request["op"] == "wrap" and "wrap" in request["params"]:
            fail("denied")
            sys.exit(0)
        return whole(request, version)

"""
