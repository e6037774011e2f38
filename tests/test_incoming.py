"""Incoming: what a command that somebody sent straight to Temporal is answered when it is refused.

It must not know Temporal.
"""

from pathlib import Path

import pytest

from durable_tasks.contracts import Command, CommandVerb
from durable_tasks.errors import AlreadyClaimed
from durable_tasks.incoming import Incoming
from durable_tasks.testing import ManualClock
from tests.store.support import opened


@pytest.mark.parametrize(
    ("agent", "said"),
    [("ann", "is retrying and 'ann' does not hold it now"), ("ben", "is retrying and belongs to 'ann', not to 'ben'")],
)
async def test_who_holds_nothing_is_told_how_the_task_stands(tmp_path: Path, agent: str, said: str) -> None:
    async with opened(tmp_path / "app.db", ManualClock()) as tasks:
        org = tasks.org()
        task = await org.create("approve", assigned_to="ann", max_retries=1)
        claim = await org.claim(task.id, agent_id="ann")
        await org.fail(task.id, "later", token=claim.token)
        arguments = {"agent_id": agent, "output": 1}
        command = Command(
            org_id=org.id, task_id=task.id, verb=CommandVerb.COMPLETE, command_id="c", arguments=arguments
        )
        with pytest.raises(AlreadyClaimed, match=said):
            await Incoming(tasks)._do(command)
