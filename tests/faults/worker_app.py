"""An application as users write one, run as a process of its own: `python -m tests.faults.worker_app JSON`.
It must not know what is done to it; what was acknowledged and what its handlers did it journals, line by line.
"""

import asyncio
import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from durable_tasks.app import DurableTasks
from durable_tasks.errors import Conflict
from durable_tasks.handlers import TaskContext
from durable_tasks.lifecycle import OPEN
from durable_tasks.models import Claim, NewTask, RetryPolicy, Task
from durable_tasks.ports import Notice
from durable_tasks.settings import Settings

LEASE = 3.0
DRAIN = 90.0


class Journal:
    """One line per fact, in the kernel's hands before the next statement: a kill loses none."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)

    def __call__(self, op: str, **facts: Any) -> None:
        os.write(self._fd, (json.dumps({"op": op, **facts}) + "\n").encode())


def say(*words: object) -> None:
    print(*words, flush=True)


class Program:
    """One instance with its handlers, and what each mode does with it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        folder = Path(config["db"]).parent
        self.acknowledged = Journal(str(folder / "acknowledged"))
        self.effect = Journal(str(folder / "effects"))
        self.tasks = DurableTasks(Settings(db=config["db"], **config.get("settings", {})))
        self.org = self.tasks.org()
        self.commands: asyncio.Queue[str] = asyncio.Queue()
        self.released = threading.Event()
        self._keys = 0
        self._register()

    def _register(self) -> None:
        tasks, clock = self.tasks, self.tasks.clock
        for capability in self.config.get("also", ()):
            tasks.handler(capability)(self._name_after_a_second)

        @tasks.handler("echo")
        async def echo(ctx: TaskContext, task: Task) -> Any:
            with self._noted(ctx):
                return task.input

        @tasks.handler("slow")
        async def slow(ctx: TaskContext, task: Task) -> Any:
            with self._noted(ctx):
                for percent in (25, 50, 75):
                    ctx.progress(percent)
                    await clock.wait(asyncio.Event(), clock.now() + 0.1)
                return task.input

        @tasks.handler("thread")
        def thread(ctx: TaskContext, task: Task) -> Any:
            with self._noted(ctx):
                threading.Event().wait(0.05)
                return task.input

        @tasks.handler("flaky")
        async def flaky(ctx: TaskContext, task: Task) -> Any:
            with self._noted(ctx):
                if task.retry_count == 0:
                    raise RuntimeError("the first try fails")
                return task.input

        @tasks.handler("hold")
        def hold(ctx: TaskContext, task: Task) -> Any:
            with self._noted(ctx):
                say("HOLDING", task.id)
                self.released.wait(60)
                return "late"

    def _name_after_a_second(self, ctx: TaskContext, task: Task) -> str:
        threading.Event().wait(1.0)
        return str(self.config["name"])

    def _noted(self, ctx: TaskContext) -> "_Noted":
        return _Noted(self.effect, ctx.task.id, ctx.attempt)

    # ----- modes

    async def run(self) -> None:
        mode: Callable[[], Awaitable[None]] = getattr(self, self.config["mode"])
        listening = asyncio.create_task(self._listen())
        await self.tasks.start()
        say("READY", time.time())
        await mode()
        if not self.config.get("forget_stop"):
            await self.tasks.stop()
        listening.cancel()

    async def _listen(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            self.commands.put_nowait(line.decode().strip())
        self.commands.put_nowait("end")

    async def create(self) -> None:
        for _ in range(self.config.get("count", 1)):
            await self._create("left to others", mode="manual")

    async def serve(self) -> None:
        """Run handlers until told to end; "release" lets those that hold go on."""
        while (command := await self.commands.get()) != "end":
            if command == "release":
                self.released.set()

    async def hammer(self) -> None:
        """Several callers at once, nothing left behind; any error ends the process."""
        claims: list[tuple[str, str]] = []
        async with asyncio.TaskGroup() as callers:
            for number in range(self.config["clients"]):
                callers.create_task(self._hammer(f"{self.config['name']}/{number}", claims))
        say("CLAIMS", json.dumps(claims))

    async def _hammer(self, agent: str, claims: list[tuple[str, str]]) -> None:
        for number in range(self.config["count"]):
            await self.org.create(f"{agent}/{number}", mode="manual")
            await self._take_one(agent, claims)
            await self.org.list(limit=10)
        while await self._take_one(agent, claims):
            pass

    async def _take_one(self, agent: str, claims: list[tuple[str, str]]) -> bool:
        claim = await self.org.next(agent_id=agent)
        if claim is None:
            return False
        claims.append((claim.task.id, claim.token))
        await self.org.complete(claim.task.id, agent, token=claim.token)
        return True

    async def load(self) -> None:
        """Everything an application does, until it is killed."""
        await self._repeat_unanswered()
        actions = (self._auto, self._auto, self._manual, self._agent, self._agent, self._batch, self._cancel)

        async def client(number: int) -> None:
            rng = random.Random(f"{self.config['seed']}/{number}")
            while True:
                await rng.choice(actions)(rng)

        async with asyncio.TaskGroup() as clients:
            for number in range(self.config["clients"]):
                clients.create_task(client(number))

    async def drain(self) -> None:
        """Work off what was left, then say what both sides think of it."""
        changed = asyncio.Event()
        self.tasks.store.subscribe(lambda notice: changed.set())
        rng = random.Random(0)
        clock, until = self.tasks.clock, self.tasks.clock.now() + DRAIN
        while clock.now() < until:
            changed.clear()
            if await self._agent(rng):
                continue
            if not (await self.org.list(state=sorted(OPEN), limit=1)).items:
                break
            await clock.wait(changed, until)
        stuck = [(task.id, task.state) for task in (await self.org.list(state=sorted(OPEN), limit=1000)).items]
        drift = [] if self.tasks.temporal is None else await settled_drift(self.tasks, until=DRAIN)
        audit = await self.tasks.store.audit()
        say("DRAINED", json.dumps({"stuck": stuck, "drift": [str(one) for one in drift], "audit": audit}))

    # ----- what a client does

    async def _create(self, title: str, **fields: Any) -> Task:
        self._keys += 1
        key = f"{self.config.get('name')}/{self._keys}"
        self.acknowledged("creating", key=key, title=title, fields=fields)
        return await self._create_with(key, title, fields)

    async def _create_with(self, key: str, title: str, fields: dict[str, Any]) -> Task:
        task = await self.org.create(title, idempotency_key=key, **fields)
        self.acknowledged("created", key=key, id=task.id)
        return task

    async def _repeat_unanswered(self) -> None:
        """A caller that never heard an answer asks again with its key."""
        lines = (Path(self.config["db"]).parent / "acknowledged").read_text().splitlines()
        asked: dict[str, dict[str, Any]] = {}
        for fact in map(json.loads, lines):
            if fact["op"] == "creating":
                asked[fact["key"]] = fact
            elif fact["op"] == "created":
                asked.pop(fact["key"], None)
        for key, fact in asked.items():
            await self._create_with(key, fact["title"], fact["fields"])

    async def _auto(self, rng: random.Random) -> None:
        capability = rng.choice(("echo", "echo", "slow", "thread", "flaky"))
        retry = {"initial": 0.1, "coefficient": 1.0}
        task = await self._create("auto", capability=capability, input=rng.random(), max_retries=2, retry=retry)
        self._ended(await self.org.wait(task.id))

    async def _manual(self, rng: random.Random) -> None:
        await self._create("manual", mode="manual", priority=rng.randrange(4))

    async def _batch(self, rng: random.Random) -> None:
        first = NewTask(name="first", capability="echo", input=rng.random(), retry=RetryPolicy())
        second = NewTask(name="second", capability="slow", depends_on=("first",), delay=0.2)
        made = await self.org.create_many([second, first])
        for task in made:
            self.acknowledged("created", key=None, id=task.id)
        for task in made:
            self._ended(await self.org.wait(task.id))

    async def _cancel(self, rng: random.Random) -> None:
        task = await self._create("cancelled soon", capability="slow")
        with suppress(Conflict):
            await self.org.cancel(task.id)
            self.acknowledged("cancelled", id=task.id)

    def _ended(self, task: Task) -> None:
        self.acknowledged(task.state, id=task.id, output=task.output, attempt=task.attempt)

    async def _agent(self, rng: random.Random) -> bool:
        """Take a manual task through one of its lives. False: there was none."""
        claim = await self.org.next(agent_id="an agent", lease=LEASE)
        if claim is None:
            return False
        self._claimed(claim)
        with suppress(Conflict):  # its lease ended while this process was stalled
            await self._work(claim, rng)
        return True

    def _claimed(self, claim: Claim) -> None:
        self.acknowledged("claimed", id=claim.task.id, token=claim.token, attempt=claim.task.attempt)

    async def _work(self, claim: Claim, rng: random.Random) -> None:
        task_id, token = claim.task.id, claim.token
        await self.org.start(task_id, token=token)
        self.acknowledged("started", id=task_id, token=token)
        await self.org.progress(task_id, 40, token=token)
        self.acknowledged("progress", id=task_id, token=token, percent=40)
        end = rng.random()
        if end < 0.15:
            await self.org.release(task_id, token=token)
            self.acknowledged("released", id=task_id, token=token)
        elif end < 0.35:
            await self.org.fail(task_id, "as told", token=token, retryable=False)
            self.acknowledged("failed", id=task_id, token=token)
        else:
            await self.org.complete(task_id, end, token=token)
            self.acknowledged("completed", id=task_id, token=token, output=end)


class _Noted:
    """Notes when a handler begins and, if it does, ends."""

    def __init__(self, effect: Journal, task_id: str, attempt: int) -> None:
        self._effect, self._facts = effect, {"id": task_id, "attempt": attempt}

    def __enter__(self) -> None:
        self._effect("began", **self._facts)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._effect("ended", **self._facts)


async def settled_drift(tasks: DurableTasks, *, until: float) -> list[Any]:
    """The drift once it is none, or what is left of it after `until` seconds. Waits for Temporal workflows
    that are to end, and for commits that mend the others."""
    from temporalio.client import Client
    from temporalio.service import RPCError

    engine = tasks.temporal
    assert engine is not None
    changed = asyncio.Event()

    def heed(notice: Notice) -> None:
        changed.set()

    unsubscribe = tasks.store.subscribe(heed)
    drift: list[Any] = []
    try:
        async with asyncio.timeout(until):
            await engine.wait_connected()
            client = await Client.connect(engine.address, namespace=tasks.settings.namespace)
            while drift := await _drift_and_errands(tasks):
                changed.clear()
                waits: list[asyncio.Task[Any]] = [asyncio.create_task(changed.wait())]
                for one in drift:
                    if getattr(one, "temporal_status", "") == "RUNNING":
                        handle = client.get_workflow_handle(f"task/{one.task_id}/{one.generation}")
                        waits.append(asyncio.create_task(_result(handle.result())))
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
    except (TimeoutError, RPCError):
        return drift
    finally:
        unsubscribe()
    return drift


async def _drift_and_errands(tasks: DurableTasks) -> list[Any]:
    """What differs, and what is still to be sent: neither side is at rest before both are none."""
    assert tasks.temporal is not None
    waiting = await tasks.store.read(
        lambda conn: conn.execute("SELECT subject_id, generation, kind, error FROM dt_outbox").fetchall()
    )
    return [*await tasks.temporal.drift(), *waiting]


async def _result(result: Awaitable[Any]) -> None:
    with suppress(Exception):
        await result


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="LOG %(name)s %(message)s", level=logging.INFO)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    asyncio.run(Program(json.loads(sys.argv[1])).run())
