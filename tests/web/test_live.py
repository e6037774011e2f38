"""Live events: what a stream replays, what it goes on with, who may listen, and how it ends.

It must not know how events are written.
"""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable_tasks import DurableTasks, Event, NewTask, Settings
from durable_tasks.access import Asking, Principal, Role
from durable_tasks.errors import Unauthenticated
from durable_tasks.testing import ManualClock
from durable_tasks.web import channel
from durable_tasks.web import server as server_module
from durable_tasks.web.app import Api, create_app
from durable_tasks.web.channel import Wanted
from durable_tasks.web.live import CHECK, KEEPALIVE, LONGEST, PATIENCE, RETRY, Live
from durable_tasks.web.plugin import get_tasks
from durable_tasks.web.problems import Refusal
from durable_tasks.web.server import Server
from durable_tasks.web.shares import MOST_LONG
from tests.web.asking import api_of_short_streams, as_caller, authenticate
from tests.web.listening import DEADLINE, Listener, Tap, served, spin_until

ALL = "/v1/events/stream"
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Api]:
    """Of a DurableTasks that runs."""
    tasks = DurableTasks(Settings(db=tmp_path / "app.db", org="acme"))
    made = create_app(tasks, authenticate=authenticate)
    async with tasks.lifespan():
        yield made


@pytest.fixture
def tasks(app: Api) -> DurableTasks:
    return get_tasks(app)


@pytest.fixture
def live(app: Api) -> Live:
    return app.live


@pytest.fixture
async def server(app: Api) -> AsyncIterator[tuple[Server, str]]:
    async with served(app) as running:
        yield running


@pytest.fixture
async def client(server: tuple[Server, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server[1], headers=as_caller(role=Role.VIEWER)) as made:
        yield made


async def always() -> bool:
    return True


def nobody_reads() -> bool:
    return not any("events of" in task.get_name() for task in asyncio.all_tasks())


async def test_a_stream_replays_and_goes_on_each_event_once_and_in_order(
    tasks: DurableTasks, client: httpx.AsyncClient
) -> None:
    org = tasks.org()
    await org.create_many([NewTask(title=f"task {number}") for number in range(300)])
    listener = Listener(client, ALL, after=0)
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        group.create_task(listener.listen(until=1600))
        for number in range(100):
            await org.create(f"later {number}")
        await org.create_many([NewTask(title=f"last {number}") for number in range(1200)])
    assert listener.numbers == list(range(1, 1601))
    first = listener.heard[0]
    assert (first.id, first.kind, first.event) == ("1", "task.created", (await org.events(limit=1))[0])


async def test_a_new_stream_starts_now(tasks: DurableTasks, client: httpx.AsyncClient) -> None:
    await tasks.org().create("before")
    listener = Listener(client, ALL)
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        group.create_task(listener.listen(until=2))
        await listener.opened.wait()
        assert listener.last_id == "1", "a client that hears nothing before it loses the line must miss nothing either"
        await tasks.org().create("after")
    assert listener.numbers == [2]


async def test_the_header_goes_before_the_query(tasks: DurableTasks, client: httpx.AsyncClient) -> None:
    """A browser that comes back repeats the address, which says where it began."""
    await tasks.org().create_many([NewTask(title="task") for _ in range(5)])
    listener = Listener(client, ALL, after=1)
    listener.last_id = "3"
    await asyncio.wait_for(listener.listen(until=5), DEADLINE)
    assert listener.numbers == [4, 5]


async def test_a_place_that_is_not_there_yet_means_now(tasks: DurableTasks, client: httpx.AsyncClient) -> None:
    """The file was restored from a backup: the client knows events that never happened."""
    await tasks.org().create("before")
    listener = Listener(client, ALL, after=1_000_000)
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        group.create_task(listener.listen(until=2))
        await listener.opened.wait()
        await tasks.org().create("after")
    assert listener.numbers == [2]


@pytest.mark.parametrize("far_back", [True, False])
async def test_streams_of_a_task_and_of_a_workflow_leave_out_the_rest(
    tasks: DurableTasks, client: httpx.AsyncClient, far_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From SQLite and from what is at hand."""
    if far_back:
        monkeypatch.setattr(channel, "KEEP", 1)
    org = tasks.org()
    workflow = await org.pipeline("flow", [NewTask(name="one"), NewTask(name="two")])
    task = await org.create("single")
    place = (await org.events(limit=1000))[-1].seq
    listeners = {
        "task": Listener(client, f"/v1/tasks/{task.id}/events/stream", after=place),
        "workflow": Listener(client, f"/v1/workflows/{workflow.id}/events/stream", after=place),
    }
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        listening = [group.create_task(listener.listen()) for listener in listeners.values()]
        await listeners["task"].opened.wait()
        await listeners["workflow"].opened.wait()
        await org.create_many([NewTask(title="other") for _ in range(50)])
        await org.cancel(task.id)
        await org.cancel_workflow(workflow.id)
        await spin_until(lambda: listeners["task"].numbers != [] and len(listeners["workflow"].numbers) == 3)
        for one in listening:
            one.cancel()
    events = [event for event in await org.events(limit=1000) if event.seq > place]
    assert listeners["task"].numbers == [event.seq for event in events if event.task_id == task.id]
    assert listeners["workflow"].numbers == [event.seq for event in events if event.workflow_id == workflow.id]


async def test_another_organisation_is_not_there(tasks: DurableTasks, client: httpx.AsyncClient) -> None:
    """Neither its tasks, nor how much happens in it: events are numbered per organisation."""
    task = await tasks.org("other").create("theirs")
    workflow = await tasks.org("other").dag("theirs", [NewTask(name="one")])
    for path in (f"/v1/tasks/{task.id}", f"/v1/tasks/{NOBODY}", f"/v1/workflows/{workflow.id}", "/v1/workflows/x"):
        refused = await client.get(f"{path}/events/stream")
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    listener = Listener(client, ALL, after=0)
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        group.create_task(listener.listen(until=1))
        await listener.opened.wait()
        assert listener.last_id == "0"
        await tasks.org("other").create("theirs too")
        await tasks.org("acme").create("ours")
    assert [heard.event.org_id for heard in listener.heard] == ["acme"]


async def test_who_proves_nothing_or_has_no_role_hears_nothing(tasks: DurableTasks) -> None:
    async def known(asking: Asking) -> Principal:
        if "authorization" not in asking.headers:
            raise Unauthenticated("who?")
        return Principal(org="acme", subject="ann", roles=frozenset())

    transport = httpx.ASGITransport(create_app(tasks, authenticate=known))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        for path in (ALL, f"/v1/tasks/{NOBODY}/events/stream", f"/v1/workflows/{NOBODY}/events/stream"):
            assert (await client.get(f"{path}?after=x")).status_code == 401
            refused = await client.get(path, headers={"authorization": "ann"})
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("place", ["-1", "x", "1.5"])
async def test_a_place_is_a_number(client: httpx.AsyncClient, place: str) -> None:
    assert (await client.get(ALL, params={"after": place})).status_code == 422
    assert (await client.get(ALL, headers={"Last-Event-ID": place})).status_code == 422


async def test_what_another_process_commits_is_heard(
    tasks: DurableTasks, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    listener = Listener(client, ALL)
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        group.create_task(listener.listen(until=1))
        await listener.opened.wait()
        code = (
            "import asyncio, sys\nfrom durable_tasks import DurableTasks, Settings\n"
            "async def main():\n"
            "    async with DurableTasks(Settings(db=sys.argv[1], worker=False)) as tasks:\n"
            "        await tasks.org('acme').create('from elsewhere')\n"
            "asyncio.run(main())"
        )
        other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(tmp_path / "app.db"))
        assert await other.wait() == 0
    assert listener.numbers == [1]


async def test_streams_end_cleanly_when_the_server_stops_and_say_where_to_go_on(
    tasks: DurableTasks, live: Live, server: tuple[Server, str], client: httpx.AsyncClient
) -> None:
    task = await tasks.org().create("one")
    everything = Listener(client, ALL, after=0)
    part = Listener(client, f"/v1/tasks/{task.id}/events/stream", after=0)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(everything.listen())  # a broken end would raise
        group.create_task(part.listen())
        await spin_until(lambda: bool(everything.heard and part.heard))
        await tasks.org().create("another")
        await spin_until(lambda: everything.last_id == "2")
        server[0].should_exit = True
    assert (everything.last_id, part.last_id) == ("2", "2")
    assert (everything.numbers, part.numbers) == ([1, 2], [1])
    await spin_until(nobody_reads)
    assert live.streams == 0


async def test_streams_end_when_durable_tasks_stops(tasks: DurableTasks, live: Live, client: httpx.AsyncClient) -> None:
    await tasks.org().create("one")
    listener = Listener(client, ALL, after=0)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(listener.listen())
        await spin_until(lambda: bool(listener.heard))
        await tasks.stop()
    await spin_until(nobody_reads)
    assert live.streams == 0


async def test_an_application_that_starts_again_has_streams_again(tmp_path: Path) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "app.db", org="acme"))
    live = create_app(tasks, authenticate=authenticate).live
    for number in (1, 2):
        async with asyncio.timeout(DEADLINE), tasks.lifespan():
            await tasks.org().create("one")
            stream = live.follow("acme", Wanted(), number - 1, always)
            await hear([stream])
            assert await hear([stream]) == {b"id: %d" % number}
            following = asyncio.create_task(hear([stream]))
        assert await following == {b"id: %d" % number}, "it ends when the application does"
        assert nobody_reads()
        await stream.aclose()


async def test_who_leaves_is_forgotten_at_once(live: Live, client: httpx.AsyncClient) -> None:
    listener = Listener(client, ALL)
    listening = asyncio.create_task(listener.listen())
    await asyncio.wait_for(listener.opened.wait(), DEADLINE)
    assert live.streams == 1
    listening.cancel()
    await spin_until(lambda: live.streams == 0)
    await spin_until(nobody_reads)


async def test_one_organisation_does_not_take_all_connections(
    client: httpx.AsyncClient, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_most", 1)
    listener = Listener(client, ALL)
    listening = asyncio.create_task(listener.listen())
    await asyncio.wait_for(listener.opened.wait(), DEADLINE)
    refused = await client.get(ALL)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    other = Listener(client, ALL, org="other")
    listening_too = asyncio.create_task(other.listen())
    await asyncio.wait_for(other.opened.wait(), DEADLINE)
    listening.cancel()
    listening_too.cancel()


async def test_a_client_that_never_reads_is_cut_off_and_holds_up_nobody(
    app: Api, tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_DEAF", 500)
    live, org = app.live, tasks.org()
    live.patience = 10.0  # the other client shares this loop with the server: on a busy machine it is slow as well
    async with served(app, send_buffer=4096) as (server, address):
        host, port = address.removeprefix("http://").split(":")
        said = as_caller(role=Role.VIEWER)["Authorization"]
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        with deaf:
            await asyncio.get_running_loop().sock_connect(deaf, (host, int(port)))
            deaf.sendall(f"GET {ALL}?after=0 HTTP/1.1\r\nhost: {host}\r\nauthorization: {said}\r\n\r\n".encode())
            async with httpx.AsyncClient(base_url=address) as client:
                listener = Listener(client, ALL, after=0)
                async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
                    group.create_task(listener.listen(until=3000))
                    await spin_until(lambda: live.streams == 2)
                    for _ in range(6):
                        await org.create_many([NewTask(title="task") for _ in range(500)])
                assert listener.numbers == list(range(1, 3001))
            await spin_until(lambda: live.streams == 0)
            if sys.platform == "linux":  # elsewhere the other end must close it
                await spin_until(lambda: not server.server_state.connections)


async def test_silence_is_filled_and_no_stream_is_endless(tmp_path: Path) -> None:
    clock = ManualClock()
    tasks, client = DurableTasks(Settings(db=tmp_path / "app.db", org="acme"), clock=clock), Tap()
    app = create_app(tasks, authenticate=authenticate)
    async with tasks.lifespan():
        streaming = asyncio.create_task(client.get(app, ALL))
        await spin_until(lambda: len(client.sent) == 2)
        await clock.advance(KEEPALIVE - 1)
        assert len(client.sent) == 2
        await clock.advance(1)
        assert client.sent[2:] == [b": still here\n\n"]
        await tasks.org().create("one")
        await spin_until(lambda: len(client.sent) == 4)
        assert json.loads(client.sent[3].partition(b"data: ")[2])["kind"] == "task.created"
        await clock.advance(LONGEST)
        async with asyncio.timeout(DEADLINE):
            await client.ended.wait()
            await streaming
        assert client.sent[-2:] == [b"id: 1\n\n", b""]


@pytest.mark.parametrize("now", [None, Role.AGENT], ids=["refused", "another role"])
async def test_who_may_listen_no_more_hears_no_more(tmp_path: Path, now: Role | None) -> None:
    clock, rights = ManualClock(), [Role.VIEWER]

    async def once(asking: Asking) -> Principal:
        if not rights:
            raise Unauthenticated("revoked")
        return Principal(org="acme", subject="ann", roles=frozenset(rights))

    tasks, client = DurableTasks(Settings(db=tmp_path / "app.db", org="acme"), clock=clock), Tap()
    app = create_app(tasks, authenticate=once)
    async with tasks.lifespan():
        streaming = asyncio.create_task(client.get(app, ALL))
        await spin_until(lambda: len(client.sent) == 2)
        await clock.advance(CHECK)
        await tasks.org().create("heard")
        await spin_until(lambda: len(client.sent) == 3)
        rights[:] = [] if now is None else [now]
        await clock.advance(CHECK)
        async with asyncio.timeout(DEADLINE):
            await streaming
        assert client.sent[-2:] == [b"id: 1\n\n", b""]


@pytest.fixture
async def reads(tasks: DurableTasks, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every read of events."""
    seen: list[dict[str, Any]] = []
    events = tasks.store.events

    async def counted(org_id: str, **wanted: Any) -> list[Event]:
        seen.append(wanted)
        return await events(org_id, **wanted)

    monkeypatch.setattr(tasks.store, "events", counted)
    return seen


async def hear(streams: list[AsyncGenerator[bytes, None]]) -> set[bytes]:
    """The first lines of what each stream says next."""
    async with asyncio.timeout(DEADLINE):
        return {text.splitlines()[0] for text in await asyncio.gather(*map(anext, streams))}


async def test_many_listeners_read_sqlite_once(tasks: DurableTasks, live: Live, reads: list[dict[str, Any]]) -> None:
    streams = [live.follow("acme", Wanted(), 0, always) for _ in range(50)]
    assert await hear(streams) == {b"retry: 2000"}
    await tasks.org().create("the replay ends here")
    assert await hear(streams) == {b"id: 1"}
    reads.clear()
    await tasks.org().create("live")
    assert await hear(streams) == {b"id: 2"}
    assert len(reads) == 1
    for stream in streams:
        await stream.aclose()


async def test_listeners_are_told_in_rounds(
    tasks: DurableTasks, live: Live, reads: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "FEW", 0)
    monkeypatch.setattr(channel, "EACH", 1.0)
    monkeypatch.setattr(channel, "LONGEST_PAUSE", 1.0)
    stream = live.follow("acme", Wanted(), 0, always)
    assert await hear([stream]) == {b"retry: 2000"}
    await tasks.org().create("the replay ends here")
    assert await hear([stream]) == {b"id: 1"}
    reads.clear()
    for _ in range(20):
        await tasks.org().create("much happens")
    assert len(reads) < 10
    await stream.aclose()


async def test_one_caller_leaves_streams_to_others(tasks: DurableTasks) -> None:
    live = Live(tasks, 2)

    async def opened(*subjects: str) -> list[str]:
        """What those who ask at once are refused for."""
        who = [Principal(org="acme", subject=subject, roles=frozenset()) for subject in subjects]
        begun = [live.begin(one, Wanted(), 0, always) for one in who]
        return [str(one) for one in await asyncio.gather(*begun, return_exceptions=True) if isinstance(one, Refusal)]

    async with live.running():
        assert ["'ann' listens 1 times" in said for said in await opened("ann", "ann")] == [True]
        assert ["'acme' listens 2 times" in said for said in await opened("bob", "cyd")] == [True]


async def test_a_stream_that_is_over_is_given_back(tmp_path: Path) -> None:
    async with api_of_short_streams(tmp_path) as (_, client):
        live = client._transport.app.live  # type: ignore[attr-defined]
        live._most = 1
        for _ in range(3):
            assert (await client.get("/v1/events/stream")).status_code == 200
        assert not live._of


async def test_many_listeners_are_told_a_few_at_a_time(tasks: DurableTasks) -> None:
    told = channel.Channel("acme", tasks.store, tasks.waiters, tasks.clock)
    listeners = [told.join() for _ in range(2 * channel.AT_ONCE + 1)]
    told.end()
    seen = []
    for _ in range(3):
        seen.append(sum(news.is_set() for news in listeners))
        await asyncio.sleep(0)
    assert seen == [channel.AT_ONCE, 2 * channel.AT_ONCE, len(listeners)]


async def test_listeners_of_a_quiet_task_do_not_search_sqlite_whenever_something_else_happens(
    tasks: DurableTasks, live: Live, reads: list[dict[str, Any]]
) -> None:
    org = tasks.org()
    quiet = await org.create("quiet")
    await org.create_many([NewTask(title="before") for _ in range(10)])
    streams = [live.follow("acme", Wanted(task_id=quiet.id), 0, always) for _ in range(20)]
    assert await hear(streams) == {b"retry: 2000"}
    assert await hear(streams) == {b"id: 1"}
    hearing = asyncio.create_task(hear(streams))
    for _ in range(50):
        await org.create("elsewhere")
    await org.cancel(quiet.id)
    assert await hearing == {b"id: 62"}
    assert len([read for read in reads if read.get("task_id")]) <= 3 * len(streams)
    for stream in streams:
        await stream.aclose()


def test_the_page_says_what_the_code_does() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/how-to/live-events.md").read_text(encoding="utf-8")
    for said in (
        f"After {KEEPALIVE:.0f} s",
        f"every {CHECK:.0f} s",
        f"{LONGEST / 60:.0f} minutes",
        f"for {PATIENCE:.0f} s",
        f"retry: {RETRY}",
        f"{MOST_LONG} streams",
    ):
        assert said in page
