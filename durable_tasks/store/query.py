"""Queries: functions of a read-only connection, each with its caller, its organisation and a deadline.

They must not know what is read, nor which connection will run them.
"""

import asyncio
import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeVar

from durable_tasks.errors import Closed, QueryTooCostly
from durable_tasks.store.connection import OF_SQLITE, Connection, connect, explain, fail, forgiving

T = TypeVar("T")

LONGEST = 5.0
"""Seconds for which one query may run. Its snapshot keeps the log from being reset for so long, too."""
_LOOK_EVERY = 1000
"""Steps of SQLite's machine between two looks at the time: well below a millisecond, but for rows of many kilobytes."""


class Query(NamedTuple, Generic[T]):
    """What one caller waits for. `org_id`: whose turn it takes; empty for the host's own affairs."""

    ask: Callable[[sqlite3.Connection], T]
    answer: "asyncio.Future[T]"
    org_id: str


class QueryConnection:
    """A read-only connection in a thread of its own, which ends what runs for too long or for nobody."""

    def __init__(self, path: Path, longest: float = LONGEST) -> None:
        self._path = path
        self._longest = longest
        self._connection = Connection(self._connect)
        self._until = math.inf
        self._caller: asyncio.Future[Any] | None = None
        self._stopped = False

    async def open(self) -> None:
        await self._connection

    async def close(self) -> None:
        await self._connection.close()

    def stop(self) -> None:
        """End the query that runs: it raises Closed."""
        self._stopped = True

    def abandon(self) -> None:
        self._connection.abandon()

    async def ask(self, queries: "Sequence[Query[Any]]", slice_: float = math.inf) -> int:
        """Run the queries in one hop, on one snapshot, and answer their callers. After `slice_` seconds no other is
        begun: how many were run is the answer."""
        try:
            answers = await self._connection.run(lambda conn: self._on_one_snapshot(conn, queries, slice_))
        except Exception as error:
            answers = [(None, error)] * len(queries)
        for query, (result, refusal) in zip(queries, answers, strict=False):
            if refusal is not None:
                fail(query.answer, explain(refusal, self._path) if isinstance(refusal, OF_SQLITE) else refusal)
            elif not query.answer.done():
                query.answer.set_result(result)
        return len(answers)

    def _connect(self) -> sqlite3.Connection:
        conn = connect(self._path, reading=True)
        conn.set_progress_handler(self._is_over, _LOOK_EVERY)
        return conn

    def _is_over(self) -> bool:
        caller = self._caller
        return self._stopped or monotonic() > self._until or (caller is not None and caller.cancelled())

    def _on_one_snapshot(
        self, conn: sqlite3.Connection, queries: "Sequence[Query[Any]]", slice_: float
    ) -> list[tuple[Any, Exception | None]]:
        answers: list[tuple[Any, Exception | None]] = []
        conn.execute("BEGIN")
        try:
            began = monotonic()
            for query in queries:
                now = monotonic()
                if now - began > slice_:
                    break
                self._caller, self._until = query.answer, now + self._longest
                answers.append(self._run(conn, query))
            return answers
        finally:
            self._caller, self._until = None, math.inf
            if conn.in_transaction:
                conn.execute("COMMIT")

    def _run(self, conn: sqlite3.Connection, query: Query[Any]) -> tuple[Any, Exception | None]:
        try:
            return forgiving(conn, query.ask), None
        except sqlite3.OperationalError as error:
            return None, self._ended() if _was_ended(error) else error
        except Exception as error:
            return None, error

    def _ended(self) -> Exception:
        if self._stopped:
            return Closed("the store is closed; call start() first")
        return QueryTooCostly(
            f"the query was ended after {self._longest:g} s; narrow it: fewer states, one space, one workflow, ids, or"
            " no text",
            seconds=self._longest,
        )


def _was_ended(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
