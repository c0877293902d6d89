"""Runs the same script of verbs through `aws` on LocalStack's KMS and through `rekeyfs kms` on a vault, and compares
what they answer: fields with their types, states, numbers, names of errors, exit statuses. What rekeyfs answers is also
held against AWS's own description of the interface. `scripts/oracle.sh` makes the environment that it needs. Ends with
'N passed, M failed'."""

import argparse
import collections
import json
import pathlib
import shlex
import sys
import tempfile
import time

import verbs
from compare import Account, differences
from deviations import DEVIATIONS
from localstack import Server
from model import Model
from systems import Aws, Rekeyfs

_SKELETON = "--generate-cli-skeleton"
_CONSTANTS = {"POLICY": verbs.POLICY, "BAD_POLICY": verbs.BAD_POLICY, "TAGS": verbs.TAGS, "TOKEN": verbs.TOKEN}


class Side:
    """One of the two in one scenario. With a model, what it answers must also be in that."""

    def __init__(self, place, system, model=None):
        self._system = system
        self._model = model
        place.mkdir()
        self._account = Account(place)

    def step(self, name, words):
        """What a step answers, ready to be compared; binds `name` if there is one. And what the model says of it."""
        values = {f"${key}": value for key, value in (_CONSTANTS | self._account.values).items()}
        done = self._system.run([values.get(word, word) for word in words])
        if done.status:
            unknown = self._model and self._model.unknown_error(words[0], done.error)
            faults = [f"refused: AWS's operation has no such error | {done.error}"] if unknown else []
            return {"refused": done.refusal or f"exit {done.status}: {done.err.strip() or done.out.strip()}"}, faults
        if "--output" in words:
            # The aws command ends all colours behind each of its writes, those without any too.
            lines = self._account.text(done.out).replace("\x1b[0m", "").splitlines()
            return {"lines": sorted(line for line in lines if line and "another key" not in line)}, []
        answer = json.loads(done.out) if done.out.strip() else None
        if name:
            self._account.bind(name, answer)
        answers = self._model and _SKELETON not in words
        faults = self._model.faults(words[0], answer) if answers else []
        return {"answer": self._account.plain(answer)}, faults


def steps(script):
    """The steps of a scenario: as printed, the name that it binds or None, its words."""
    for line in filter(None, map(str.strip, script.splitlines())):
        words = shlex.split(line)
        name = words[0] if words[1:2] == ["="] else None
        yield line, name, words[2 if name else 0 :]


def play(script, sides, seen):
    """The unexplained differences of a scenario, and how many steps it has."""
    lines, count = [], 0
    for line, name, words in steps(script):
        count += 1
        (theirs, _), (ours, faults) = (side.step(name, words) for side in sides)
        for difference in differences(theirs, ours) + faults:
            reasons = [d for d in DEVIATIONS if d.covers(" ".join(words), difference)]
            seen.update(reasons)
            if not reasons:
                lines.append(f"{line}\n            {difference}")
    return lines, count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=pathlib.Path, help="the rekeyfs to compare")
    parser.add_argument("--deviations", action="store_true", help="print the known ones with their reasons, and end")
    parser.add_argument("scenarios", nargs="*", help="only those whose name contains one of these words")
    options = parser.parse_args()
    if options.deviations:
        for deviation in DEVIATIONS:
            print(f"{deviation.step}: {deviation.pattern}\n    {deviation.reason}")
        return 0
    chosen = {
        name: script for name, script in verbs.SCENARIOS.items()
        if not options.scenarios or any(word in name for word in options.scenarios)
    }  # fmt: skip
    passed, failed, seen = 0, 0, collections.Counter()
    model = Model()
    with tempfile.TemporaryDirectory(prefix="rekeyfs-oracle-") as scratch:
        scratch = pathlib.Path(scratch)
        for name, content in verbs.FILES.items():
            (scratch / name).write_text(content)
            _CONSTANTS[name] = f"file://{scratch / name}"
        (scratch / "dawn").write_bytes(verbs.DAWN)
        _CONSTANTS["DAWN"] = f"fileb://{scratch / 'dawn'}"
        with Server(scratch) as server:
            for number, (name, script) in enumerate(chosen.items(), 1):
                began = time.monotonic()
                place = scratch / str(number)
                place.mkdir()
                sides = [
                    Side(place / "theirs", Aws(place, server.url, number)),
                    Side(place / "ours", Rekeyfs(place, options.binary.resolve()), model),
                ]
                lines, count = play(script, sides, seen)
                passed, failed = passed + (not lines), failed + bool(lines)
                word, seconds = "FAILED" if lines else "ok", time.monotonic() - began
                print(f"{word:7} {name}: {count} verbs ({seconds:.1f} s)", flush=True)
                for line in lines:
                    print(f"        {line}", flush=True)
    unseen = [] if options.scenarios else [d for d in DEVIATIONS if d not in seen]
    for deviation in unseen:
        print(f"FAILED  a known deviation was not seen: {deviation.step}: {deviation.pattern}")
    failed += len(unseen)
    print(f"{seen.total()} known deviations, of {len(DEVIATIONS)} kinds")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
