"""Cursors: where a page of a list ended, as text that the caller gives back for the next page.

They must not know what is listed. A row is named by its id: its number would count other organisations' rows too.
"""

import base64
import json
import sqlite3
from typing import Any

from durable_tasks.errors import InvalidInput

MAX_INTEGER = 2**63 - 1


def make(*parts: int | str) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def read(cursor: str, *kinds: type) -> list[Any]:
    """Its parts, each of its kind. Raises InvalidInput."""
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, RecursionError) as error:
        raise refused(cursor) from error
    if not isinstance(parts, list) or [type(part) for part in parts] != list(kinds):
        raise refused(cursor)
    if any(isinstance(part, int) and abs(part) > MAX_INTEGER for part in parts):
        raise refused(cursor)
    return parts


def seq_of(conn: sqlite3.Connection, table: str, org_id: str, row_id: str, cursor: str) -> int:
    """The number of the row that `cursor` names. Raises InvalidInput when the organisation has none such."""
    found = conn.execute(f"SELECT seq FROM {table} WHERE id = ? AND org_id = ?", (row_id, org_id)).fetchone()
    if found is None:
        raise refused(cursor)
    return int(found[0])


def refused(cursor: str) -> InvalidInput:
    return InvalidInput(f"{cursor!r} is not a cursor of this list; pass next_cursor unchanged", cursor=cursor)
