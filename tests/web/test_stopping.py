"""A host application stops, and is loaded again, while somebody listens: its server does not wait for streams.

It must not know how the server is noticed.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType

import httpx
import pytest

from durable_tasks.web.stopping import told_to_stop
from tests.cli.running import environment, free_port

APP = """
from fastapi import FastAPI
from durable_tasks import DurableTasks, Settings

app = FastAPI()
for name in ("a", "b"):
    tasks = DurableTasks(Settings(db=f"{name}.db"))
    tasks.install(app, path=f"/{name}", authenticate="none")
"""
SOON = 10.0
"""Seconds: a server that waits for a stream takes half an hour."""


@asynccontextmanager
async def served(folder: Path, *options: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    (folder / "app.py").write_text(APP)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), *options),
        cwd=folder, env=environment(), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await hear(process, "Application startup complete")
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def hear(process: asyncio.subprocess.Process, wanted: str) -> str:
    assert process.stderr is not None
    heard = ""
    async with asyncio.timeout(60):
        while line := (await process.stderr.readline()).decode():
            heard += line
            if wanted in line:
                return heard
    raise AssertionError(f"ended without saying {wanted!r}:\n{heard}")


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """A dashboard's stream, of each of the two."""
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", f"{url}/a/v1/events/stream") as one,
        client.stream("GET", f"{url}/b/v1/events/stream") as other,
    ):
        chunks = other.aiter_bytes()
        await anext(chunks)
        await anext(one.aiter_bytes())
        yield chunks


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_while_streams_are_open(tmp_path: Path, number: signal.Signals) -> None:
    async with served(tmp_path) as (url, process), listening(url) as chunks:
        process.send_signal(number)
        async with asyncio.timeout(SOON):
            assert [chunk async for chunk in chunks] != []  # where to come back
            _, err = await process.communicate()
        assert b"Application shutdown complete" in err


async def test_it_is_loaded_again_while_streams_are_open(tmp_path: Path) -> None:
    async with served(tmp_path, "--reload", "--reload-include", "app.py") as (url, process):
        for word in ("once", "twice"):
            async with listening(url):
                (tmp_path / "app.py").write_text(f"{APP}# {word}\n")
                async with asyncio.timeout(3 * SOON):  # it looks for changed files now and then, and loads the app
                    await hear(process, "Application startup complete")
        process.terminate()
        await process.communicate()


# ----- whoever handles signals here


@contextmanager
def handled(number: int, handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


async def test_whoever_handles_the_signal_still_does() -> None:
    asked: list[int] = []
    left = [asyncio.Event(), asyncio.Event()]
    with handled(signal.SIGTERM, lambda number, frame: asked.append(number)):
        ours = signal.getsignal(signal.SIGTERM)
        with told_to_stop(left[0].set), told_to_stop(left[1].set):
            signal.raise_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                await asyncio.gather(*(event.wait() for event in left))
        assert signal.getsignal(signal.SIGTERM) is ours
    assert asked == [signal.SIGTERM]


async def test_those_that_end_in_another_order_than_they_began_only_hand_on() -> None:
    asked: list[int] = []
    left: list[str] = []
    with handled(signal.SIGTERM, lambda number, frame: asked.append(number)):
        first, second = told_to_stop(lambda: left.append("first")), told_to_stop(lambda: left.append("second"))
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        signal.raise_signal(signal.SIGTERM)
        second.__exit__(None, None, None)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.to_thread(int)  # the loop has turned
    assert (asked, left) == ([signal.SIGTERM] * 2, ["second"])


async def test_a_signal_that_nobody_handles_keeps_its_meaning() -> None:
    nobody = handled(signal.SIGTERM, signal.SIG_DFL), handled(signal.SIGINT, signal.default_int_handler)
    with nobody[0], nobody[1], told_to_stop(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def test_outside_of_the_main_thread_it_changes_nothing() -> None:
    async def enter() -> None:
        with told_to_stop(lambda: None):
            pass

    with handled(signal.SIGTERM, lambda number, frame: None):
        await asyncio.to_thread(asyncio.run, enter())
