"""What a vault of many keys costs whoever looks at them: through `rekeyfs kms`, `kms serve`, `status` and the console's pages.
scripts/many-keys.sh runs it. Prints a table in Markdown: the time of each, with few keys and with many."""

import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "mounted")]

from harness import MountedTest  # noqa: E402
from test_console_http import Console  # noqa: E402
from test_kms_serve import Endpoint  # noqa: E402

FEW, MANY = 1_000, 10_000
ADDER = os.environ["REKEYFS_MANY_KEYS"]


class Measured(MountedTest):
    """A vault with so many keys, and what its clients do."""

    def measure(self, keys):
        self.vault.umount()
        subprocess.run([ADDER, self.vault.path, self.vault.passfile, str(keys)], env=self.vault.env, check=True)
        seconds = {}

        def timed(name, call):
            began = time.perf_counter()
            answer = call()
            seconds[name] = time.perf_counter() - began
            return answer

        def listed(target, field):
            items, marker = [], {}
            while True:
                answer = endpoint.ok(target, {"Limit": 100, **marker})
                items += answer[field]
                if not answer["Truncated"]:
                    return items
                marker = {"Marker": answer["NextMarker"]}

        def shown(page, words):
            answer = console.get(page)
            self.assertEqual(answer.status, 200, answer.body)
            self.assertIn(words, answer.body)

        timed("mount", self.vault.mount)
        endpoint = Endpoint(self, self.vault)
        found = timed("`kms serve`: list-keys, 100 a page", lambda: listed("ListKeys", "Keys"))
        self.assertGreaterEqual(len(found), keys)
        aliases = timed("`kms serve`: list-aliases, 100 a page", lambda: listed("ListAliases", "Aliases"))
        self.assertGreaterEqual(len(aliases), keys)
        some = found[-1000:]
        tagged = timed("`kms serve`: list-resource-tags of 1,000 keys", lambda: [
            key for key in some if {"TagKey": "digit", "TagValue": "7"} in endpoint.ok("ListResourceTags", {"KeyId": key["KeyId"]})["Tags"]
        ])  # fmt: skip
        self.assertEqual(len(tagged), 100)
        timed("`kms serve`: create-key", lambda: endpoint.ok("CreateKey"))
        for verb, field in (("list-keys", "Keys"), ("list-aliases", "Aliases")):
            all_of = timed(f"`rekeyfs kms {verb}`, all", lambda: self.kms(verb))
            self.assertGreaterEqual(len(all_of[field]), keys)
        timed("`rekeyfs kms describe-key`", lambda: self.kms("describe-key", "--key-id", found[-1]["KeyId"]))
        timed("`rekeyfs status`", lambda: self.vault.ok("status", self.vault.mnt))
        timed("`rekeyfs status --json`", lambda: self.vault.ok("status", "--json", self.vault.mnt))
        console = Console(self, self.vault).sign_in()
        timed("console: all keys", lambda: shown("keys", "The first 500 are shown"))
        timed("console: keys by alias", lambda: shown(f"keys?filter=many-{keys - 1}", "1 key"))
        timed("console: keys by tag", lambda: shown("keys?filter=digit", f"{keys} keys"))
        timed("console: a key", lambda: shown(f"keys/{found[-1]['KeyId']}", "General configuration"))
        alias = next(item["AliasName"] for item in aliases if item["TargetKeyId"] == found[-1]["KeyId"])
        timed("console: point an alias elsewhere", lambda: shown(f"keys/{found[-1]['KeyId']}/aliases/move?alias={alias}", "many-0"))
        timed("console: the vault", lambda: shown("vault", "Unlock slots"))
        return seconds

    def runTest(self):
        raise NotImplementedError


def of(keys):
    test = Measured()
    test.setUp()
    try:
        return test.measure(keys)
    finally:
        test.tearDown()
        test.doCleanups()


def main():
    few, many = of(FEW), of(MANY)
    print(f"| | {FEW:,} keys | {MANY:,} keys |\n|--|--|--|")
    for name, seconds in many.items():
        print(f"| {name} | {few[name]:.2f} s | {seconds:.2f} s |")


if __name__ == "__main__":
    main()
