"""JSON Schemas of requests and answers as agents' clients read them: 2020-12, in one piece, without references.

It must not know tools, nor which operations there are.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

Schema = dict[str, Any]

_DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords that hold values, not schemas."""
_PROPER = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
"""What pydantic leaves of bounds on a field whose validator comes first."""

_NO_VALUE = ("default", None)
"""A client that fills in defaults would send null for every field, and to `update_task` that means to remove it."""


def request_schema(model: Any) -> Schema:
    """What a request may look like. A field that it does not name is an error."""
    return _plain(TypeAdapter(model).json_schema(mode="validation"), {})


def answer_schema(answer: Any) -> Schema:
    """What an answer looks like; a later release may add fields to it."""
    opened: Schema = _open(_plain(TypeAdapter(answer).json_schema(mode="serialization"), {}))
    return opened


def _plain(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """With every reference replaced by what it stands for, and without titles that only repeat names: some clients
    resolve no references, and all of them pay for every word."""
    known = schema.get("$defs", definitions)
    if "$ref" in schema:
        schema = {**known[schema["$ref"].removeprefix("#/$defs/")], **schema}
    return {
        _PROPER.get(keyword, keyword): _value(keyword, value, known)
        for keyword, value in schema.items()
        if keyword not in ("$defs", "$ref", "title") and (keyword, value) != _NO_VALUE
    }


def _value(keyword: str, value: Any, definitions: Mapping[str, Schema]) -> Any:
    if keyword in _DATA:
        return value
    if keyword == "properties":
        return {name: _plain(schema, definitions) for name, schema in value.items()}
    if isinstance(value, list):
        return [_plain(item, definitions) if isinstance(item, dict) else item for item in value]
    return _plain(value, definitions) if isinstance(value, dict) else value


def _open(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_open(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _open(value) for name, value in schema.items() if (name, value) != ("additionalProperties", False)}
