"""Records the history of every path in paths.py: `python -m tests.temporal.record_histories ADDRESS [NAME…]`.
It must not replay them; run it for a new path, and for an old one only when its change is meant.
"""

import asyncio
import sys
import uuid
from pathlib import Path

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from durable_tasks.activities.task import TaskActivities
from durable_tasks.workflows.task import AgentTaskWorkflow
from tests.temporal.bridges import ScriptedBridge
from tests.temporal.paths import PATHS, Scene

HISTORIES = Path(__file__).parent / "histories"


async def record(address: str, names: list[str]) -> None:
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    for path in PATHS:
        if names and path.__name__ not in names:
            continue
        scene = Scene(client, f"record-{uuid.uuid4()}", ScriptedBridge())
        activities = TaskActivities(scene.bridge).all
        async with Worker(client, task_queue=scene.queue, workflows=[AgentTaskWorkflow], activities=activities):
            await path(scene)
        history = await scene.handle.fetch_history()
        (HISTORIES / f"{path.__name__}.json").write_text(history.to_json() + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1], sys.argv[2:]))
