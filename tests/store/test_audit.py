"""The audit: what is flipped in the file behind our back is found, and what is well is not complained of.

It must not know how the damage came about.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, NewTask
from durable_tasks.store import audit
from durable_tasks.store.events import event_hash
from durable_tasks.testing import ManualClock
from tests.store.support import claimed, opened, query

FORM = {"type": "object", "properties": {"approved": {"type": "boolean"}}}


async def fill(tasks: DurableTasks) -> str:
    org = tasks.org()
    task, token, _ = await claimed(org, input={"amount": 900}, form=FORM)
    await org.complete(task.id, {"approved": True}, token=token)
    await org.create("another")
    await org.pipeline("two", [NewTask(title="a"), NewTask(title="b")])
    return task.id


def behind_our_back(db: Path, *statements: str) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        conn.execute("DROP TRIGGER dt_events_keep")
        conn.execute("DROP TRIGGER dt_events_stay")
        for statement in statements:
            assert conn.execute(statement).rowcount > 0, statement


DAMAGE = {
    "input": "UPDATE dt_tasks SET input = replace(input, '900', '800') WHERE input IS NOT NULL",
    "output": "UPDATE dt_tasks SET output = replace(output, 'true', 'trne') WHERE output IS NOT NULL",
    "form": "UPDATE dt_tasks SET form = replace(form, 'boolean', 'integer') WHERE form IS NOT NULL",
    "state": "UPDATE dt_tasks SET priority = 3 WHERE title = 'another'",
    "no text": "UPDATE dt_tasks SET input = CAST(x'22ff22' AS TEXT) WHERE input IS NOT NULL",
    "event": "UPDATE dt_events SET data = replace(data, 'pending', 'pendinh') WHERE task_id IS NOT NULL",
    "no JSON": "UPDATE dt_events SET data = 'x' || data WHERE seq = 1",
    "workflow": "UPDATE dt_workflows SET active = 2",
    "workflow's end": "UPDATE dt_workflows SET state = 'completed', completed_at = 1",
    "gap": "DELETE FROM dt_events WHERE seq = 2",
}


@pytest.mark.parametrize("case", list(DAMAGE))
@pytest.mark.parametrize("size", [1, audit.PAGE])
async def test_damage_is_found(db: Path, case: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE", size)
    async with opened(db, ManualClock()) as tasks:
        await fill(tasks)
        assert await tasks.store.audit(deep=True) == []
        behind_our_back(db, DAMAGE[case])
        assert await tasks.store.audit() != []


async def test_files_without_hashes_of_inputs_are_well(db: Path) -> None:
    """As earlier releases wrote them."""
    async with opened(db, ManualClock()) as tasks:
        await fill(tasks)
        with closing(sqlite3.connect(db, isolation_level=None)) as conn:
            conn.execute("DROP TRIGGER dt_events_keep")
            for row in conn.execute("SELECT * FROM dt_events WHERE kind = 'task.created'").fetchall():
                org, seq, kind, at, task, workflow, data, _, actor = row
                [(older,)] = conn.execute("SELECT json_remove(?, '$.input', '$.form')", (data,))
                digest = event_hash(org, seq, kind, at, task, workflow, older, actor)
                conn.execute("UPDATE dt_events SET data = ?, hash = ? WHERE seq = ?", (older, digest, seq))
        assert query(db, "SELECT COUNT(*) FROM dt_events WHERE data LIKE '%\"input\"%'") == [(0,)]
        assert await tasks.store.audit() == []


async def test_what_sqlite_finds_is_said_by_the_deep_one(db: Path) -> None:
    async with opened(db, ManualClock()) as tasks:
        task_id = await fill(tasks)
        with closing(sqlite3.connect(db, isolation_level=None)) as conn:
            conn.execute("UPDATE dt_attempts SET task_id = 'nobody' WHERE task_id = ?", (task_id,))
        assert await tasks.store.audit() == []
        assert "dt_attempts" in " ".join(await tasks.store.audit(deep=True))


async def test_no_more_is_said_than_can_be_read(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST", 3)
    async with opened(db, ManualClock()) as tasks:
        for _ in range(10):
            await tasks.org().create("x")
        behind_our_back(db, "UPDATE dt_tasks SET priority = 3")
        assert len(await tasks.store.audit()) == 3
