"""The tools of operators, on a real Temporal server: tasks on both sides, and Temporal workflows of their own.

It must not test what Temporal does.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from durable_tasks import DurableTasks, Settings, Task, TaskContext
from durable_tasks.access import Role
from durable_tasks.mcp_server.tools import TOOLS
from durable_tasks.temporal.server import EmbeddedServer
from tests import foreign
from tests.mcp_server.agents import DEADLINE, Agent, agent, principal

OPERATOR = principal(Role.OPERATOR, subject="olga")

CALLS = {name: foreign.CALLS[name][0] for name, tool in TOOLS.items() if tool.operation.temporal}


@pytest_asyncio.fixture
async def durable(tmp_path: Path, temporal_server: EmbeddedServer) -> AsyncIterator[DurableTasks]:
    settings = Settings(db=tmp_path / "tasks.db", enabled=True, address=temporal_server.address)
    async with DurableTasks(settings) as tasks:
        assert tasks.temporal is not None
        await tasks.temporal.wait_connected(20)
        yield tasks


async def until(olga: Agent, task_id: str, temporal: str) -> dict[str, Any]:
    """Look after every answer until Temporal has the task so."""
    async with asyncio.timeout(DEADLINE):
        while True:
            seen: dict[str, Any] = await olga("describe_task", task_id=task_id)
            if seen["temporal"] == temporal:
                return seen


async def test_a_task_on_both_sides(durable: DurableTasks) -> None:
    async with agent(durable, OPERATOR) as olga:
        made = await olga("create_task", title="Approve")
        seen = await until(olga, made["id"], "RUNNING")
        assert (seen["namespace"], seen["workflow_id"]) == ("default", f"task/{made['id']}/1")
        signal = {"signal": "claim", "payload": {"agent_id": "olga"}}
        assert (await olga("signal_task", task_id=made["id"], **signal))["signalled"] is True
        async with asyncio.timeout(DEADLINE):
            while (await olga("get_task", task_id=made["id"]))["assigned_to"] != "olga":
                pass
        answer = (await olga("query_task", task_id=made["id"], query="status"))["answer"]
        assert answer["state"] in ("pending", "claimed")
        await olga("cancel_task", task_id=made["id"])
        assert (await until(olga, made["id"], "CANCELED"))["task"]["state"] == "cancelled"


async def test_a_temporal_workflow_of_ones_own(durable: DurableTasks, tmp_path: Path) -> None:
    name = {"workflow_id": f"report/{tmp_path.name}"}
    async with agent(durable, OPERATOR) as olga:
        started = await olga("start_temporal_workflow", workflow_type="Report", queue="reports", timeout="1h", **name)
        assert started["status"] == "RUNNING"
        said = await olga.refused("start_temporal_workflow", workflow_type="Report", queue="reports", **name)
        assert said["code"] == "conflict"
        assert (await olga("signal_temporal_workflow", signal="hurry", arguments=[1], **name))["told"] == "signal"
        assert (await olga("cancel_temporal_workflow", **name))["told"] == "cancel"
        assert (await olga("terminate_temporal_workflow", reason="enough", **name))["told"] == "terminate"
        assert (await olga("describe_temporal_workflow", **name))["status"] == "TERMINATED"


async def test_over_stdio_an_operator_looks_at_temporal_beside_the_application(durable: DurableTasks) -> None:
    """That process drives nothing: what it creates runs where the application runs."""
    variables = {"TASKS_ENABLED": "true", "TASKS_ADDRESS": durable.settings.address}

    @durable.handler("double")
    async def double(ctx: TaskContext, task: Task) -> int:
        return int(task.input) * 2

    async with agent(durable, OPERATOR, "stdio", **variables) as olga:
        made = await olga("create_task", title="x", capability="double", input=21)
        assert (made["placement"], made["engine"]) == ("embedded", "temporal")
        assert (await olga("wait_task", task_id=made["id"]))["task"]["output"] == 42
        manual = await olga("create_task", title="Approve")
        async with asyncio.timeout(DEADLINE):
            while (seen := (await olga.call("describe_task", {"task_id": manual["id"]})).structured_content) is None:
                pass  # it is not connected yet
        assert seen["workflow_id"] == f"task/{manual['id']}/1"
        await until(olga, manual["id"], "RUNNING")
        assert (await durable.durable.status(manual["id"])).temporal == "RUNNING"
        found = await olga("diagnose_org")
        assert (found["healthy"], found["engine"], found["tasks"]) == (True, "temporal", {"pending": 1})
        assert (found["temporal"]["namespace"], found["temporal"]["up"], found["temporal"]["drift"]) == (
            "default",
            True,
            [],
        )


async def test_tasks_are_not_ended_behind_sqlite(durable: DurableTasks) -> None:
    async with agent(durable, OPERATOR) as olga:
        made = await olga("create_task", title="Approve")
        driving = (await until(olga, made["id"], "RUNNING"))["workflow_id"]
        for tool in ("cancel_temporal_workflow", "terminate_temporal_workflow"):
            said = await olga.refused(tool, workflow_id=driving)
            assert (said["code"], "cancel_task" in said["message"]) == ("invalid_input", True)
        assert (await olga("describe_temporal_workflow", workflow_id=driving))["status"] == "RUNNING"


async def test_an_agent_may_not(durable: DurableTasks) -> None:
    async with agent(durable) as ann:
        nobodys = foreign.unknown(await foreign.foreign(durable))
        for tool, arguments in CALLS.items():
            assert (await ann.refused(tool, **arguments(nobodys)))["code"] == "forbidden"


async def test_another_organisations_ids_are_as_if_nobody_had_them(durable: DurableTasks, tmp_path: Path) -> None:
    theirs = f"acme-{tmp_path.name}".replace("_", "-")
    async with (
        agent(durable, OPERATOR) as olga,
        agent(durable, principal(Role.OPERATOR, org=theirs)) as eve,
    ):
        report = f"report/{tmp_path.name}"
        known = (await foreign.foreign(durable, OPERATOR.org))._replace(execution=report)
        nobodys = foreign.unknown(known)._replace(execution="report/nobody")
        await until(olga, known.task, "RUNNING")
        await olga("start_temporal_workflow", workflow_type="Report", queue="reports", workflow_id=report)
        await until(eve, (await eve("create_task", title="x"))["id"], "RUNNING")  # there is a namespace now
        for tool, arguments in CALLS.items():
            if tool != "start_temporal_workflow":  # in the own namespace any id is free
                said = [await eve.refused(tool, **arguments(asked)) for asked in (known, nobodys)]
                assert known.left_out_of(json.dumps(said[0])) == nobodys.left_out_of(json.dumps(said[1]))
        assert (await olga("describe_temporal_workflow", workflow_id=report))["status"] == "RUNNING"
        assert (await olga("get_task", task_id=known.task))["state"] == "claimed"
        await olga("terminate_temporal_workflow", workflow_id=report)


@pytest.mark.parametrize("tool", CALLS)
async def test_without_temporal_the_answer_says_so(tool: str, tmp_path: Path) -> None:
    """Nobody answers at this address."""
    settings = Settings(db=tmp_path / "tasks.db", enabled=True, address="127.0.0.1:1")
    async with DurableTasks(settings) as tasks, agent(tasks, OPERATOR) as olga:
        known = await foreign.foreign(tasks, OPERATOR.org)
        said = await olga.refused(tool, **CALLS[tool](known))
        assert said["code"] == "temporal_unavailable"
        assert "Call again later" in said["next_step"]
