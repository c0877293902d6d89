"""What a vault's names, slots and events hold is shown, never obeyed: no command prints an escape sequence, a line feed
of a name or a mark that turns the direction of writing, on either stream."""

import functools
import json
import os
import re
import shutil
import struct
import unicodedata

from harness import MountedTest

# A line that a script would take for rekeyfs's own, behind a colour, with a direction override and a C1 control.
HOSTILE = "a\x1b[31m\nFORGED: all is well\r\u202egnp.exe\x9b2J\u2028\x7f"


def unsafe(text):
    """The characters of an output that do more than show themselves; a line feed ends a line, a tab parts columns."""
    bidi = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\ufeff"
    return {c for c in text if (unicodedata.category(c) == "Cc" and c not in "\n\t") or c in bidi}


class Terminal(MountedTest):
    def check(self, *args, statuses=(0,), vault=None):
        done = (vault or self.vault).run(*args)
        what = f"rekeyfs {' '.join(map(repr, map(str, args)))}"
        self.assertIn(done.returncode, statuses, f"{what}\n{done.stderr}")
        for stream in (done.stdout, done.stderr):
            self.assertEqual(unsafe(stream), set(), f"{what} printed {stream!r}")
            self.assertIsNone(re.search(r"^FORGED", stream, re.MULTILINE), f"{what} printed {stream!r}")
        return done.stdout

    def test_names_are_shown_escaped_by_every_command(self):
        self.kms("create-key", "--description", "x")
        tree = self.mnt / HOSTILE
        tree.mkdir()
        file = self.write(f"{HOSTILE}/{HOSTILE}", b"x" * 9000, fsync=True)
        os.symlink(HOSTILE, tree / "link")
        os.mkfifo(tree / "fifo")
        secret = ("--passfile", self.vault.passfile)
        for how in ([], ["--json"]):
            self.check("inspect", file, tree, self.mnt / "no" / HOSTILE, *how, statuses=(1,))
            self.assertEqual(json.loads(self.check("inspect", file, "--json"))["path"], str(file))
            self.check("reencrypt", file, *how)
            self.check("reencrypt", tree / "fifo", *how, statuses=(0, 1, 2))
            self.check("reencrypt", "-r", tree, *how)
            self.check("fsck", self.mnt, *how)
            self.check("fsck", self.mnt, f"/{HOSTILE}", *how)
            self.check("events", self.mnt, *how)
            self.check("status", self.mnt, *how)
            self.check("status", file, *how)
            self.check("rewrap", self.mnt, *how)
            self.check("rotate", tree, *how)
        key = self.kms("describe-key", "--key-id", "alias/default")["KeyMetadata"]["KeyId"]
        self.check("kms", "re-encrypt", file, "--destination-key-id", key)
        self.check("kms", "re-encrypt", file, "--destination-key-id", HOSTILE, statuses=(254,))
        self.kms("update-key-description", "--key-id", key, "--description", HOSTILE)
        described = ["describe-key", "--key-id", key]
        queried = [*described, "--query", "KeyMetadata.Description"]
        for verb, *args in (["list-keys"], ["list-aliases"], described, queried):
            for output in ("json", "text", "table", "yaml", "yaml-stream"):
                if (args[-1:], output) != (["KeyMetadata.Description"], "text"):
                    self.check("kms", verb, *args, "--vault", file, "--output", output)
        self.assertEqual(self.kms(*queried), HOSTILE)
        # One text that was asked for alone keeps its lines, as a policy that goes into a file does, and nothing else.
        alone = self.vault.ok("kms", *queried, "--vault", file, "--output", "text")
        self.assertEqual((alone.count("\n"), unsafe(alone)), (HOSTILE.count("\n") + 1, set()), alone)
        self.check("kms", "list-keys", "--vault", file, "--query", HOSTILE, statuses=(2, 252))
        self.check("kms", "list-keys", "--vault", file, "--starting-token", HOSTILE, statuses=(2, 252))
        self.check("kms", "describe-key", "--key-id", HOSTILE, "--vault", self.mnt, statuses=(254,))
        self.check("mount", self.vault.path, tree, *secret, statuses=range(1, 60))
        self.check("mount", tree, self.mnt, *secret, statuses=range(1, 60))
        self.check("umount", tree / "nothing", statuses=range(1, 60))
        self.check("frobnicate", HOSTILE, statuses=(2,))
        self.check("rotate", self.mnt, HOSTILE, statuses=(2,))

    def test_a_damaged_file_is_named_escaped(self):
        file = self.write(HOSTILE, b"x" * 9000, fsync=True)
        lower = self.vault.lower(file)
        self.vault.umount()
        with open(lower, "r+b") as raw:
            raw.seek(5000)
            raw.write(b"changed")
        self.vault.mount()
        with self.assertRaises(OSError):
            self.read(file)
        for how in ([], ["--json"]):
            self.check("fsck", self.mnt, *how, statuses=(4,))
            self.check("events", self.mnt, *how)
        self.vault.umount()
        quarantine = self.dir / HOSTILE
        quarantine.mkdir()
        for how in ([], ["--json"]):
            self.check("fsck", self.vault.path, "--passfile", self.vault.passfile, *how, statuses=(4,))
        done = ("--repair", "--quarantine", quarantine, "--passfile", self.vault.passfile)
        self.check("fsck", self.vault.path, *done, statuses=range(0, 8))

    def test_a_vault_at_a_hostile_path_is_named_escaped(self):
        place = self.dir / HOSTILE
        place.mkdir()
        other = self.new_vault(place)
        check = functools.partial(self.check, vault=other)
        other.mount()
        check("status", other.mnt)
        check("events", other.mnt)
        check("fsck", other.mnt)
        other.umount()
        secret = ("--passfile", other.passfile)
        check("status", other.path, *secret)
        check("fsck", other.path, *secret)
        check("unlock", "list", other.path)
        check("key-backup", "export", other.path, place / "backup", *secret, "--backup-passfile", other.passfile, "--kdf-memory", "8")
        (other.path / "keyring").write_bytes(b"nothing")
        check("mount", other.path, other.mnt, *secret, statuses=range(1, 60))

    def test_every_command_tells_of_hostile_places_and_words_escaped(self):
        """Each with a vault, files and words of hostile names, whatever it says of them."""
        groups = ("kms", "unlock", "key", "key-backup")
        commands = {(name,) for name in self.vault.subcommands() - set(groups)}
        commands |= {(group, name) for group in groups for name in self.vault.subcommands(group)}
        place = self.dir / HOSTILE
        place.mkdir()
        vault = self.new_vault(place)
        secret = ("--passfile", vault.passfile)
        new = ("--new-passfile", place / "none", "--kdf-memory", "8")
        words = {
            ("inspect",): (place / "vault/keyring", place / "none"),
            ("reencrypt",): ("-r", place / "none"),
            ("rotate",): (vault.path, "--alias", f"alias/{HOSTILE}", *secret),
            ("mount",): (vault.path, place / "none", *secret),
            ("init",): (vault.path, *secret),
            ("umount",): (place / "none",),
            ("rewrap",): (vault.path, "--to-alias", f"alias/{HOSTILE}", *secret),
            ("fsck",): (vault.path, "--keyring", place / "none", *secret),
            ("events",): (vault.path, "--passfile", place / "none"),
            ("status",): (place / "none", *secret),
            ("key", "retire"): (vault.path, "--key-id", HOSTILE, "--below", "2", *secret),
            ("key-backup", "export"): (vault.path, place / "no/backup", *secret, "--backup-passfile", vault.passfile),
            ("key-backup", "keep"): (vault.path, "--to", place / "no/kept", *secret, "--backup-passfile", vault.passfile),
            ("key-backup", "import"): (vault.path, place / "none", "--backup-passfile", vault.passfile, *new),
            ("key-backup", "merge"): (vault.path, place / "none", *secret),
            ("unlock", "list"): (place / "none",),
            ("unlock", "add"): (vault.path, *secret, *new),
            ("unlock", "change"): (vault.path, *secret, *new),
            ("unlock", "remove"): (vault.path, HOSTILE, *secret),
            ("unlock", "test"): (place / "none", *secret),
            ("unlock", "rebind"): (vault.path, HOSTILE, "--params", HOSTILE, *secret),
            ("unlock", "trust"): (place / "none", "--custodian", HOSTILE),
            ("unlock", "label"): (vault.path, HOSTILE, HOSTILE, *secret),
            ("info",): (vault.path,),
            ("hosts",): (vault.path, "--json"),
            ("speed",): (),
            ("recover",): (vault.path, "--passfile", place / "none", *new),
            ("kms", "re-encrypt"): (place / "none", "--destination-key-id", HOSTILE),
            ("kms", "serve"): (vault.path, "--credentials", place / "none"),
            ("console",): (place / "none",),
        }
        kms = {
            "create-key": ("--description", HOSTILE, "--tags", f"TagKey={HOSTILE},TagValue={HOSTILE}"),
            "create-alias": ("--alias-name", f"alias/{HOSTILE}", "--target-key-id", HOSTILE),
            "update-alias": ("--alias-name", f"alias/{HOSTILE}", "--target-key-id", HOSTILE),
            "delete-alias": ("--alias-name", f"alias/{HOSTILE}"),
            "list-keys": (),
            "list-aliases": (),
            "put-key-policy": ("--key-id", HOSTILE, "--policy", HOSTILE),
            "tag-resource": ("--key-id", HOSTILE, "--tags", f"TagKey={HOSTILE},TagValue={HOSTILE}"),
            "untag-resource": ("--key-id", HOSTILE, "--tag-keys", HOSTILE),
            "update-key-description": ("--key-id", HOSTILE, "--description", HOSTILE),
            "import-key-material": ("--key-id", HOSTILE, "--key-material-file", place / "none"),
            "get-parameters-for-import": ("--key-id", HOSTILE, "--wrapping-algorithm", HOSTILE),
        }
        for command in sorted(commands):
            given = words.get(command)
            if given is None:
                self.assertEqual(command[0], "kms", f"rekeyfs {' '.join(command)}: a command that this test doesn't know")
                given = (*kms.get(command[1], ("--key-id", HOSTILE)), "--vault", vault.path, *secret)
            self.check(*command, *given, statuses=range(256))
            self.check(*command, HOSTILE, f"--{HOSTILE}", statuses=range(1, 256))

    def test_slots_of_other_programs_and_forged_events_are_shown_escaped(self):
        self.vault.umount()
        copy, secret = self.dir / "copy", ("--passfile", self.vault.passfile)
        shutil.copytree(self.vault.path, copy)
        raw = (copy / "keyring").read_bytes()
        # "RKFK" | format u16 | incompat u32 | ro_compat u32 | hdr_len u32 | header JSON | ...
        (length,) = struct.unpack_from("<I", raw, 14)
        header = json.loads(raw[18 : 18 + length])
        header["slots"].append({"type": HOSTILE, "label": HOSTILE})
        forged = json.dumps(header).encode()
        (copy / "keyring").write_bytes(raw[:14] + struct.pack("<I", len(forged)) + forged + raw[18 + length :])
        for how in ([], ["--json"]):
            listed = self.check("unlock", "list", copy, *how)
            self.assertIn("FORGED", listed)
        copy = self.dir / "another-copy"
        shutil.copytree(self.vault.path, copy)
        event = json.loads((copy / "events.jsonl").read_text().splitlines()[0])
        event["detail-type"] = HOSTILE
        event["detail"] = {HOSTILE: HOSTILE, "lower-path": HOSTILE, "uid": HOSTILE, "pid": HOSTILE}
        event["time"] = HOSTILE
        with open(copy / "events.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(event, ensure_ascii=False) + "\n")
        for how in ([], ["--json"]):
            self.assertIn("FORGED", self.check("events", copy, *secret, *how))
        self.check("events", copy, "--verify", *secret, statuses=range(0, 60))
