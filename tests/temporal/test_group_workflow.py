"""PipelineWorkflow, FanOutWorkflow and DagWorkflow on a real server, inside the sandbox: every path of a group.
It must not know SQLite: the scripted bridge answers in its place.
"""

import pytest
from temporalio.client import Client

from durable_tasks.workflows.group import IN_FLIGHT
from tests.temporal.paths import GROUP_PATHS, Path, Scene


@pytest.mark.parametrize("path", GROUP_PATHS, ids=lambda path: path.__name__)
async def test_path(client: Client, path: Path) -> None:
    async with Scene(client).staged() as scene:
        await path(scene)


async def test_a_group_larger_than_what_is_in_flight(client: Client) -> None:
    """No path, for its history would be long and show nothing new."""
    async with Scene(client).staged() as scene:
        names = scene.members(IN_FLIGHT + 30)
        async with scene.worker():
            await scene.start_group()
            await scene.completes_with([f"of {name}" for name in names])
    assert scene.hands.most_at_once <= IN_FLIGHT
    assert scene.bridge.calls["record"] >= len(names), (
        "each once, or again where the machine was too busy to hear of it"
    )
    # One question after a crowd of ends, not one after each.
    assert scene.bridge.calls["begin_members"] < len(names)
