"""Generated signals and updates, on a real server and a real file: each update is answered, no workflow task fails, and
every Temporal workflow ends when its task is cancelled. They must not know what a command is to do.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode

from durable_tasks import DurableTasks, NewTask, Settings
from durable_tasks.contracts import SYNC_SIGNAL
from durable_tasks.errors import IllegalMove
from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.figures import count, keep
from tests.store.support import read_all

PATIENCE = 120.0
OF_ONE = 40
"""Commands to one Temporal workflow, at most."""
SUBJECTS = 6
FORM = {"type": "object", "properties": {"amount": {"type": "integer", "minimum": 0}}, "required": ["amount"]}
INSTANTS = (
    "9999-12-31T23:59:59.9999999Z", "0001-01-01T00:00:00+14:00", "2030-01-01", "2030-02-30T00:00:00Z", "now", -1, 1e18,
    10**400, 253402300800, "5m", "2026-06-01T12:00:00+25:00",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**30, 10**400, -(10**400), 1e308, float("nan"), float("inf"), "", "a", "\ud800", "\x00",
    "é\u2028", "x" * 5000, "x" * 300_000, [], {}, [None], {"": 1}, {"\ud800": "\udfff"}, [[[[]]]], {"a": {"b": [1]}},
)  # fmt: skip
FIELDS: dict[str, tuple[Any, ...]] = {
    "agent_id": ("ann", "ben", "*", "ann\n"),
    "token": ("", "x", "0" * 500),
    "lease": ("5m", 60, "P1Y", 1e9, "-1s"),
    "groups": (["g"], "g", ["g"] * 500),
    "output": ({"amount": 3}, {"amount": -1}, "done"),
    "error": ("no", {"type": "x"}),
    "retryable": (False, "no"),
    "retry_after": ("5m", 1e400, -1, "9" * 400),
    "percent": (50, 101, "50"),
    "message": ("hm",),
    "version": (1, 2, -1, "1"),
    "reason": ("why",),
    "command_id": ("c1", "c2", "x" * 300),
    "by": ("ann", "", "x" * 300),
    "task_id": ("", "other", "task/x/1"),
    "progress": (7,),
    "deadline": INSTANTS,
    "form": (FORM,),
}
CHANGES: dict[str, tuple[Any, ...]] = {
    "title": ("t", " "),
    "description": ("d",),
    "priority": ("high", 3, "4"),
    "labels": (["l"], "l", [1]),
    "form": (FORM,),
    "metadata": ({"k": 1}, [1]),
    "deadline": INSTANTS,
    "not_before": INSTANTS,
    "delay": ("5m", 1e300),
    "timeout": ("1h", 0),
    "max_retries": (3, -1, 10**9),
    "retry": ({"initial": 1}, {"initial": 1e400}),
    "assigned_to": ("ann", "group:g"),
    "input": ({"a": 1},),
    "capability": ("c",),
    "state": ("completed",),
    "org_id": ("others",),
    "self": (1,),
    "task_id": ("x",),
    "version": (1,),
    "command_id": ("c3",),
}
SOUND: dict[str, dict[str, Any]] = {
    "claim": {"agent_id": "ann"},
    "progress": {"agent_id": "ann", "percent": 50},
    "release": {"agent_id": "ann"},
    "complete": {"agent_id": "ann", "output": {"amount": 3}},
    "fail": {"agent_id": "ann", "error": "no"},
    "update": {"fields": {"title": "t"}},
}
RAW: tuple[tuple[bytes, bytes], ...] = (
    (b"json/plain", b""), (b"json/plain", b"{"), (b"json/plain", b"\xff"), (b"json/plain", b'"\xed\xa0\x80"'),
    (b"json/plain", b"[" * 3000 + b"]" * 3000), (b"json/plain", b"1" * 6000), (b"binary/null", b"x"),
    (b"binary/plain", b"\x00\xff"), (b"json/protobuf", b"{}"), (b"binary/encrypted", b"secret"), (b"", b"{}"),
    (b"json/plain", b'{"agent_id": "' + b"x" * 1_500_000 + b'"}'),
)  # fmt: skip
ALLOWED = {WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND}
"""Something came while a step was under way: Temporal's own, and no failure."""


def value(rng: random.Random, likely: tuple[Any, ...]) -> Any:
    return rng.choice(likely) if rng.random() < 0.7 else rng.choice(VALUES)


def some(rng: random.Random, fields: dict[str, tuple[Any, ...]], most: int) -> dict[str, Any]:
    names = rng.sample(list(fields), rng.randrange(most + 1))
    return {name: value(rng, fields[name]) for name in names}


def arguments(rng: random.Random, verb: str, ids: list[str]) -> list[RawValue]:
    """As anybody could send them."""
    if rng.random() < 0.1:
        encoding, data = rng.choice(RAW)
        return [RawValue(Payload(metadata={"encoding": encoding} if encoding else {}, data=data))]
    given: Any = SOUND.get(verb, {}) | some(rng, FIELDS, rng.choice((0, 1, 1, 6)))
    if verb == "update" and rng.random() < 0.8:
        given["fields"] = some(rng, CHANGES, 3)
    if rng.random() < 0.3:
        given["task_id"] = rng.choice(ids)
    if rng.random() < 0.1:
        given = rng.choice(VALUES)
    data = json.dumps(given).encode()
    first = RawValue(Payload(metadata={"encoding": b"json/plain"}, data=data))
    return [first] * rng.choice((0, 1, 1, 1, 1, 1, 1, 2))


class Field:
    """Tasks and groups that wait, and their Temporal workflows."""

    def __init__(self, tasks: DurableTasks, client: Client) -> None:
        self.tasks = tasks
        self._client = client
        self.answers: Counter[str] = Counter()

    async def round(self, rng: random.Random) -> None:
        """Commands to some subjects of their own, each of which is cancelled then and ends."""
        org = self.tasks.org()
        made = [
            await org.create(f"t{number}", mode="manual", form=FORM if number % 2 else None)
            for number in range(SUBJECTS - 2)
        ]
        members = [NewTask(name=name, title=name, mode="manual") for name in "ab"]  # type: ignore[arg-type]
        groups = [await org.fan_out("g", members), await org.pipeline("p", members)]
        names = [f"task/{task.id}/1" for task in made] + [f"workflow/{group.id}/1" for group in groups]
        ids = [task.id for task in (await org.list(limit=100, workflow_id=groups[0].id)).items] + [made[0].id, "nobody"]
        handles = [self._client.get_workflow_handle(name) for name in names]
        await self._started(len(names))
        await asyncio.gather(*(self._commands(random.Random(rng.random()), handle, ids) for handle in handles))
        for task in made:
            await self._cancelled(org.cancel(task.id))
        for group in groups:
            await self._cancelled(org.cancel_workflow(group.id))
        for handle in handles:
            await self._ended(handle)

    async def _started(self, number: int) -> None:
        sql = "SELECT COUNT(*) FROM dt_submissions WHERE state = 'open'"
        changed = asyncio.Event()
        forget = self.tasks.store.subscribe(lambda notice: changed.set())
        async with asyncio.timeout(PATIENCE):
            while await self.tasks.store.read(lambda conn: conn.execute(sql).fetchone()[0]) < number:
                await changed.wait()
                changed.clear()
        forget()

    async def _commands(self, rng: random.Random, handle: WorkflowHandle[Any, Any], ids: list[str]) -> None:
        verbs = ["claim", "progress", "update", "release"] * 6 + ["complete", "fail", "cancel", "unknown"]
        for _ in range(OF_ONE):
            verb = rng.choice(verbs)
            given = arguments(rng, verb, ids)
            async with asyncio.timeout(PATIENCE):
                try:
                    if rng.random() < 0.3:
                        await handle.signal(rng.choice((verb, SYNC_SIGNAL)), args=given)
                        self.answers["sent"] += 1
                    else:
                        await handle.execute_update(verb, args=given)
                        self.answers["done"] += 1
                except WorkflowUpdateFailedError as error:
                    self.answers[getattr(error.cause, "type", None) or type(error.cause).__name__] += 1
                except RPCError as error:
                    self.answers[error.status.name] += 1
                    if error.status is RPCStatusCode.NOT_FOUND:
                        return  # it has ended

    async def _cancelled(self, cancelling: Awaitable[object]) -> None:
        try:
            await cancelling
        except IllegalMove:
            return  # a command has ended it

    async def _ended(self, handle: WorkflowHandle[Any, Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(handle.result(), return_exceptions=True)
        async for event in handle.fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                assert event.workflow_task_failed_event_attributes.cause in ALLOWED, event


@asynccontextmanager
async def field(folder: Path, server: EmbeddedServer) -> AsyncIterator[Field]:
    client = await Client.connect(server.address)
    async with DurableTasks(Settings(db=folder / "tasks.db", enabled=True, address=server.address)) as tasks:
        yield Field(tasks, client)
        assert tasks.temporal is not None
        assert await tasks.temporal.drift() == []
        assert await tasks.store.audit() == []
        assert await read_all(tasks) > 0


@pytest.mark.timeout(600)
async def test_dozens(tmp_path: Path, temporal_server: EmbeddedServer) -> None:
    async with field(tmp_path, temporal_server) as one:
        await one.round(random.Random(1))
    assert one.answers["done"] > 0


@pytest.mark.acceptance
async def test_as_many_commands_as_are_asked_for(tmp_path: Path, temporal_server: EmbeddedServer) -> None:
    wanted = count("TASKS_ACCEPTANCE_COMMANDS", 20_000)
    rng = random.Random(count("TASKS_ACCEPTANCE_SEED", 1))
    async with field(tmp_path, temporal_server) as one:
        while one.answers.total() < wanted:
            await one.round(rng)
    keep("odd-commands", {"commands": one.answers.total(), **one.answers})
