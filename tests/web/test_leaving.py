"""A caller who hangs up while a slow answer is made costs nothing more."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from durable_tasks import DurableTasks, Settings
from durable_tasks.web.app import create_app
from durable_tasks.web.leaving import Leaving, Looks
from tests.web.asking import authenticate

PATIENCE = 60.0
SCOPE: dict[str, Any] = {
    "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
    "path": "/v1/tasks", "raw_path": b"/v1/tasks", "root_path": "", "query_string": b"text=x",
    "headers": [(b"authorization", b"Bearer acme:ann:VIEWER"), (b"host", b"api")], "server": ("api", 80),
    "client": ("127.0.0.1", 1),
}  # fmt: skip


async def test_what_is_read_for_a_caller_who_has_hung_up_is_given_up(tmp_path: Path) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db"))
    app = create_app(tasks, authenticate=authenticate)
    begun, opened, sent = threading.Event(), threading.Event(), list[Any]()

    def busy(conn: sqlite3.Connection) -> None:
        begun.set()
        assert opened.wait(PATIENCE)

    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with tasks.lifespan():
        running = asyncio.create_task(tasks.store.search(busy, "acme"))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        await asyncio.wait_for(app({**SCOPE, "state": {}}, receive, send), PATIENCE / 2)  # its search never began
        assert not running.done()
        opened.set()
        await running
    assert sent[0]["status"] == 499


async def test_all_that_is_read_is_looked_at_by_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = list[Callable[[], None]]()
    loop, looks = asyncio.get_running_loop(), Looks()
    looked = asyncio.Event()

    async def receive() -> Any:
        looked.set()
        return {"type": "http.disconnect"}

    def call_later(delay: float, call: Callable[..., None], *args: Any) -> None:
        timers.append(lambda: call(*args))

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_later", call_later)
        for _ in range(100):
            with Leaving(Request(SCOPE, receive), looks):
                pass
        with Leaving(Request(SCOPE, receive), looks) as slow:
            assert len(timers) == 1
            timers.pop()()
            assert not slow.gone
            assert len(timers) == 1
            timers.pop()()
            assert not timers  # nobody is left to look at
            await asyncio.Event().wait()
    assert slow.gone
    assert looked.is_set()
    with Leaving(Request(SCOPE, receive), looks) as quick:
        pass
    assert not quick.gone
