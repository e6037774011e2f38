"""Replays the recorded history of every path: a change that would break workflows under way fails here.
It must not need a server.
"""

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from durable_tasks.contracts import TASK_WORKFLOW, TaskRef
from durable_tasks.workflows.task import AgentTaskWorkflow
from tests.temporal.paths import PATHS
from tests.temporal.record_histories import HISTORIES


def history(name: str) -> WorkflowHistory:
    text = (HISTORIES / f"{name}.json").read_text(encoding="utf-8")
    return WorkflowHistory.from_json(f"task/{name}/1", text)


@workflow.defn(name=TASK_WORKFLOW)
class SleepsFirst:
    """The same name, another order: a timer where the recorded workflow asked SQLite."""

    @workflow.run
    async def run(self, ref: TaskRef) -> None:
        await workflow.sleep(1)


RECORDED = tuple(path.stem for path in sorted(HISTORIES.glob("*.json")))


def test_every_path_is_recorded() -> None:
    assert set(RECORDED) == {path.__name__ for path in PATHS}


@pytest.mark.parametrize("name", RECORDED)
async def test_replay(name: str) -> None:
    replayer = Replayer(workflows=[AgentTaskWorkflow], data_converter=pydantic_data_converter)
    await replayer.replay_workflow(history(name))


@pytest.mark.parametrize("name", RECORDED)
async def test_a_changed_workflow_does_not_replay(name: str) -> None:
    replayer = Replayer(workflows=[SleepsFirst], data_converter=pydantic_data_converter)
    with pytest.raises(workflow.NondeterminismError):
        await replayer.replay_workflow(history(name))
