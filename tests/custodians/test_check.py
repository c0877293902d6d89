"""scripts/custodian-check.sh tells a helper that keeps to the protocol from one that doesn't."""

import json
import pathlib
import subprocess
import unittest

HERE = pathlib.Path(__file__).resolve().parent
CHECK = HERE.parent.parent / "scripts/custodian-check.sh"


def check(helper, *arguments):
    done = subprocess.run([CHECK, helper, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, [line.split("  ", 1)[1].strip() for line in done.stdout.splitlines() if line.startswith("FAILED")], done.stdout


class Check(unittest.TestCase):
    def broken(self, **orders):
        status, failed, out = check(HERE / "rekeyfs-custodian-double", json.dumps(orders))
        self.assertEqual(status, 1, out)
        return " / ".join(failed)

    def test_a_helper_that_keeps_to_the_protocol_passes(self):
        status, failed, out = check(HERE / "rekeyfs-custodian-double")
        self.assertEqual((status, failed), (0, []), out)
        self.assertIn("9 passed, 0 failed", out)

    def test_one_that_does_not_is_told_why(self):
        for order, why in (
            ("wrong-key", "got another key"),
            ("exit", "it ended with 3"),
            ("two", "it printed 2 lines"),
            ("nothing", "it printed 0 lines"),
            ("megabyte", "it printed more than 64 KiB"),
            ("half", "its answer is no JSON"),
            ("v2", "its answer has no"),
            ("rotated", "it wants to wrap again what it has just wrapped"),
            ("strange", "its error is of no known kind"),
        ):
            with self.subTest(order):
                self.assertIn(f"unwraps it to the same key: {why}", self.broken(unwrap=order))

    def test_what_wraps_nothing_is_no_helper(self):
        for program in ("/bin/true", "/bin/cat"):
            status, failed, out = check(program)
            self.assertEqual((status, len(failed)), (1, 1), out)


if __name__ == "__main__":
    unittest.main()
