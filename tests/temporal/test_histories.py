"""Replays the recorded history of every path: a change that would break workflows under way fails here.
It must not need a server.
"""

from collections.abc import Sequence

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.common import RawValue
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from durable_tasks.contracts import TASK_WORKFLOW, TaskRef
from durable_tasks.workflows.task import AgentTaskWorkflow
from tests.temporal.paths import PATHS, WORKFLOWS
from tests.temporal.record_histories import HISTORIES


def history(name: str) -> WorkflowHistory:
    text = (HISTORIES / f"{name}.json").read_text(encoding="utf-8")
    return WorkflowHistory.from_json(f"recorded/{name}", text)


async def replay(name: str, workflows: Sequence[type]) -> None:
    await Replayer(workflows=workflows, data_converter=pydantic_data_converter).replay_workflow(history(name))


@workflow.defn(dynamic=True)
class SleepsFirst:
    """Any workflow, in another order: a timer where the recorded one asked SQLite."""

    @workflow.run
    async def run(self, arguments: Sequence[RawValue]) -> None:
        await workflow.sleep(1)


@workflow.defn(name=TASK_WORKFLOW)
class JoinsFirst(AgentTaskWorkflow):
    """The same workflow, with one of its activities before the others."""

    @workflow.init
    def __init__(self, ref: TaskRef) -> None:
        super().__init__(ref)

    @workflow.run
    async def run(self, ref: TaskRef) -> object:
        await self._join()
        return await super().run(ref)


RECORDED = tuple(path.stem for path in sorted(HISTORIES.glob("*.json")))


def test_every_path_is_recorded() -> None:
    assert {name.partition(".")[0] for name in RECORDED} == {path.__name__ for path in PATHS}


@pytest.mark.parametrize("name", RECORDED)
async def test_replay(name: str) -> None:
    await replay(name, WORKFLOWS)


@pytest.mark.parametrize("name", RECORDED)
async def test_a_changed_workflow_does_not_replay(name: str) -> None:
    with pytest.raises(workflow.NondeterminismError):
        await replay(name, [SleepsFirst])


@pytest.mark.parametrize("name", ["completed", "joined", "external_completed"])
async def test_a_reordered_activity_does_not_replay(name: str) -> None:
    with pytest.raises(workflow.NondeterminismError):
        await replay(name, [JoinsFirst])
