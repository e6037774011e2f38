"""The demo's work as durable tasks: scan → expand → one task per file → report → a person's approval.

It must not wait inside a handler: each step writes down what follows, so a killed demo goes on where it was.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from durable_tasks import DurableTasks, Mode, NewTask, NonRetryable, Org, Task, TaskContext, TaskState, Workflow
from durable_tasks.demo.files import count_file, text_files

SPACE = "demo"
LARGEST = 10_000
"""Files in one run: a task depends on no more than so many others."""

_ENDED = {"task.completed", "task.failed", "task.cancelled"}
_APPROVER = "durable-tasks up --exit"

Show = Callable[[int, int], None]
"""(files counted, files in all)"""


class DemoFailed(Exception):
    """A step of the demo did not complete; the message says which and why."""


class Approval(BaseModel):
    """What a person says of the report."""

    approved: bool = Field(description="Whether the figures can be right.")
    note: str = Field("", max_length=1000, description="What the reader of the report should know.")


class Run(NamedTuple):
    """One run of the demo: its three workflows, the report and the task that waits for a person."""

    workflows: tuple[Workflow, ...]
    report: dict[str, Any]
    approval: Task


def register(tasks: DurableTasks) -> None:
    """Give `tasks` the demo's handlers."""

    @tasks.handler("demo.scan")
    def scan(ctx: TaskContext, task: Task) -> dict[str, Any]:
        found = text_files(Path(task.input["folder"]))
        if len(found) > LARGEST:
            raise NonRetryable(f"{task.input['folder']} holds {len(found)} text files; the demo takes {LARGEST}")
        return {"folder": task.input["folder"], "files": found}

    @tasks.handler("demo.expand")
    async def expand(ctx: TaskContext, task: Task) -> dict[str, Any]:
        org = tasks.org(task.org_id)
        # The keys make a second attempt find what the first has created, instead of creating it twice.
        counting = await _fan_out(org, task.id, **ctx.prior["scan"])
        closing = await _close(org, task.id, counting)
        return {"counting": counting.id if counting else None, "closing": closing.id}

    @tasks.handler("demo.count")
    def count(ctx: TaskContext, task: Task) -> Any:
        return count_file(Path(task.input["folder"]), task.input["path"])

    @tasks.handler("demo.report")
    async def report(ctx: TaskContext, task: Task) -> dict[str, Any]:
        counting = task.input["counting"]
        return _add_up(await tasks.org(task.org_id).workflow_tasks(counting) if counting else ())


async def _fan_out(org: Org, key: str, folder: str, files: list[str]) -> Workflow | None:
    if not files:
        return None
    counts = [
        NewTask(
            title=f"Count {path}"[:512],
            capability="demo.count",
            input={"folder": folder, "path": path},
            max_retries=2,
            space_id=SPACE,
        )
        for path in files
    ]
    return await org.fan_out("Count the files", counts, space_id=SPACE, idempotency_key=f"{key}/counting")


async def _close(org: Org, key: str, counting: Workflow | None) -> Workflow:
    counted = await org.workflow_tasks(counting.id) if counting else ()
    steps = [
        NewTask(
            name="report",
            title="Report",
            capability="demo.report",
            input={"counting": counting.id if counting else None},
            depends_on=tuple(task.id for task in counted),
            on_dependency_failure="run",  # a file that cannot be read is reported, not a reason to give up
            space_id=SPACE,
        ),
        NewTask(
            name="approve",
            title="Approve the report",
            description="Every text file has been counted. The step before this one, Report, has the figures.",
            mode=Mode.MANUAL,
            form=Approval,
            space_id=SPACE,
        ),
    ]
    return await org.pipeline("Report and approval", steps, space_id=SPACE, idempotency_key=f"{key}/closing")


def _add_up(counted: Any) -> dict[str, Any]:
    done = [task.output for task in counted if task.state is TaskState.COMPLETED]
    return {
        "files": len(done),
        "lines": sum(one["lines"] for one in done),
        "words": sum(one["words"] for one in done),
        "sha256": hashlib.sha256("".join(one["sha256"] for one in done).encode()).hexdigest(),
        "failed": [task.input["path"] for task in counted if task.state is not TaskState.COMPLETED],
    }


async def begin(org: Org, folder: Path) -> Workflow:
    """The survey of `folder`: one that has not been approved yet goes on, else a new one begins."""
    newest = await _newest(org, str(folder))
    if newest is not None and not await _is_over(org, newest):
        return newest
    number = newest.metadata["run"] + 1 if newest is not None else 1
    return await org.pipeline(
        f"Survey of {folder}"[:512],
        [
            NewTask(name="scan", capability="demo.scan", input={"folder": str(folder)}, space_id=SPACE),
            NewTask(name="expand", capability="demo.expand", max_retries=2, space_id=SPACE),
        ],
        space_id=SPACE,
        metadata={"folder": str(folder), "run": number},
        idempotency_key=f"survey/{hashlib.sha256(str(folder).encode()).hexdigest()}/{number}",
    )


async def _newest(org: Org, folder: str) -> Workflow | None:
    cursor = None
    while True:
        page = await org.list_workflows(space_id=SPACE, cursor=cursor)
        for workflow in page.items:
            if workflow.metadata.get("folder") == folder:
                return workflow
        if page.next_cursor is None:
            return None
        cursor = page.next_cursor


async def _is_over(org: Org, survey: Workflow) -> bool:
    expand = (await org.workflow_tasks(survey.id))[-1]
    if expand.state is TaskState.COMPLETED:
        survey = await org.get_workflow(expand.output["closing"])
    return survey.completed_at is not None


async def follow(org: Org, survey: Workflow, show: Show) -> Run:
    """Watch the survey until its report is there and only the approval is missing. Raises DemoFailed."""
    made = (await _completed(org, (await org.workflow_tasks(survey.id))[-1])).output
    if made["counting"] is not None:
        await _watch(org, await org.get_workflow(made["counting"]), show)
    report, approval = await org.workflow_tasks(made["closing"])
    report = await _completed(org, report)
    ids = [survey.id, made["counting"], made["closing"]]
    workflows = [await org.get_workflow(one) for one in ids if one is not None]
    return Run(tuple(workflows), report.output, await org.get(approval.id))


async def _completed(org: Org, task: Task) -> Task:
    ended = await org.wait(task.id)
    if ended.state is not TaskState.COMPLETED:
        said = ended.error.message if ended.error else ended.reason
        raise DemoFailed(f"the step {ended.title!r} is {ended.state}" + (f": {said}" if said else ""))
    return ended


async def _watch(org: Org, counting: Workflow, show: Show) -> None:
    ended: set[str | None] = set()
    show(0, counting.total)
    async for event in org.watch(after=0):
        if event.workflow_id == counting.id and event.kind in _ENDED:
            ended.add(event.task_id)
            show(len(ended), counting.total)
        if len(ended) == counting.total:
            return


async def approve(org: Org, approval: Task) -> None:
    """Claim and complete the waiting task, as a person would. Interrupted and repeated, it goes on."""
    claim = await org.claim(approval.id, agent_id=_APPROVER, command_id=f"{approval.id}/claim")
    await org.complete(approval.id, {"approved": True}, token=claim.token)


async def approved(org: Org, run: Run) -> Run:
    """The run once somebody has approved it. Raises DemoFailed when it was refused, cancelled or failed."""
    approval = await _completed(org, run.approval)
    said = Approval.model_validate(approval.output)  # it fits: the task has the form
    if not said.approved:
        raise DemoFailed("the report was not approved" + (f": {said.note}" if said.note else ""))
    await org.wait_workflow(run.workflows[-1].id)
    return run._replace(workflows=tuple([await org.get_workflow(one.id) for one in run.workflows]))


def summary(run: Run) -> dict[str, Any]:
    """The run in figures: how many workflows, tasks by state, files, lines and words."""
    states: dict[str, int] = {}
    for workflow in run.workflows:
        for state, count in workflow.counts.items():
            states[state.value] = states.get(state.value, 0) + count
    return {
        "workflows": len(run.workflows),
        "tasks": states,
        **{name: run.report[name] for name in ("files", "lines", "words")},
    }
