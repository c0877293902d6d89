"""docs/keys.md, "Three ways": AWS's two documents by `rekeyfs kms`, by the `aws` command and by boto3, as the page has them. What
the console does is in tests/console."""

import json
import re
import shlex
import string
import subprocess

import three_ways
from harness import BIN, ROOT, MountedTest
from test_kms_serve import CLIENTS, Endpoint

# Runs a statement a line, in a Python that has boto3 and the aws command; prints the error's name and what the names in capitals
# stand for then, and forgets these. `aws` is the command, in this process: starting Python for each would take most of the time.
STATEMENTS = """
import json, re, sys
import boto3
from awscli.clidriver import create_clidriver
sys.path.append(sys.argv[1])
import systems

driver = create_clidriver()
kms = boto3.client("kms")

def aws(words):
    done = systems.aws(driver, words)
    if done.status:
        raise Refused(re.search(r"\\((\\w+)\\)", done.err)[1])
    return done.out

class Refused(Exception):
    pass

names = {"kms": kms, "aws": aws}
for line in sys.stdin:
    error = None
    try:
        exec(line, names)
    except kms.exceptions.ClientError as refused:
        error = refused.response["Error"]["Code"]
    except Refused as refused:
        error = str(refused)
    print(json.dumps([error, {name: names.pop(name) for name in [*names] if name.isupper()}]), flush=True)
"""
# A command whose output becomes a name's, or a file's.
COMMAND = re.compile(r"(?:(?P<name>[A-Z]+)=\$\()?(?P<words>rekeyfs kms [^)>]+)\)?(?: > (?P<file>\w+))?")


class ThreeWays(MountedTest):
    def through(self, do):
        """Does each step of both documents by `do`, and compares what is then. `do` gets a step and the keys' names, to which it
        adds those that it makes."""
        for document in (three_ways.manual, three_ways.automatic):
            procedure = document(self.kms)
            self.assertEqual(len(procedure.steps), len(procedure.states))
            for step, expected in zip(procedure.steps, procedure.states):
                do(step, procedure.keys)
                self.assertEqual(procedure.state(self.kms), expected, step)

    def by_commands(self, run):
        """A step by its command: `run` gets words, and gives what they print and the error's name."""

        def do(step, keys):
            line, expected = three_ways.code(step.command)
            command = COMMAND.fullmatch(line)
            out, error = run(shlex.split(string.Template(command["words"]).substitute(keys))[1:])
            self.assertEqual(error, expected, line)
            if command["name"]:
                keys[command["name"]] = out.strip()
            if command["file"]:
                (self.dir / command["file"]).write_text(out)

        self.through(do)

    def python(self):
        """Gives a function that runs a statement with AWS's clients, which use an endpoint on the vault."""
        if not CLIENTS.exists():
            self.skipTest(f"{CLIENTS} is missing: scripts/oracle.sh makes it")
        endpoint = Endpoint(self, self.vault)
        python = subprocess.Popen(
            [CLIENTS, "-c", STATEMENTS, ROOT / "tests/oracle"], env=endpoint.environment(self.dir), cwd=self.dir, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.addCleanup(python.communicate)

        def run(statement, keys):
            assignments = "; ".join(f"{name} = {key!r}" for name, key in keys.items())
            python.stdin.write(f"{assignments}; {statement}\n" if keys else f"{statement}\n")
            python.stdin.flush()
            return json.loads(python.stdout.readline())

        return run

    def test_both_documents_by_rekeyfs_kms_as_the_page_says(self):
        environment = {**self.vault.env, "REKEYFS_VAULT": str(self.mnt)}

        def run(words):
            done = subprocess.run([BIN, *words], env=environment, cwd=self.dir, capture_output=True, text=True, timeout=60)
            error = re.search(r"\((\w+Exception)\)", done.stderr)
            self.assertEqual(done.returncode, 254 if error else 0, done.stderr)
            return done.stdout, error and error[1]

        self.by_commands(run)

    def test_both_documents_by_the_aws_command_as_the_page_says(self):
        python = self.python()

        def run(words):
            error, names = python(f"OUT = aws({words!r})", {})
            return names.get("OUT"), error

        self.by_commands(run)

    def test_both_documents_by_boto3_as_the_page_says(self):
        python = self.python()

        def do(step, keys):
            statement, expected = three_ways.code(step.python)
            error, names = python(statement, keys)
            self.assertEqual(error, expected, statement)
            keys.update(names)

        self.through(do)
