"""Who acts through MCP: only in its own name unless a role lets it act for others, and on record as who it is.

It must not know how a transport proves who asks.
"""

from collections.abc import Callable
from typing import Any

import pytest

from durable_tasks import Actor, DurableTasks
from tests.mcp_server.agents import ANN, agent
from tests.store.support import everything

FORGED: dict[str, Callable[[str], dict[str, Any]]] = {
    "claim_task": lambda task: {"task_id": task, "agent_id": "zoe"},
    "next_task": lambda task: {"agent_id": "zoe"},
    "create_task": lambda task: {"title": "x", "created_by": "zoe"},
    "create_tasks": lambda task: {"tasks": [{"title": "x", "created_by": "zoe"}]},
    "create_workflow": lambda task: {"kind": "dag", "name": "x", "created_by": "zoe", "tasks": [{"title": "x"}]},
}


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_an_agent_acts_in_its_own_name(tasks: DurableTasks, transport: str) -> None:
    task = await tasks.org().create("task", mode="manual")
    before = everything(tasks.settings.db)
    async with agent(tasks, ANN, transport) as ann:
        for tool, arguments in FORGED.items():
            said = await ann.refused(tool, **arguments(task.id))
            assert (said["code"], said["facts"]["role"]) == ("forbidden", "operator"), tool
        assert everything(tasks.settings.db) == before
        await ann("claim_task", task_id=task.id)
    claimed = (await tasks.org().events(task_id=task.id))[-1]
    # Whoever starts the process of stdio has named the agent: nobody has proved it.
    assert claimed.actor == Actor(name="ann", proved=transport == "http")
