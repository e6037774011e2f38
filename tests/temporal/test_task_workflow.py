"""AgentTaskWorkflow and its activities on a real server, inside the sandbox: every path in paths.py.
It must not know SQLite: the scripted bridge answers in its place.
"""

import asyncio
import uuid

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from durable_tasks.activities.task import TaskActivities
from durable_tasks.contracts import Verdict
from durable_tasks.models import TaskState
from durable_tasks.workflows.task import AgentTaskWorkflow
from tests.temporal.bridges import ScriptedBridge
from tests.temporal.paths import PATHS, Path, Scene


def sandboxed_worker(client: Client, queue: str, bridge: ScriptedBridge) -> Worker:
    activities = TaskActivities(bridge).all
    return Worker(client, task_queue=queue, workflows=[AgentTaskWorkflow], activities=activities)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
async def test_path(client: Client, path: Path) -> None:
    scene = Scene(client, f"test-{uuid.uuid4()}", ScriptedBridge())
    async with sandboxed_worker(client, scene.queue, scene.bridge):
        await path(scene)


async def test_a_join_moves_on_when_its_worker_shuts_down(client: Client) -> None:
    scene = Scene(client, f"test-{uuid.uuid4()}", ScriptedBridge())
    scene.put(Verdict.LIVE, TaskState.RUNNING)
    async with asyncio.timeout(20):
        async with sandboxed_worker(client, scene.queue, scene.bridge):
            await scene.start()
            await scene.bridge.called("join")
        assert scene.bridge.calls["read"] == 1
        async with sandboxed_worker(client, scene.queue, scene.bridge):
            await scene.bridge.called("join", 2)
            scene.put(Verdict.ENDED, TaskState.COMPLETED, output="elsewhere")
            await scene.completes_with("elsewhere")
    assert scene.bridge.calls["run"] == 1
