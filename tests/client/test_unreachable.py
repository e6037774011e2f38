"""Servers that are away, cut the line or are none at all: what is asked again is done once, and what is not is said.

It must not know which verbs there are beyond a few.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from durable_tasks import DurableTasks, NewTask, Settings, TaskState, errors
from durable_tasks.client import Client
from durable_tasks.client.stream import Block, blocks
from durable_tasks.identity.tokens import issue
from durable_tasks.testing import ManualClock
from durable_tasks.web.server import serving
from tests.client.cutting import Cutter, cutting
from tests.web.asking import event_of_a_wait

DEADLINE = 30.0


@pytest_asyncio.fixture
async def tasks(tmp_path: Path) -> DurableTasks:
    return DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False))


@pytest_asyncio.fixture
async def line(tasks: DurableTasks) -> AsyncIterator[Cutter]:
    async with serving(tasks, port=0) as url, cutting(url) as cutter:
        yield cutter


async def driven(clock: ManualClock, call: Coroutine[Any, Any, Any]) -> Any:
    """The answer of a call, with the clock moved on while it waits."""
    calling = asyncio.ensure_future(call)
    async with asyncio.timeout(DEADLINE):
        while not calling.done():
            await clock.advance(0.05)
    return await calling


async def lost(line: Cutter, call: Callable[[Client], Any]) -> Any:
    """The answer of a call whose first answer was lost on the way."""
    async with Client(line.url) as client:
        await client.list()  # connected: it is an answer that is lost, and no connection
        line.answers_to_lose = 1
        async with asyncio.timeout(DEADLINE):
            answer = await call(client)
        assert line.lost == 1
        return answer


async def test_a_task_whose_answer_was_lost_is_created_once(line: Cutter, tasks: DurableTasks) -> None:
    made = await lost(line, lambda client: client.create("once"))
    assert [task.id for task in (await tasks.org().list()).items] == [made.id]


async def test_many_tasks_whose_answer_was_lost_are_created_once(line: Cutter, tasks: DurableTasks) -> None:
    new = [NewTask(name="a"), NewTask(name="b", depends_on=("a",))]
    made = await lost(line, lambda client: client.create_many(new))
    assert {task.id for task in (await tasks.org().list()).items} == {task.id for task in made}


async def test_a_workflow_whose_answer_was_lost_is_created_once(line: Cutter, tasks: DurableTasks) -> None:
    made = await lost(line, lambda client: client.pipeline("once", [NewTask(name="a")]))
    assert [one.id for one in (await tasks.org().list_workflows()).items] == [made.id]


async def test_a_claim_whose_answer_was_lost_is_held_by_who_asked(line: Cutter, tasks: DurableTasks) -> None:
    org = tasks.org()
    for title in ("one", "two"):
        await org.create(title, mode="manual")
    claim = await lost(line, lambda client: client.next(agent_id="ann"))
    assert (await org.complete(claim.task.id, token=claim.token)).state == "completed"
    assert [(task.title, task.state) for task in (await org.list()).items] == [("one", "completed"), ("two", "pending")]


async def test_an_end_whose_answer_was_lost_is_told_again(line: Cutter, tasks: DurableTasks) -> None:
    org = tasks.org()
    claim = await org.claim((await org.create("x", mode="manual")).id, agent_id="ann")
    done = await lost(line, lambda client: client.complete(claim.task.id, 1, token=claim.token))
    assert (done.state, done.output) == ("completed", 1)
    assert [event.kind for event in await org.events()].count("task.completed") == 1


async def test_a_call_that_could_be_done_twice_is_not_sent_again(line: Cutter) -> None:
    with pytest.raises(errors.ServerUnavailable, match="whether it was done is not known"):
        await lost(line, lambda client: client.call("create_task", title="no key"))


async def test_no_more_are_cancelled_than_were_asked_for(line: Cutter, tasks: DurableTasks) -> None:
    org = tasks.org()
    await org.create_many([NewTask(title="unwanted") for _ in range(3)])
    with pytest.raises(errors.ServerUnavailable):
        await lost(line, lambda client: client.cancel_many(text="unwanted", limit=1))
    assert (await org.count()).counts[TaskState.CANCELLED] == 1


async def test_a_server_that_comes_up_late_is_waited_for(tasks: DurableTasks) -> None:
    async with serving(tasks, port=0) as url:
        pass
    async with Client(url, patience="20s") as client:
        creating = asyncio.create_task(client.create("early"))
        port = int(url.rpartition(":")[2])
        async with serving(tasks, port=port), asyncio.timeout(DEADLINE):
            assert (await creating).title == "early"


async def test_a_server_that_is_away_is_said_in_a_sentence(tasks: DurableTasks) -> None:
    async with serving(tasks, port=0) as url:
        pass
    async with Client(url, patience=0) as client:
        for call in (client.create("x"), client.get("x"), anext(aiter(client.watch()))):
            with pytest.raises(errors.ServerUnavailable, match=url) as away:
                await call
            assert "Traceback" not in away.value.message


async def test_a_wait_goes_on_when_the_server_is_started_again(
    tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = event_of_a_wait(monkeypatch)
    async with serving(tasks, port=0) as url, asyncio.timeout(DEADLINE):
        made = await tasks.org().create("long", mode="manual")
        client = Client(url, patience="20s")
        waiting = asyncio.create_task(client.wait(made.id))
        await looked.wait()
        await asyncio.sleep(0)
    async with client, serving(tasks, port=int(url.rpartition(":")[2])):
        claim = await tasks.org().claim(made.id, agent_id="ann")
        await tasks.org().complete(made.id, "at last", token=claim.token)
        async with asyncio.timeout(DEADLINE):
            assert (await waiting).output == "at last"


async def test_a_watch_goes_on_where_it_was_cut(line: Cutter, tasks: DurableTasks) -> None:
    org, seen, more = tasks.org(), [], asyncio.Event()

    async def watch(client: Client) -> None:
        async for event in client.watch(after=0):
            seen.append(event.seq)
            more.set()

    async def until(count: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while len(seen) < count:
                more.clear()
                await more.wait()

    async with Client(line.url) as client:
        watching = asyncio.create_task(watch(client))
        for round_ in range(1, 4):
            await org.create_many([NewTask(title=f"{round_}")] * 50)
            await until(round_ * 50)
            line.cut()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert seen == [*range(1, 151)]


async def test_a_watch_that_may_not_is_refused(tmp_path: Path) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False, auth="token"))
    async with serving(tasks, port=0) as url:
        viewer = await issue(tasks.store, org="acme", subject="v", roles=["viewer"])
        async with Client(url, viewer.text) as client:
            assert await client.events() == ()
            with pytest.raises(errors.Forbidden):
                await client.create("x")
            watching = aiter(client.watch(after=0))
            await tasks.org("acme").create("seen")
            async with asyncio.timeout(DEADLINE):
                assert (await anext(watching)).kind == "task.created"
            await watching.aclose()  # type: ignore[attr-defined]
        for token in (None, "dt_x_y"):
            async with Client(url, token) as client:
                with pytest.raises(errors.Unauthenticated):
                    await anext(aiter(client.watch()))


def problem(code: str) -> tuple[str, str]:
    return "application/problem+json", json.dumps({"code": code, "detail": "x", "facts": {}})


ANSWERS: dict[str, tuple[int, str, str, type[errors.DurableTasksError]]] = {
    "a page of a proxy": (502, "text/html", "<html>Bad gateway</html>", errors.ServerUnavailable),
    "another program": (404, "text/html", "<html>Not found</html>", errors.ConfigurationError),
    "another path": (404, *problem("no_such_path"), errors.ConfigurationError),
    "too often": (429, *problem("too_many_waits"), errors.ServerUnavailable),
    "stopping": (503, *problem("closed"), errors.ServerUnavailable),
    "busy": (503, *problem("store_busy"), errors.StoreBusy),
    "broken": (500, *problem("error"), errors.ServerUnavailable),
    "too large": (413, *problem("request_too_large"), errors.PayloadTooLarge),
    "an error of a newer server": (409, *problem("novel"), errors.InvalidInput),
    "something else": (200, "text/html", "<html>Welcome</html>", errors.ServerUnavailable),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS)
async def test_answers_of_others_are_told_apart(case: str) -> None:
    status, kind, text, expected = ANSWERS[case]
    answer = httpx.MockTransport(lambda _: httpx.Response(status, headers={"content-type": kind}, text=text))
    async with httpx.AsyncClient(transport=answer) as http, Client("http://there", patience=0, http=http) as client:
        with pytest.raises(errors.DurableTasksError) as refused:
            await client.get("x")
    assert type(refused.value) is expected


class Slow(httpx.AsyncBaseTransport):
    """Each request takes `seconds` of the clock, then gets the next of the answers, the last one for ever."""

    def __init__(self, clock: ManualClock, seconds: float, *answers: httpx.Response | type[httpx.RequestError]) -> None:
        self._clock, self._seconds = clock, seconds
        self._answers = list(answers)
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        await self._clock.advance(self._seconds)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, httpx.Response):
            return answer
        raise answer("it was cut")


def refusal(code: str) -> httpx.Response:
    kind, text = problem(code)
    return httpx.Response(503, headers={"content-type": kind}, text=text)


@pytest.mark.parametrize("failure", [refusal("closed"), httpx.ReadTimeout])
async def test_patience_begins_with_the_first_failure(failure: Any, tasks: DurableTasks) -> None:
    """A wait is open for up to a minute, longer than the patience: a restart at its end must not be the end."""
    async with tasks:
        made = await tasks.org().create("x")
    ended = made.model_copy(update={"state": TaskState.COMPLETED}).model_dump(mode="json")
    clock = ManualClock()
    there = Slow(clock, 40.0, failure, httpx.Response(200, json={"ended": True, "task": ended}))
    async with httpx.AsyncClient(transport=there) as http, Client("http://there", http=http, clock=clock) as client:
        assert (await driven(clock, client.wait(made.id))).id == made.id
    assert len(there.asked) == 2


async def test_a_wait_with_a_limit_is_not_more_patient_than_that() -> None:
    clock = ManualClock()
    there = Slow(clock, 1.0, httpx.ConnectError)
    async with httpx.AsyncClient(transport=there) as http, Client("http://there", http=http, clock=clock) as client:
        began = clock.now()
        with pytest.raises(errors.ServerUnavailable):
            await driven(clock, client.wait("x", timeout=5))
    assert clock.now() - began < 10


async def test_a_wait_that_the_server_decides_has_time_to_be_answered() -> None:
    answer = httpx.Response(200, json={})
    there = Slow(ManualClock(), 0.0, answer)
    async with httpx.AsyncClient(transport=there) as http, Client("http://there", http=http) as client:
        with pytest.raises(errors.ServerUnavailable):
            await client.call("wait_task", task_id="x")
    assert there.asked[0].extensions["timeout"]["read"] > 50


async def test_a_stream_that_ends_at_once_is_not_asked_without_rest() -> None:
    clock = ManualClock()
    there = Slow(clock, 0.0, httpx.Response(200, text="id: 1\n\n"))
    async with (
        httpx.AsyncClient(transport=there) as http,
        Client("http://there", patience=10, http=http, clock=clock) as client,
    ):
        with pytest.raises(errors.ServerUnavailable):
            await driven(clock, anext(client.watch()))
    assert len(there.asked) < 20


async def test_a_watch_of_a_machine_that_never_answers_ends_with_the_patience() -> None:
    clock = ManualClock()
    there = Slow(clock, 6.0, httpx.ConnectTimeout)
    async with (
        httpx.AsyncClient(transport=there) as http,
        Client("http://there", patience=10, http=http, clock=clock) as client,
    ):
        with pytest.raises(errors.ServerUnavailable):
            await driven(clock, anext(client.watch()))
    assert len(there.asked) < 5


@pytest.mark.parametrize("token", ["dt_secret\n", "dt_secré", "", "dt_ secret"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(errors.ConfigurationError) as refused:
        Client("http://there", token)
    assert "secr" not in f"{refused.value} {refused.value.facts}"


async def test_a_closed_client_says_so() -> None:
    client = Client("http://there")
    await client.close()
    for call in (client.get("x"), anext(client.watch())):
        with pytest.raises(errors.Closed):
            await call


async def test_a_newer_server_may_say_more(tasks: DurableTasks) -> None:
    async with tasks:
        said = (await tasks.org().create("x")).model_dump(mode="json") | {"colour": "red"}
    answer = httpx.MockTransport(lambda _: httpx.Response(200, json=said))
    async with httpx.AsyncClient(transport=answer) as http, Client("http://there", http=http) as client:
        assert (await client.get("x")).title == "x"


@pytest.mark.parametrize(
    "url",
    [
        "", "there", "ftp://there", "http://", "http://there?x=1", "http://there#x", "http://there:abc", "http://[::1",
        "http://there:99999", "http://ann:secret@there",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="no address") as refused:
        Client(url)
    assert "secret" not in str(refused.value)


TEXT = (
    'retry: 2000\nid: 3\n\n: still here\n\nid: 4\nevent: task.created\ndata: {"title": "a\u2028b\u0085c"}\n\n'
    "data: one\r\ndata: two\r\n\r\nid: 9\ndata: cut off"
).encode()


@given(st.lists(st.integers(0, len(TEXT)), max_size=12))
async def test_blocks_are_the_same_however_the_bytes_come(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(TEXT)]

    async def chunks() -> AsyncIterator[bytes]:
        for start, end in itertools.pairwise(places):
            yield TEXT[start:end]

    assert [block async for block in blocks(chunks())] == [
        Block(id="3", retry="2000"),
        Block(id="4", data='{"title": "a\u2028b\u0085c"}'),
        Block(data="one\ntwo"),
    ]
