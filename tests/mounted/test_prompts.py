"""Secrets that are typed at a terminal: what is asked, how often, and that nothing of it shows."""

import os
import pathlib
import shlex
import signal

import harness
from harness import NOBODY, PASSPHRASE, MountedTest, UserMountTest, is_gone, wait_until
from terminals import Terminal


class Prompts(MountedTest):
    options = None

    def setUp(self):
        super().setUp()
        self.prompt = f"Passphrase of {self.vault.path}: "

    def at_terminal(self, *args, **kw):
        return Terminal(self, [harness.BIN, *args], self.vault.env, **kw)

    def mounting(self, *options, **kw):
        return self.at_terminal("mount", self.vault.path, self.mnt, *options, **kw)

    def test_a_wrong_passphrase_is_asked_for_three_times(self):
        terminal = self.mounting()
        for times in (1, 2, 3):
            terminal.wait_for(self.prompt, times)
            terminal.type_secret(f"wrong {times}")
        self.assertEqual(terminal.ended(), harness.WRONG_PASSPHRASE_EXIT)
        self.assertEqual(terminal.shown.count("wrong passphrase"), 3, terminal.shown)
        self.assertNotIn("wrong 1", terminal.shown)
        self.assertTrue(terminal.is_as_before())
        self.assertFalse(self.vault.is_mounted())
        # Each was tried.
        self.assertTrue((self.vault.path / "unlock-failures").read_text().startswith("3 "))

    def test_a_vault_is_mounted_by_the_second_try_in_the_background_and_in_the_foreground(self):
        for options in ((), ("-f",)):
            with self.subTest(options):
                terminal = self.mounting(*options)
                terminal.wait_for(self.prompt)
                terminal.type_secret("wrong")
                terminal.wait_for(self.prompt, 2)
                terminal.type_secret(PASSPHRASE)
                self.assertTrue(wait_until(self.vault.is_mounted), terminal.shown)
                self.assertTrue(terminal.is_as_before())
                self.vault.pid = terminal.program.pid if options else self.vault.daemon_pid()
                if not options:
                    self.assertEqual(terminal.ended(), 0)
                self.write("file", b"content", fsync=True)
                holder = (self.vault.path / "lock").read_text()
                self.assertIn(f'"pid":{self.vault.pid},', holder)
                self.vault.umount()
                self.assertEqual(terminal.ended(), 0)
                self.assertTrue(wait_until(lambda: (self.vault.path / "lock").read_text() == ""))

    def test_other_commands_ask_three_times_too(self):
        terminal = self.at_terminal("status", self.vault.path)
        for times, typed in enumerate(("wrong", "still wrong", PASSPHRASE), 1):
            terminal.wait_for(self.prompt, times)
            terminal.type_secret(typed)
        self.assertEqual(terminal.ended(), 0, terminal.shown)

    def test_no_progress_is_drawn_over_a_question(self):
        for command in (["fsck", self.vault.path], ["reencrypt", "-r", self.vault.path]):
            terminal = self.at_terminal(*command)
            terminal.wait_for("Passphrase of ")
            for _ in range(8):
                terminal.hear(0.1)
            self.assertTrue(terminal.shown.startswith("Passphrase of ") and terminal.shown.endswith(": "), terminal.shown)
            terminal.type_secret(PASSPHRASE)
            self.assertEqual(terminal.ended(), 0, terminal.shown)

    def test_a_wrong_secret_of_a_file_or_command_is_tried_once(self):
        wrong = self.dir / "wrong"
        wrong.write_text("wrong\n")
        for source in (("--passfile", wrong), ("--extpass", f"echo . >> {self.dir}/asked; echo wrong")):
            terminal = self.mounting(*source)
            self.assertEqual(terminal.ended(), harness.WRONG_PASSPHRASE_EXIT)
            self.assertEqual(terminal.shown.count("wrong passphrase"), 1, terminal.shown)
        self.assertEqual((self.dir / "asked").read_text(), ".\n")

    def test_without_a_controlling_terminal_standard_input_is_it(self):
        terminal = self.at_terminal("status", self.vault.path, controlled=False)
        terminal.wait_for(self.prompt)
        terminal.type_secret(PASSPHRASE)
        self.assertEqual(terminal.ended(), 0, terminal.shown)
        self.assertNotIn(PASSPHRASE, terminal.shown)
        self.assertTrue(terminal.is_as_before())

    def test_a_new_passphrase_is_asked_for_twice(self):
        for second, status in (("another", 9), ("the first", 0)):
            vault = self.dir / f"new-{status}"
            terminal = self.at_terminal("init", vault, "--kdf-memory", "8", "--no-recovery-key")
            terminal.wait_for(f"New passphrase of {vault}: ")
            terminal.type_secret("the first")
            terminal.wait_for("The new passphrase again: ")
            terminal.type_secret(second)
            self.assertEqual(terminal.ended(), status, terminal.shown)
            self.assertEqual((vault / "keyring").exists(), status == 0)
            self.assertNotIn("the first", terminal.shown)

    def test_the_terminal_is_as_before_when_a_signal_ends_the_prompt(self):
        """^C is a character while it is hidden; the others come from elsewhere."""
        for controlled in (True, False):
            for sent in ("^C", signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                with self.subTest(sent=sent, controlled=controlled):
                    terminal = self.mounting(controlled=controlled)
                    terminal.wait_for(self.prompt)
                    self.assertTrue(wait_until(terminal.is_hidden))
                    if sent == "^C":
                        terminal.type("half a passphra\x03")
                    else:
                        os.kill(terminal.program.pid, sent)
                    expected = signal.SIGINT if sent == "^C" else sent
                    self.assertEqual(terminal.ended(10), -expected, terminal.shown)
                    self.assertTrue(terminal.is_as_before(), "what is typed from now on is not shown")
                    self.assertTrue(is_gone(terminal.program.pid))

    def test_nothing_typed_ends_it(self):
        for typed, status in (("", 22), ("\x04", 9)):
            terminal = self.mounting()
            terminal.wait_for(self.prompt)
            terminal.type_secret(typed)
            self.assertEqual(terminal.ended(), status, terminal.shown)
            self.assertTrue(terminal.is_as_before())


class PromptsOfAnotherUser(UserMountTest):
    def test_who_can_not_open_the_terminal_again_is_asked_too(self):
        """As from `su -c`: the terminal belongs to another user, and controls another session."""
        vault = self.vault.base / "another"
        terminal = Terminal(
            self, [self.bin, "init", vault, "--kdf-memory", "8"], self.vault.env, controlled=False, uid=NOBODY
        )
        terminal.wait_for(f"New passphrase of {vault}: ")
        terminal.type_secret("a passphrase of theirs")
        terminal.wait_for("The new passphrase again: ")
        terminal.type_secret("a passphrase of theirs")
        self.assertEqual(terminal.ended(), 0, terminal.shown)
        self.assertNotIn("a passphrase of theirs", terminal.shown)
        self.assertTrue(terminal.is_as_before())

    def test_su_c_at_a_terminal_mounts_with_a_passphrase_that_is_typed(self):
        """su itself, from root's login: the terminal is root's, and what su starts can't open it by its name."""
        self.need_tools("su")
        environment = [f"{name}={self.vault.env[name]}" for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME")]
        command = shlex.join(["env", *environment, str(self.bin), "mount", str(self.vault.path), str(self.mnt)])
        premise = Terminal(self, ["/usr/bin/su", "-s", "/bin/sh", "-c", "exec 3<> /dev/tty", "nobody"], os.environ.copy())
        self.assertNotEqual(premise.ended(), 0, "su -c gives it a terminal of its own")
        for login in ([], ["-"]):
            with self.subTest(login=login):
                terminal = Terminal(self, ["/usr/bin/su", *login, "-s", "/bin/sh", "-c", command, "nobody"], os.environ.copy())
                prompt = f"Passphrase of {self.vault.path}: "
                terminal.wait_for(prompt)
                terminal.type_secret("wrong")
                terminal.wait_for(prompt, 2)
                terminal.type_secret(PASSPHRASE)
                self.assertEqual(terminal.ended(), 0, terminal.shown)
                self.assertNotIn(PASSPHRASE, terminal.shown)
                self.assertNotIn("wrong\r", terminal.shown.replace("wrong passphrase", ""))
                self.assertTrue(terminal.is_as_before())
                self.vault.pid = self.vault.daemon_pid()
                self.assertEqual(self.owner(), NOBODY)
                self.vault.umount()

    def owner(self):
        """Whose the mount's process is; /proc's files of one that can't be dumped are root's."""
        status = pathlib.Path(f"/proc/{self.vault.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[2])
