"""An application that dies at one exact point between SQLite and Temporal, from inside and under load.
It must not know how the point is reached: the application says where it dies, the file and the server say what is left.
"""

import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from durable_tasks.temporal.server import EmbeddedServer
from tests.faults.checker import copied, faults, journal, moves_since, snapshot
from tests.faults.figures import count, keep, spread
from tests.faults.processes import App
from tests.faults.work import status_there

CLIENTS = 4
LATEST = 12
"""A point is passed at most so many times before the death."""

Caught = Callable[[Path, EmbeddedServer], Awaitable[int]]


async def starts_not_sent(db: Path, server: EmbeddedServer) -> int:
    """Committed, and not known to Temporal."""
    return (await _starts_known(db, server)).count(False)


async def starts_not_acknowledged(db: Path, server: EmbeddedServer) -> int:
    """Temporal has them, and SQLite was not told."""
    return (await _starts_known(db, server)).count(True)


async def _starts_known(db: Path, server: EmbeddedServer) -> list[bool]:
    with copied(db) as conn:
        rows = conn.execute(
            "SELECT namespace, workflow_id FROM dt_outbox JOIN dt_submissions USING (subject_id, generation)"
            " WHERE kind = 'start'"
        ).fetchall()
    return [await status_there(server, namespace, workflow_id) is not None for namespace, workflow_id in rows]


async def handlers_interrupted(db: Path, server: EmbeddedServer) -> int:
    return len(_running(db) & _noted(db, "began") - _noted(db, "ended"))


async def results_not_recorded(db: Path, server: EmbeddedServer) -> int:
    return len(_running(db) & _noted(db, "ended"))


def _running(db: Path) -> set[tuple[str, int]]:
    return set(snapshot(db).interrupted.items())


def _noted(db: Path, op: str) -> set[tuple[str, int]]:
    return {(fact["id"], fact["attempt"]) for fact in journal(db.parent / "effects") if fact["op"] == op}


POINTS: dict[str, Caught] = {
    "committed": starts_not_sent,
    "started": starts_not_acknowledged,
    "running": handlers_interrupted,
    "ended": results_not_recorded,
}
every_point = pytest.mark.parametrize("point", POINTS)


@pytest.mark.timeout(300)
@every_point
async def test_dies_there_twice(tmp_path: Path, temporal_server: EmbeddedServer, point: str) -> None:
    await die_there(tmp_path / "tasks.db", temporal_server, point, 2)


@pytest.mark.acceptance
@every_point
async def test_dies_there_twenty_times(tmp_path: Path, temporal_server: EmbeddedServer, point: str) -> None:
    figures = await die_there(tmp_path / "tasks.db", temporal_server, point, count("TASKS_ACCEPTANCE_ROUNDS", 20))
    keep(f"window-{point}", figures)


async def die_there(db: Path, server: EmbeddedServer, point: str, rounds: int) -> dict[str, Any]:
    """Die, then have another process work off what is left, so many times on one file."""
    seed = random.randrange(10**9)
    print(f"\nseed {seed}")
    rng = random.Random(seed)
    common: dict[str, Any] = {"orgs": ["second"], "settings": {"enabled": True, "address": server.address}}
    caught, recoveries, settlings = 0, [], []
    for number in range(rounds):
        death = {"at": point, "passes": rng.randrange(LATEST)}
        load = {"seed": rng.random(), "clients": CLIENTS, "die": death, **common}
        async with App(db, "load", name=f"round-{number}", **load) as app:
            assert await app.ends() == -signal.SIGKILL, app.stderr
        assert faults(db) == []
        left = snapshot(db)
        caught += await POINTS[point](db, server)
        async with App(db, "drain", name=f"drain-{number}", **common) as app:
            ready = await app.ready()
            await app.settled()
        settlings.append(time.time() - ready)
        assert faults(db) == []
        first, _ = moves_since(db, left)
        if first is not None:
            recoveries.append(max(0.0, first - ready))
    assert caught, "every death missed the window"
    acknowledged = journal(db.parent / "acknowledged")
    return {
        "seed": seed,
        "rounds": rounds,
        "caught_in_the_window": caught,
        "created": sum(fact["op"] == "created" for fact in acknowledged),
        "lost": 0,
        "stuck": 0,
        "twice": 0,
        "drift": 0,
        "recovery": spread(recoveries),
        "until_settled": spread(settlings),
    }
