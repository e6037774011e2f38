"""Query plans: everything the store runs while tasks live finds its rows by an index.

It must not know the statements: it overhears them.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, NewTask, Settings
from durable_tasks.contracts import GroupRef
from durable_tasks.models import Engine, FilterFields, Mode, Placement
from durable_tasks.ports import Appetite, Room
from durable_tasks.store import query, writer
from durable_tasks.store.connection import connect
from durable_tasks.store.drafts import draft

GROWING = (
    "dt_tasks",
    "dt_workflows",
    "dt_events",
    "dt_attempts",
    "dt_dependencies",
    "dt_submissions",
    "dt_outbox",
    "dt_idempotency",
)
FILTERS: Sequence[FilterFields] = (
    {}, {"text": "m"}, {"waiting_for": ["ana"]}, {"waiting_for": ["ana"], "state": "pending"}, {"parent_task_id": "x"},
    {"ids": ["x"]}, {"workflow_id": "x"}, {"state": "pending", "labels": ["a"], "overdue": False, "mode": "manual"},
)  # fmt: skip


@pytest.fixture
def overheard(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every statement that any connection of the store runs, with its values."""
    said: set[str] = set()

    def connect_and_listen(path: Path, *, reading: bool = False) -> sqlite3.Connection:
        conn = connect(path, reading=reading)
        conn.set_trace_callback(said.add)
        return conn

    monkeypatch.setattr(writer, "connect", connect_and_listen)
    monkeypatch.setattr(query, "connect", connect_and_listen)
    return said


def scans(path: Path, statements: set[str]) -> list[str]:
    """The statements that walk through a whole growing table."""
    conn = sqlite3.connect(path)
    found = []
    for statement in statements:
        if not statement.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE", "DELETE", "INSERT")):
            continue
        steps = [row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}")]
        if any(step.startswith(f"SCAN {table}") and "USING" not in step for step in steps for table in GROWING):
            found.append(f"{statement}: {steps}")
    conn.close()
    return found


async def test_no_statement_of_a_tasks_life_scans_a_growing_table(tmp_path: Path, overheard: set[str]) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db"))
    async with tasks:
        acme = tasks.org("acme")
        first = await acme.create("first", assigned_to="ana", idempotency_key="k", deadline="1h")
        await acme.create("second", depends_on=[first.id], delay="1h", labels=["a"])
        claim = await acme.next(agent_id="ana", capabilities=["x"])
        assert claim is not None
        await acme.heartbeat(first.id, token=claim.token)
        await acme.complete_and_next(first.id, {"ok": True}, token=claim.token, agent_id="ana")
        group = await acme.fan_out("g", [NewTask(name=f"m{n}") for n in range(3)], max_parallel=1)
        await acme.list(state="blocked")
        for filters in FILTERS:
            page = await acme.list(limit=1, **filters)
            await acme.list(cursor=page.next_cursor, **filters)
            await acme.count(**filters)
        await acme.cancel_many(ids=["x", group.id], text="m")
        await acme.cancel_many(state="blocked", text="nothing")
        await acme.retry_many(labels=["nobody's"])
        await acme.list(workflow_id=group.id)
        await acme.list_workflows(text="g", space_id="default", limit=1)
        await acme.workflow_attempts(group.id)
        await acme.cancel_workflow(group.id)
        await acme.retry_workflow(group.id)
        await acme.events(task_id=first.id)
        await acme.attempts(first.id)
        await acme.has_active_task("ana")
        store = tasks.store
        new = NewTask(name="auto", capability="x")
        for engine in (Engine.LOCAL, Engine.TEMPORAL):
            await store.create("acme", draft(new, mode=Mode.AUTO, placement=Placement.EMBEDDED, engine=engine))
        await store.take(Appetite(("x",), True, 10, temporal_before=0.0), "")
        await store.expire()
        for able in (True, False):
            room = Room(most=10, waiting={}, can_run=lambda capability, able=able: able)  # type: ignore[misc]
            await store.errands(tasks.clock.now(), limit=10, room=room, skip=frozenset(), parked=frozenset({"b"}))
        await store.tenants()
        await store.remote_attempts(after="", limit=10)
        await store.dead_letters()
        await store.dead_letters("acme", 10)
        await store.org_health("acme", quiet_for=0, limit=10)
        await store.settled("acme", before=tasks.clock.now(), limit=10)
        await store.find([f"task/{first.id}/1"])
        ref = GroupRef(workflow_id=group.id, org_id="acme", generation=2, kind="fan_out")
        await store.group_status(ref)
        await store.submissions(states=("open",), after="", limit=10)
        await store.stopping()
    assert overheard
    assert scans(tmp_path / "tasks.db", overheard) == []


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "COVERING INDEX dt_tasks_list (org_id=? AND state=? AND priority=? AND seq>?"),
        ({"text": "x"}, "INDEX dt_tasks_list (org_id=? AND state=? AND priority=? AND seq>?"),
        ({"waiting_for": ["ana"], "state": "pending"}, "INDEX dt_tasks_inbox (org_id=? AND priority=? AND seq>?"),
        ({"parent_task_id": "x"}, "INDEX dt_tasks_children (parent_task_id=? AND priority=? AND seq>?"),
        ({"workflow_id": "x"}, "INDEX dt_tasks_member (workflow_id=?"),
        ({"ids": ["x"] * 100, "state": "pending"}, "INDEX sqlite_autoindex_dt_tasks_1 (id=?"),
    ],
    ids=str,
)
async def test_each_list_goes_straight_to_where_its_page_begins(
    tmp_path: Path, overheard: set[str], filters: FilterFields, index: str
) -> None:
    async with DurableTasks(Settings(db=tmp_path / "tasks.db")) as tasks:
        overheard.clear()
        await tasks.org("acme").list(**filters)
        await tasks.org("acme").count(**filters)
    conn = sqlite3.connect(tmp_path / "tasks.db")
    lists = [said for said in overheard if said.startswith("SELECT") and "LIMIT" in said and "dt_tasks" in said]
    steps = [[row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {said}")] for said in lists if "seq >" in said]
    conn.close()
    assert steps
    for each in steps:
        assert all(index in step for step in each if step.startswith(("SEARCH dt_tasks", "SCAN dt_tasks")))


def test_a_scan_would_be_found(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "x.db").executescript("CREATE TABLE dt_tasks (a, b)")
    assert scans(tmp_path / "x.db", {"SELECT * FROM dt_tasks WHERE b = 1"})
