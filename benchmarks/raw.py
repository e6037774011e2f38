"""The peer: the standard library's sqlite3 as a queue, one caller, one transaction per logical operation.

It must not know the package: one small table, one partial index of the ready rows, WAL and synchronous=FULL.
"""

import sqlite3
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Case, Options, Reading, Sample, measured, rate

PAYLOAD = '{"document": 4711, "language": "en", "pages": [1, 2, 3]}'
COUNT = 1000


class RawQueue:
    """Create is one transaction, claim and complete two, a full cycle three."""

    def __init__(self, path: Path) -> None:
        self._conn = sqlite3.connect(path, isolation_level=None)
        self._conn.execute("PRAGMA journal_mode=WAL")
        self._conn.execute("PRAGMA synchronous=FULL")
        self._conn.execute(
            "CREATE TABLE tasks (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, state TEXT NOT NULL,"
            " priority INTEGER NOT NULL, token TEXT, input TEXT, output TEXT)"
        )
        self._conn.execute("CREATE INDEX ready ON tasks (priority DESC, seq) WHERE state = 'pending'")

    def create(self) -> None:
        self._conn.execute("BEGIN IMMEDIATE")
        self._conn.execute(
            "INSERT INTO tasks (id, state, priority, input) VALUES (?, 'pending', 1, ?)", (str(uuid.uuid4()), PAYLOAD)
        )
        self._conn.execute("COMMIT")

    def claim(self) -> int:
        self._conn.execute("BEGIN IMMEDIATE")
        (seq,) = self._conn.execute(
            "UPDATE tasks SET state = 'claimed', token = ? WHERE seq ="
            " (SELECT seq FROM tasks WHERE state = 'pending' ORDER BY priority DESC, seq LIMIT 1) RETURNING seq",
            (str(uuid.uuid4()),),
        ).fetchone()
        self._conn.execute("COMMIT")
        return int(seq)

    def complete(self, seq: int) -> None:
        self._conn.execute("BEGIN IMMEDIATE")
        self._conn.execute("UPDATE tasks SET state = 'completed', output = ? WHERE seq = ?", (PAYLOAD, seq))
        self._conn.execute("COMMIT")

    def close(self) -> None:
        self._conn.close()


def raw_creates(directory: Path, count: int = COUNT) -> Sample:
    with TemporaryDirectory(dir=directory) as folder:
        queue = RawQueue(Path(folder) / "raw.db")
        with measured(count) as sample:
            for _ in range(count):
                queue.create()
        queue.close()
    return sample


def raw_pairs(directory: Path, count: int = COUNT) -> Sample:
    with TemporaryDirectory(dir=directory) as folder:
        queue = RawQueue(Path(folder) / "raw.db")
        for _ in range(count):
            queue.create()
        with measured(count) as sample:
            for _ in range(count):
                queue.complete(queue.claim())
        queue.close()
    return sample


def raw_cycles(directory: Path, count: int = COUNT) -> Sample:
    with TemporaryDirectory(dir=directory) as folder:
        queue = RawQueue(Path(folder) / "raw.db")
        with measured(count) as sample:
            for _ in range(count):
                queue.create()
                queue.complete(queue.claim())
        queue.close()
    return sample


def commits(sample: Sample, per_operation: int) -> Reading:
    """The disk's speed as raw SQLite sees it: it decides whether ratios to it are judged."""
    return Reading("raw commits", sample.rate * per_operation, "commits/s")


async def _rounds(options: Options) -> AsyncIterator[list[Reading]]:
    for _ in range(options.runs):
        creates = raw_creates(options.directory)
        pairs = raw_pairs(options.directory)
        cycles = raw_cycles(options.directory)
        yield [
            commits(creates, 1),
            rate("raw create", creates),
            rate("raw claim + complete", pairs),
            rate("raw full cycle", cycles),
        ]


RAW = Case("raw", "what does SQLite alone do on this disk, one caller, one commit per operation?", _rounds)
