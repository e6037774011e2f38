"""Records the history of every path in paths/: `python -m tests.temporal.record_histories ADDRESS [NAME…]`.
It must not replay them; run it for a new path, and for an old one only when its change is meant.
"""

import asyncio
import base64
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

from tests.temporal.paths import PATHS, Scene

HISTORIES = Path(__file__).parent / "histories"
_PADDING = re.compile(rb"x{1000,}")


async def record(address: str, names: list[str]) -> None:
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    for path in PATHS:
        name = path.__name__
        if names and name not in names:
            continue
        async with Scene(client).staged() as scene:
            await path(scene)
        number = 0
        async for history in runs(scene):
            number += 1
            text = json.dumps(without_machine(json.loads(history.to_json())), indent=2)
            file = HISTORIES / (f"{name}.json" if number == 1 else f"{name}.{number}.json")
            file.write_text(text + "\n", encoding="utf-8")


async def runs(scene: Scene) -> AsyncIterator[WorkflowHistory]:
    """The first run, and those it continued as."""
    run_id = scene.handle.result_run_id
    while run_id:
        history = await scene.client.get_workflow_handle(scene.handle.id, run_id=run_id).fetch_history()
        yield history
        run_id = history.events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id


def without_machine(value: Any) -> Any:
    """The history without what names the machine it was recorded on, stack traces and the worker's identity, and
    without the padding that only made it long."""
    if isinstance(value, list):
        return [without_machine(item) for item in value]
    if isinstance(value, dict):
        kept = {key: without_machine(item) for key, item in value.items() if key != "stackTrace"}
        return {key: "recorder" if key == "identity" else item for key, item in kept.items()}
    if isinstance(value, str) and len(value) > 1000:
        return _without_padding(value)
    return value


def _without_padding(text: str) -> str:
    """Payloads are base64 in a history's JSON."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return text
    return base64.b64encode(_PADDING.sub(b"x", data)).decode()


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1], sys.argv[2:]))
