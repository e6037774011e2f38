"""The peer: one Temporal workflow with one no-op activity, as the SDK's first example writes it.

It must not know the package: the sandbox imports this module for every workflow, so it imports nothing else.
"""

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
