#!/usr/bin/env bash
# scripts/custodian-check.sh HELPER [PARAMS [WORD=VALUE]...]
# Whether a custodian's helper keeps to protocol 1 (docs/custodians.md, "The protocol"). PARAMS is the JSON object that a key is
# wrapped with; the words are what custodians.conf would let it use. The custodian must be there and answer without a person.
# One line for each rule; ends with 'N passed, M failed', and with 1 if one failed. Needs python3, and nothing of rekeyfs.
set -u
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }
exec python3 -IB /dev/fd/3 "$@" 3<<'END'
import base64
import json
import os
import signal
import subprocess
import sys
import time
import uuid

DEADLINE = 10
HELPER, PARAMS = os.path.abspath(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
ALLOWED = {}
for word in sys.argv[3:]:
    key, value = word.split("=", 1)
    ALLOWED.setdefault(key, []).append(value)
KEK = os.urandom(32)
SECRET = base64.b64encode(KEK).decode()
# What isn't the custodian's own authentication is rekeyfs's: it checks the key by what it opens.
KINDS = {
    "offline", "busy", "denied", "disabled", "not-found", "wrong-state", "pin", "needs-user", "damaged", "missing",
    "not-allowed", "unsupported", "internal",
}  # fmt: skip
PASSED = FAILED = 0


class Broken(Exception):
    pass


def context():
    return {"rekeyfs:vault": str(uuid.uuid4()), "rekeyfs:use": "unlock", "rekeyfs:id": str(uuid.uuid4())}


CONTEXT = context()


def run(line):
    """What it prints when it gets these bytes, as rekeyfs runs it."""
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": os.path.expanduser("~")}
    environment |= {name: os.environ[name] for name in ALLOWED.get("env", []) if name in os.environ}
    started = time.monotonic()
    helper = subprocess.Popen(
        [HELPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", env=environment, start_new_session=True
    )
    try:
        out, errors = helper.communicate(line, timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(helper.pid, signal.SIGKILL)
        helper.communicate()
        raise Broken(f"it hasn't ended after {DEADLINE} s") from None
    if SECRET.encode() in errors or KEK in errors or KEK.hex().encode() in errors:
        raise Broken("it wrote the key to standard error")
    return out, helper.returncode, time.monotonic() - started


def ask(op, **more):
    request = {"v": 1, "op": op, "params": PARAMS, "allowed": ALLOWED, "context": CONTEXT, "interactive": False, **more}
    out, status, _ = run(json.dumps(request).encode() + b"\n")
    if status != 0:
        raise Broken(f"it ended with {status}; a refusal is an answer too, and ends with 0")
    if len(out) > 64 << 10:
        raise Broken("it printed more than 64 KiB")
    lines = [line for line in out.split(b"\n") if line.strip()]
    if len(lines) != 1:
        raise Broken(f"it printed {len(lines)} lines, and should print one: there is nobody to ask")
    try:
        answer = json.loads(lines[0])
    except ValueError:
        raise Broken("its answer is no JSON") from None
    if not isinstance(answer, dict) or answer.get("v") != 1:
        raise Broken('its answer has no "v":1')
    if "error" in answer:
        if answer["error"].get("kind") not in KINDS or not isinstance(answer["error"].get("message", ""), str):
            raise Broken(f"its error is of no known kind: {answer['error']}")
    return answer


def refusal(answer):
    if "error" not in answer:
        raise Broken("it was no refusal")
    return answer["error"]["kind"]


def rule(text):
    def checks(check):
        global PASSED, FAILED
        try:
            said = check()
            PASSED += 1
            print(f"ok      {text}" + (f" ({said})" if said else ""))
        except (Broken, OSError, KeyError, TypeError, ValueError) as broken:
            FAILED += 1
            print(f"FAILED  {text}: {broken}")

    return checks


WRAPPED = {}


def unwrap(**more):
    return ask("unwrap", **{"params": WRAPPED["params"], "blob": WRAPPED["blob"], "version": WRAPPED.get("version"), **more})


@rule("wraps a key of 32 bytes")
def _():
    answer = ask("wrap", secret=SECRET)
    if "error" in answer:
        raise Broken(f"refused: {answer['error']}")
    blob = base64.b64decode(answer["blob"], validate=True)
    if not 1 <= len(blob) <= 16 << 10:
        raise Broken(f"its blob has {len(blob)} bytes, and may have 1 to 16384")
    if KEK in blob or SECRET.encode() in blob:
        raise Broken("the key is in the blob as it is")
    params = answer.get("params", PARAMS)
    if len(json.dumps(params, separators=(",", ":"))) > 8 << 10:
        raise Broken("its parameters have more than 8192 bytes")
    version = answer.get("version")
    if version is not None and not (1 <= len(version) <= 256 and version.isascii() and version.isprintable()):
        raise Broken("its version isn't of 1 to 256 printable ASCII characters")
    WRAPPED.update(answer, params=params)
    return f"a blob of {len(blob)} bytes"


if not WRAPPED:
    # All the rest is about what it wrapped.
    print(f"{PASSED} passed, {FAILED} failed")
    sys.exit(1)


@rule("unwraps it to the same key")
def _():
    answer = unwrap()
    if answer.get("secret") != SECRET:
        raise Broken(f"got another key, or none: {answer.get('error')}")
    if answer.get("rewrap"):
        raise Broken("it wants to wrap again what it has just wrapped")


@rule("gives no key for a blob that was changed")
def _():
    blob = bytearray(base64.b64decode(WRAPPED["blob"]))
    blob[-1] ^= 1
    return refusal(unwrap(blob=base64.b64encode(blob).decode()))


@rule("gives no key for a blob that was cut")
def _():
    blob = base64.b64decode(WRAPPED["blob"])[:-1] or b"x"
    return refusal(unwrap(blob=base64.b64encode(blob).decode()))


@rule("gives no key for another vault and slot")
def _():
    answer = unwrap(context=context())
    if "error" not in answer:
        if answer.get("secret") != SECRET:
            raise Broken("it gave another key")
        return "it can't tell: rekeyfs does, by what the key opens"
    return refusal(answer)


@rule("tells how its key stands, or that it can't")
def _():
    answer = ask("status", params=WRAPPED["params"], blob=WRAPPED["blob"], version=WRAPPED.get("version"))
    return "it can't" if "error" in answer and refusal(answer) == "unsupported" else f"{ {k: answer[k] for k in answer if k != 'v'} }"


@rule("refuses an operation that it doesn't know")
def _():
    kind = refusal(ask("no-such-operation"))
    if kind != "unsupported":
        raise Broken(f"it is {kind}, and should be unsupported")


@rule("answers no version of the protocol but its own")
def _():
    request = {"v": 2, "op": "unwrap", "params": WRAPPED["params"], "allowed": ALLOWED, "context": CONTEXT, "blob": WRAPPED["blob"], "interactive": False}
    out, _, _ = run(json.dumps(request).encode() + b"\n")
    if SECRET.encode() in out:
        raise Broken("it gave the key")


@rule("ends where it gets no request")
def _():
    for line in (b"", b"\n", b"not JSON\n", b"[]\n", b'{"v":1}\n'):
        out, _, _ = run(line)
        if len(out) > 64 << 10:
            raise Broken("it printed more than 64 KiB")


print(f"{PASSED} passed, {FAILED} failed")
sys.exit(1 if FAILED else 0)
END
