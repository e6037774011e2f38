"""Pages of tasks: as many as one answer has room for, with their large parts only where somebody asks for them.

It must not know how the tasks were found.
"""

import sqlite3
from collections.abc import Sequence

from durable_tasks.models import Task
from durable_tasks.store.rows import LARGE_COLUMNS, OMITTED, TASK, TASK_SHORT, task_row, to_task

ROOM = 2 * 1024 * 1024
"""Characters of text in one page; its first task may have more. Writing it as JSON stops everything else meanwhile."""


def fill(conn: sqlite3.Connection, seqs: Sequence[int], *, full: bool) -> list[Task]:
    """The tasks of those rows, in that order, as far as there is room: at least one. `full`: nothing is left out."""
    sql = f"SELECT {TASK if full else TASK_SHORT} FROM dt_tasks WHERE seq = ?"
    omitted = () if full else OMITTED
    found: list[Task] = []
    left = ROOM
    for seq in seqs:
        row = task_row(conn.execute(sql, (seq,)).fetchone())
        left -= sum(len(row[column]) for column in LARGE_COLUMNS if row[column] is not None)
        if left < 0 and found:
            break
        found.append(to_task(row, omitted))
    return found
