"""DurableTasks: the object an application holds. It composes store, executor and engines, and closes them.

It must not know SQL, Temporal's client or any surface.
"""

import asyncio
import importlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from durable_tasks.access import Authenticate
from durable_tasks.clock import SystemClock, SystemIds
from durable_tasks.diagnosis import OrgDiagnosis, diagnose_org, discreet
from durable_tasks.engine.local import LocalEngine
from durable_tasks.engine.presence import Presence
from durable_tasks.engine.waiters import Waiters
from durable_tasks.engine.wheel import ClockWheel
from durable_tasks.errors import Closed, ConfigurationError, StoreError
from durable_tasks.executor.bridge import Bridge
from durable_tasks.executor.executor import Executor
from durable_tasks.executor.strays import Strays
from durable_tasks.handlers import Function, Handlers
from durable_tasks.incoming import Incoming
from durable_tasks.lifecycle import placement_of
from durable_tasks.models import Actor, Capability, Engine, Mode, NewTask, Placement, check_org
from durable_tasks.org import Org
from durable_tasks.parts import Parts
from durable_tasks.ports import Clock, DeadLetter, Ids
from durable_tasks.quotas import Quotas
from durable_tasks.settings import Settings
from durable_tasks.store.store import Store
from durable_tasks.store.transaction import Rules

if TYPE_CHECKING:
    from durable_tasks.temporal.durable import DurableStore
    from durable_tasks.temporal.engine import TemporalEngine

log = logging.getLogger("durable_tasks")

AFTER_FAILURE = 1.0


class _Running:
    """Everything that lives between start and stop, on one event loop of one process."""

    def __init__(self, tasks: "DurableTasks") -> None:
        settings, clock = tasks.settings, tasks.clock
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        rules = Rules.of(settings, instance=tasks.ids.task())
        self.store = Store(settings.db, clock=clock, ids=tasks.ids, rules=rules, patience=settings.busy_timeout)
        self.quotas = Quotas(settings, self.store, clock)
        handlers = tasks.handlers if settings.worker else Handlers()
        self.executor = Executor(
            handlers, self.store, clock, slots=settings.max_concurrent, cancel_grace=settings.cancel_grace
        )
        fallback = settings.fallback_after if settings.fallback == "local" else None
        self.local = LocalEngine(self.store, self.executor, clock, temporal=settings.enabled, fallback_after=fallback)
        self.strays = Strays(self.store, self.executor, clock)
        self.wheel = ClockWheel(self.store.expire, clock)
        self.presence = Presence(
            self.store,
            clock,
            tasks.ids,
            db=self.store.path,
            lease=settings.process_lease,
            relays=settings.enabled,
            handles=lambda: handlers.all if settings.worker else None,
        )
        self.engine = Engine.LOCAL
        self.temporal: TemporalEngine | None = None
        self.foreign = asyncio.Event()
        self.background: list[asyncio.Task[None]] = []


class DurableTasks:
    """Durable tasks in one SQLite file. Use it as `async with DurableTasks(Settings(db="app.db")) as tasks:`.

    Bound to the event loop and process that started it; any number of instances live side by side."""

    def __init__(self, settings: Settings | None = None, *, clock: Clock | None = None, ids: Ids | None = None) -> None:
        self.settings = Settings() if settings is None else settings
        self.clock: Clock = SystemClock() if clock is None else clock
        self.ids: Ids = SystemIds() if ids is None else ids
        self.handlers = Handlers()
        self.parts = Parts(self.clock)
        self.waiters = Waiters()
        self.surfaces: list[Callable[[], AbstractAsyncContextManager[None]]] = []
        """What runs beside this during `lifespan`: each is entered after the start and left before the stop."""
        self._running: _Running | None = None
        self._changing = asyncio.Lock()

    # ----- handlers

    def handler(self, capability: Capability) -> Callable[[Function], Function]:
        """Register the decorated `f(ctx, task)` for a capability. See TaskContext for ctx."""
        return self.handlers.handler(capability)

    def default_handler(self, function: Function) -> Function:
        """Register the handler of tasks without a capability."""
        return self.handlers.default_handler(function)

    # ----- life

    async def __aenter__(self) -> "DurableTasks":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the file and begin to work. Idempotent. Raises StoreError and its kin, ConfigurationError."""
        async with self._changing:
            if self._running is not None and self._running.pid == os.getpid() and not self._running.loop.is_closed():
                return
            check_org(self.settings.org)
            running = _Running(self)
            await running.store.open()
            try:
                self._wire(running)
                await running.presence.enter()
                running.engine = await running.store.settle_engine(self._wanted_engine)
            except BaseException:
                running.presence.drop()
                await running.store.close()
                raise
            self._running = running
            if running.store.displaced is not None:
                means = "Temporal is not used" if self.settings.enabled else "its handlers run all the same"
                log.critical(
                    "%s; %s until `durable-tasks adopt` says whose tasks these are", running.store.displaced, means
                )
                running.local.fall_back = False
            self._launch(running)

    async def stop(self) -> None:
        """Drain handlers for up to `shutdown_grace`, release the rest, close everything. Idempotent.

        In a fork it only forgets: all is the parent's. Raises Closed on another event loop."""
        running = self._running
        if running is None:
            return
        if running.pid != os.getpid():
            self._running, self._changing = None, asyncio.Lock()
            return
        if running.loop is not asyncio.get_running_loop() and not running.loop.is_closed():
            raise Closed("durable_tasks was started on another event loop; stop it there")
        async with self._changing:
            running, self._running = self._running, None
            if running is not None:
                await self._halt(running)
                self.waiters.wake_all()

    def _wire(self, running: _Running) -> None:
        store, presence = running.store, running.presence
        for heed in (running.wheel.heed, running.local.heed, presence.heed, self.waiters.heed):
            store.subscribe(heed)
        store.subscribe(lambda notice: running.foreign.set() if notice.foreign else None)
        store.on_lost = lambda: self._give_up(running)
        presence.on_declared_dead = running.executor.stop_all
        presence.on_burial = running.local.recover
        presence.culprit = running.executor.on_loop

    def _give_up(self, running: _Running) -> None:
        """The file is gone: what handlers do now could not be recorded, and Temporal is told nothing more."""
        running.executor.abandon()
        running.presence.leading = False
        running.presence.on_leading(False)

    def _launch(self, running: _Running) -> None:
        serves = self.settings.worker
        self._keep(running, "lease", running.presence.beat)
        self._keep(running, "clock", running.wheel.turn)
        if running.store.unchecked:
            self._keep(running, "integrity", self._check_in_background)
        if serves:
            self._keep(running, "engine", running.local.pick)
            self._keep(running, "strays", lambda: running.strays.watch(self.settings.process_lease))
            self._keep(running, "stops", lambda: running.local.heed_others(running.foreign))
        if self.settings.enabled and running.store.displaced is None:
            self._launch_temporal(running)

    def _launch_temporal(self, running: _Running) -> None:
        # Loaded only here: a process without Temporal must not pay for the SDK (20 MB).
        from durable_tasks.temporal.engine import TemporalEngine

        bridge = Bridge(running.store, running.executor, self.waiters.waiting, self.clock, Incoming(self).obey)
        engine = TemporalEngine(
            self.settings,
            running.store,
            bridge,
            running.executor,
            running.store.subscribe,
            self.clock,
            note_failure=self.parts.note_failure,
        )
        running.temporal = engine
        engine.start()
        leads = asyncio.Event()

        async def follow_leadership() -> None:
            while True:
                await engine.lead(running.presence.leading)
                await leads.wait()
                leads.clear()

        running.presence.on_leading = lambda _: leads.set()
        self._keep(running, "leadership", follow_leadership)

    def _keep(self, running: _Running, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def guarded() -> None:
            try:
                while await self._failed(name, work):
                    await self.clock.wait_for(asyncio.Event(), AFTER_FAILURE)
            except asyncio.CancelledError:
                if self._running is running:  # not stop() but the end of the event loop: close without waiting
                    running.store.abandon()
                    running.presence.drop()
                raise

        running.background.append(asyncio.create_task(guarded(), name=f"durable_tasks {name}"))

    async def _failed(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Run one part. True when it broke: a part that ends in silence would leave tasks stuck, so it is run again."""
        try:
            await work()
        except Exception:
            log.exception("a part of durable_tasks broke and is run again", extra={"part": name})
            self.parts.note_failure(name)
            return True
        return False

    async def _halt(self, running: _Running) -> None:
        """Drain, then stop every part, whatever the parts before it did: nothing may go on over a closed file."""
        async with AsyncExitStack() as closing:
            closing.push_async_callback(running.store.close)
            if running.store.lost is None:
                closing.push_async_callback(running.presence.leave)
            else:
                closing.callback(running.presence.drop)
            if running.temporal is not None:
                closing.push_async_callback(running.temporal.stop)
            closing.push_async_callback(self._end_background, running)
            await running.executor.close(self.settings.shutdown_grace)

    async def _end_background(self, running: _Running) -> None:
        for task in running.background:
            task.cancel()
        await asyncio.gather(*running.background, return_exceptions=True)

    async def _check_in_background(self) -> None:
        try:
            await self.store.check()
        except StoreError as error:
            log.critical("the database file is damaged", extra={"error": error.code, "said": error.message})

    # ----- over HTTP (needs durable-tasks[web])

    def install(
        self, app: Any, *, path: str = "/tasks", authenticate: Authenticate | Literal["none"] | None = None
    ) -> Any:
        """Mount the HTTP API, with MCP, at `path` of a FastAPI or Starlette application; start and stop with it.

        `authenticate` says who asks; "none" makes everybody on this machine the administrator of the setting `org`.
        Raises ConfigurationError without either."""
        return _plugin().install(self, app, path=path, authenticate=authenticate)

    def asgi_app(self, *, authenticate: Authenticate | Literal["none"] | None = None) -> Any:
        """The same as an ASGI application: to be served as it is, or mounted in one that runs `lifespan`."""
        return _plugin().create_app(self, authenticate=authenticate)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Start and stop, with the surfaces made meanwhile: `FastAPI(lifespan=tasks.lifespan)`, or
        `async with tasks.lifespan():`."""
        async with AsyncExitStack() as running:
            await running.enter_async_context(self)
            for surface in self.surfaces:
                await running.enter_async_context(surface())
            yield

    # ----- use

    def org(self, org_id: str | None = None) -> Org:
        """The tasks of one organisation (default: the setting `org`). Raises InvalidOrg."""
        return Org(self, check_org(self.settings.org if org_id is None else org_id))

    @property
    def store(self) -> Store:
        """The open store. Raises Closed before start, after stop, on another event loop and after a fork."""
        return self._here.store

    @property
    def quotas(self) -> Quotas:
        """What the organisations of whoever calls may store. Raises Closed as `store` does."""
        return self._here.quotas

    @property
    def _here(self) -> _Running:
        running = self._running
        if running is None:
            raise Closed("durable_tasks is not running; call start() first, or use `async with`")
        if running.pid != os.getpid():
            raise Closed(f"durable_tasks was started in process {running.pid} and this is a fork; start a new one here")
        if running.loop is not asyncio.get_running_loop():
            raise Closed("durable_tasks was started on another event loop; use it there, or start a new one here")
        return running

    @property
    def temporal(self) -> "TemporalEngine | None":
        """The Temporal engine while it runs; None when it is off."""
        return None if self._running is None else self._running.temporal

    @property
    def durable(self) -> "DurableStore":
        """The tasks as Temporal has them, for those who look at it directly. Raises ConfigurationError when durable
        mode is off, Closed when this is not running."""
        store, engine = self.store, self.temporal
        if engine is None:
            why = store.displaced or "durable mode is off; set TASKS_ENABLED=true"
            raise ConfigurationError(f"there is no Temporal here: {why}", setting="enabled", value=False)
        from durable_tasks.temporal.durable import DurableStore

        return DurableStore(self, engine)

    async def diagnose(self, org: str | None = None) -> OrgDiagnosis:
        """How one organisation (default: the setting `org`) stands, what of it waits and why. Changes nothing."""
        found = await diagnose_org(self.store, self.temporal, self.settings, self.clock, self.org(org).id)
        if not (failing := self.parts.failing):
            return found
        warning = f"parts of the server keep failing and are run again, see its log: {', '.join(failing)}"
        return found.model_copy(update={"healthy": False, "warnings": (warning, *found.warnings)})

    async def redrive(self, letter_id: str, *, org: str | None = None, by: Actor | None = None) -> DeadLetter:
        """Send again what Temporal has refused one organisation; a task that failed of it is retried. Raises NotFound,
        Conflict."""
        return discreet(await self.store.by(by).redrive(letter_id, self.org(org).id))

    @property
    def running_handlers(self) -> int:
        """How many handlers run in this process now."""
        return 0 if self._running is None else self._running.executor.running

    @property
    def has_free_slot(self) -> bool:
        """Whether this process could begin another handler now."""
        return self._running is not None and self._running.executor.free > 0

    @property
    def engine(self) -> Engine:
        """Which drives new tasks."""
        return Engine.LOCAL if self._running is None else self._running.engine

    @property
    def _wanted_engine(self) -> Engine | None:
        """The engine that this process decides for the file. One that neither runs handlers nor speaks to
        Temporal (a tool, a producer of tasks) has no say: it follows what the file has."""
        if self.settings.enabled:
            return Engine.TEMPORAL
        return Engine.LOCAL if self.settings.worker else None

    def place(self, new: NewTask) -> tuple[Mode, Placement, Engine]:
        """How a new task is to run: auto with a capability or a default handler, else manual."""
        mode = new.mode
        if mode is None:
            mode = Mode.AUTO if new.capability is not None or self.handlers.has_default else Mode.MANUAL
        own_queue, runs_here = self.settings.queue, self.settings.runs_here
        return mode, placement_of(mode, new.queue, own_queue=own_queue, runs_here=runs_here), self.engine


def _plugin() -> Any:
    # By name: what is below a surface must not depend on it, and only who serves HTTP pays for the web framework.
    return importlib.import_module("durable_tasks.web.plugin")
