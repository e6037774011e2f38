"""Two organisations on one file: with the other's ids an agent gets, of every tool, the answer for ids nobody has.

It must not know how the store keeps them apart.
"""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from durable_tasks import DurableTasks
from durable_tasks.access import Role
from durable_tasks.mcp_server.tools import TOOLS
from tests.foreign import CALLS, SECRET, Arguments, Foreign, foreign, unknown
from tests.mcp_server.agents import Agent, agent, principal, served
from tests.store.support import everything

TRIED = [(name, arguments) for name, several in CALLS.items() for arguments in several]


def test_every_tool_is_tried() -> None:
    assert set(CALLS) == set(TOOLS)


async def answer(ann: Agent, tool: str, arguments: Arguments, asked: Foreign) -> str:
    result = await ann.call(tool, arguments(asked))
    return asked.left_out_of(json.dumps(result.model_dump(mode="json")))


@pytest.mark.parametrize(("tool", "arguments"), TRIED, ids=[name for name, _ in TRIED])
async def test_the_others_ids_are_as_if_nobody_had_them(tool: str, arguments: Arguments, tasks: DurableTasks) -> None:
    theirs = await foreign(tasks)
    nobodys = unknown(theirs)
    before = everything(tasks.settings.db)
    async with agent(tasks, principal(Role.OPERATOR, org="acme")) as ann:
        said = await answer(ann, tool, arguments, theirs)
        assert said == await answer(ann, tool, arguments, nobodys)
        assert SECRET not in said
    assert everything(tasks.settings.db) == before


async def test_what_takes_no_ids_sees_its_own_organisation_only(tasks: DurableTasks) -> None:
    await foreign(tasks)
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
