"""Validates JSON objects on standard input against a schema of docs/schemas/rekeyfs.json: `validate.py NAME`. Every field of an
object must be in the schema, though readers must ignore those that they don't know. Needs jsonschema from PyPI."""

import json
import pathlib
import sys

import jsonschema

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "schemas" / "rekeyfs.json"


def strict(schema):
    """The schema, with objects that have no other fields than it names."""
    if isinstance(schema, dict):
        schema = {key: strict(value) for key, value in schema.items()}
        if "properties" in schema:
            schema["additionalProperties"] = False
    elif isinstance(schema, list):
        schema = [strict(item) for item in schema]
    return schema


def objects(text):
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        yield value
        text = text[end:].strip()


def main(name):
    whole = json.loads(SCHEMAS.read_text())
    definitions = {key: strict(value) for key, value in whole["$defs"].items()}
    schema = {"$schema": whole["$schema"], "$defs": definitions, "$ref": f"#/$defs/{name}"}
    validator = jsonschema.Draft202012Validator(schema)
    found = list(objects(sys.stdin.read()))
    problems = [f"{error.json_path}: {error.message}" for value in found for error in validator.iter_errors(value)]
    print("\n".join(problems))
    return 1 if problems or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
