"""The checker can fail: each promise broken by hand in the file or in a journal is named.
It must not start processes.
"""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable_tasks.app import DurableTasks
from durable_tasks.handlers import TaskContext
from durable_tasks.models import Task
from durable_tasks.settings import Settings
from tests.faults.checker import faults


def write(db: Path, name: str, *facts: dict[str, Any]) -> None:
    with (db.parent / name).open("a") as journal:
        journal.writelines(json.dumps(fact) + "\n" for fact in facts)


def change(db: Path, statement: str) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        conn.executescript(statement)


@pytest.fixture
async def db(tmp_path: Path) -> Path:
    """A file with one completed task `done`, whose journals tell the truth."""
    path = tmp_path / "tasks.db"
    tasks = DurableTasks(Settings(db=path))

    @tasks.handler("echo")
    async def echo(ctx: TaskContext, task: Task) -> Any:
        return task.input

    async with tasks:
        task = await tasks.org().create("auto", capability="echo", input=7, idempotency_key="key")
        await tasks.org().wait(task.id, timeout=60)
    write(path, "acknowledged", {"op": "created", "key": "key", "id": task.id})
    write(path, "acknowledged", {"op": "completed", "id": task.id, "output": 7, "attempt": 1})
    write(path, "effects", {"op": "began", "id": task.id, "attempt": 1})
    return path


def the_task(db: Path) -> str:
    return str(json.loads((db.parent / "acknowledged").read_text().splitlines()[0])["id"])


Damage = Callable[[Path], None]
SECOND_COMPLETION = (
    "INSERT INTO dt_attempts SELECT task_id, 2, generation, state, 't', agent_id, request, claimed_at, started_at,"
    " ended_at, lease_expires_at, error, answer_hash, actor FROM dt_attempts"
)


def claim_of(db: Path) -> dict[str, Any]:
    return {"op": "claimed", "id": the_task(db), "token": "none", "attempt": 1}


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda db: write(db, "acknowledged", {"op": "created", "key": None, "id": "x"}), "gone"),
        (lambda db: write(db, "acknowledged", {"op": "created", "key": "key", "id": "x"}), "one key made"),
        (lambda db: write(db, "acknowledged", {"op": "completed", "id": the_task(db), "output": 8}), "lost"),
        (lambda db: write(db, "acknowledged", {"op": "failed", "id": the_task(db), "token": "x"}), "lost"),
        (lambda db: write(db, "acknowledged", {"op": "cancelled", "id": the_task(db)}), "lost"),
        (lambda db: write(db, "acknowledged", claim_of(db)), "lost"),
        (lambda db: write(db, "acknowledged", claim_of(db), claim_of(db)), "claimed 2 times"),
        (lambda db: write(db, "effects", {"op": "began", "id": the_task(db), "attempt": 1}), "ran 2 times"),
        (lambda db: change(db, "UPDATE dt_tasks SET output = '8'"), "output"),
        (lambda db: change(db, "DROP TRIGGER dt_events_stay; DELETE FROM dt_events WHERE seq = 2"), "follows"),
        (lambda db: change(db, SECOND_COMPLETION), "completed in 2 attempts"),
    ],
)
async def test_what_was_broken_is_named(db: Path, damage: Damage, named: str) -> None:
    assert faults(db) == []
    damage(db)
    assert any(named in fault for fault in faults(db)), faults(db)
