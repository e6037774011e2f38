"""Arguments as agents send them, each with what it means.

It must not call tools.
"""

from typing import Any

import pytest

from durable_tasks.errors import InvalidInput
from durable_tasks.mcp_server.arguments import meant
from durable_tasks.mcp_server.server import mcp_server
from durable_tasks.mcp_server.tools import TOOLS

MEANT: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("create_task", {"labels": '["a", "b"]'}, {"labels": ["a", "b"]}),
    ("create_task", {"labels": "a"}, {"labels": ["a"]}),
    ("create_task", {"labels": "[a"}, {"labels": ["[a"]}),
    ("create_task", {"metadata": '{"a": 1}', "form": None}, {"metadata": {"a": 1}}),
    ("create_task", {"title": "[1]", "description": '{"a": 1}'}, {"title": "[1]", "description": '{"a": 1}'}),
    ("create_task", {"input": "[1]"}, {"input": "[1]"}),  # any value is right, a text too
    ("create_task", {"retry": '{"initial": 5}'}, {"retry": {"initial": 5}}),
    ("create_tasks", {"tasks": '[{"title": "x", "labels": "a"}]'}, {"tasks": [{"title": "x", "labels": ["a"]}]}),
    ("list_tasks", {"state": "pending"}, {"state": ["pending"]}),
    ("next_task", {"capabilities": None, "space_id": None}, {}),
    ("update_task", {"task_id": "x", "assigned_to": None}, {"task_id": "x", "assigned_to": None}),
    ("complete_task", {"task_id": "x", "output": '{"a": 1}'}, {"task_id": "x", "output": '{"a": 1}'}),
)


@pytest.mark.parametrize(("tool", "given", "wanted"), MEANT)
def test_what_is_meant(tool: str, given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert meant(given, TOOLS[tool].described.input_schema) == wanted


def test_one_that_is_not_there_is_named() -> None:
    schema = TOOLS["create_task"].described.input_schema
    with pytest.raises(InvalidInput, match="there is no argument label; did you mean labels"):
        meant({"title": "x", "label": "a"}, schema)


async def test_a_tool_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInput, match="there is no tool 'next_tasks'; did you mean next_task"):
        mcp_server(None, lambda context: None, tools=["next_tasks"])  # type: ignore[arg-type, return-value]


def test_what_may_be_anything_is_not_looked_through() -> None:
    schema, free = TOOLS["create_task"].described.input_schema, {"a": [{"b": 1}]}
    read = meant({"title": "x", "input": free, "metadata": free, "form": free}, schema)
    assert read["input"] is read["metadata"] is read["form"] is free


def test_a_text_of_too_many_levels_is_named_as_that() -> None:
    schema = TOOLS["create_task"].described.input_schema
    with pytest.raises(InvalidInput, match="nested too deeply"):
        meant({"title": "x", "metadata": '{"a":' * 200_000}, schema)
