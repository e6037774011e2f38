"""Forms of tasks: who may have one, and that an output which does not fit changes nothing, whoever else is at work.

It must not test which schemas are accepted, or what fits them.
"""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from durable_tasks import DurableTasks, Mode, NewTask, Org, errors
from durable_tasks.forms import check_output
from durable_tasks.testing import ManualClock
from tests.store.support import AGENT, claimed, everything, opened, query

FORM = {"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]}
FITS = {"amount": 1}


class Approval(BaseModel):
    approved: bool
    verdict: Literal["pay", "ask"] = "pay"


async def test_a_model_stands_for_its_schema(org: Org) -> None:
    claim = await claimed(org, form=Approval)
    assert claim.task.form == Approval.model_json_schema()
    assert (await org.get(claim.task.id)).form == claim.task.form
    assert NewTask(name="x", form=Approval).form == claim.task.form
    with pytest.raises(errors.InvalidOutput) as refused:
        await org.complete(claim.task.id, {"approved": "perhaps", "verdict": "no"}, token=claim.token)
    assert refused.value.task_id == claim.task.id
    assert sorted(one["pointer"] for one in refused.value.errors) == ["/approved", "/verdict"]
    done = await org.complete(claim.task.id, Approval(approved=True), token=claim.token)
    assert done.output == {"approved": True, "verdict": "pay"}


class Callback(BaseModel):
    call: Callable[[], None]


async def test_a_model_that_is_no_json_is_refused(org: Org) -> None:
    with pytest.raises(errors.InvalidInput, match="Callback cannot be written as a JSON Schema"):
        await org.create("ask", form=Callback)


async def test_a_refused_output_changes_nothing(org: Org, db: Path) -> None:
    claim = await claimed(org, form=FORM)
    before = everything(db)
    for command_id in (None, "once"):
        with pytest.raises(errors.InvalidOutput):
            await org.complete(claim.task.id, {"amount": "much"}, token=claim.token, command_id=command_id)
    with pytest.raises(errors.InvalidOutput):
        await org.complete_and_next(claim.task.id, None, token=claim.token, agent_id=AGENT)
    assert everything(db) == before
    done = await org.complete(claim.task.id, FITS, token=claim.token, command_id="once")
    assert await org.complete(claim.task.id, FITS, token=claim.token, command_id="once") == done


async def test_who_has_no_right_to_complete_hears_that_first(org: Org) -> None:
    claim = await claimed(org, form=FORM)
    with pytest.raises(errors.StaleToken):
        await org.complete(claim.task.id, "wrong", token="another")
    await org.cancel(claim.task.id)
    with pytest.raises(errors.IllegalMove):
        await org.complete(claim.task.id, "wrong", token=claim.token)


async def test_completing_one_and_taking_the_next(org: Org) -> None:
    claim = await claimed(org, form=FORM)
    await org.create("next")
    done, after = await org.complete_and_next(claim.task.id, FITS, token=claim.token, agent_id=AGENT)
    assert (done.state, after and after.task.title) == ("completed", "next")


async def test_a_task_that_moves_on_while_its_output_is_checked(
    org: Org, monkeypatch: pytest.MonkeyPatch, tasks: DurableTasks
) -> None:
    """The check runs in neither the loop nor the writer: others go on, and the answer is of how things stand after."""
    claim = await claimed(org, form=FORM)
    here, checking, go_on = threading.current_thread(), threading.Event(), threading.Event()

    def slow(form: str, output: str | None) -> None:
        assert threading.current_thread() is not here
        checking.set()
        assert go_on.wait(30)
        check_output(form, output)

    monkeypatch.setattr("durable_tasks.store.store.check_output", slow)
    completing = org.complete(claim.task.id, FITS, token=claim.token)

    async def meanwhile() -> None:
        await org.create("another")
        await org.release(claim.task.id, token=claim.token)
        go_on.set()

    done, _ = await asyncio.gather(completing, meanwhile(), return_exceptions=True)
    assert isinstance(done, errors.StaleToken | errors.IllegalMove)
    assert checking.is_set()
    assert (await org.get(claim.task.id)).state == "pending"


async def test_forms_are_looked_at_beside_the_event_loop(
    org: Org, monkeypatch: pytest.MonkeyPatch, tasks: DurableTasks
) -> None:
    """Of every call that creates: hundreds of large ones would else keep everybody waiting for a minute."""
    seen: list[threading.Thread] = []
    monkeypatch.setattr("durable_tasks.store.drafts.check_form", lambda form: seen.append(threading.current_thread()))
    new = NewTask(name="one", form=FORM)
    await org.create("one", form=FORM)
    await org.create_many([new])
    workflow = await org.dag("group", [new])
    await org.add_tasks(workflow.id, [NewTask(name="two", form=FORM)])
    assert len(seen) == 4
    assert threading.current_thread() not in seen


async def test_only_manual_tasks_have_forms(org: Org, db: Path) -> None:
    before = everything(db)
    for new in (NewTask(name="a", capability="ocr", form=FORM), NewTask(name="a", mode=Mode.AUTO, form=FORM)):
        with pytest.raises(errors.InvalidInput, match="only a manual task"):
            await org.create_many([new])
        with pytest.raises(errors.InvalidInput, match="only a manual task"):
            await org.pipeline("w", [NewTask(name="first"), new])
    bad: list[Any] = [[], "text", {"type": "objekt"}, {"$ref": "https://example.com"}, {"a": object()}]
    for form in bad:
        with pytest.raises(errors.InvalidInput, match="form"):
            await org.create("x", form=form)
    with pytest.raises(errors.PayloadTooLarge):
        await org.create("x", form={"description": "x" * 65536})
    assert everything(db) == before


async def test_members_and_retried_tasks_keep_their_forms(org: Org) -> None:
    made = await org.pipeline("w", [NewTask(name="a", form=FORM), NewTask(name="b", form=FORM)])
    first, _ = await org.workflow_tasks(made.id)
    await org.cancel_workflow(made.id)
    await org.retry_workflow(made.id)
    claim = await org.claim(first.id, agent_id=AGENT)
    with pytest.raises(errors.InvalidOutput):
        await org.complete(first.id, token=claim.token)
    await org.complete(first.id, FITS, token=claim.token)
    assert [task.state for task in await org.workflow_tasks(made.id)] == ["completed", "pending"]


async def test_a_form_is_kept_across_a_restart_and_once(db: Path, clock: ManualClock) -> None:
    async with opened(db, clock) as tasks:
        first = await tasks.org().create("x", form=FORM, idempotency_key="k")
        assert await tasks.org().create("x", form=FORM, idempotency_key="k") == first
        with pytest.raises(errors.IdempotencyConflict):
            await tasks.org().create("x", form=Approval, idempotency_key="k")
    async with opened(db, clock) as tasks:
        assert (await tasks.org().get(first.id)).form == FORM
        claim = await tasks.org().claim(first.id, agent_id=AGENT, command_id="c")
        assert await tasks.org().claim(first.id, agent_id=AGENT, command_id="c") == claim
    assert "properties" not in query(db, "SELECT answer FROM dt_commands")[0][0]
