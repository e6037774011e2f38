"""Comments: what people say about a task, kept in its events.

It must not know who may say something.
"""

import sqlite3

from durable_tasks.models import Event
from durable_tasks.store import commands
from durable_tasks.store.events import by_seq, task_event
from durable_tasks.store.moves import get
from durable_tasks.store.transaction import Transaction


def comment(
    tx: Transaction, org_id: str, task_id: str, text: str, author: str | None, asked: commands.Command | None
) -> Event:
    """Write it down, whatever the task's state: nothing else of the task changes. Raises NotFound,
    QuotaExceeded."""
    row = get(tx, org_id, task_id)
    said = commands.first_answer(tx, task_id, asked)
    if said is None:
        tx.make_room(1)
        tx.said = author
        task_event(tx, row, "task.commented", {"text": text, "by": author})
        said = tx.last_seq[org_id]
        commands.remember_answer(tx, task_id, asked, said)
    return by_seq(tx, org_id, said)


def count(conn: sqlite3.Connection, org_id: str, task_id: str) -> int:
    """How many there are. All events of the task are looked at."""
    sql = (
        "SELECT COUNT(*) FROM dt_events INDEXED BY dt_events_task"
        " WHERE task_id = ? AND org_id = ? AND kind = 'task.commented'"
    )
    return int(conn.execute(sql, (task_id, org_id)).fetchone()[0])
