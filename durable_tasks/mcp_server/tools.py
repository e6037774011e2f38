"""The tools: each operation of the table as MCP describes and answers it.

It must not know transports, nor who calls.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp import types
from pydantic import BaseModel, TypeAdapter

from durable_tasks.checks import validated
from durable_tasks.errors import DurableTasksError
from durable_tasks.mcp_server.arguments import meant
from durable_tasks.mcp_server.hints import HINTS
from durable_tasks.mcp_server.refusals import refusal
from durable_tasks.mcp_server.schemas import request_schema
from durable_tasks.operations.operation import Operation
from durable_tasks.operations.requests import Request, UpdateTask
from durable_tasks.operations.table import OPERATIONS

_SHORT_PAGE = 20
"""Items of a page of tasks, where the agent does not say how many: it reads, and pays for, every word."""
_PAGES_OF_TASKS = ("list_tasks", "get_workflow")
_WRAPPED = "result"
"""An answer is an object in MCP: what may also be nothing stands in one under this name."""


@dataclass(frozen=True, slots=True)
class Tool:
    """An operation, what is said of it, and how its answer is written. Answers are not described: agents read them,
    and their schemas would be three quarters of what a client loads before an agent's first word."""

    operation: Operation
    described: types.Tool
    answer: TypeAdapter[Any]
    wrapped: bool

    def request(self, arguments: Mapping[str, Any]) -> Request:
        """Raises InvalidInput."""
        given = meant(arguments, self.described.input_schema)
        return validated(self.operation.request, {**_defaults(self.operation.name), **given})

    def succeeded(self, answer: Any) -> types.CallToolResult:
        plain = self.answer.dump_python(answer, mode="json")
        content = {_WRAPPED: plain} if self.wrapped else plain
        return types.CallToolResult(content=[_text(content)], structured_content=content)


def failed(error: DurableTasksError) -> types.CallToolResult:
    """In the text only: structured content is what an answer has."""
    return types.CallToolResult(content=[_text(refusal(error))], is_error=True)


def _text(content: Any) -> types.TextContent:
    return types.TextContent(type="text", text=json.dumps(content, ensure_ascii=False))


def _defaults(name: str) -> dict[str, Any]:
    return {"limit": _SHORT_PAGE} if name in _PAGES_OF_TASKS else {}


def _tool(operation: Operation) -> Tool:
    takes = request_schema(operation.request, null_means=issubclass(operation.request, UpdateTask))
    for name, value in _defaults(operation.name).items():
        takes["properties"][name]["default"] = value
    described = types.Tool(
        name=operation.name,
        description=f"{operation.summary} {HINTS[operation.name]}".strip(),
        input_schema=takes,
        annotations=types.ToolAnnotations(
            read_only_hint=operation.reads,
            destructive_hint=operation.destructive,
            idempotent_hint=operation.repeatable,
            open_world_hint=False,
        ),
    )
    plain = isinstance(operation.answer, type) and issubclass(operation.answer, BaseModel)
    return Tool(operation, described, TypeAdapter(operation.answer), wrapped=not plain)


TOOLS: Mapping[str, Tool] = {name: _tool(operation) for name, operation in OPERATIONS.items()}
