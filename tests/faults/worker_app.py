"""An application as users write one, run as a process of its own: `python -m tests.faults.worker_app JSON`.
It must not know what is done to it; what was acknowledged and what its handlers did it journals, line by line.
"""

import asyncio
import json
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from durable_tasks.app import DurableTasks
from durable_tasks.errors import Conflict, StoreError, TemporalUnavailable
from durable_tasks.handlers import TaskContext
from durable_tasks.lifecycle import OPEN
from durable_tasks.models import Claim, NewTask, RetryPolicy, Task, Workflow, WorkflowState
from durable_tasks.org import Org
from durable_tasks.ports import Assignment, Ending, Errand, Notice, OutboxKind, Outcome
from durable_tasks.settings import Settings
from durable_tasks.store.store import Store

LEASE = 3.0
DRAIN = 90.0
AGREEMENT = 240.0
"""Seconds that both sides may take to agree: on a busy machine Temporal closes its workflows long after their tasks."""
POLL = 1.0
OPEN_GROUPS = (WorkflowState.PENDING, WorkflowState.RUNNING)


class Journal:
    """One line per fact, in the kernel's hands before the next statement: a kill loses none."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)

    def __call__(self, op: str, **facts: Any) -> None:
        os.write(self._fd, (json.dumps({"op": op, **facts}) + "\n").encode())


def say(*words: object) -> None:
    """In one piece: other threads log there too."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Death:
    """Kills this process from inside when it has passed one point so many times. The points lie around the store's
    calls, which are wrapped here: the product knows nothing of it."""

    def __init__(self, at: str, passes: int) -> None:
        self._at, self._left = at, passes
        inner: dict[str, Callable[..., Awaitable[Any]]] = {
            name: getattr(Store, name) for name in ("errands", "acknowledge", "acknowledge_and_begin", "finish")
        }

        async def errands(store: Store, *args: Any, **options: Any) -> Any:
            found = await inner["errands"](store, *args, **options)
            if any(errand.kind is OutboxKind.START for errand in found[0]):
                self("committed")
            return found

        async def acknowledge(store: Store, errand: Errand, **options: Any) -> Any:
            if errand.kind is OutboxKind.START:
                self("started")
            return await inner["acknowledge"](store, errand, **options)

        async def acknowledge_and_begin(store: Store, *args: Any) -> Any:
            self("started")
            return await inner["acknowledge_and_begin"](store, *args)

        async def finish(store: Store, assignment: Assignment, outcome: Outcome, *args: Any) -> Any:
            if outcome.ending is Ending.COMPLETED:
                self("ended")
            return await inner["finish"](store, assignment, outcome, *args)

        for wrapped in (errands, acknowledge, acknowledge_and_begin, finish):
            patch.object(Store, wrapped.__name__, wrapped).start()

    def __call__(self, point: str) -> None:
        if point == self._at:
            self._left -= 1
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Program:
    """One instance with its handlers, and what each mode does with it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self._journals = Path(config.get("journals") or Path(config["db"]).parent)
        self.acknowledged = Journal(str(self._journals / "acknowledged"))
        self.effect = Journal(str(self._journals / "effects"))
        self.refused = Journal(str(self._journals / "refused"))
        self.tasks = DurableTasks(Settings(db=config["db"], **config.get("settings", {})))
        self.orgs = [self.tasks.org(), *map(self.tasks.org, config.get("orgs", ()))]
        self.org = self.orgs[0]
        self.commands: asyncio.Queue[str] = asyncio.Queue()
        self.released = threading.Event()
        self._keys = 0
        self._death = Death(**config["die"]) if "die" in config else None
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
                    await clock.wait_for(asyncio.Event(), 0.1)
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

        @tasks.handler("kill")
        async def kill(ctx: TaskContext, task: Task) -> None:
            with self._noted(ctx):
                await clock.wait_for(asyncio.Event(), 0.2)
                os.kill(os.getpid(), signal.SIGKILL)

        @tasks.handler("hog")
        async def hog(ctx: TaskContext, seconds: float) -> str:
            with self._noted(ctx):
                say("HOLDING", ctx.task.id)
                threading.Event().wait(seconds)  # the commonest mistake: all of the loop stands still
                return str(self.config["name"])

    def _name_after_a_second(self, ctx: TaskContext, task: Task) -> str:
        threading.Event().wait(1.0)
        return str(self.config["name"])

    def _noted(self, ctx: TaskContext) -> "_Noted":
        return _Noted(self.effect, ctx.task.id, ctx.attempt, self._death)

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

    async def hold(self) -> None:
        """Run one handler for as long as nobody lets it go."""
        await self._create("held", capability="hold", timeout=600.0, max_retries=0)
        await self.serve()

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
        """Everything an application does, until it is killed or told: "settle" works off what is left, else it ends.
        A `stubborn` one goes on when its file is in trouble. One that `keeps` has a claim all the while."""
        kept = await self._claim_for_long() if self.config.get("keeps") else None
        clients = asyncio.create_task(self._clients())
        told = asyncio.create_task(self.commands.get())
        await asyncio.wait({clients, told}, return_when=asyncio.FIRST_COMPLETED)
        if not told.done():
            await clients  # it ends only by an error
        clients.cancel()
        await asyncio.gather(clients, return_exceptions=True)
        if kept is not None:
            await self.org.complete(kept.task.id, "kept", token=kept.token)
            self.acknowledged("completed", id=kept.task.id, token=kept.token, output="kept")
        if told.result() == "settle":
            self.released.set()
            await self.drain()

    async def _clients(self) -> None:
        await self._bear(self._repeat_unanswered())
        actions: tuple[Callable[[random.Random], Awaitable[Any]], ...] = (
            *(self._auto, self._auto, self._manual, self._manual, self._agent, self._agent),
            *(self._batch, self._cancel, self._pipeline, self._fan_out),
        )
        clock, pause = self.tasks.clock, self.config.get("pause", 0.0)

        async def client(number: int) -> None:
            rng = random.Random(f"{self.config['seed']}/{number}")
            # What another waits for may never come when the file is in trouble: this one goes on asking.
            mine = (self._manual,) if self.config.get("stubborn") and number == 0 else actions
            while True:
                await self._bear(rng.choice(mine)(rng))
                if pause:
                    await clock.wait_for(asyncio.Event(), pause)

        async with asyncio.TaskGroup() as clients:
            for number in range(self.config["clients"]):
                clients.create_task(client(number))

    async def _bear(self, asking: Awaitable[object]) -> None:
        """One that is stubborn notes that it was refused."""
        try:
            await asking
        except StoreError as error:
            if not self.config.get("stubborn"):
                raise
            self.refused(error.code, by=self.config["name"])

    async def drain(self) -> None:
        """Work off what was left, then say what both sides think of it."""
        await self._repeat_unanswered()
        changed = asyncio.Event()
        self.tasks.store.subscribe(lambda notice: changed.set())
        rng = random.Random(0)
        clock, until = self.tasks.clock, self.tasks.clock.now() + DRAIN
        while clock.now() < until:
            changed.clear()
            if any([await self._agent_in(org, rng) for org in self.orgs]):
                continue
            if not await self._open(1):
                break
            await clock.wait(changed, until)
        stuck = await self._open(1000)
        drift = [] if self.tasks.temporal is None else await settled_drift(self.tasks, until=AGREEMENT)
        audit = await self.tasks.store.audit()
        say("DRAINED", json.dumps({"stuck": stuck, "drift": [str(one) for one in drift], "audit": audit}))

    async def _open(self, limit: int) -> list[tuple[str, str]]:
        """Tasks and groups that have not ended, at most so many of each organisation."""
        found: list[tuple[str, str]] = []
        for org in self.orgs:
            found += [(task.id, task.state) for task in (await org.list(state=sorted(OPEN), limit=limit)).items]
            found += [(one.id, one.state) for one in (await org.list_workflows(state=OPEN_GROUPS, limit=limit)).items]
        return found

    # ----- what a client does

    async def _create(self, title: str, *, org: Org | None = None, **fields: Any) -> Task:
        self._keys += 1
        key, org = f"{self.config.get('name')}/{self._keys}", org or self.org
        self.acknowledged("creating", key=key, org=org.id, title=title, fields=fields)
        return await self._create_with(org, key, title, fields)

    async def _create_with(self, org: Org, key: str, title: str, fields: dict[str, Any]) -> Task:
        task = await org.create(title, idempotency_key=key, **fields)
        self.acknowledged("created", key=key, id=task.id)
        return task

    async def _repeat_unanswered(self) -> None:
        """A caller that never heard an answer asks again with its key."""
        lines = (self._journals / "acknowledged").read_text().splitlines()
        asked: dict[str, dict[str, Any]] = {}
        for fact in map(json.loads, lines):
            if fact["op"] == "creating":
                asked[fact["key"]] = fact
            elif fact["op"] == "created":
                asked.pop(fact["key"], None)
        for key, fact in asked.items():
            await self._create_with(self.tasks.org(fact["org"]), key, fact["title"], fact["fields"])

    async def _auto(self, rng: random.Random) -> None:
        org, capability = rng.choice(self.orgs), rng.choice(("echo", "echo", "slow", "thread", "flaky"))
        retry = {"initial": 0.1, "coefficient": 1.0}
        task = await self._create(
            "auto", org=org, capability=capability, input=rng.random(), max_retries=2, retry=retry
        )
        self._ended(await org.wait(task.id))

    async def _manual(self, rng: random.Random) -> None:
        await self._create("manual", org=rng.choice(self.orgs), mode="manual", priority=rng.randrange(4))

    async def _claim_for_long(self) -> Claim:
        agent = str(self.config["name"])
        task = await self._create("kept", mode="manual", assigned_to=agent)
        claim = await self.org.claim(task.id, agent_id=agent, lease=600.0)
        self.acknowledged("claimed", id=task.id, token=claim.token, attempt=claim.task.attempt)
        return claim

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

    async def _pipeline(self, rng: random.Random) -> None:
        org = rng.choice(self.orgs)
        steps = [NewTask(title=name, capability=name, input=rng.random()) for name in ("echo", "slow", "thread")]
        await self._follow(org, await org.pipeline("pipeline", steps))

    async def _fan_out(self, rng: random.Random) -> None:
        org = rng.choice(self.orgs)
        names = ("echo", "slow", "thread", "echo")
        members = [NewTask(title=name, capability=name, input=rng.random()) for name in names]
        await self._follow(org, await org.fan_out("fan-out", members, max_parallel=rng.choice((None, 2))))

    async def _follow(self, org: Org, group: Workflow) -> None:
        for task in await org.workflow_tasks(group.id):
            self.acknowledged("created", key=None, id=task.id)
        await org.wait_workflow(group.id)
        for task in await org.workflow_tasks(group.id):
            self._ended(task)

    def _ended(self, task: Task) -> None:
        self.acknowledged(task.state, id=task.id, output=task.output, attempt=task.attempt)

    async def _agent(self, rng: random.Random) -> bool:
        return await self._agent_in(rng.choice(self.orgs), rng)

    async def _agent_in(self, org: Org, rng: random.Random) -> bool:
        """Take a manual task through one of its lives. False: there was none."""
        claim = await org.next(agent_id="an agent", lease=LEASE)
        if claim is None:
            return False
        self._claimed(claim)
        with suppress(Conflict):  # its lease ended while this process was stalled
            await self._work(org, claim, rng)
        return True

    def _claimed(self, claim: Claim) -> None:
        self.acknowledged("claimed", id=claim.task.id, token=claim.token, attempt=claim.task.attempt)

    async def _work(self, org: Org, claim: Claim, rng: random.Random) -> None:
        task_id, token = claim.task.id, claim.token
        await org.start(task_id, token=token)
        self.acknowledged("started", id=task_id, token=token)
        await org.progress(task_id, 40, token=token)
        self.acknowledged("progress", id=task_id, token=token, percent=40)
        end = rng.random()
        if end < 0.15:
            await org.release(task_id, token=token)
            self.acknowledged("released", id=task_id, token=token)
        elif end < 0.35:
            await org.fail(task_id, "as told", token=token, retryable=False)
            self.acknowledged("failed", id=task_id, token=token)
        else:
            await org.complete(task_id, end, token=token)
            self.acknowledged("completed", id=task_id, token=token, output=end)


class _Noted:
    """Notes when a handler begins and how it is over: ended, or left by an error."""

    def __init__(self, effect: Journal, task_id: str, attempt: int, death: Death | None) -> None:
        self._effect, self._facts, self._death = effect, {"id": task_id, "attempt": attempt}, death

    def __enter__(self) -> None:
        self._effect("began", **self._facts)
        if self._death is not None:
            self._death("running")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._effect("ended" if kind is None else "left", **self._facts)


async def settled_drift(tasks: DurableTasks, *, until: float) -> list[Any]:
    """The drift once it is none, or what is left of it after `until` seconds. Looks again when a Temporal workflow
    that is to end has ended, after every commit, and now and then."""
    engine = tasks.temporal
    assert engine is not None
    changed = asyncio.Event()

    def heed(notice: Notice) -> None:
        changed.set()

    unsubscribe = tasks.store.subscribe(heed)
    drift: list[Any] = ["Temporal was never reached"]
    try:
        async with asyncio.timeout(until):
            await engine.wait_connected()
            while drift := await _drift_and_errands(tasks):
                changed.clear()
                waits: list[asyncio.Task[Any]] = [asyncio.create_task(changed.wait())]
                for namespace, workflow_id in await _running_still(tasks, drift):
                    handle = engine.client(namespace).get_workflow_handle(workflow_id)
                    waits.append(asyncio.create_task(_result(handle.result())))
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=POLL)
                for wait in waits:
                    wait.cancel()
    except TimeoutError:
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
    try:
        return [*await tasks.temporal.drift(), *waiting]
    except TemporalUnavailable as error:
        return [error, *waiting]


async def _running_still(tasks: DurableTasks, drift: list[Any]) -> list[tuple[str, str]]:
    """Namespace and id of a few Temporal workflows that run on though their subject has ended."""
    keys = [(one.subject_id, one.generation) for one in drift if getattr(one, "temporal_status", "") == "RUNNING"]
    sql = "SELECT namespace, workflow_id FROM dt_submissions WHERE subject_id = ? AND generation = ?"
    return await tasks.store.read(lambda conn: [conn.execute(sql, key).fetchone() for key in keys[:20]])


async def _result(result: Awaitable[Any]) -> None:
    with suppress(Exception):
        await result


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="LOG %(name)s %(message)s", level=logging.INFO)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    asyncio.run(Program(json.loads(sys.argv[1])).run())
