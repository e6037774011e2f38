"""Handlers of a worker without the SQLite file; what they did they journal, and they wait for files to appear.
It must not know who kills that worker, nor why; where to write stands in OUTSIDE_JOURNAL.
"""

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from durable_tasks import Handlers, RetryAfter, Task, TaskContext
from durable_tasks.clock import SystemClock

PATIENCE = 120.0
_LOOK = 0.02

handlers = Handlers()
_clock = SystemClock()


class Page(BaseModel):
    """A typed input, and with `Area` a typed output."""

    width: int
    height: int


class Area(BaseModel):
    square: int


def note(op: str, ctx: TaskContext) -> None:
    """One line, in the kernel's hands before the next statement: a kill loses none."""
    fact = {"op": op, "id": ctx.task.id, "attempt": ctx.attempt, "pid": os.getpid(), "at": time.time()}
    fd = os.open(os.environ["OUTSIDE_JOURNAL"], os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.write(fd, (json.dumps(fact) + "\n").encode())
    finally:
        os.close(fd)


@handlers.handler("out/echo")
async def echo(ctx: TaskContext, task: Task) -> dict[str, Any]:
    note("began", ctx)
    note("ended", ctx)
    return {"got": task.input, "prior": dict(ctx.prior)}


@handlers.handler("out/gate")
async def gate(ctx: TaskContext, task: Task) -> str:
    """Waits for the file that its input names; says half-way that it is half-way."""
    note("began", ctx)
    ctx.progress(50, "at the gate")
    until = time.monotonic() + PATIENCE
    try:
        while not Path(task.input).exists() and time.monotonic() < until:
            await _clock.wait_for(asyncio.Event(), _LOOK)
    except asyncio.CancelledError:
        note("told", ctx)
        raise
    note("ended", ctx)
    return f"attempt {ctx.attempt}"


@handlers.handler("out/deaf")
def deaf(ctx: TaskContext, task: Task) -> str:
    """The same, but whoever wants to stop it is not heard. Only its first attempt waits."""
    note("began", ctx)
    until = time.monotonic() + PATIENCE
    while ctx.attempt == 1 and not Path(task.input).exists() and time.monotonic() < until:
        threading.Event().wait(_LOOK)
    note("ended", ctx)
    return f"attempt {ctx.attempt}"


@handlers.handler("out/flaky")
async def flaky(ctx: TaskContext, task: Task) -> str:
    """Fails in its first try, and in the second wants more time."""
    note("began", ctx)
    if task.retry_count < 2:
        note("failed", ctx)
        raise ValueError("the first try fails") if task.retry_count == 0 else RetryAfter(0.2)
    note("ended", ctx)
    return "the third"


@handlers.handler("out/broken")
async def broken(ctx: TaskContext, task: Task) -> str:
    """Fails until the file that its input names is there."""
    note("began", ctx)
    if not Path(task.input).exists():
        note("failed", ctx)
        raise ValueError("not yet")
    note("ended", ctx)
    return "mended"


@handlers.handler("out/area")
async def area(ctx: TaskContext, page: Page) -> Area:
    note("began", ctx)
    note("ended", ctx)
    return Area(square=page.width * page.height)


@handlers.handler("out/large")
async def large(ctx: TaskContext, task: Task) -> str:
    """As many characters as its input says."""
    return "x" * int(task.input)


@handlers.handler("out/size")
async def size(ctx: TaskContext, task: Task) -> int:
    return len(task.input)
