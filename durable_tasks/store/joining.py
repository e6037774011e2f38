"""Joining the application's own transaction: the checks that make it safe, and the insert on its connection.

It must not know how the application opened, or will end, its transaction.
"""

import sqlite3
from pathlib import Path

import aiosqlite

from durable_tasks.errors import ForeignTransaction
from durable_tasks.models import Task
from durable_tasks.ports import Ids
from durable_tasks.store.connection import explain
from durable_tasks.store.drafts import Draft
from durable_tasks.store.store import Store


async def insert(
    store: Store, connection: sqlite3.Connection | aiosqlite.Connection, org_id: str, drafted: Draft, ids: Ids
) -> Task:
    """Insert inside the transaction that `connection` is in. Raises ForeignTransaction."""

    def run(conn: sqlite3.Connection) -> Task:
        factories = conn.row_factory, conn.text_factory
        conn.row_factory, conn.text_factory = None, str  # the application may read rows in its own way
        try:
            _require_joinable(conn, store.path)
            return _insert_whole(store, conn, org_id, drafted, ids)
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            raise explain(error, store.path) from error
        finally:
            conn.row_factory, conn.text_factory = factories

    if isinstance(connection, aiosqlite.Connection):
        # The same protected call as in database.Connection: one hop, in the thread that owns the connection.
        task: Task = await connection._execute(run, connection._conn)  # type: ignore[no-untyped-call]
        return task
    if isinstance(connection, sqlite3.Connection):
        return run(connection)
    raise ForeignTransaction(
        f"create_in takes a sqlite3 or aiosqlite connection, not {type(connection).__name__}:"
        " two copies of SQLite in one process can corrupt the file",
        found=type(connection).__name__,
    )


def _insert_whole(store: Store, conn: sqlite3.Connection, org_id: str, drafted: Draft, ids: Ids) -> Task:
    """All or nothing: the application may catch our error and commit."""
    conn.execute("SAVEPOINT dt_create_in")
    try:
        return store.create_on(conn, org_id, drafted, ids)
    except BaseException:
        if conn.in_transaction:  # else SQLite has rolled back everything already
            conn.execute("ROLLBACK TO dt_create_in")
        raise
    finally:
        if conn.in_transaction:
            conn.execute("RELEASE dt_create_in")


def _require_joinable(conn: sqlite3.Connection, path: Path) -> None:
    files = {name: file for _, name, file in conn.execute("PRAGMA database_list")}
    main = files.get("main") or ""
    if not main or not Path(main).exists() or not Path(main).samefile(path):
        raise ForeignTransaction(
            f"the connection is to {main or 'a database in memory'}, the tasks live in {path}", found=main
        )
    if not conn.in_transaction:
        raise ForeignTransaction(
            "the connection is in no transaction; execute BEGIN IMMEDIATE first", found="no transaction"
        )
    synchronous = conn.execute("PRAGMA synchronous").fetchone()[0]
    if synchronous < 2:
        raise ForeignTransaction(
            f"the connection has synchronous={synchronous}: a power cut could lose the task; set it to FULL",
            found=synchronous,
        )
    if _is_write_lock_free(path):
        raise ForeignTransaction(
            "the transaction was not begun IMMEDIATE: it does not hold the write lock; use BEGIN IMMEDIATE",
            found="deferred",
        )


def _is_write_lock_free(path: Path) -> bool:
    """Whether another connection could begin to write now: then the caller's transaction has not."""
    probe = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        probe.execute("BEGIN IMMEDIATE")
        probe.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        probe.close()
    return True
