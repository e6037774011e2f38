"""What operators do: terminate in Temporal, lower the server's limits, copy the file. Everything ends once, both agree.
It must not know the reconciler or the relay; it looks at SQLite, at the server and at what the handlers did.
"""

import asyncio
import logging
import sqlite3
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus

from durable_tasks.clock import SystemClock
from durable_tasks.console import Console
from durable_tasks.errors import ConfigurationError
from durable_tasks.models import Claim, Mode, NewTask, Task, TaskState
from durable_tasks.settings import Settings
from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.checker import faults, journal
from tests.faults.figures import count, keep
from tests.faults.outside import SECONDS, Outside, Owner, at_once, until

HEARTBEAT = 4.0
SETTLED = 60.0
"""Seconds after which the reconciler takes a difference for one."""
LIMITS = "--dynamic-config-value limit.memoSize.error=60 --dynamic-config-value limit.memoSize.warn=10"
"""So the server refuses every start of ours as invalid, for as long as it is configured so."""


class AheadClock(SystemClock):
    """The system's clock, which a test can put ahead: nobody waits half a minute for a row to settle."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead

    def steady(self) -> float:
        return super().steady() + self.ahead


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def queue() -> str:
    return f"outside-{uuid.uuid4()}"


class Work:
    """One of everything: an embedded task, manual ones, an external one, and a group of all three."""

    def __init__(self, owner: Owner, queue: str, gate: Path) -> None:
        self.owner, self.queue, self.gate = owner, queue, gate
        self.tasks: list[Task] = []
        self.members: list[Task] = []
        self.group = ""

    async def create(self, *, kind: str = "gate") -> None:
        org = self.owner.org
        outside: Any = {"capability": f"out/{kind}", "queue": self.queue, "input": str(self.gate)}
        self.tasks = [
            await org.create("embedded", capability=f"in/{kind}"),
            await org.create("external", **outside),
            await org.create("held", mode="manual"),
            await org.create("free", mode="manual"),
        ]
        members = [
            NewTask(title="embedded member", capability=f"in/{kind}"),
            NewTask(title="external member", **outside),
            NewTask(title="manual member", mode=Mode.MANUAL),
        ]
        self.group = (await org.fan_out("members", members)).id
        self.members = list(await org.workflow_tasks(self.group))

    @property
    def everything(self) -> list[Task]:
        return [*self.tasks, *self.members]

    @property
    def external(self) -> list[str]:
        return [task.id for task in self.everything if task.placement == "external"]

    @property
    def embedded(self) -> list[str]:
        return [task.id for task in self.everything if task.placement == "embedded"]

    @property
    def submitted(self) -> list[str]:
        """What has a Temporal workflow of its own."""
        manual = [task.id for task in self.members if task.mode == "manual"]
        return [*(task.id for task in self.tasks), self.group, *manual]

    async def names(self) -> list[str]:
        group = (await self.owner.org.get_workflow(self.group)).generation
        own = [await self.owner.org.get(one) for one in self.submitted if one != self.group]
        return [*(f"task/{task.id}/{task.generation}" for task in own), f"workflow/{self.group}/{group}"]

    async def under_way(self, times: int = 1) -> None:
        """All of it is in Temporal's hands, and every handler has begun."""
        await self.owner.started_there(*self.submitted)
        await self.owner.noted("began", times, *self.external)

        async def running() -> set[str]:
            return {one for one in self.embedded if self.owner.runs[one]}

        await self.owner.committed(running, set(self.embedded))

    async def finish(self, held: Claim | None = None) -> None:
        """Let the handlers go, and do what is manual; all of it completes."""
        self.owner.go_on.set()
        self.gate.touch()
        org = self.owner.org
        for task in self.everything:
            if task.mode == "manual":
                mine = held is not None and task.id == held.task.id
                claim = held if mine and held is not None else await org.claim(task.id, agent_id="eve", lease=None)
                await org.complete(task.id, "by hand", token=claim.token)
        for task in self.everything:
            done = await org.wait(task.id, timeout=SECONDS)
            assert done.state is TaskState.COMPLETED, done
        assert (await org.wait_workflow(self.group, timeout=SECONDS)).state == "completed"


# ----- terminated in Temporal


async def test_what_an_operator_terminates_starts_again(db: Path, temporal_server: EmbeddedServer, queue: str) -> None:
    await terminate(db, temporal_server.address, queue, rounds=2)


@pytest.mark.acceptance
async def test_what_an_operator_terminates_twenty_times_starts_again(
    db: Path, temporal_server: EmbeddedServer, queue: str
) -> None:
    rounds = count("TASKS_ACCEPTANCE_OPERATOR", 20)
    keep("terminated", await terminate(db, temporal_server.address, queue, rounds=rounds))


async def terminate(db: Path, address: str, queue: str, *, rounds: int) -> dict[str, Any]:
    clock = AheadClock()
    settings: dict[str, Any] = {"enabled": True, "address": address, "heartbeat_timeout": HEARTBEAT}
    # The lease is longer than all that the clock is put ahead: this process was not asleep.
    owner = Owner(db, clock=clock, process_lease=SETTLED * (rounds + 10), **settings)
    terminated = 0
    async with owner.tasks, Outside(db.parent, "one", address=address, queue=queue):
        for number in range(rounds):
            owner.go_on.clear()
            work = Work(owner, queue, db.parent / f"gate-{number}")
            await work.create()
            await work.under_way()
            held = await owner.org.claim(work.tasks[2].id, agent_id="bob", lease=None)
            client = owner.tasks.durable.client_for_org()
            names = await work.names()
            for name in names:
                await client.get_workflow_handle(name).terminate("an operator's mistake")
            terminated += len(names)
            # The row settles for longer than a worker takes to hear that nobody wants its work any more.
            await owner.noted("told", 1, *work.external)
            clock.ahead += SETTLED
            await until(partial(swept, owner, work), lambda generations: generations == {"2"})
            await work.under_way(2)
            await work.finish(held)
            for task in work.everything:
                done = await owner.org.get(task.id)
                was_lost = task.id in work.external
                assert (done.attempt, done.lost_count, done.retry_count) == (1 + was_lost, was_lost, 0), done
            for name in names:
                seen = await client.get_workflow_handle(name).describe()
                assert seen.status is WorkflowExecutionStatus.TERMINATED
        await owner.agree()
    assert set(owner.runs.values()) == {1}
    assert at_once(journal(owner.journal), {}) == []
    assert faults(db) == []
    return {"rounds": rounds, "terminated": terminated, "stuck": 0, "embedded_run_again": 0}


async def swept(owner: Owner, work: Work) -> set[str]:
    """The generations after one more sweep. A row that is just being told to Temporal is left to the next one."""
    assert owner.tasks.temporal is not None
    await owner.tasks.temporal.sweep()
    return {name.rpartition("/")[2] for name in await work.names()}


async def test_what_failed_is_retried_as_the_next_generation(
    db: Path, temporal_server: EmbeddedServer, queue: str
) -> None:
    await retry(db, temporal_server.address, queue, rounds=2)


@pytest.mark.acceptance
async def test_what_failed_twenty_times_is_retried_as_the_next_generation(
    db: Path, temporal_server: EmbeddedServer, queue: str
) -> None:
    await retry(db, temporal_server.address, queue, rounds=count("TASKS_ACCEPTANCE_OPERATOR", 20))


async def retry(db: Path, address: str, queue: str, *, rounds: int) -> None:
    owner = Owner(db, enabled=True, address=address)
    async with owner.tasks, Outside(db.parent, "one", address=address, queue=queue):
        org = owner.org
        for number in range(rounds):
            owner.go_on.clear()
            work = Work(owner, queue, db.parent / f"gate-{number}")
            await work.create(kind="broken")
            for task in work.everything:
                if task.mode == "manual":
                    claim = await org.claim(task.id, agent_id="bob", lease=None)
                    await org.fail(task.id, "not yet", token=claim.token)
            for task in work.everything:
                assert (await org.wait(task.id, timeout=SECONDS)).state is TaskState.FAILED
            assert (await org.wait_workflow(work.group, timeout=SECONDS)).state == "failed"
            before = await work.names()
            await owner.agree()
            owner.go_on.set()
            work.gate.touch()
            for task in work.tasks:
                await org.retry(task.id)
            await org.retry_workflow(work.group)
            assert {name.rpartition("/")[2] for name in await work.names()} == {"2"}
            await work.finish()
            client = owner.tasks.durable.client_for_org()
            ends = [(await client.get_workflow_handle(name).describe()).status for name in before]
            assert ends == [WorkflowExecutionStatus.FAILED] * len(before)
        await owner.agree()
    assert set(owner.runs.values()) == {2}
    assert faults(db) == []


# ----- refused for ever


@pytest_asyncio.fixture
async def servers(temporal_server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[tuple[EmbeddedServer, ...]]:
    """Two on one port, one after the other: the first refuses our starts, the second takes them."""
    script = tmp_path / "temporal-with-limits"
    script.write_text(f'#!/bin/sh\nexec "{temporal_server.binary}" "$@" {LIMITS}\n')
    script.chmod(0o755)
    strict = EmbeddedServer(binary=script)
    await strict.start()
    port = int(strict.address.rpartition(":")[2])
    await strict.stop()
    mild = EmbeddedServer(binary=temporal_server.binary, port=port)
    yield strict, mild
    await strict.stop()
    await mild.stop()


# Only with the second has no handler begun when the refusal comes; with the first, those that have are stopped.
either_fallback = pytest.mark.parametrize("fallback", ["local", "wait"])


@either_fallback
async def test_what_temporal_refuses_for_ever_is_kept_and_sent_again(
    db: Path, servers: tuple[EmbeddedServer, ...], queue: str, fallback: str
) -> None:
    await refuse(db, servers, queue, fallback, rounds=2)


@pytest.mark.acceptance
@either_fallback
async def test_what_temporal_refuses_for_ever_twenty_times_is_kept_and_sent_again(
    db: Path, servers: tuple[EmbeddedServer, ...], queue: str, fallback: str
) -> None:
    rounds = count("TASKS_ACCEPTANCE_OPERATOR", 20)
    await refuse(db, servers, queue, fallback, rounds=rounds)
    keep(f"dead-letters-{fallback}", {"rounds": rounds, "lost": 0})


async def refuse(db: Path, servers: tuple[EmbeddedServer, ...], queue: str, fallback: str, *, rounds: int) -> None:
    strict, mild = servers
    chosen: dict[str, Any] = {"enabled": True, "address": strict.address, "fallback": fallback}
    settings = Settings(db=db, **chosen)
    owner = Owner(db, **chosen)
    async with owner.tasks:
        for number in range(rounds):
            owner.go_on.clear()
            await strict.start()
            work = Work(owner, queue, db.parent / f"gate-{number}")
            await work.create()
            for task in work.tasks:
                failed = await owner.org.wait(task.id, timeout=SECONDS)
                assert failed.error is not None
                assert failed.error.type == "submit_rejected"
                assert "Memo size exceeds limit" in failed.error.message
            assert (await owner.org.wait_workflow(work.group, timeout=SECONDS)).state == "failed"
            await redrive(settings, work, strict, mild)
            async with Outside(db.parent, str(number), address=mild.address, queue=queue):
                await work.finish()
                await owner.agree()
            await mild.stop()
    assert set(owner.runs.values()) <= ({1} if fallback == "wait" else {1, 2})
    assert faults(db) == []


async def redrive(settings: Settings, work: Work, strict: EmbeddedServer, mild: EmbeddedServer) -> None:
    """What an operator does who has read what the console says."""
    async with Console(settings) as console:
        diagnosis = await console.diagnose()
        letters = await console.dead_letters()
        assert diagnosis.dead_letters == letters
        assert not diagnosis.healthy
        assert {letter.subject_id for letter in letters} >= {*(task.id for task in work.tasks), work.group}
        assert {letter.kind for letter in letters} == {"start"}
        await strict.stop()
        await mild.start()
        for letter in letters:
            await console.redrive(letter.id)
        assert await console.dead_letters() == []


# ----- copied


async def test_a_copied_file_leaves_the_original_alone(
    db: Path, temporal_server: EmbeddedServer, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2):
        await copy(db.parent / str(number), temporal_server.address, queue, caplog)


@pytest.mark.acceptance
async def test_twenty_copied_files_leave_the_original_alone(
    db: Path, temporal_server: EmbeddedServer, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = count("TASKS_ACCEPTANCE_OPERATOR", 20)
    for number in range(rounds):
        await copy(db.parent / str(number), temporal_server.address, queue, caplog)
    keep("copies", {"rounds": rounds, "original_disturbed": 0})


async def copy(folder: Path, address: str, queue: str, caplog: pytest.LogCaptureFixture) -> None:
    settings: dict[str, Any] = {"enabled": True, "address": address, "heartbeat_timeout": HEARTBEAT}
    first, second = folder / "original" / "tasks.db", folder / "copy" / "tasks.db"
    for path in (first, second):
        path.parent.mkdir(parents=True)
    original = Owner(first, **settings)
    async with original.tasks, Outside(first.parent, "one", address=address, queue=queue):
        work = Work(original, queue, folder / "gate")
        await work.create()
        await work.under_way()
        with closing(sqlite3.connect(first)) as here, closing(sqlite3.connect(second)) as there:
            here.backup(there)
        seen = {task.id: await original.org.get(task.id) for task in work.everything}

        await refuse_temporal(second, settings, work, caplog)
        async with Console(Settings(db=second, **settings)) as console:
            assert await console.adopt(replaces=False) == len(work.everything)

        beside = Owner(second, **settings)
        async with beside.tasks:
            engine = beside.tasks.temporal
            assert engine is not None
            assert original.tasks.temporal is not None
            assert engine.file_uuid != original.tasks.temporal.file_uuid
            twin = Work(beside, queue, work.gate)
            twin.tasks = [await beside.org.get(task.id) for task in work.tasks]
            twin.members = [await beside.org.get(task.id) for task in work.members]
            twin.group = work.group
            await beside.started_there(*twin.submitted)
            assert {name.rpartition("/")[2] for name in await twin.names()} == {"2"}
            # Of all this the original has heard nothing.
            for task_id, before in seen.items():
                now = await original.org.get(task_id)
                assert (now.attempt, now.generation, now.lost_count) == (before.attempt, 1, 0)
            await asyncio.gather(work.finish(), twin.finish())
            await original.agree()
            await beside.agree()
    assert Counter(original.runs.values()) == {1: len(work.embedded)}
    assert Counter(beside.runs.values()) == {1: len(work.embedded)}
    assert faults(first) == []
    assert faults(second) == []


async def refuse_temporal(db: Path, settings: dict[str, Any], work: Work, caplog: pytest.LogCaptureFixture) -> None:
    """Before anybody said whose tasks these are, the copy speaks to Temporal neither by itself nor when it is told."""
    caplog.clear()
    displaced = Owner(db, **settings)
    async with displaced.tasks:
        critical = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
        assert len(critical) == 1
        assert "is a copy" in critical[0]
        assert displaced.tasks.temporal is None
        with pytest.raises(ConfigurationError, match="is a copy"):
            _ = displaced.tasks.durable
        made = await displaced.org.create("kept for later", mode="manual")
        await displaced.org.cancel(made.id)
    assert not displaced.runs
