"""The tables of docs/keys.md, "Three ways": what stands in them, and what holds after each step. Each way has a test that does
what its column says: rekeyfs, aws and boto3 in tests/mounted/test_three_ways.py, the console in tests/console."""

import dataclasses
import json
import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs/keys.md"
CELL = re.compile(r"`([^`]+)`(?:: (\w+Exception))?")
# A policy of more than one line, which says something of its own.
POLICY = """{
  "Version": "2012-10-17",
  "Statement": [
    {"Sid": "the application", "Effect": "Allow", "Principal": {"AWS": ["uid:0", "uid:1000"]}, "Action": "kms:*", "Resource": "*"}
  ]
}"""


@dataclasses.dataclass
class Step:
    """A row: the step's number in AWS's document, and what each way does."""

    number: str
    command: str
    python: str
    console: str


def code(cell):
    """A command or statement, and the error that it ends with."""
    return CELL.fullmatch(cell).groups()


def tables():
    """The two tables: manual rotation, and automatic."""
    section = PAGE.read_text().split("\n## Three ways\n")[1].split("\n## ")[0]
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
        rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
        assert rows[0] == ["step", "`rekeyfs kms` or `aws kms`", "boto3, `kms = boto3.client(\"kms\")`", "console"], rows[0]
        found.append([Step(*row) for row in rows[2:]])
    return found


@dataclasses.dataclass
class Procedure:
    """A document's procedure: `ask` is a verb of kms with its options, of which the answer is given."""

    steps: list
    keys: dict
    aliases: str
    states: list

    def state(self, ask):
        """What the vault has, with the names that the page gives to keys."""
        names = {key: name for name, key in self.keys.items()}
        aliases = {alias["AliasName"].removeprefix("alias/"): names.get(alias["TargetKeyId"])
                   for alias in ask("list-aliases")["Aliases"] if re.match(self.aliases, alias["AliasName"])}  # fmt: skip
        rest = {}
        for name, key in self.keys.items():
            rotation = ask("get-key-rotation-status", "--key-id", key)
            policy = ask("get-key-policy", "--key-id", key)["Policy"]
            # What a person copies may be laid out otherwise; a browser ends lines in another way than the vault.
            policy = json.loads(policy) == json.loads(POLICY) and "\r" not in policy
            made = len(ask("list-key-rotations", "--key-id", key)["Rotations"])
            rest[name] = (rotation.get("RotationPeriodInDays") if rotation["KeyRotationEnabled"] else None, made, policy)
        return aliases, rest


def manual(ask):
    """The procedure of "How can I manually rotate customer managed keys in AWS KMS?", with a key as it begins."""
    old = ask("create-key", "--policy", POLICY, "--description", "the current key")["KeyMetadata"]["KeyId"]
    current, dated = "application-current", "application-20180606"
    # No rotation, no version made, the policy is the special one.
    known, new, copied = (None, 0, True), (None, 0, False), (None, 0, True)
    return Procedure(tables()[0], {"OLD": old}, "alias/application", [
        ({current: "OLD"}, {"OLD": known}),
        ({current: "OLD", dated: "OLD"}, {"OLD": known}),
        ({current: "OLD", dated: "OLD"}, {"OLD": known, "NEW": new}),
        ({current: "NEW", dated: "OLD"}, {"OLD": known, "NEW": new}),
        ({current: "NEW", dated: "OLD"}, {"OLD": known, "NEW": new}),
        ({current: "NEW", dated: "OLD"}, {"OLD": known, "NEW": new}),
        ({current: "NEW", dated: "OLD"}, {"OLD": known, "NEW": copied}),
    ])  # fmt: skip


def automatic(ask):
    """The procedures of "Rotating Customer Master Keys", with two keys as they begin."""
    key, other = (ask("create-key", "--description", name)["KeyMetadata"]["KeyId"] for name in ("a key", "another key"))
    ask("create-alias", "--alias-name", "alias/TestCMK", "--target-key-id", key)

    def state(alias, period, versions):
        return ({"TestCMK": alias}, {"KEY": (period, versions, False), "OTHER": (None, 0, False)})

    return Procedure(tables()[1], {"KEY": key, "OTHER": other}, "alias/TestCMK", [
        state("KEY", 365, 0),
        state("KEY", 365, 0),
        state("KEY", 180, 0),
        state("KEY", None, 0),
        state("KEY", None, 1),
        state("KEY", None, 1),
        state("OTHER", None, 1),
    ])  # fmt: skip
