"""The MCP server of one DurableTasks: which tools a principal sees, and what becomes of a call.

It must not know transports: each says who calls.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

from mcp import MCPError, types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from durable_tasks.access import Principal
from durable_tasks.errors import ConfigurationError, DurableTasksError, InvalidInput
from durable_tasks.mcp_server.tools import TOOLS, Tool, failed
from durable_tasks.operations.operation import Caller, Host

Context = ServerRequestContext[Any, Any]
WhoCalls = Callable[[Context], Principal]
Waiting = Callable[[Principal, Any], AbstractAsyncContextManager[None]]
"""Entered around whatever a principal waits for: who serves may limit that, or cut it short, also by a
DurableTasksError. The second is the transport's request, None where there is none."""

INSTRUCTIONS = """\
Durable tasks.
To work: next_task gives you a task and a token; call start_task, do it, call progress_task or heartbeat_task before \
the lease expires, then complete_task, fail_task, or release_task to give it back.
To have work done: create_task or create_workflow, then wait_task or wait_workflow.
An error says in next_step what to do."""

_log = logging.getLogger(__name__)


def freely(principal: Principal, request: Any) -> AbstractAsyncContextManager[None]:
    """Waiting without a limit."""
    return nullcontext()


def mcp_server(
    host: Host, who_calls: WhoCalls, waiting: Waiting = freely, *, tools: Collection[str] = TOOLS
) -> Server[Any]:
    """A server that acts on `host` as whoever `who_calls` finds behind each request. `tools`: the names of those that
    there are here. Raises InvalidInput for one that there is not."""
    for name in tools:
        if name not in TOOLS:
            close = get_close_matches(name, TOOLS, n=1)
            raise InvalidInput(
                f"there is no tool {name!r}" + (f"; did you mean {close[0]}?" if close else ""), tool=name
            )
    desk = _Desk(host, who_calls, waiting, {name: tool for name, tool in TOOLS.items() if name in tools})
    return Server(
        "durable-tasks",
        version=version("durable-tasks"),
        instructions=INSTRUCTIONS,
        on_list_tools=desk.list_tools,
        on_call_tool=desk.call_tool,
        get_tool_input_schema=_input_schema,
    )


class _Desk:
    def __init__(self, host: Host, who_calls: WhoCalls, waiting: Waiting, tools: Mapping[str, Tool]) -> None:
        self._host = host
        self._who_calls = who_calls
        self._waiting = waiting
        self._tools = tools

    async def list_tools(self, context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """Those that the caller may use here, on one page."""
        principal, durable = self._who_calls(context), self._durable
        offered = [tool.described for tool in self._tools.values() if _offered(tool, principal, durable)]
        return types.ListToolsResult(tools=offered)

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Refusals are answers, so that the agent reads them; an unknown tool is an error of the protocol."""
        tool = self._tools.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
        caller = Caller(self._host, self._who_calls(context))
        waiting = self._waiting if tool.operation.waits else freely
        try:
            tool.operation.admit(caller)
            request = tool.request(params.arguments or {})
            async with waiting(caller.principal, context.request):
                return tool.succeeded(await tool.operation.run(caller, request))
        except DurableTasksError as error:
            return failed(error)
        except Exception:
            _log.exception("the tool %s broke", tool.operation.name)
            return failed(DurableTasksError("an unexpected error; the log of the server has it"))

    @property
    def _durable(self) -> bool:
        try:
            return self._host.durable is not None
        except ConfigurationError:
            return False


def _offered(tool: Tool, principal: Principal, durable: bool) -> bool:
    return principal.may(tool.operation.role) and (durable or not tool.operation.temporal)


def _input_schema(name: str) -> dict[str, Any] | None:
    tool = TOOLS.get(name)
    return None if tool is None else tool.described.input_schema
