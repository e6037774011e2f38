"""Processes on one file: each has a row with a lease and a lock file; one of them is the leader.

It must not know what processes run; ending one's attempts is in dispatch.py.
"""

import fcntl
import json
import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from durable_tasks.ports import Peer
from durable_tasks.store import beside
from durable_tasks.store.connection import explain_os
from durable_tasks.store.transaction import Transaction


class ProcessLock:
    """An flock on a file named after the instance. The kernel frees it when the process dies, at once."""

    def __init__(self, db: Path, instance: str) -> None:
        self._db = db
        self.instance = instance
        self._path = lock_path(db, instance)
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises StoreError where no lock can be kept."""
        beside.make_folder(self._db)
        try:
            self._fd = beside.open_private(self._path, os.O_CREAT | os.O_RDWR)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise explain_os(error, self._path) from error

    def release(self) -> None:
        if self._fd is None:
            return
        with suppress(FileNotFoundError):  # another process has swept it already
            self._path.unlink()
        os.close(self._fd)
        self._fd = None


def lock_path(db: Path, instance: str) -> Path:
    return beside.folder_of(db) / f"{instance}.lock"


def is_free(db: Path, instance: str) -> bool:
    """Whether nobody holds the instance's lock. A missing file counts as free: only a stopped process unlinks it."""
    return _with_lock(db, instance, lambda path: None)


def living(db: Path) -> list[str]:
    """The instances whose locks are held."""
    instances = [path.stem for path in beside.folder_of(db).glob("*.lock")]
    return [instance for instance in instances if not is_free(db, instance)]


def sweep(db: Path, instance: str) -> None:
    """Remove the lock file of a process that is gone. One that only stalled still holds it: without the file,
    others would bury it again at every look once it is back."""
    _with_lock(db, instance, lambda path: path.unlink(missing_ok=True))


def _with_lock(db: Path, instance: str, act: Callable[[Path], None]) -> bool:
    """Do `act` while holding the instance's lock. False, and nothing done, when its process holds it."""
    path = lock_path(db, instance)
    try:
        fd = beside.open_private(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise explain_os(error, path) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        act(path)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


Handles = tuple[str | None, ...] | None
"""The capabilities that a process has handlers for, None among them for tasks without one; None: it runs none."""


@dataclass(frozen=True, slots=True)
class Workforce:
    """The processes that run handlers, and what for. `led`: whether there is a leader, of whatever kind."""

    processes: int
    handles: frozenset[str | None]
    led: bool


def register(tx: Transaction, lease: float, handles: Handles) -> None:
    tx.run(
        "INSERT OR REPLACE INTO dt_processes (instance, pid, host, started_at, lease_until, lease, handles)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (tx.rules.instance, os.getpid(), socket.gethostname(), tx.now, tx.now + lease, lease, _text(handles)),
    )


def renew(tx: Transaction, lease: float, handles: Handles) -> bool:
    """Renew this process's lease: one row for all its attempts. False when another has declared it dead."""
    done = tx.run(
        "UPDATE dt_processes SET beats = beats + 1, lease_until = ?, handles = ? WHERE instance = ?",
        (tx.now + lease, _text(handles), tx.rules.instance),
    )
    return done.rowcount == 1


def keep(conn: sqlite3.Connection, instance: str, lease_until: float) -> None:
    """Renew the lease of a process whose event loop is blocked. Its duties it gives up: it does nothing for them."""
    conn.execute(
        "UPDATE dt_processes SET beats = beats + 1, lease_until = ? WHERE instance = ?", (lease_until, instance)
    )
    conn.execute("DELETE FROM dt_meta WHERE key IN ('leader', 'relay') AND value = ?", (instance,))


def stands(tx: Transaction) -> bool:
    """Whether this process may begin work: nobody has declared it dead. Noted for presence if somebody has."""
    if not tx.stands:
        tx.stands = tx.one("SELECT 1 FROM dt_processes WHERE instance = ?", (tx.rules.instance,)) is not None
        tx.notice.buried |= not tx.stands
    return tx.stands


def _text(handles: Handles) -> str | None:
    return None if handles is None else json.dumps(handles)


def workforce(conn: sqlite3.Connection, now: float) -> Workforce:
    """Of those whose lease is not over."""
    rows = conn.execute("SELECT handles FROM dt_processes WHERE lease_until > ? AND handles IS NOT NULL", (now,))
    handled = [json.loads(handles) for (handles,) in rows]
    sql = (
        "SELECT 1 FROM dt_meta AS m JOIN dt_processes AS p ON p.instance = m.value"
        " WHERE m.key = 'leader' AND p.lease_until > ?"
    )
    led = conn.execute(sql, (now,)).fetchone() is not None
    return Workforce(len(handled), frozenset(name for one in handled for name in one), led)


def remove(tx: Transaction, instance: str) -> None:
    tx.run("DELETE FROM dt_processes WHERE instance = ?", (instance,))
    tx.stands = False
    tx.run("DELETE FROM dt_meta WHERE key IN ('leader', 'relay') AND value = ?", (instance,))


def peers(conn: sqlite3.Connection, instance: str) -> list[Peer]:
    """Every other process, and owners of attempts that have no row at all."""
    rows = conn.execute(
        "SELECT instance, beats, lease_until, lease FROM dt_processes WHERE instance <> ?", (instance,)
    ).fetchall()
    found = [Peer(name, (beats, until), lease) for name, beats, until, lease in rows]
    owners = conn.execute(
        "SELECT DISTINCT process FROM dt_tasks WHERE process IS NOT NULL AND process <> ?"
        " AND process NOT IN (SELECT instance FROM dt_processes)",
        (instance,),
    ).fetchall()
    return found + [Peer(name, None, None) for (name,) in owners]


def lead(tx: Transaction, duty: str) -> bool:
    """Take or keep a duty ("leader" checkpoints, "relay" speaks to Temporal) unless a process whose row still
    stands has it. Duties are apart: a process without Temporal must not keep others from relaying."""
    found = tx.one(
        "SELECT m.value FROM dt_meta AS m JOIN dt_processes AS p ON p.instance = m.value WHERE m.key = ?", (duty,)
    )
    if found is None:
        tx.run("INSERT OR REPLACE INTO dt_meta VALUES (?, ?)", (duty, tx.rules.instance))
        return True
    return bool(found[0] == tx.rules.instance)
