"""AgentTaskWorkflow and its activities on a real server, inside the sandbox: every path of a task.
It must not know SQLite: the scripted bridge answers in its place.
"""

import asyncio

import pytest
from temporalio.client import Client

from durable_tasks.contracts import Verdict
from durable_tasks.models import TaskState
from tests.temporal.paths import TASK_PATHS, Path, Scene


@pytest.mark.parametrize("path", TASK_PATHS, ids=lambda path: path.__name__)
async def test_path(client: Client, path: Path) -> None:
    async with Scene(client).staged() as scene:
        await path(scene)


async def test_a_join_moves_on_when_its_worker_shuts_down(client: Client) -> None:
    scene = Scene(client)
    scene.put(Verdict.LIVE, TaskState.RUNNING)
    async with asyncio.timeout(20):
        async with scene.staged():
            await scene.start()
            await scene.bridge.called("join")
        assert scene.bridge.calls["read"] == 1
        async with scene.staged():
            await scene.bridge.called("join", 2)
            scene.put(Verdict.ENDED, TaskState.COMPLETED, output="elsewhere")
            await scene.completes_with("elsewhere")
    assert scene.bridge.calls["run"] == 1
