"""The time of transactions: what the wall clock says, and what becomes of leases, timeouts and pauses when it is set.

It must not know the event loop, nor what is done when an instant has come.
"""

import json
import logging
import math
import sqlite3
from typing import NamedTuple

from durable_tasks.ports import Clock

log = logging.getLogger("durable_tasks.store")

JUMP = 2.0
"""Seconds. A wall clock that has moved farther than this against the steady one was set, or the machine slept."""
GLANCE = 0.2
"""Seconds between which two clocks can be read and still be compared."""
_KEY = "clock"


class _Known(NamedTuple):
    """What the file says of the clock by which its instants are reckoned."""

    boot: str
    ahead: float
    """Seconds by which the wall clock was ahead of the steady one."""
    foreign_from: float | None
    """Instants from this one on are from before the machine started, without knowing the time."""


class Timekeeper:
    """Instants in the file are the wall clock's. Those that end an interval are moved along when it jumps, in a
    transaction of their own, by whichever process notices first: the file says by how much the wall clock was ahead
    of the steady one when that was done last. After the machine has started anew nothing is moved; nor is what is from
    before, when it did so without knowing the time and is told it later."""

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
        now, ahead = _read(self._clock)
        boot, known = self._clock.boot(), _known(conn)
        ours = known if known is not None and known.boot == boot else None
        by = 0.0 if ours is None else ahead - ours.ahead
        foreign_from = _foreign_from(conn, now) if ours is None else ours.foreign_from
        if foreign_from is not None and now - by >= foreign_from:
            foreign_from = None  # so much time has passed: what was written since may be as late
        jumped = abs(by) > JUMP
        if jumped:
            log.warning("the wall clock was set; what lasts goes on as if it had not been", extra={"by": by})
            move_intervals(conn, now, by, below=math.inf if foreign_from is None else foreign_from)
        if jumped or (ours is None and self._ahead is None):  # else it is kept for whoever has come since
            kept = (boot, ahead, foreign_from if foreign_from is not None and now < foreign_from else None)
            values = (_KEY, json.dumps(kept))
            conn.execute("INSERT INTO dt_meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", values)
        elif ours is not None:
            ahead = ours.ahead
        conn.execute("COMMIT")
        self._ahead = ahead
        return jumped


def reckon(conn: sqlite3.Connection, clock: Clock) -> float:
    """The time by which the file's instants are reckoned, for who adds some in a transaction of somebody else's: when
    the wall clock has just been set they will be moved along with the others."""
    now, ahead = _read(clock)
    known = _known(conn)
    if known is None or abs(ahead - known.ahead) <= JUMP or known.boot != clock.boot():
        return now
    return now - ahead + known.ahead


def _read(clock: Clock) -> tuple[float, float]:
    """What the wall clock says, and by how much it is ahead. A process can be held up between two looks."""
    while True:
        before, now, after = clock.steady(), clock.now(), clock.steady()
        if after - before < GLANCE:
            return now, now - after


def _known(conn: sqlite3.Connection) -> _Known | None:
    found = conn.execute("SELECT value FROM dt_meta WHERE key = ?", (_KEY,)).fetchone()
    try:
        boot, ahead, *more = json.loads("null" if found is None else found[0])
        return _Known(str(boot), float(ahead), float(more[0]) if more and more[0] is not None else None)
    except (ValueError, TypeError):  # what nobody can read says nothing, and must not stop every write
        return None


def _foreign_from(conn: sqlite3.Connection, now: float) -> float | None:
    """After a start of the machine: the earliest instant in the file that is still to come, when the clock cannot be
    right because tasks are from later than now."""
    newest = conn.execute("SELECT created_at FROM dt_tasks WHERE seq = (SELECT MAX(seq) FROM dt_tasks)").fetchone()
    if newest is None or newest[0] <= now:
        return None
    instants = (
        "SELECT MIN(due_at) FROM dt_tasks WHERE due_at > ?",
        f"SELECT MIN(not_before) FROM dt_tasks WHERE not_before > ? AND {_DELAYED}",
        "SELECT MIN(due_at) FROM dt_outbox WHERE due_at > ?",
    )
    found = [conn.execute(sql, (now,)).fetchone()[0] for sql in instants]
    return min((one for one in found if one is not None), default=None)


_LASTS = """due_at IS NOT NULL
    AND (stop_by IS NOT NULL OR lease_expires_at IS NOT NULL OR timeout_at IS NOT NULL OR state = 'retrying')"""
_DELAYED = "delayed IS NOT NULL AND state IN ('blocked', 'scheduled')"
"""As the index of them says."""


def _moved(column: str) -> str:
    return f"({column} + CASE WHEN {column} < ?2 THEN ?1 ELSE 0 END)"


_WAKE = f"CASE WHEN state = 'retrying' OR ({_DELAYED}) THEN {_moved('wake_at')} ELSE wake_at END"
_DUE = f"""
    NULLIF(MIN(COALESCE(stop_by, 9e999),
        CASE WHEN completed_at IS NULL THEN COALESCE(deadline_at, 9e999) ELSE 9e999 END,
        CASE WHEN state IN ('scheduled', 'retrying') THEN COALESCE({_WAKE}, 9e999) ELSE 9e999 END,
        CASE WHEN state IN ('claimed', 'running')
            THEN MIN(COALESCE({_moved("lease_expires_at")}, 9e999), COALESCE({_moved("timeout_at")}, 9e999))
            ELSE 9e999 END), 9e999)
"""
"""As moves.due_at says of one row, of whose instants stop_by alone has been moved."""


def move_intervals(conn: sqlite3.Connection, now: float, by: float, below: float = math.inf) -> None:
    """Move every instant that ends an interval by so many seconds, `now` being the time after the jump: those before
    `below`. Deadlines and what was scheduled for an instant stay where they are."""
    # Apart and first: few have it, and a change of it is one of half the table's indexes.
    conn.execute(
        f"UPDATE dt_tasks SET stop_by = {_moved('stop_by')} WHERE due_at IS NOT NULL AND stop_by IS NOT NULL",
        (by, below),
    )
    for rows in (_LASTS, _DELAYED):
        conn.execute(
            f"UPDATE dt_tasks SET due_at = {_DUE}, wake_at = {_WAKE}, lease_expires_at = {_moved('lease_expires_at')},"
            f" timeout_at = {_moved('timeout_at')} WHERE {rows}",
            (by, below),
        )
    conn.execute(f"UPDATE dt_tasks SET not_before = {_moved('not_before')} WHERE {_DELAYED}", (by, below))
    # What is still to come then: all of it, or what was when the clock was set.
    conn.execute(f"UPDATE dt_outbox SET due_at = {_moved('due_at')} WHERE due_at > ?3", (by, below, now - max(by, 0.0)))
