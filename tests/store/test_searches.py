"""Nobody's reading keeps the others waiting: turns, deadlines, and callers who have gone."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from durable_tasks import DurableTasks
from durable_tasks.errors import Closed, QueryTooCostly
from durable_tasks.store.reader import MOST, Reader
from durable_tasks.store.searches import Searches

FOR_EVER = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
PATIENCE = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "some.db"
    conn = sqlite3.connect(file)
    conn.execute("CREATE TABLE some (n)")
    conn.close()
    return file


@pytest.fixture
async def searches(path: Path) -> AsyncGenerator[Searches, None]:
    searches = Searches(path, longest=PATIENCE)
    await searches.open()
    yield searches
    await searches.close()


class Gate:
    """A query that waits in its connection's thread."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def __call__(self, conn: sqlite3.Connection) -> str:
        self.begun.set()
        assert self.open.wait(PATIENCE)
        return "passed"

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, PATIENCE)


def for_ever(conn: sqlite3.Connection) -> object:
    return conn.execute(FOR_EVER).fetchone()


def quickly(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT 1").fetchone()[0])


async def test_one_organisations_searches_leave_the_others_a_connection(searches: Searches) -> None:
    gates = [Gate() for _ in range(5)]
    slow = [asyncio.create_task(searches.run(gate, "acme")) for gate in gates]
    await gates[0].has_begun()
    assert await asyncio.wait_for(searches.run(quickly, "beta"), PATIENCE) == 1
    assert [gate.begun.is_set() for gate in gates] == [True, False, False, False, False]
    for gate in gates:
        gate.open.set()
    assert await asyncio.gather(*slow) == ["passed"] * 5


async def test_organisations_that_wait_take_turns(path: Path) -> None:
    searches, order, gate = Searches(path, most=1), list[str](), Gate()
    await searches.open()
    first = asyncio.create_task(searches.run(gate, "acme"))
    await gate.has_begun()
    orgs = ["acme"] * 3 + ["beta", "gamma"]
    later = [asyncio.create_task(searches.run(lambda conn, org=org: order.append(org), org)) for org in orgs]  # type: ignore[misc]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, *later)
    await searches.close()
    assert order == ["acme", "beta", "gamma", "acme", "acme"]


async def test_a_query_that_takes_too_long_is_ended_and_the_next_is_answered(path: Path) -> None:
    searches = Searches(path, most=1, longest=0.1)
    await searches.open()
    with pytest.raises(QueryTooCostly, match="narrow it") as refused:
        await asyncio.wait_for(searches.run(for_ever, "acme"), PATIENCE)
    assert refused.value.seconds == 0.1
    assert await searches.run(quickly, "acme") == 1
    await searches.close()


async def test_what_runs_for_a_caller_who_has_gone_is_ended(path: Path) -> None:
    searches, begun = Searches(path, most=1, longest=PATIENCE), threading.Event()
    await searches.open()

    def running(conn: sqlite3.Connection) -> object:
        begun.set()
        return for_ever(conn)

    gone = asyncio.create_task(searches.run(running, "acme"))
    await asyncio.to_thread(begun.wait, PATIENCE)
    gone.cancel()
    assert await asyncio.wait_for(searches.run(quickly, "acme"), PATIENCE / 2) == 1
    await searches.close()


async def test_what_waits_for_a_caller_who_has_gone_is_never_asked(searches: Searches) -> None:
    gate, never = Gate(), Gate()
    running = asyncio.create_task(searches.run(gate, "acme"))
    await gate.has_begun()
    gone = asyncio.create_task(searches.run(never, "acme"))
    await asyncio.sleep(0)
    gone.cancel()
    gate.open.set()
    await running
    assert await searches.run(quickly, "acme") == 1
    assert not never.begun.is_set()


async def test_closing_ends_what_runs_and_what_waits(path: Path) -> None:
    searches = Searches(path, longest=PATIENCE)
    await searches.open()
    asked = [asyncio.create_task(searches.run(for_ever, "acme")) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.wait_for(searches.close(), PATIENCE / 2)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Closed] * 3
    with pytest.raises(Closed):
        await searches.run(quickly, "acme")


async def test_a_flood_of_small_queries_lets_another_organisation_in(path: Path) -> None:
    reader, order, gate = Reader(path), list[str](), Gate()
    await reader.open()
    first = asyncio.create_task(reader.run(gate, "acme"))
    await gate.has_begun()
    flood = [asyncio.create_task(reader.run(lambda conn: order.append("acme"), "acme")) for _ in range(3 * MOST)]
    other = asyncio.create_task(reader.run(lambda conn: order.append("beta"), "beta"))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, *flood, other)
    await reader.close()
    assert order.index("beta") <= 1
    assert len(order) == 3 * MOST + 1


async def test_who_asks_is_known_while_every_reader_is_busy(tasks: DurableTasks) -> None:
    gates = [Gate() for _ in range(3)]
    busy = [
        asyncio.create_task(tasks.store.read(gates[0], "acme")),
        asyncio.create_task(tasks.store.search(gates[1], "acme")),
        asyncio.create_task(tasks.store.search(gates[2], "beta")),
    ]
    for gate in gates:
        await gate.has_begun()
    assert await asyncio.wait_for(tasks.store.find_token("unknown"), PATIENCE) is None
    for gate in gates:
        gate.open.set()
    await asyncio.gather(*busy)
