"""Arguments as agents send them: JSON in a text, one thing where a list is wanted, null for what they leave out.

It must not know what a tool does; its schema says what it wants.
"""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from durable_tasks.errors import InvalidInput
from durable_tasks.mcp_server.schemas import Schema


def meant(given: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The arguments that `given` means. Raises InvalidInput for one that there is not."""
    known: Mapping[str, Schema] = schema.get("properties", {})
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known) or 'none'}"
            raise InvalidInput(f"there is no argument {name}; {hint}", field=name)
    read = {name: _read(value, known[name]) for name, value in given.items()}
    return {name: value for name, value in read.items() if value is not None or _takes(known[name], "null")}


def _read(value: Any, schema: Schema) -> Any:
    if isinstance(value, str) and not _takes(schema, "string"):
        value = _parsed(value, schema)
    if isinstance(value, list):
        items: Schema = next((one["items"] for one in _ways(schema) if "items" in one), {})
        return [_read(item, items) for item in value] if items else value
    if isinstance(value, dict):
        fields: Mapping[str, Schema] = next((one["properties"] for one in _ways(schema) if "properties" in one), {})
        if not fields:
            return value  # anything is right: there is nothing to find in it, however large it is
        return {name: _read(item, fields.get(name, {})) for name, item in value.items()}
    return value


def _parsed(text: str, schema: Schema) -> Any:
    """What a text means where a list or an object is wanted, if it means anything there."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise InvalidInput("a text of JSON is nested too deeply; send fewer levels") from error
    except ValueError:
        found = None
    if isinstance(found, list) and _takes(schema, "array"):
        return found
    if isinstance(found, dict) and _takes(schema, "object"):
        return found
    lists = [one.get("items", {}) for one in _ways(schema) if one.get("type") == "array"]
    return [text] if any(_takes(items, "string") for items in lists) else text


def _takes(schema: Schema, kind: str) -> bool:
    """Whether a value of this JSON type may be right. Where a schema says no type, any may."""
    return any(one.get("type") in (None, kind) for one in _ways(schema))


def _ways(schema: Schema) -> Iterator[Schema]:
    """The schema, or each of those of which one is enough."""
    for one in schema.get("anyOf", (schema,)):
        if "anyOf" in one:
            yield from _ways(one)
        elif "enum" in one and "type" not in one:
            yield {**one, "type": "string"}
        else:
            yield one
