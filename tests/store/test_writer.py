"""The writer's queue: organisations take turns, no transaction is long because of many, who spoils one pays alone."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, NewTask
from durable_tasks.errors import Closed, InvalidInput
from durable_tasks.models import Mode
from durable_tasks.ports import Notice
from durable_tasks.store import writer
from durable_tasks.store.claims import Wanted
from durable_tasks.store.transaction import Transaction
from tests.store.support import AGENT, make, query, within


async def test_a_flood_of_one_organisation_is_not_before_the_call_of_another(tasks: DurableTasks, db: Path) -> None:
    flood, other = tasks.org("flood"), tasks.org("other")
    calls = [flood.create(f"t{n}", mode="manual") for n in range(600)]
    await asyncio.gather(*calls, other.create("one", mode="manual"))
    (before,) = query(
        db, "SELECT COUNT(*) FROM dt_tasks WHERE seq < (SELECT seq FROM dt_tasks WHERE org_id = 'other')"
    )[0]
    assert before <= 1


async def test_each_organisation_keeps_its_order(tasks: DurableTasks, db: Path) -> None:
    a, b = tasks.org("a"), tasks.org("b")
    await asyncio.gather(*(org.create(f"{n:03}", mode="manual") for n in range(300) for org in (a, b)))
    for org_id in ("a", "b"):
        titles = query(db, "SELECT title FROM dt_tasks WHERE org_id = ? ORDER BY seq", org_id)
        assert titles == sorted(titles)


async def test_a_transaction_that_was_long_begins_no_other_operation(
    tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "HOLD", -1.0)
    operations: list[int] = []
    tasks.store.subscribe(lambda notice: operations.append(notice.operations))
    made = await asyncio.gather(*(tasks.org().create(f"t{n}", mode="manual") for n in range(5)))
    assert len({task.id for task in made}) == 5
    assert set(operations) <= {0, 1}


async def test_who_always_has_more_to_do_keeps_nobody_from_a_turn(
    tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "HOLD", -1.0)
    order = list[str]()

    async def write(org_id: str, times: int) -> None:
        for _ in range(times):
            await tasks.store._write(lambda tx: order.append(org_id), org_id=org_id)

    await asyncio.gather(write("greedy", 20), write("greedy", 20), write("other", 5))
    assert max(place for place, org_id in enumerate(order) if org_id == "other") <= 10


async def test_what_yields_has_a_transaction_of_its_own_after_those_who_wait(tasks: DurableTasks) -> None:
    done = list[tuple[str, Transaction]]()
    long = [tasks.store._write(lambda tx: done.append(("long", tx)), yields=True) for _ in range(3)]
    short = [tasks.store._write(lambda tx: done.append(("short", tx)), org_id=org_id) for org_id in ("a", "b")]
    await asyncio.gather(*long, *short)
    assert [name for name, _ in done] == ["short", "short", "long", "long", "long"]
    assert len({id(tx) for _, tx in done}) == 4


async def test_who_waits_does_not_keep_what_yields_from_its_turn(tasks: DurableTasks) -> None:
    order = list[str]()

    async def again() -> None:
        for _ in range(3):
            await tasks.store._write(lambda tx: order.append("short"), org_id="a")

    long = [tasks.store._write(lambda tx: order.append("long"), yields=True) for _ in range(3)]
    await asyncio.gather(*long, again())
    assert order == ["short", "long"] * 3


async def test_who_spoils_a_transaction_does_so_once(tasks: DurableTasks) -> None:
    runs: list[str] = []

    def bystander(tx: Transaction) -> None:
        runs.append("bystander")

    def spoiler(tx: Transaction) -> None:
        runs.append("spoiler")
        tx.run("INSERT INTO dt_meta VALUES ('spoiled', '')")
        raise InvalidInput("it fails after it has written")

    async def together() -> list[str]:
        runs.clear()
        writing = [
            tasks.store._write(bystander, org_id="good"),
            tasks.store._write(spoiler, org_id="bad"),
            tasks.store._write(bystander, org_id="good"),
        ]
        answers = await asyncio.gather(*writing, return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None), InvalidInput, type(None)]
        return runs

    assert len(await together()) == 5  # once more, apart
    assert await together() == ["bystander", "spoiler", "bystander"]
    assert query(tasks.store.path, "SELECT COUNT(*) FROM dt_meta WHERE key = 'spoiled'") == [(0,)]


async def test_claims_of_many_groups_and_capabilities_are_taken_in_several_transactions(tasks: DurableTasks) -> None:
    org, claimed = tasks.org(), list[int]()
    await org.create_many([NewTask(title="t", mode=Mode.MANUAL)] * 20)
    groups, capabilities = [f"g{n}" for n in range(98)], [f"c{n}" for n in range(9)]
    wanted = Wanted(AGENT, "default", tuple(capabilities), 60.0, tuple(groups))
    assert wanted.at_once == 5

    def look(notice: Notice) -> None:
        claimed.append(len(notice.begun))

    tasks.store.subscribe(look)
    made = await org.next_many(12, agent_id=AGENT, capabilities=capabilities, groups=groups)
    assert (len(made), [count for count in claimed if count]) == (12, [5, 5, 2])


async def test_a_cancelled_call_gives_back_what_its_earlier_transactions_claimed(tasks: DurableTasks) -> None:
    org, begun = tasks.org(), asyncio.Event()
    await org.create_many([NewTask(title="t", mode=Mode.MANUAL)] * 20)
    tasks.store.subscribe(lambda notice: begun.set() if notice.begun else None)
    capabilities, groups = [f"c{n}" for n in range(99)], [f"g{n}" for n in range(48)]
    asking = asyncio.create_task(org.next_many(20, agent_id=AGENT, capabilities=capabilities, groups=groups))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await tasks.store.probe()
    assert query(tasks.store.path, "SELECT state, COUNT(*) FROM dt_tasks GROUP BY state") == [("pending", 20)]


async def test_what_is_queued_is_answered_though_who_closes_is_cancelled(db: Path) -> None:
    tasks = make(db)
    await tasks.start()
    store = tasks.store
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        calls = [asyncio.create_task(tasks.org().create(f"t{n}", mode="manual")) for n in range(300)]
        await asyncio.sleep(0)
        end = asyncio.create_task(store._writer.close())
        await asyncio.sleep(0)
        end.cancel()
        await asyncio.gather(end, return_exceptions=True)
        conn.execute("ROLLBACK")
    assert len(await within(asyncio.gather(*calls))) == 300
    store.abandon()


async def test_a_file_closes_though_who_closes_it_is_cancelled(db: Path) -> None:
    tasks = make(db)
    await tasks.start()
    store = tasks.store
    call = asyncio.create_task(tasks.org().create("one", mode="manual"))
    await asyncio.sleep(0)
    end = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    end.cancel()
    await asyncio.gather(end, return_exceptions=True)
    assert (await within(call)).title == "one"
    await within(store.close())
    with pytest.raises(Closed):
        await store.probe()
