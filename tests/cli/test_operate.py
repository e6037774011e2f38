"""`doctor`, `engine`, `adopt` and `redrive` as real processes, beside a real Temporal server or without one.

It must not know how the console asks: only what it prints, how it ends, and what becomes of the file and of Temporal.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecutionStatus

from durable_tasks import DurableTasks, Settings, Task
from durable_tasks.ports import Room
from durable_tasks.temporal.server import EmbeddedServer
from tests.cli import running
from tests.cli.running import Ended, free_port, run
from tests.earlier import Earlier

DEADLINE = 30.0


class Place:
    """A folder with tasks.db, whose commands find Temporal at `address`."""

    def __init__(self, folder: Path, address: str | None) -> None:
        self.folder = folder
        self.db = folder / "tasks.db"
        self.address = address

    @asynccontextmanager
    async def application(self) -> AsyncIterator[DurableTasks]:
        durable: dict[str, Any] = {} if self.address is None else {"enabled": True, "address": self.address}
        async with DurableTasks(Settings(db=self.db, **durable), clock=Earlier()) as tasks:
            yield tasks

    async def leave(self, title: str = "Read the contract", org: str | None = None) -> Task:
        """A manual task, handed over when Temporal can be reached, by an application that has gone since."""
        async with self.application() as tasks:
            task = await tasks.org(org).create(title)
            if tasks.temporal is not None:
                await handed_over(tasks)
            return task

    async def get(self, task: Task) -> Task:
        async with DurableTasks(Settings(db=self.db, worker=False)) as tasks:
            return await tasks.org(task.org_id).get(task.id)

    async def doctor(self, *options: str | Path) -> Ended:
        return await run("doctor", "--json", *options, cwd=self.folder)


@pytest.fixture
def local(tmp_path: Path) -> Place:
    return Place(tmp_path, None)


@pytest_asyncio.fixture
async def durable(tmp_path: Path, temporal_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    return at(tmp_path, temporal_server.address, monkeypatch)


@pytest_asyncio.fixture
async def client(temporal_server: EmbeddedServer) -> Client:
    return await Client.connect(temporal_server.address)


def nowhere() -> str:
    return f"127.0.0.1:{free_port()}"


def at(folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    settings = {**running.environment(), "TASKS_ENABLED": "true", "TASKS_ADDRESS": address}
    monkeypatch.setattr(running, "environment", lambda: settings)
    return Place(folder, address)


async def handed_over(tasks: DurableTasks) -> None:
    async def unsent() -> int:
        return len(await tasks.store.submissions(states=("outbox",), after="", limit=10))

    await reaches(tasks, unsent, 0)


async def reaches(tasks: DurableTasks, look: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    committed = asyncio.Event()
    unsubscribe = tasks.store.subscribe(lambda notice: committed.set())
    try:
        async with asyncio.timeout(DEADLINE):
            while await look() != wanted:
                await committed.wait()
                committed.clear()
    finally:
        unsubscribe()


async def refuse_start(place: Place, title: str) -> Task:
    """A task whose start Temporal refuses for ever."""
    async with Place(place.folder, nowhere()).application() as tasks:
        task = await tasks.org().create(title)
        room = Room(most=9, waiting={}, can_run=lambda capability: True)
        due = await tasks.store.errands(tasks.clock.now(), limit=9, room=room, skip=frozenset(), parked=frozenset())
        (errand,) = (one for one in due.errands if one.ref.subject_id == task.id)
        await tasks.store.reject(errand, error="the memo is too large")
    return task


async def status_of(client: Client, task: Task, generation: int) -> WorkflowExecutionStatus | None:
    return (await client.get_workflow_handle(f"task/{task.id}/{generation}").describe()).status


# ----- doctor


async def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    for command in (["doctor"], ["engine"], ["adopt", "--yes"], ["redrive", "--all"]):
        ended = await run(*command, "--db", "nowhere.db", cwd=tmp_path)
        assert (ended.code, ended.out) == (5, ""), ended
        assert ended.err.startswith("error: there is no file nowhere.db"), ended.err
    assert list(tmp_path.iterdir()) == []


async def test_a_file_without_temporal_is_well_and_says_what_waits(local: Place) -> None:
    task = await local.leave()
    ended = await local.doctor()
    assert ended.code == 0, ended
    found = ended.data
    assert (found["healthy"], found["engine"], found["temporal"], found["drift"]) == (True, "local", None, None)
    assert (found["tasks"], found["organisations"], found["dead_letters"]) == ({"pending": 1}, [], [])
    assert [(one["task_id"], one["why"]) for one in found["waiting"]] == [(task.id, "a claim")]
    assert (await local.doctor("--fix")).data["healthy"]
    assert await local.get(task) == task


async def test_both_sides_are_well_while_the_application_runs(durable: Place) -> None:
    async with durable.application() as tasks:
        org = f"acme-{durable.folder.name}".replace("_", "-")
        for one in (None, org):
            await tasks.org(one).create("Read the contract")
        await handed_over(tasks)
        ended = await durable.doctor()
        shown = await run("doctor", cwd=durable.folder)
    assert ended.code == 0, ended
    found = ended.data
    assert (found["healthy"], found["drift"], found["processes"]) == (True, [], 1)
    assert found["temporal"]["server_version"]
    assert found["temporal"]["capabilities"]
    up = {one["org_id"]: (one["namespace"], one["up"], one["outbox"]) for one in found["organisations"]}
    assert up == {"default": ("default", True, 0), org: (org, True, 0)}
    assert {one["namespace"]: one["workers"] for one in found["workers"]}["default"] == 1
    assert shown.code == 0
    assert shown.out.splitlines()[-1] == "healthy"
    assert [line.split()[0] for line in shown.out.splitlines() if f"namespace {org}" in line] == [org]


async def test_a_start_that_is_stuck_because_temporal_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = at(tmp_path, nowhere(), monkeypatch)
    async with place.application() as tasks:
        task = await tasks.org().create("Read the contract")
    ended = await place.doctor("--fix")
    assert ended.code == 5, ended
    found = ended.data
    assert (found["healthy"], found["drift"]) == (False, None)
    assert found["temporal"]["server_version"] is None
    assert "did not answer" in found["temporal"]["error"]
    (org,) = found["organisations"]
    assert (org["up"], org["outbox"], org["dead_letters"]) == (False, 1, 0)
    assert org["oldest_at"]
    assert [one["task_id"] for one in found["waiting"]] == [task.id]
    assert "not mended" in ended.err
    assert "Traceback" not in ended.err


async def test_an_external_task_shows_whether_anybody_serves_its_queue(durable: Place) -> None:
    async with durable.application() as tasks:
        await tasks.org().create("Render", capability="render", queue="no-such-queue")
        await handed_over(tasks)
    found = (await durable.doctor()).data
    assert ("no-such-queue", 0) in [(one["queue"], one["workers"]) for one in found["workers"]]


async def test_drift_is_shown_and_mended(durable: Place, client: Client) -> None:
    task = await durable.leave()
    await client.get_workflow_handle(f"task/{task.id}/1").terminate()
    ended = await durable.doctor()
    assert ended.code == 1, ended
    (drift,) = ended.data["drift"]
    assert (drift["subject_id"], drift["generation"]) == (task.id, 1)
    assert (drift["sqlite_state"], drift["temporal_status"]) == ("pending", "TERMINATED")
    shown = await run("doctor", cwd=durable.folder)
    assert shown.out.splitlines()[-1] == "NOT healthy"
    assert "TERMINATED" in shown.out

    mended = await durable.doctor("--fix")
    assert (mended.code, mended.data["drift"]) == (0, []), mended
    assert await status_of(client, task, 2) is WorkflowExecutionStatus.RUNNING
    assert (await durable.get(task)).generation == 2


async def test_a_namespace_that_is_missing_is_not_taken_for_a_server_that_is_away(
    durable: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with DurableTasks(
        Settings(db=durable.db, enabled=True, address=nowhere(), namespace="absent"), clock=Earlier()
    ) as tasks:
        await tasks.org().create("Read the contract")
    settings = {**running.environment(), "TASKS_NAMESPACE": "absent"}
    monkeypatch.setattr(running, "environment", lambda: settings)
    ended = await durable.doctor()
    assert ended.code == 1, ended
    (org,) = ended.data["organisations"]
    assert (org["namespace"], org["up"]) == ("absent", False)
    assert "not found" in org["error"]


# ----- dead letters


async def test_a_dead_letter_is_shown_and_sent_again(durable: Place, client: Client) -> None:
    task = await refuse_start(durable, "Read the contract")
    failed = await durable.get(task)
    assert (failed.state, failed.error and failed.error.type) == ("failed", "submit_rejected")
    ended = await durable.doctor()
    assert ended.code == 1, ended
    (letter,) = ended.data["dead_letters"]
    assert (letter["kind"], letter["subject_id"], letter["error"]) == ("start", task.id, "the memo is too large")

    listed = await run("redrive", "--list", cwd=durable.folder)
    assert listed.code == 0
    assert listed.out.split()[0] == str(letter["id"])
    sent = await run("redrive", str(letter["id"]), "--json", cwd=durable.folder)
    assert (sent.code, [one["id"] for one in sent.data["dead_letters"]]) == (0, [letter["id"]])
    assert (await run("redrive", str(letter["id"]), cwd=durable.folder)).code == 3

    mended = await durable.doctor("--fix")
    assert (mended.code, mended.data["dead_letters"]) == (0, []), mended
    assert await status_of(client, task, 2) is WorkflowExecutionStatus.RUNNING


async def test_all_dead_letters_are_sent_again(durable: Place) -> None:
    tasks = [await refuse_start(durable, title) for title in ("one", "two")]
    sent = await run("redrive", "--all", "--json", cwd=durable.folder)
    assert sent.code == 0, sent
    assert {one["subject_id"] for one in sent.data["dead_letters"]} == {task.id for task in tasks}
    assert [(await durable.get(task)).state for task in tasks] == ["pending", "pending"]


async def test_a_letter_whose_task_has_gone_on_is_only_taken_away(durable: Place) -> None:
    task = await refuse_start(durable, "Read the contract")
    async with DurableTasks(Settings(db=durable.db, worker=False)) as tasks:
        await tasks.org().retry(task.id)
        claim = await tasks.org().claim(task.id, agent_id="ann")
        done = await tasks.org().complete(task.id, token=claim.token)
    assert (await run("redrive", "--all", cwd=durable.folder)).code == 0
    assert await durable.get(task) == done
    assert (await run("redrive", "--list", cwd=durable.folder)).out == ""


# ----- engine


async def test_the_engine_is_said_and_switched(local: Place) -> None:
    task = await local.leave()
    said = await run("engine", cwd=local.folder)
    assert (said.code, said.out) == (0, "local\n")
    switched = await run("engine", "temporal", "--json", cwd=local.folder)
    assert (switched.code, switched.data) == (0, {"engine": "temporal", "outbox": 1, "processes": 0})
    assert (await local.get(task)).engine == "temporal"


async def test_processes_that_have_the_file_open_are_named(local: Place) -> None:
    async with local.application():
        switched = await run("engine", "local", cwd=local.folder)
    assert (switched.code, switched.out) == (0, "local\n")
    assert "have the file open: 1" in switched.err


async def test_draining_ends_what_runs_in_temporal(durable: Place, client: Client) -> None:
    task = await durable.leave()
    assert await status_of(client, task, 1) is WorkflowExecutionStatus.RUNNING
    ended = await run("engine", "local", "--drain", "--json", cwd=durable.folder)
    assert (ended.code, ended.data) == (0, {"engine": "local", "outbox": 0, "processes": 0}), ended
    assert await status_of(client, task, 1) is WorkflowExecutionStatus.TERMINATED
    after = await durable.get(task)
    assert (after.engine, after.generation, after.state) == ("local", 2, "pending")


async def test_draining_needs_temporal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: Place) -> None:
    task = await durable.leave()
    at(tmp_path, nowhere(), monkeypatch)
    ended = await run("engine", "local", "--drain", cwd=tmp_path)
    assert ended.code == 5
    assert "did not answer" in ended.err
    assert (await durable.get(task)).engine == "local"


# ----- adopt


def copy_of(place: Place, name: str) -> Path:
    target = place.folder / name
    with closing(sqlite3.connect(place.db)) as original, closing(sqlite3.connect(target)) as copied:
        original.backup(copied)
    return target


@pytest.mark.parametrize("replace", [False, True], ids=["its own", "the replacement"])
async def test_a_copy_speaks_to_temporal_once_it_is_adopted(durable: Place, client: Client, replace: bool) -> None:
    task = await durable.leave()
    copied = copy_of(durable, "copy.db")
    ended = await durable.doctor("--db", copied, "--fix")
    assert ended.code == 1, ended
    assert "is a copy" in ended.data["displaced"]
    assert "not mended" in ended.err
    asked = await run("adopt", "--db", copied, cwd=durable.folder)
    assert (asked.code, asked.out) == (2, "")
    assert "a file of its own" in asked.err

    options = ["--replace"] if replace else []
    adopted = await run("adopt", *options, "--yes", "--json", "--db", copied, cwd=durable.folder)
    assert (adopted.code, adopted.data) == (0, {"restarted": 1, "replaces": replace})
    mended = await durable.doctor("--db", copied, "--fix")
    assert (mended.code, mended.data["displaced"]) == (0, None), mended
    assert await status_of(client, task, 2) is WorkflowExecutionStatus.RUNNING
    first = WorkflowExecutionStatus.TERMINATED if replace else WorkflowExecutionStatus.RUNNING
    assert await status_of(client, task, 1) is first


async def test_the_file_itself_is_not_to_be_adopted(local: Place) -> None:
    await local.leave()
    ended = await run("adopt", "--yes", cwd=local.folder)
    assert (ended.code, ended.out) == (2, "")
    assert "is no copy" in ended.err


# ----- what cannot be done


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("redrive", 2, "--all"),
        ("redrive 1 --all", 2, "--all"),
        ("redrive 99", 3, "no dead letter 99"),
        ("engine other", 2, "other"),
        ("engine --drain", 2, "belongs to local"),
        ("engine temporal --drain", 2, "belongs to local"),
    ],
)
async def test_failures_are_a_sentence_and_a_code(arguments: str, code: int, said: str, local: Place) -> None:
    await local.leave()
    ended = await run(*arguments.split(), cwd=local.folder)
    assert (ended.code, ended.out) == (code, ""), ended
    assert said in ended.err
    assert "Traceback" not in ended.err
