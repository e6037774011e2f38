"""Live events: what a stream replays, what it goes on with, who may listen, and how it ends.

It must not know how events are written.
"""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from durable_tasks import DurableTasks, Event, NewTask, Settings
from durable_tasks.testing import ManualClock
from durable_tasks.web import channel
from durable_tasks.web.channel import Wanted
from durable_tasks.web.live import KEEPALIVE, LONGEST, PATIENCE, RETRY, Live
from tests.web.listening import DEADLINE, Listener, Server, application, served, spin_until

ALL = "/v1/events/stream"
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def tasks(tmp_path: Path) -> AsyncIterator[DurableTasks]:
    async with DurableTasks(Settings(db=tmp_path / "app.db", org="acme")) as started:
        yield started


@pytest.fixture
def live(tasks: DurableTasks) -> Live:
    return Live(tasks)


@pytest.fixture
async def server(tasks: DurableTasks, live: Live) -> AsyncIterator[tuple[Server, str]]:
    async with served(application(tasks, live), live) as running:
        yield running
    await live.aclose()


@pytest.fixture
async def client(server: tuple[Server, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server[1]) as made:
        yield made


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
        refused = await client.get(f"{path}/events/stream", headers={"x-org": "acme"})
        assert (refused.status_code, refused.json()) == (404, {"code": "not_found"})
    listener = Listener(client, ALL, after=0)
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        group.create_task(listener.listen(until=1))
        await listener.opened.wait()
        assert listener.last_id == "0"
        await tasks.org("other").create("theirs too")
        await tasks.org("acme").create("ours")
    assert [heard.event.org_id for heard in listener.heard] == ["acme"]


async def test_who_has_no_role_hears_nothing(client: httpx.AsyncClient) -> None:
    refused = await client.get(ALL, headers={"x-org": "acme", "x-roles": ""})
    assert (refused.status_code, refused.json()) == (403, {"code": "forbidden"})


@pytest.mark.parametrize("place", ["-1", "x", "1.5"])
async def test_a_place_is_a_number(client: httpx.AsyncClient, place: str) -> None:
    for request in ({"params": {"after": place}}, {"headers": {"last-event-id": place}}):
        headers = {"x-org": "acme", **request.pop("headers", {})}
        refused = await client.get(ALL, headers=headers, **request)  # type: ignore[arg-type]
        assert refused.status_code == 422


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
        server[0].stop()
    assert (everything.last_id, part.last_id) == ("2", "2")
    assert (everything.numbers, part.numbers) == ([1, 2], [1])
    await live.aclose()
    assert live.streams == 0


async def test_streams_end_when_durable_tasks_stops(tasks: DurableTasks, live: Live, client: httpx.AsyncClient) -> None:
    await tasks.org().create("one")
    listener = Listener(client, ALL, after=0)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(listener.listen())
        await spin_until(lambda: bool(listener.heard))
        await tasks.stop()
    assert live.streams == 0
    assert [task for task in asyncio.all_tasks() if "events of" in task.get_name()] == []


async def test_who_leaves_is_forgotten_at_once(live: Live, client: httpx.AsyncClient) -> None:
    listener = Listener(client, ALL)
    listening = asyncio.create_task(listener.listen())
    await asyncio.wait_for(listener.opened.wait(), DEADLINE)
    assert live.streams == 1
    listening.cancel()
    await spin_until(lambda: live.streams == 0)
    await spin_until(lambda: not any("events of" in task.get_name() for task in asyncio.all_tasks()))


async def test_a_client_that_never_reads_is_cut_off_and_holds_up_nobody(tasks: DurableTasks) -> None:
    live = Live(tasks, patience=0.5)
    org = tasks.org()
    async with served(application(tasks, live), live, send_buffer=4096) as (_, address):
        host, port = address.removeprefix("http://").split(":")
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        with deaf:
            await asyncio.get_running_loop().sock_connect(deaf, (host, int(port)))
            deaf.sendall(f"GET {ALL}?after=0 HTTP/1.1\r\nhost: {host}\r\nx-org: acme\r\n\r\n".encode())
            async with httpx.AsyncClient(base_url=address) as client:
                listener = Listener(client, ALL, after=0)
                async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
                    group.create_task(listener.listen(until=3000))
                    await spin_until(lambda: live.streams == 2)
                    for _ in range(6):
                        await org.create_many([NewTask(title="task") for _ in range(500)])
                assert listener.numbers == list(range(1, 3001))
            await spin_until(lambda: live.streams == 0)
    await live.aclose()


class _Client:
    """The other end of one ASGI request, without a server: for what takes hours."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.ended = asyncio.Event()

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.sent.append(message.get("body", b""))
        if message["type"] == "http.response.body" and not message["more_body"]:
            self.ended.set()

    async def get(self, app: Callable[[Scope, Receive, Send], object], path: str) -> None:
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
                 "headers": [(b"x-org", b"acme")], "http_version": "1.1", "scheme": "http", "root_path": "",
                 "asgi": {"version": "3.0", "spec_version": "2.3"}}  # fmt: skip
        await app(scope, self.receive, self.send)  # type: ignore[misc]


async def test_silence_is_filled_and_no_stream_is_endless(tmp_path: Path) -> None:
    clock = ManualClock()
    async with DurableTasks(Settings(db=tmp_path / "app.db", org="acme"), clock=clock) as tasks:
        live, client = Live(tasks), _Client()
        streaming = asyncio.create_task(client.get(application(tasks, live), ALL))
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
        await live.aclose()


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
    streams = [live.follow("acme", Wanted(), 0) for _ in range(50)]
    assert await hear(streams) == {b"retry: 2000"}
    await tasks.org().create("the replay ends here")
    assert await hear(streams) == {b"id: 1"}
    reads.clear()
    await tasks.org().create("live")
    assert await hear(streams) == {b"id: 2"}
    assert len(reads) == 1
    for stream in streams:
        await stream.aclose()
    await live.aclose()


async def test_listeners_of_a_quiet_task_do_not_search_sqlite_whenever_something_else_happens(
    tasks: DurableTasks, live: Live, reads: list[dict[str, Any]]
) -> None:
    org = tasks.org()
    quiet = await org.create("quiet")
    await org.create_many([NewTask(title="before") for _ in range(10)])
    streams = [live.follow("acme", Wanted(task_id=quiet.id), 0) for _ in range(20)]
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
    await live.aclose()


def test_the_page_says_what_the_code_does() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/how-to/live-events.md").read_text(encoding="utf-8")
    for said in (f"After {KEEPALIVE:.0f} s", f"{LONGEST / 60:.0f} minutes", f"for {PATIENCE:.0f} s", f"retry: {RETRY}"):
        assert said in page
