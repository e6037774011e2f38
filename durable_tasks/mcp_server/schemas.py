"""JSON Schemas of requests as agents' clients read them: 2020-12, in one piece, without references.

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

_UNSAID: tuple[tuple[str, Any], ...] = (
    ("minLength", 1),
    ("maxLength", 256),
    ("additionalProperties", True),
    ("default", []),
    ("default", ""),
    ("maximum", 2**63 - 1),
)
"""What an agent gets right without being told, or what goes without saying."""
_NO_VALUE = ("default", None)
"""A client that fills in defaults would send null for every field, and to `update_task` that means to remove it."""


def request_schema(model: Any, *, null_means: bool = False) -> Schema:
    """What a request may look like. A field that it does not name is an error. `null_means`: null is no other way to
    leave a field out."""
    schema = _plain(TypeAdapter(model).json_schema(mode="validation"), {})
    schema.pop("description", None)  # the tool's own says more
    return schema if null_means else {name: _without_null(value) for name, value in schema.items()}


def _plain(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """With every reference replaced by what it stands for, and without titles that only repeat names: some clients
    resolve no references, and all of them pay for every word."""
    known = schema.get("$defs", definitions)
    if "$ref" in schema:
        schema = {**known[schema["$ref"].removeprefix("#/$defs/")], **schema}
    return {
        _PROPER.get(keyword, keyword): _value(keyword, value, known)
        for keyword, value in schema.items()
        if keyword not in ("$defs", "$ref", "title") and not _goes_without_saying(keyword, value)
    }


def _goes_without_saying(keyword: str, value: Any) -> bool:
    """Also an object's default: its fields have theirs."""
    return (keyword, value) in (_NO_VALUE, *_UNSAID) or (keyword == "default" and isinstance(value, dict))


def _value(keyword: str, value: Any, definitions: Mapping[str, Schema]) -> Any:
    if keyword in _DATA:
        return value
    if keyword == "properties":
        return {name: _plain(schema, definitions) for name, schema in value.items()}
    if isinstance(value, list):
        return [_plain(item, definitions) if isinstance(item, dict) else item for item in value]
    return _plain(value, definitions) if isinstance(value, dict) else value


def _without_null(schema: Any) -> Any:
    """Said once for all: what may be null may be left out. It would stand a hundred times in what every agent reads."""
    if isinstance(schema, list):
        return [_without_null(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: value if name in _DATA else _without_null(value) for name, value in schema.items()}
    ways = [one for one in plain.get("anyOf", ()) if one != {"type": "null"}]
    if len(ways) == 1:
        return {**ways[0], **{name: value for name, value in plain.items() if name != "anyOf"}}
    return {**plain, "anyOf": ways} if ways else plain
