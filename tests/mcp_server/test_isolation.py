"""Two organisations on one file: with the other's ids an agent gets, of every tool, the answer for ids nobody has.

It must not know how the store keeps them apart.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from durable_tasks import DurableTasks, NewTask
from durable_tasks.access import Role
from durable_tasks.mcp_server.tools import TOOLS
from tests.mcp_server.agents import Agent, agent, principal, served
from tests.store.support import everything

NOBODY = "01900000-0000-7000-8000-000000000000"
Arguments = Callable[[str, str, str], dict[str, Any]]

TASK = {
    name: lambda task, workflow, token: {"task_id": task}
    for name in ("get_task", "claim_task", "cancel_task", "retry_task", "list_attempts")
}
HELD = {
    name: lambda task, workflow, token: {"task_id": task, "token": token}
    for name in ("start_task", "heartbeat_task", "complete_task", "release_task")
}
WORKFLOW = {
    name: lambda task, workflow, token: {"workflow_id": workflow}
    for name in ("get_workflow", "graph_workflow", "cancel_workflow", "retry_workflow")
}
WITH_IDS: dict[str, list[Arguments]] = {
    **{name: [arguments] for name, arguments in {**TASK, **HELD, **WORKFLOW}.items()},
    "progress_task": [lambda task, workflow, token: {"task_id": task, "token": token, "percent": 1}],
    "fail_task": [lambda task, workflow, token: {"task_id": task, "token": token, "error": "x"}],
    "update_task": [lambda task, workflow, token: {"task_id": task, "title": "x"}],
    "wait_task": [lambda task, workflow, token: {"task_id": task, "timeout": 0}],
    "wait_workflow": [lambda task, workflow, token: {"workflow_id": workflow, "timeout": 0}],
    "add_tasks": [lambda task, workflow, token: {"workflow_id": workflow, "tasks": [{"name": "x"}]}],
    "list_tasks": [lambda task, workflow, token: {"workflow_id": workflow}],
    "list_events": [
        lambda task, workflow, token: {"task_id": task},
        lambda task, workflow, token: {"workflow_id": workflow},
    ],
    "create_task": [lambda task, workflow, token: {"title": "x", "depends_on": [task]}],
    "create_tasks": [lambda task, workflow, token: {"tasks": [{"title": "x", "depends_on": [task]}]}],
    "create_workflow": [
        lambda task, workflow, token: {"kind": "dag", "name": "x", "tasks": [{"name": "x", "depends_on": [task]}]}
    ],
}
WITHOUT_IDS = {"list_workflows", "list_orgs", "next_task"}
CALLS = [(name, arguments) for name, several in WITH_IDS.items() for arguments in several]


def test_every_tool_is_tried() -> None:
    temporal = {name for name, tool in TOOLS.items() if tool.operation.temporal}  # see test_temporal_tools.py
    assert set(WITH_IDS) | WITHOUT_IDS | temporal == set(TOOLS)


async def theirs(tasks: DurableTasks) -> tuple[str, str, str]:
    """A claimed task, a workflow and a token of another organisation."""
    org = tasks.org("rival")
    claim = await org.claim((await org.create("secret")).id, agent_id="eve")
    workflow = await org.pipeline("secret", [NewTask(name="secret")])
    return claim.task.id, workflow.id, claim.token


async def answer(ann: Agent, tool: str, arguments: dict[str, Any], *ids: str) -> str:
    """What is said, with the ids that were asked for left out."""
    result = await ann.call(tool, arguments)
    said = json.dumps(result.model_dump(mode="json"))
    for number, one in enumerate(ids):
        said = said.replace(one, f"<{number}>")
    return said


@pytest.mark.parametrize(("tool", "arguments"), CALLS, ids=[name for name, _ in CALLS])
async def test_the_others_ids_are_as_if_nobody_had_them(tool: str, arguments: Arguments, tasks: DurableTasks) -> None:
    foreign = await theirs(tasks)
    unknown = (NOBODY, NOBODY[:-1] + "1", foreign[2][::-1])
    before = everything(tasks.settings.db)
    async with agent(tasks, principal(Role.OPERATOR, org="acme")) as ann:
        asked = await answer(ann, tool, arguments(*foreign), *foreign)
        assert asked == await answer(ann, tool, arguments(*unknown), *unknown)
        assert "secret" not in asked
    assert everything(tasks.settings.db) == before


async def test_what_takes_no_ids_sees_its_own_organisation_only(tasks: DurableTasks) -> None:
    await theirs(tasks)
    async with agent(tasks, principal(org="acme")) as ann:
        assert (await ann("list_tasks"))["items"] == []
        assert (await ann("list_workflows"))["items"] == []
        assert (await ann("list_events"))["items"] == []
        assert (await ann("list_orgs"))["items"] == ["acme"]
        assert (await ann("next_task"))["result"] is None


async def test_keys_and_cursors_of_one_organisation_mean_nothing_in_another(tasks: DurableTasks) -> None:
    async with agent(tasks, principal(org="rival")) as eve, agent(tasks, principal(org="acme")) as ann:
        first = await eve("create_task", title="secret", idempotency_key="k")
        await eve("create_task", title="secret too")
        mine = await ann("create_task", title="mine", idempotency_key="k")
        assert mine["id"] != first["id"]
        cursor = (await eve("list_tasks", limit=1))["next_cursor"]
        page = await ann.call("list_tasks", {"cursor": cursor})
        assert "secret" not in str(page)


async def test_callers_of_one_endpoint_at_the_same_time_stay_apart(tasks: DurableTasks) -> None:
    """Each request is whoever its own token says, also when many are under way."""
    tokens = {f"token-{n}": principal(org=f"org-{n}", subject=f"agent-{n}") for n in range(4)}

    async def create(wire: httpx2.AsyncClient, url: str, token: str) -> dict[str, Any]:
        body = {
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "create_task", "arguments": {"title": token}},
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        said = (await wire.post(url, json=body, headers=headers)).json()
        made: dict[str, Any] = said["result"]["structuredContent"]
        return made

    async with served(tasks, tokens) as url, httpx2.AsyncClient() as wire:
        made = await asyncio.gather(*(create(wire, url, token) for token in [*tokens] * 5))
    assert {(one["title"], one["org_id"], one["created_by"]) for one in made} == {
        (f"token-{n}", f"org-{n}", f"agent-{n}") for n in range(4)
    }
