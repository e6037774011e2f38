"""What an agent is told when a call fails: a stable code, what it was about, and a next step that helps.

It must not test when the facade refuses.
"""

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from durable_tasks import DurableTasks, Org, Settings, errors
from durable_tasks.access import Role
from durable_tasks.mcp_server.refusals import next_step, refusal
from durable_tasks.models import Engine
from durable_tasks.testing import ManualClock
from tests.mcp_server.agents import IN_PROCESS, Agent, agent, principal

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.DurableTasksError)]
Case = Callable[[Agent, str, str], Awaitable[dict[str, Any]]]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_next_step(kind: type[errors.DurableTasksError]) -> None:
    error = kind(1, "x") if kind is errors.RetryAfter else kind("x")
    assert next_step(error).endswith(".")
    assert refusal(error)["code"] == kind.code


async def claim(ann: Agent, task_id: str) -> dict[str, Any]:
    claimed: dict[str, Any] = await ann("claim_task", task_id=task_id)
    return claimed


async def end(ann: Agent, task_id: str, *, well: bool) -> str:
    token = str((await claim(ann, task_id))["token"])
    if well:
        await ann("complete_task", task_id=task_id, token=token)
    else:
        await ann("fail_task", task_id=task_id, token=token, error="no")
    return token


async def complete_unclaimed(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    return await ann.refused("complete_task", task_id=manual, token="none")


async def complete_twice(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    token = await end(ann, manual, well=True)
    return await ann.refused("progress_task", task_id=manual, token=token, percent=1)


async def complete_failed(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    token = await end(ann, manual, well=False)
    return await ann.refused("complete_task", task_id=manual, token=token)


async def start_twice(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    token = (await claim(ann, manual))["token"]
    await ann("start_task", task_id=manual, token=token)
    return await ann.refused("start_task", task_id=manual, token=token)


async def wrong_token(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    await claim(ann, manual)
    return await ann.refused("complete_task", task_id=manual, token="another")


async def claim_held(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    await claim(ann, manual)
    return await ann.refused("claim_task", task_id=manual, agent_id="bob")


async def claim_auto(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    return await ann.refused("claim_task", task_id=auto)


async def retry_open(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    return await ann.refused("retry_task", task_id=manual)


async def edit_stale(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    return await ann.refused("update_task", task_id=manual, title="x", version=7)


async def unknown_task(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    return await ann.refused("get_task", task_id="nobody")


async def unknown_dependency(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    return await ann.refused("create_task", title="x", depends_on=["nobody"])


async def circle(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    tasks = [{"name": "a", "depends_on": ["b"]}, {"name": "b", "depends_on": ["a"]}]
    return await ann.refused("create_tasks", tasks=tasks)


async def key_of_another(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    await ann("create_task", title="one", idempotency_key="k")
    return await ann.refused("create_task", title="two", idempotency_key="k")


async def ended_workflow(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    made = await ann("create_workflow", kind="dag", name="w", tasks=[{"name": "a"}])
    return await ann.refused("retry_workflow", workflow_id=made["id"])


async def much(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    return await ann.refused("create_task", title="x", input="x" * 3_000_000)


async def durable_mode_off(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    return await ann.refused("describe_task", task_id=manual)


async def field(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    return await ann.refused("create_workflow", kind="dag", name="w", tasks=[{"name": "a", "timeout": "soon"}])


async def argument_that_is_none(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    return await ann.refused("get_task", task_id=manual, model="x", self="y")


async def output_that_does_not_fit(ann: Agent, manual: str, auto: str) -> dict[str, Any]:
    form = {"properties": {f"field {n}": {"type": "integer"} for n in range(50)}}
    made = await ann("create_task", title="x", form=form)
    token = (await claim(ann, made["id"]))["token"]
    said = await ann.refused(
        "complete_task", task_id=made["id"], token=token, output={f"field {n}": "x" for n in range(50)}
    )
    assert said["facts"]["errors"][0]["pointer"] == "/field 0"
    return said


CASES: list[tuple[Case, str, str, str]] = [
    (complete_unclaimed, "illegal_move", "pending", "claim it with claim_task"),
    (complete_twice, "illegal_move", "completed", "read its output with get_task"),
    (complete_failed, "illegal_move", "failed", "retry_task runs it again"),
    (start_twice, "illegal_move", "running", "has begun already"),
    (wrong_token, "stale_token", "token", "claim it with claim_task"),
    (claim_held, "already_claimed", "'ann'", "take another with next_task"),
    (claim_auto, "illegal_move", "handler", "wait_task"),
    (retry_open, "illegal_move", "pending", "get_task"),
    (edit_stale, "version_conflict", "version", "repeat update_task with the version"),
    (unknown_task, "not_found", "'nobody'", "list_tasks"),
    (unknown_dependency, "unknown_dependency", "nobody", "names of tasks in the same call"),
    (circle, "dependency_cycle", "a", "Remove one"),
    (key_of_another, "idempotency_conflict", "'k'", "new key"),
    (ended_workflow, "illegal_move", "retried", "get_workflow"),
    (output_that_does_not_fit, "invalid_output", "/field 0", "by the `form` of the task"),
    (much, "payload_too_large", "input", "Send less"),
    (durable_mode_off, "configuration", "TASKS_ENABLED", "operator"),
    (field, "invalid_input", "tasks.0.timeout", "Correct the named argument"),
    (argument_that_is_none, "invalid_input", "model", "Correct the named argument"),
]


@pytest.mark.parametrize(("case", "code", "message", "step"), CASES, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_refusal_says_what_and_what_next(
    case: Case, code: str, message: str, step: str, tmp_path: Path
) -> None:
    async with DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False)) as tasks:
        manual = await tasks.org().create("manual")
        auto = await tasks.org().create("auto", capability="double", input=1)
        async with agent(tasks, principal(Role.OPERATOR)) as ann:
            said = await case(ann, manual.id, auto.id)
    assert said["code"] == code
    assert message in said["message"]
    assert step in said["next_step"]
    assert len(str(said)) < 2000


async def test_a_claim_that_is_over_is_to_be_claimed_again(tmp_path: Path) -> None:
    clock = ManualClock()
    async with DurableTasks(Settings(db=tmp_path / "tasks.db"), clock=clock) as tasks, agent(tasks) as ann:
        made = await ann("create_task", title="x")
        token = (await ann("claim_task", task_id=made["id"], lease=10))["token"]
        await clock.advance(11)
        said = await ann.refused("complete_task", task_id=made["id"], token=token)
        assert "claim it with claim_task" in said["next_step"]
        again = await ann("claim_task", task_id=made["id"])
        said = await ann.refused("complete_task", task_id=made["id"], token=token)
        assert said["code"] == "stale_token"
        assert (await ann("complete_task", task_id=made["id"], token=again["token"]))["state"] == "completed"


async def test_who_may_not_is_told_who_may(tasks: DurableTasks) -> None:
    async with agent(tasks, principal(Role.VIEWER)) as viewer:
        said = await viewer.refused("create_task", title="x")
        assert (said["code"], said["facts"]["role"]) == ("forbidden", "agent")
        assert (await viewer("list_tasks"))["items"] == []


@pytest.mark.parametrize("transport", IN_PROCESS)
async def test_an_unknown_tool_is_an_error_of_the_protocol(tasks: DurableTasks, transport: str) -> None:
    async with agent(tasks, transport=transport) as ann:
        with pytest.raises(MCPError, match="Unknown tool: drop_table"):
            await ann.call("drop_table", {})
        assert "create_task" in await ann.tools()


class Broken:
    """A host with a defect."""

    settings = Settings.model_construct()
    engine = Engine.LOCAL

    def org(self, org_id: str | None = None) -> Org:
        raise ZeroDivisionError("a secret of the machine")

    @property
    def durable(self) -> Any:
        raise errors.ConfigurationError("off")

    async def diagnose(self, org: str | None = None) -> Any: ...

    async def redrive(self, letter_id: str, *, org: str | None = None, by: Any = None) -> Any: ...


@pytest.mark.parametrize("transport", ["modern", "legacy"])
async def test_a_defect_is_logged_and_not_shown(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    async with agent(Broken(), transport=transport) as ann:
        said = await ann.refused("get_task", task_id="x")
    assert said["code"] == "error"
    assert "secret" not in str(said)
    assert "the tool get_task broke" in caplog.text
    assert "a secret of the machine" in caplog.text
