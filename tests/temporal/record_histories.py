"""Records the history of every path in paths.py: `python -m tests.temporal.record_histories ADDRESS [NAME…]`.
It must not replay them; run it for a new path, and for an old one only when its change is meant.
"""

import asyncio
import json
import sys
import uuid
from pathlib import Path
from typing import Any

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
        text = json.dumps(without_machine(json.loads(history.to_json())), indent=2)
        (HISTORIES / f"{path.__name__}.json").write_text(text + "\n", encoding="utf-8")


def without_machine(value: Any) -> Any:
    """The history without what names the machine it was recorded on: stack traces and the worker's identity."""
    if isinstance(value, list):
        return [without_machine(item) for item in value]
    if isinstance(value, dict):
        kept = {key: without_machine(item) for key, item in value.items() if key != "stackTrace"}
        return {key: "recorder" if key == "identity" else item for key, item in kept.items()}
    return value


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1], sys.argv[2:]))
