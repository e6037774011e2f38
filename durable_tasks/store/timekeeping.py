"""The time of transactions: what the wall clock says, and what becomes of leases, timeouts and pauses when it is set.

It must not know why a row has an instant, nor who waits for it.
"""

import json
import logging
import sqlite3

from durable_tasks.ports import Clock

log = logging.getLogger("durable_tasks.store")

JUMP = 2.0
"""Seconds. A wall clock that has moved farther than this against the steady one was set, or the machine slept."""
GLANCE = 0.2
"""Seconds between which two clocks can be read and still be compared."""
_KEY = "clock"


class Timekeeper:
    """Instants in the file are the wall clock's. Those that end an interval are moved along when it jumps, in a
    transaction of their own, by whichever process notices first: the file says by how much the wall clock was ahead
    of the steady one when that was done last. After the machine has started anew nothing is moved."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead: float | None = None
        """Of the steady clock, in seconds, when the file was last looked into."""

    def now(self) -> float | None:
        """What the wall clock says. None when it has jumped, or may have: the file is to be told first."""
        now = self._clock.now()
        if self._ahead is None or abs(now - self._clock.steady() - self._ahead) > JUMP:
            return None
        return now

    def tell(self, conn: sqlite3.Connection) -> bool:
        """Use up the transaction that was begun to move what a jump must not shorten or prolong, unless another
        process has. Whether that was done."""
        now, ahead = self._read()
        boot, known = self._clock.boot(), _known(conn)
        before = known[1] if known is not None and known[0] == boot else None
        by = 0.0 if before is None else ahead - before
        jumped = abs(by) > JUMP
        if jumped:
            log.warning("the wall clock was set; what lasts goes on as if it had not been", extra={"by": by})
            move_intervals(conn, now, by)
        if jumped or (before is None and self._ahead is None):  # else it is kept for whoever has come since
            values = (_KEY, json.dumps([boot, ahead]))
            conn.execute("INSERT INTO dt_meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", values)
        elif before is not None:
            ahead = before
        conn.execute("COMMIT")
        self._ahead = ahead
        return jumped

    def _read(self) -> tuple[float, float]:
        """What the wall clock says, and by how much it is ahead. A process can be held up between two looks."""
        while True:
            before, now, after = self._clock.steady(), self._clock.now(), self._clock.steady()
            if after - before < GLANCE:
                return now, now - after


def _known(conn: sqlite3.Connection) -> tuple[str, float] | None:
    found = conn.execute("SELECT value FROM dt_meta WHERE key = ?", (_KEY,)).fetchone()
    try:
        boot, ahead = json.loads("null" if found is None else found[0])
        return str(boot), float(ahead)
    except (ValueError, TypeError):  # what nobody can read says nothing, and must not stop every write
        return None


_LASTS = """due_at IS NOT NULL
    AND (stop_by IS NOT NULL OR lease_expires_at IS NOT NULL OR timeout_at IS NOT NULL OR state = 'retrying')"""
_DELAYED = "delayed IS NOT NULL AND state IN ('blocked', 'scheduled')"
"""As the index of them says."""
_WAKE = f"CASE WHEN state = 'retrying' OR ({_DELAYED}) THEN wake_at + ?1 ELSE wake_at END"
_DUE = f"""
    NULLIF(MIN(COALESCE(stop_by, 9e999),
        CASE WHEN completed_at IS NULL THEN COALESCE(deadline_at, 9e999) ELSE 9e999 END,
        CASE WHEN state IN ('scheduled', 'retrying') THEN COALESCE({_WAKE}, 9e999) ELSE 9e999 END,
        CASE WHEN state IN ('claimed', 'running')
            THEN MIN(COALESCE(lease_expires_at + ?1, 9e999), COALESCE(timeout_at + ?1, 9e999)) ELSE 9e999 END), 9e999)
"""
"""As moves.due_at says of one row, of whose instants stop_by alone has been moved."""


def move_intervals(conn: sqlite3.Connection, now: float, by: float) -> None:
    """Move every instant that ends an interval by so many seconds, `now` being the time after the jump. Deadlines
    and what was scheduled for an instant stay where they are."""
    # Apart and first: few have it, and a change of it is one of half the table's indexes.
    conn.execute("UPDATE dt_tasks SET stop_by = stop_by + ? WHERE due_at IS NOT NULL AND stop_by IS NOT NULL", (by,))
    for rows in (_LASTS, _DELAYED):
        conn.execute(
            f"UPDATE dt_tasks SET due_at = {_DUE}, wake_at = {_WAKE}, lease_expires_at = lease_expires_at + ?1,"
            f" timeout_at = timeout_at + ?1 WHERE {rows}",
            (by,),
        )
    conn.execute(f"UPDATE dt_tasks SET not_before = not_before + ? WHERE {_DELAYED}", (by,))
    # What is still to come then: all of it, or what was when the clock was set.
    conn.execute("UPDATE dt_outbox SET due_at = due_at + ? WHERE due_at > ?", (by, now - max(by, 0.0)))
