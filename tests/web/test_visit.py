"""A visit: of many requests that come at once a few are looked at, and who asks once is among the first."""

import asyncio
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from durable_tasks import Settings
from durable_tasks.access import Principal, Role
from durable_tasks.clock import SystemClock
from durable_tasks.testing import ManualClock
from durable_tasks.web.problems import Refusal
from durable_tasks.web.shares import Shares
from durable_tasks.web.turns import MANY, TOGETHER
from durable_tasks.web.visit import Visit, Visits


class Application:
    """It knows whose a request is, the organisation is named by the proof, and answers when it is let."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.prove, self.answer = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        org_id = dict(scope["headers"])[b"authorization"].decode()
        self.seen.append(org_id)
        await self.prove.wait()
        if org_id != "file":
            await Visit.of(scope).proved(Principal(org=org_id, subject="ann", roles=frozenset({Role.AGENT})))
        await send({"type": "http.response.start"})
        await self.answer.wait()


async def nothing() -> Message:
    return {"type": "http.request"}


async def sent(message: Message) -> None: ...


def request(org_id: str) -> Scope:
    return {"type": "http", "method": "GET", "headers": [(b"authorization", org_id.encode())], "client": ("here", 1)}


async def settle() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def test_of_many_requests_at_once_a_few_are_looked_at(tmp_path: Path) -> None:
    application, shares = Application(), Shares(Settings(db=tmp_path / "tasks.db"), SystemClock())
    visits = Visits(application, shares=shares)
    for org_id in ("greedy", "other"):  # who has company
        shares.proved(org_id, org_id)
    async with asyncio.TaskGroup() as group:
        for org_id in ("other", *["greedy"] * 50, "other"):
            group.create_task(visits(request(org_id), nothing, sent))
        await settle()
        assert sorted(application.seen) == ["greedy"] * TOGETHER + ["other"] * 2
        application.prove.set()
        await settle()
        assert application.seen.count("greedy") == 50  # all proved; so many of them are worked on
        assert shares.turns._lines["greedy"].working == TOGETHER
        application.answer.set()
    assert (shares.heads._lines, shares.turns._lines) == ({}, {})


async def test_what_nobody_proves_anything_for_holds_up_no_line_while_it_is_sent(tmp_path: Path) -> None:
    application, shares = Application(), Shares(Settings(db=tmp_path / "tasks.db"), SystemClock())
    visits = Visits(application, shares=shares)
    application.prove.set()
    shares.proved("other", "other")
    async with asyncio.TaskGroup() as group:
        for org_id in ("other", *["file"] * 50):
            group.create_task(visits(request(org_id), nothing, sent))
        await settle()
        assert application.seen.count("file") == 50
        application.answer.set()


async def test_one_organisation_is_no_company_to_itself(tmp_path: Path) -> None:
    application, shares = Application(), Shares(Settings(db=tmp_path / "tasks.db"), SystemClock())
    visits = Visits(application, shares=shares)
    application.prove.set()
    async with asyncio.TaskGroup() as group:
        for org_id in ("acme", "file"):  # its first request is not yet known as its own; somebody looks after health
            group.create_task(visits(request(org_id), nothing, sent))
        await settle()
        for _ in range(3 * TOGETHER):
            group.create_task(visits(request("acme"), nothing, sent))
        await settle()
        assert shares.turns._lines["acme"].working == 3 * TOGETHER + 1
        application.answer.set()


async def test_a_flood_that_proves_nothing_is_company(tmp_path: Path) -> None:
    application, shares = Application(), Shares(Settings(db=tmp_path / "tasks.db"), SystemClock())
    visits = Visits(application, shares=shares)
    shares.proved("acme", "acme")
    async with asyncio.TaskGroup() as group:
        for looked_at in (2 * MANY, 2 * MANY + TOGETHER):
            application.prove.clear()
            for _ in range(2 * MANY):
                group.create_task(visits(request("file"), nothing, sent))
            await settle()
            assert len(application.seen) == looked_at
            application.prove.set()
            await settle()
        application.answer.set()


@pytest.mark.parametrize("disproved", [False, True])
async def test_of_a_flood_that_is_answered_at_once_few_are_between_two_steps_of_others(
    tmp_path: Path, disproved: bool
) -> None:
    shares, answered = Shares(Settings(db=tmp_path / "tasks.db"), ManualClock()), 0

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal answered
        answered += 1
        if disproved:
            await Visit.of(scope).disproved()
        await send({"type": "http.response.start"})

    async def ask_again_and_again() -> None:
        while True:
            await Visits(application, shares=shares)(request("file"), nothing, sent)
            await asyncio.sleep(0)

    shares._late_most = 0  # as if so many were late already
    flood = [asyncio.create_task(ask_again_and_again()) for _ in range(100)]
    for steps in (3, 20):  # each asks once until it is seen how many they are
        before = answered
        for _ in range(steps):
            await asyncio.sleep(0)
    assert answered - before <= 20 * TOGETHER
    for one in flood:
        one.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    assert shares.heads._lines == {}


async def test_who_takes_answers_slowly_keeps_nobody_of_the_organisation_waiting(tmp_path: Path) -> None:
    shares, taken, worked = Shares(Settings(db=tmp_path / "tasks.db"), SystemClock()), asyncio.Event(), list[str]()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        org_id, _, subject = dict(scope["headers"])[b"authorization"].decode().partition(":")
        await Visit.of(scope).proved(Principal(org=org_id, subject=subject, roles=frozenset({Role.AGENT})))
        worked.append(subject)
        await send({"type": "http.response.start", "headers": [(b"content-length", b"1")]})
        await send({"type": "http.response.body", "body": b"x"})

    async def taking(message: Message) -> None:
        await taken.wait()

    visits = Visits(application, shares=shares)
    async with asyncio.TaskGroup() as group:
        for who in ("other:eve", *["acme:slow"] * 3 * TOGETHER, "acme:ann"):
            group.create_task(visits(request(who), nothing, taking))
        await settle()
        assert worked.count("ann") == 1
        assert shares.turns._lines == {}
        taken.set()
    assert (shares.heads._lines, shares.turns._lines) == ({}, {})


async def test_a_large_body_is_worked_on_alone(tmp_path: Path) -> None:
    shares, answer, working = Shares(Settings(db=tmp_path / "tasks.db"), SystemClock()), asyncio.Event(), list[int]()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        visit = Visit.of(scope)
        await visit.proved(Principal(org="acme", subject="ann", roles=frozenset({Role.AGENT})))
        working.append(len((await visit.receive())["body"]))
        await answer.wait()

    async def ask(size: int) -> None:
        head = [(b"authorization", b"acme"), (b"content-length", b"%d" % size)]
        posted = {**request("acme"), "method": "POST", "headers": head}

        async def body() -> Message:
            return {"type": "http.request", "body": b" " * size}

        await Visits(application, shares=shares)(posted, body, sent)

    for org_id in ("acme", "other"):  # in company
        shares.proved(org_id, org_id)
    large = 100_000
    async with asyncio.TaskGroup() as group:
        for size in (large, 10, 10, large):
            group.create_task(ask(size))
        await settle()
        assert working == [large]
        answer.set()
    assert working == [large, 10, 10, large]
    assert (shares.heads._lines, shares.turns._lines) == ({}, {})


async def test_who_has_hung_up_in_line_is_not_worked_for(tmp_path: Path) -> None:
    shares, answer, worked = Shares(Settings(db=tmp_path / "tasks.db"), SystemClock()), asyncio.Event(), list[str]()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await Visit.of(scope).proved(Principal(org="acme", subject="ann", roles=frozenset({Role.AGENT})))
        assert (await receive())["type"] == "http.request"
        worked.append(scope["path"])
        await answer.wait()

    async def ask(path: str, came: str) -> None:
        async def head() -> Message:
            return {"type": came, "body": b""}

        await Visits(application, shares=shares)({**request("acme"), "path": path}, head, sent)

    for org_id in ("acme", "other"):  # in company
        shares.proved(org_id, org_id)
    first = [asyncio.create_task(ask(str(n), "http.request")) for n in range(TOGETHER)]
    await settle()
    gone, stays = (asyncio.create_task(ask(came, came)) for came in ("http.disconnect", "http.request"))
    await settle()
    answer.set()
    await asyncio.gather(*first, stays)
    with pytest.raises(Refusal):
        await gone
    assert worked[TOGETHER:] == ["http.request"]
    assert (shares.heads._lines, shares.turns._lines) == ({}, {})
