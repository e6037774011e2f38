"""What agents are offered: which tools, for whom, described how, and schemas that any client can read.

It must not call tools.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from durable_tasks import DurableTasks, Settings, TaskState
from durable_tasks.access import Role
from durable_tasks.mcp_server import refusals, server
from durable_tasks.mcp_server.hints import HINTS
from durable_tasks.mcp_server.schemas import request_schema
from durable_tasks.mcp_server.tools import TOOLS, Tool
from durable_tasks.operations.requests import CreateWorkflow, ListTasks, NextTask, UpdateTask
from durable_tasks.operations.table import OPERATIONS
from tests.mcp_server.agents import agent, principal

READING = {
    "count_tasks", "explain_task", "get_me", "get_task", "get_workflow", "graph_workflow", "list_attempts",
    "list_events", "list_orgs", "list_queues", "list_tasks", "list_workflow_attempts", "list_workflows",
    "measure_org", "wait_task", "wait_workflow",
}  # fmt: skip
WORKING = READING | {
    "add_tasks", "cancel_task", "cancel_workflow", "claim_task", "comment_task", "complete_task", "create_task",
    "create_tasks",
    "create_workflow", "fail_task", "heartbeat_task", "next_task", "progress_task", "release_task", "retry_task",
    "retry_workflow", "start_task", "update_task",
}  # fmt: skip
MENDING = WORKING | {"cancel_tasks", "retry_tasks", "diagnose_org", "redrive_dead_letter"}
LOOKING = {"describe_task", "describe_temporal_workflow", "query_task"}
OPERATING = MENDING | LOOKING | {
    "cancel_temporal_workflow", "signal_task", "signal_temporal_workflow", "start_temporal_workflow",
    "terminate_temporal_workflow",
}  # fmt: skip

every_tool = pytest.mark.parametrize("tool", TOOLS.values(), ids=lambda tool: tool.operation.name)


@pytest.mark.parametrize(
    ("role", "durable", "offered"),
    [
        (Role.VIEWER, True, READING),
        (Role.AGENT, True, WORKING),
        (Role.OPERATOR, True, OPERATING),
        (Role.OPERATOR, False, MENDING),
        (Role.ADMIN, True, OPERATING),
    ],
)
async def test_each_role_is_offered_what_it_may_use_here(
    role: Role, durable: bool, offered: set[str], tmp_path: Path
) -> None:
    async with (
        DurableTasks(Settings(db=tmp_path / "tasks.db", enabled=durable, address="127.0.0.1:1")) as tasks,
        agent(tasks, principal(role)) as client,
    ):
        assert set(await client.tools()) == offered


def test_there_is_a_tool_with_a_hint_for_every_operation() -> None:
    assert set(TOOLS) == set(HINTS) == set(OPERATIONS) == OPERATING


@every_tool
def test_the_hints_are_those_of_the_operation(tool: Tool) -> None:
    given = tool.described.annotations
    assert given is not None
    assert given.read_only_hint is (tool.operation.name in READING | LOOKING | {"diagnose_org"})
    assert given.destructive_hint is tool.operation.name.startswith(("cancel_", "terminate_"))
    assert given.idempotent_hint is tool.operation.repeatable
    assert given.open_world_hint is False
    assert tool.described.description is not None
    assert tool.described.description.startswith(tool.operation.summary)


def test_what_agents_are_told_names_tools_that_exist() -> None:
    """Whatever looks like a tool in hints, next steps and instructions is one."""
    said = [server.INSTRUCTIONS, *HINTS.values(), Path(refusals.__file__).read_text("utf-8").partition("_LONGEST")[2]]
    tool = re.compile(r"\b[a-z]+(?:_temporal)?_(?:tasks?|workflows?|events|attempts|orgs)\b")
    assert {name for text in said for name in tool.findall(text)} - set(TOOLS) == set()


def schemas(tool: Tool) -> list[dict[str, Any]]:
    return [tool.described.input_schema]


@every_tool
def test_the_schemas_are_json_schema_without_references(tool: Tool) -> None:
    for schema in schemas(tool):
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert isinstance(schema["properties"], dict)
        text = json.dumps(schema)
        assert "$ref" not in text
        assert "$defs" not in text
        assert set(keywords(schema)) <= set(Draft202012Validator.VALIDATORS) | ANNOTATIONS


ANNOTATIONS = {"default", "description"}


def keywords(schema: Any) -> Iterator[str]:
    """Every word that stands where a schema has its keywords."""
    if isinstance(schema, list):
        for item in schema:
            yield from keywords(item)
    elif isinstance(schema, dict):
        for word, value in schema.items():
            yield word
            if word == "properties":
                yield from keywords(list(value.values()))
            elif word not in ("default", "enum", "const"):
                yield from keywords(value)


def test_a_request_may_say_what_the_facade_accepts() -> None:
    waits = Draft202012Validator(request_schema(NextTask))
    for lease in (5, 0.5, "1h30m", "PT90S"):
        waits.validate({"lease": lease})
    wrong: list[dict[str, Any]] = [{"lease": 0}, {"lease": []}, {"leas": 1}, {"capabilities": "code"}]
    assert [one for one in wrong if waits.is_valid(one)] == []
    group = Draft202012Validator(request_schema(CreateWorkflow))
    group.validate({"kind": "dag", "name": "x", "tasks": [{"name": "a", "priority": "high", "timeout": "5m"}]})
    assert not group.is_valid({"kind": "dag", "name": "x", "tasks": [{"name": "a", "priority": "soon"}]})


def test_what_a_reference_stood_for_is_there() -> None:
    states = [state.value for state in TaskState]
    assert request_schema(ListTasks)["properties"]["state"]["items"]["enum"] == states


def test_no_client_is_invited_to_send_nulls() -> None:
    """To `update_task` null means to remove, and some clients send every default."""
    fields = request_schema(UpdateTask)["properties"]
    assert [name for name, schema in fields.items() if "default" in schema] == []
    assert request_schema(NextTask)["properties"]["space_id"]["default"] == "default"


def test_all_tools_are_a_short_read() -> None:
    """A client loads the whole list before its agent's first word."""
    listed = [tool.described.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in TOOLS.values()]
    plain = [one for one in listed if not TOOLS[one["name"]].operation.temporal]
    assert len(json.dumps(plain)) < 40_000
    worker = [one for one in listed if TOOLS[one["name"]].operation.role <= Role.AGENT]
    assert len(json.dumps(worker)) < 36_000


def test_what_may_be_nothing_stands_in_an_object() -> None:
    answered = TOOLS["next_task"].succeeded(None)
    assert answered.structured_content == {"result": None}
