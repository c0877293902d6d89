"""Answers without what must differ (ids, ARNs, times), and the differences between two of them."""

import base64
import json
import re
import time

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ARN = re.compile(r"arn:(?:aws|rekeyfs):kms:[a-z0-9-]+:\d{12}:")
_ACCOUNT = re.compile(r"\d{12}")
_MATERIAL = re.compile(r"\b[0-9a-f]{64}\b")
_DAY = 86400
# Made again for each answer.
_BLOBS = {"PublicKey", "ImportToken", "CiphertextBlob"}
# Lists whose order neither AWS's documentation nor its answers fix, and what an item is of.
_UNORDERED = {"Keys": "KeyId", "Aliases": "TargetKeyId", "Rotations": "KeyId", "Tags": None}


class Account:
    """What one side made in a scenario: its ids by the script's names; its ciphertexts, in files below `place`."""

    def __init__(self, place):
        self._place = place
        self._names = {}
        self.values = {}

    def bind(self, name, answer):
        """Remembers what `NAME = create-key …` answered: `$NAME` is the id, `$NAME.arn` the ARN; of what encrypts, `$NAME` is the
        ciphertext."""
        if "CiphertextBlob" in answer:
            file = self._place / f"{name}.blob"
            file.write_bytes(base64.b64decode(answer["CiphertextBlob"]))
            self.values[name] = f"fileb://{file}"
            return
        metadata = answer["KeyMetadata"]
        self._names[metadata["KeyId"]] = name
        self.values |= {name: metadata["KeyId"], f"{name}.arn": metadata["Arn"]}

    def text(self, text):
        """A text with names in the place of ids and ARNs."""
        text = _ARN.sub("ARN:", text)
        text = _UUID.sub(lambda found: f"<{self._names.get(found[0], 'another key')}>", text)
        return _MATERIAL.sub("<material>", text)

    def _date(self, seconds):
        days = (seconds - time.time()) / _DAY
        return f"<date: {round(days):+d} days>"

    def _policy(self, text):
        try:
            return self.plain(json.loads(text), "policy")
        except json.JSONDecodeError:
            return f"not JSON: {text}"

    def plain(self, value, field=""):
        """An answer with names for ids, days from now for dates, and lists in one order, of this script's items."""
        if isinstance(value, dict):
            if value.keys() >= {"CiphertextBlob", "Plaintext"}:
                # A data key: another one each time.
                value = {**value, "Plaintext": f"<{len(base64.b64decode(value['Plaintext']))} bytes>"}
            return {key: self.plain(item, key) for key, item in value.items()}
        if isinstance(value, list):
            owner = _UNORDERED.get(field)
            mine = [item for item in value if owner is None or item[owner] in self._names]
            items = [self.plain(item) for item in mine]
            return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if field in _UNORDERED else items
        if field in _BLOBS and isinstance(value, str):
            return f"<{field}>"
        if field == "AWSAccountId" and _ACCOUNT.fullmatch(str(value)):
            return "<account>"
        if isinstance(value, str):
            return self._policy(value) if field == "Policy" else self.text(value)
        is_date = field.endswith(("Date", "ValidTo")) and isinstance(value, (int, float)) and value is not True
        return self._date(value) if is_date else value


def differences(theirs, ours, path=""):
    """What differs, as `PATH: THEIRS | OURS` lines; `absent` for a field that one lacks."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        lines = []
        for field in sorted(theirs.keys() | ours.keys()):
            where = f"{path}.{field}" if path else field
            if field not in ours:
                lines.append(f"{where}: {json.dumps(theirs[field])} | absent")
            elif field not in theirs:
                lines.append(f"{where}: absent | {json.dumps(ours[field])}")
            else:
                lines += differences(theirs[field], ours[field], where)
        return lines
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [line for pair in zip(theirs, ours) for line in differences(*pair, f"{path}[]")]
    if theirs == ours and isinstance(theirs, bool) == isinstance(ours, bool):
        return []
    return [f"{path or 'it'}: {json.dumps(theirs)} | {json.dumps(ours)}"]
