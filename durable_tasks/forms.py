"""Forms: JSON Schemas that the output of a manual task must fit; which of them are accepted, and what does not fit.

It must not know tasks, nor where forms are kept.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_tasks.errors import InvalidInput, InvalidOutput, PayloadTooLarge

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

FORM_LIMIT = 64 * 1024
"""Bytes of JSON."""
SUBSCHEMA_LIMIT = 1000
"""Subschemas of a form, each counted as often as it is referred to."""
DEPTH_LIMIT = 100
WORK_LIMIT = 64 * 1024 * 1024
"""Bytes of an output times what a form weighs: more would take a second to check, in which nothing else runs."""
NAMED_LIMIT = 50_000
"""Values of an output times what a form weighs, up to which a refusal says what is wrong where: the library names all
misfits or none, and naming one costs a hundred times what finding it does."""
ERROR_LIMIT = 100
"""Errors that one refusal names."""
PLACE_LIMIT = 256
"""Characters of a place that a refusal names: an output may have a name of a megabyte, with a hundred misfits below."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ONE = frozenset(
    {"additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then"}
)
_SEVERAL = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"dependentSchemas", "patternProperties", "properties"})
_REFUSED = frozenset({"$dynamicRef", "$id", "$recursiveRef", "unevaluatedItems", "unevaluatedProperties"})
"""Keywords that look elsewhere, or check the same value again at every level."""
_VALUES = frozenset({"const", "enum", "required"})
_OWN = "#/$defs/"
_COUNTED_PATTERN = 1000
"""The weight of a regular expression with a counted repetition, of which each byte may meet a thousand states."""
_COSTLY = {
    "multipleOf": 2000,  # 1e300 is divided as a fraction of a thousand bits
    "uniqueItems": 100,  # of short lists each item is compared with each, of long ones all are hashed
    "format": 15,  # names in other alphabets are written anew
    "const": 5,  # numbers are compared exactly
}
"""What a keyword weighs beyond its own step."""


def check_form(text: str) -> None:
    """Raise InvalidInput unless the JSON text is a form: an object of JSON Schema 2020-12 that refers only to its own
    `$defs`, does not recur, and is small enough that checking an output is never expensive."""
    _form(text)


class FormDue(Exception):
    """Inside: the task has a form, and whoever asked has not yet held the output against it."""

    def __init__(self, form: str) -> None:
        super().__init__("the output is to be checked against the form")
        self.form = form


def check_output(form: str, output: str | None) -> None:
    """Raise InvalidOutput when the JSON text does not fit the form, PayloadTooLarge when checking would take too long.
    Blocking; both were accepted before."""
    known, text = _form(form), output or "null"
    size, limit = len(text.encode()), WORK_LIMIT // known.weight
    if size > limit:
        raise PayloadTooLarge(
            f"output is {size} bytes as JSON; with this form the limit is {limit}, store it elsewhere and pass a"
            " reference",
            field="output",
            size=size,
            limit=limit,
        )
    value = json.loads(text)
    if known.validator.is_valid(value):
        return
    if known.weight * _count(value) <= NAMED_LIMIT:
        errors = [_told(error) for error in islice(known.validator.iter_errors(value), ERROR_LIMIT)]
    else:
        errors = [{"pointer": "", "code": "form", "message": "it does not fit, and is too large to say where"}]
    first, more = errors[0], len(errors) - 1
    also = f" (and {more} more)" if more else ""
    raise InvalidOutput(
        f"the output does not fit the task's form: {first['pointer'] or 'as a whole'}: {first['message']}{also}",
        errors=errors,
    )


def _told(error: "ValidationError") -> dict[str, str]:
    """Where in the output, as a JSON pointer, and what. A property that is missing has a place of its own."""
    path = [str(part) for part in error.instance_path]
    kind = error.kind.as_dict()
    if error.kind.name == "required":
        path.append(str(kind["property"]))
        return {"pointer": _pointer(path), "code": "required", "message": "is required"}
    return {"pointer": _pointer(path), "code": error.kind.name, "message": error.message[:512]}


def _pointer(path: list[str]) -> str:
    whole = "".join(f"/{part[:PLACE_LIMIT].replace('~', '~0').replace('/', '~1')}" for part in path)
    return whole if len(whole) <= PLACE_LIMIT else f"{whole[: PLACE_LIMIT - 1]}…"


class _Form(NamedTuple):
    validator: "Draft202012Validator"
    weight: int


@lru_cache(maxsize=64)  # a fan-out asks for the same form ten thousand times
def _form(text: str) -> _Form:
    # Late: only who meets a form pays for the library.
    from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError, meta

    if len(text.encode()) > FORM_LIMIT:
        raise InvalidInput(f"form: at most {FORM_LIMIT} bytes of JSON, not {len(text.encode())}", field="form")
    schema = json.loads(text)
    if not isinstance(schema, dict):
        raise InvalidInput(f"form: a JSON Schema is an object, not {text[:100]}", field="form")
    try:
        meta.validate({**schema, "$schema": _dialect(schema)})
        weight = _Measure(schema).weight
        validator = Draft202012Validator(
            schema,
            validate_formats=True,
            offline=True,
            mask="the value",  # refusals are kept in histories and logs: they must not repeat what somebody wrote
            pattern_options=RegexOptions(size_limit=2**16, dfa_size_limit=2**21),
        )
    except RecursionError as error:
        raise InvalidInput(f"form: at most {DEPTH_LIMIT} subschemas deep", field="form") from error
    except ValidationError as error:
        place = _pointer([str(part) for part in error.instance_path])
        raise InvalidInput(
            f"form: this is no JSON Schema that can be checked: {place or 'as a whole'}: {error.message[:500]}"
            " (regular expressions are short, and without look-around or back-references)",
            field="form",
        ) from error
    return _Form(validator, weight)


def _dialect(schema: Mapping[str, Any]) -> str:
    if schema.get("$schema", _DIALECT) != _DIALECT:
        raise InvalidInput(f"form: $schema is {_DIALECT}, or left out; not {schema['$schema']!r:.200}", field="form")
    return _DIALECT


class _Size(NamedTuple):
    schemas: int
    weight: int
    depth: int


class _Measure:
    """How large a form is once every reference stands for what it refers to. Raises InvalidInput."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._defs: Mapping[str, Any] = schema.get("$defs", {})
        self._sizes: dict[str, _Size] = {}
        self._open: list[str] = []
        for name in self._defs:
            self._size_of_def(name)
        self.weight = self._size(schema).weight

    def _size(self, schema: Any) -> _Size:
        if not isinstance(schema, dict):
            return _Size(1, 1, 1)
        refused = sorted(_REFUSED & schema.keys())
        if refused:
            raise InvalidInput(f"form: {', '.join(refused)} cannot be used in a form", field="form")
        parts = [self._size(part) for part in _parts(schema)]
        if "$ref" in schema:
            parts.append(self._size_of_ref(schema["$ref"]))
        size = _Size(
            schemas=1 + sum(part.schemas for part in parts),
            weight=_own_weight(schema) + sum(part.weight for part in parts),
            depth=1 + max((part.depth for part in parts), default=0),
        )
        if size.schemas > SUBSCHEMA_LIMIT or size.depth > DEPTH_LIMIT:
            raise InvalidInput(
                f"form: at most {SUBSCHEMA_LIMIT} subschemas, {DEPTH_LIMIT} deep, each counted as often as it is"
                " referred to",
                field="form",
            )
        return size

    def _size_of_ref(self, ref: str) -> _Size:
        name = ref.removeprefix(_OWN).replace("~1", "/").replace("~0", "~")
        if not ref.startswith(_OWN) or name not in self._defs:
            raise InvalidInput(f"form: $ref is {_OWN}NAME, of the form's own $defs; not {ref[:200]!r}", field="form")
        return self._size_of_def(name)

    def _size_of_def(self, name: str) -> _Size:
        if name in self._open:
            raise InvalidInput(f"form: $defs/{name[:200]} refers to itself; a form does not recur", field="form")
        if name not in self._sizes:
            self._open.append(name)
            self._sizes[name] = self._size(self._defs[name])
            self._open.pop()
        return self._sizes[name]


def _parts(schema: Mapping[str, Any]) -> Iterator[Any]:
    for keyword, value in schema.items():
        if keyword in _ONE:
            yield value
        elif keyword in _SEVERAL:
            yield from value
        elif keyword in _NAMED:
            yield from value.values()


def _own_weight(schema: Mapping[str, Any]) -> int:
    """How many small steps one schema costs for each byte of an output, at most."""
    patterns = [schema["pattern"]] if "pattern" in schema else []
    patterns += schema.get("patternProperties", ())
    values = sum(_count(schema[keyword]) for keyword in _VALUES & schema.keys())
    values += sum(_COSTLY[keyword] for keyword in _COSTLY.keys() & schema.keys())
    return 1 + len(schema) + values + sum(len(p) + _COUNTED_PATTERN * ("{" in p) for p in patterns)


def _count(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(_count(item) for item in value)
    return 1 + sum(_count(item) for item in value.values()) if isinstance(value, dict) else 1
