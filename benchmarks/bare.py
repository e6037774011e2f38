"""The peer: a Temporal workflow with one no-op activity, or many at once, as the SDK's first examples write them.

It must not know the package: the sandbox imports this module for every workflow, so it imports nothing else.
"""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow


@activity.defn
async def noop(value: dict[str, Any]) -> dict[str, int]:
    return {"words": 42}


@workflow.defn
class BareWorkflow:
    @workflow.run
    async def run(self, value: dict[str, Any]) -> dict[str, int]:
        return await workflow.execute_activity(noop, value, start_to_close_timeout=timedelta(seconds=60))


@workflow.defn
class BareFanOut:
    @workflow.run
    async def run(self, count: int) -> list[Any]:
        timeout = timedelta(seconds=60)
        calls = (workflow.execute_activity(noop, {"n": n}, start_to_close_timeout=timeout) for n in range(count))
        return await asyncio.gather(*calls)
