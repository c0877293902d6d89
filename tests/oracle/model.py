"""AWS's own description of its KMS interface, as the `aws` command carries it: which fields an answer may have, of
which types and values, and which errors an operation knows."""

from numbers import Real

# What AWS lists as common to all its services.
_COMMON_ERRORS = {"ValidationException"}


class Model:
    """Checks answers of a system against that description."""

    def __init__(self):
        from awscli.clidriver import create_clidriver

        self._service = create_clidriver().session.get_service_model("kms")
        self._operations = {_verb(name): name for name in self._service.operation_names}

    def faults(self, verb, answer):
        """What in a parsed answer AWS's interface doesn't have."""
        shape = self._service.operation_model(self._operations[verb]).output_shape
        if shape is None or not shape.members:
            return [] if answer is None else [f"it: AWS answers nothing | {answer!r}"]
        return list(_faults(shape, answer, ""))

    def unknown_error(self, verb, name):
        """Whether AWS's operation has no error of this name."""
        known = {shape.error_code for shape in self._service.operation_model(self._operations[verb]).error_shapes}
        known |= {shape.name for shape in self._service.operation_model(self._operations[verb]).error_shapes}
        return name not in known | _COMMON_ERRORS


def _verb(operation):
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("-")


def _faults(shape, value, path):
    if shape.type_name == "structure" and isinstance(value, dict):
        for field, item in value.items():
            where = f"{path}.{field}" if path else field
            if field not in shape.members:
                yield f"{where}: AWS has no such field | {item!r}"
            else:
                yield from _faults(shape.members[field], item, where)
        for field in shape.required_members:
            if field not in value:
                yield f"{path}: AWS requires {field} | absent"
        return
    if shape.type_name == "list" and isinstance(value, list):
        for item in value:
            yield from _faults(shape.member, item, f"{path}[]")
        return
    fits = {
        "string": isinstance(value, str) and (not shape.metadata.get("enum") or value in shape.metadata["enum"]),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "timestamp": isinstance(value, Real) and not isinstance(value, bool),
        "blob": isinstance(value, str),
    }
    if not fits.get(shape.type_name, False):
        yield f"{path}: AWS has a {shape.type_name} {shape.metadata.get('enum', '')} | {value!r}"
