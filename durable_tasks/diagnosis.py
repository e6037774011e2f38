"""Diagnosis: how things stand for those who operate them, of a whole file or of one organisation that sees no other.

It must not know SQL, Temporal's client or any surface, nor change anything.
"""

import asyncio
import re
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, TypeVar, overload

from durable_tasks.contracts import store_queue
from durable_tasks.errors import TemporalUnavailable
from durable_tasks.models import Engine, Frozen, Placement, TaskState
from durable_tasks.ports import Clock, DeadLetter, Drift, Queue
from durable_tasks.settings import Settings
from durable_tasks.store.health import Outbox, StoreHealth, WaitingTask
from durable_tasks.store.processes import Workforce
from durable_tasks.store.store import Store

if TYPE_CHECKING:
    from durable_tasks.temporal.engine import TemporalEngine, TemporalReport

T = TypeVar("T")
E = TypeVar("E", WaitingTask, Outbox, DeadLetter)

CONNECT_WITHIN = 5.0
"""Seconds that Temporal may take to answer before the rest is reported without it."""
STUCK_FOR = 30.0
"""Seconds without a move after which an open task is listed with what it waits for."""
MOST_LISTED = 100
_LOOK_AGAIN = 2.0
"""Seconds between the two looks that a difference must outlast: a change may be on its way."""
_ANSWER_WITHIN = 3.0
"""Seconds in all that Temporal may take when one organisation is diagnosed: somebody waits, and soon asks again."""
_MOST_QUEUES = 10
_NEARLY = 0.8
"""The part of a quota from which on it is said how much is used."""
_LOST = "the file was taken away from this process, which writes nothing until it is started again; the log says how"
_SILENT = "Temporal does not answer"
_LATE = "Temporal has not answered in time; ask again"
_PLACE = re.compile(r"\[[\da-fA-F:.]+\]:\d+|[\w.-]+:\d+|\d{1,3}(?:\.\d{1,3}){3}|(?<![\w/])(?:/[\w.-]+)+")
"""An address, or the path of a file."""


# ----- a whole file


@dataclass(frozen=True, slots=True)
class Organisation:
    """One organisation's namespace and outbox."""

    org_id: str
    namespace: str
    up: bool | None
    """None: Temporal was not asked."""
    error: str | None
    """Why it is not up."""
    outbox: Outbox


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `durable-tasks doctor` prints."""

    db: str
    displaced: str | None
    store: StoreHealth
    organisations: list[Organisation]
    dead_letters: list[DeadLetter]
    temporal: "TemporalReport | None"
    """None: durable mode is off."""
    queues: list[Queue]
    """The workers of the file's own queue, and of those that its waiting external tasks are for."""
    drift: list[Drift] | None
    """None: Temporal could not be asked."""
    said: str | None
    """Why it could not."""
    stuck_before: float
    """Unix seconds: what was to be sent before then, and met an error, is stuck."""

    @property
    def unreachable(self) -> bool:
        """Durable mode is on, and Temporal does not answer."""
        return self.temporal is not None and self.temporal.server_version is None

    @property
    def healthy(self) -> bool:
        """Whether nothing of it needs a person."""
        agrees = self.temporal is None or (self.drift == [] and not self.temporal.unknown)
        return agrees and self.displaced is None and not self.dead_letters and not self.stuck

    @property
    def stuck(self) -> list[Organisation]:
        """Organisations whose outbox has met an error and got no further."""
        return [one for one in self.organisations if _is_stuck(one.outbox, self.stuck_before)]


async def diagnose(
    store: Store, engine: "TemporalEngine | None", settings: Settings, clock: Clock, health: StoreHealth
) -> Diagnosis:
    """How both sides stand, as far as Temporal answers within a few seconds. Raises StoreError."""
    report, drift, said, queues = None, None, None, []
    if engine is not None:
        drift, said = await _compare(engine, clock)
        if drift is not None:
            await engine.count_unknown()
        report = await engine.report()
        if report.server_version is not None:
            queues = await _queues(store, engine, settings, report, health.waiting)
    return Diagnosis(
        db=str(settings.db.resolve()),
        displaced=store.displaced,
        store=health,
        organisations=await _organisations(store, health.outboxes, report),
        dead_letters=await store.dead_letters(),
        temporal=report,
        queues=queues,
        drift=drift,
        said=said,
        stuck_before=clock.now() - STUCK_FOR,
    )


async def _compare(engine: "TemporalEngine", clock: Clock) -> tuple[list[Drift] | None, str | None]:
    """What two looks a moment apart both see, or None and why Temporal could not be asked."""
    try:
        await engine.wait_connected(CONNECT_WITHIN)
    except TemporalUnavailable as error:
        # The default namespace may be missing, or forbidden, and the others be well.
        if (await engine.report()).server_version is None:
            return None, error.message
    try:
        seen = await engine.drift()
        if seen:
            await clock.wait_for(asyncio.Event(), _LOOK_AGAIN)
            again = await engine.drift()
            seen = [one for one in seen if one in again]
    except TemporalUnavailable as error:
        return None, error.message
    return seen, None


async def _queues(
    store: Store,
    engine: "TemporalEngine",
    settings: Settings,
    report: "TemporalReport",
    waiting: Iterable[WaitingTask],
) -> list[Queue]:
    up = {one.namespace for one in report.namespaces if one.up}
    wanted = {(tenant.namespace, store_queue(engine.file_uuid)): None for tenant in await store.tenants()}
    wanted |= {(engine.namespace_of(org_id), queue): None for org_id, queue in _waited_for(waiting, settings)}
    return [await engine.pollers(namespace, queue) for namespace, queue in wanted if namespace in up]


async def _organisations(
    store: Store, outboxes: Iterable[Outbox], report: "TemporalReport | None"
) -> list[Organisation]:
    states = {} if report is None else {one.namespace: one for one in report.namespaces}
    boxes = {outbox.org_id: outbox for outbox in outboxes}
    found = []
    for tenant in await store.tenants():
        state = states.get(tenant.namespace)
        up = None if report is None else state is not None and state.up
        error = None if up is not False else "it was not reached" if state is None else state.error
        outbox = boxes.get(tenant.org_id, Outbox(tenant.org_id, 0, None, 0, None))
        found.append(Organisation(tenant.org_id, tenant.namespace, up, error, outbox))
    return found


# ----- one organisation


class TemporalSide(Frozen):
    """How Temporal stands for one organisation. `server_version` null: it does not answer. `up` null: nothing was
    handed over yet. `error`: why its namespace is not up, or why `drift` is null, which is not known then. `compared`:
    among how many open submissions that have settled drift was looked for; `queues`: those that the listed external
    tasks wait for."""

    namespace: str
    server_version: str | None = None
    capabilities: tuple[str, ...] = ()
    up: bool | None = False
    error: str | None = None
    queues: tuple[Queue, ...] = ()
    drift: tuple[Drift, ...] | None = None
    compared: int = 0


class Workers(Frozen):
    """Those processes of the file that run handlers, for every organisation: how many, for tasks of which capabilities,
    and whether also for those without one. `led`: whether some process does what only one at a time does."""

    processes: int
    capabilities: tuple[str, ...]
    without_capability: bool
    led: bool

    @classmethod
    def of(cls, found: Workforce) -> Self:
        names = sorted(name for name in found.handles if name is not None)
        return cls(
            processes=found.processes,
            capabilities=tuple(names),
            without_capability=None in found.handles,
            led=found.led,
        )


class OrgDiagnosis(Frozen):
    """How one organisation stands. `healthy`: nothing needs a person. `tasks`: open ones by state. `waiting`: tasks
    that have not moved for half a minute and what for, by state, the most urgent first; `more_waiting`: not all are
    listed. `dead_letters`: the oldest; `outbox` has their number. `displaced`: the file is a copy or was restored, and
    says nothing to Temporal. `temporal` null: this server does not speak to it."""

    org_id: str
    healthy: bool
    engine: Engine
    sqlite: str
    warnings: tuple[str, ...]
    displaced: bool
    workers: Workers
    tasks: dict[TaskState, int]
    waiting: tuple[WaitingTask, ...]
    more_waiting: bool
    outbox: Outbox
    dead_letters: tuple[DeadLetter, ...]
    temporal: TemporalSide | None


async def diagnose_org(
    store: Store, engine: "TemporalEngine | None", settings: Settings, clock: Clock, org_id: str
) -> OrgDiagnosis:
    """How one organisation stands, as far as Temporal answers within a few seconds. Its cost is bounded, so that it
    can be asked again and again. Raises StoreError."""
    health, letters = await asyncio.gather(
        store.org_health(org_id, quiet_for=STUCK_FOR, limit=MOST_LISTED), store.dead_letters(org_id, MOST_LISTED)
    )
    side = None if engine is None else await _side(engine, settings, org_id, health.waiting)
    displaced, lost = store.displaced is not None, store.lost is not None
    agrees = side is None or (side.up is not False and side.drift == ())
    troubled = displaced or lost or health.outbox.dead_letters > 0 or _is_stuck(health.outbox, clock.now() - STUCK_FOR)
    return OrgDiagnosis(
        org_id=org_id,
        healthy=agrees and not troubled,
        engine=Engine(health.engine),
        sqlite=health.sqlite,
        warnings=(*([_LOST] if lost else []), *_near(settings.most("org_open_tasks"), health.tasks), *health.warnings),
        displaced=displaced,
        workers=Workers.of(health.workforce),
        tasks={TaskState(state): count for state, count in health.tasks.items()},
        waiting=tuple(map(discreet, health.waiting)),
        more_waiting=health.more_waiting,
        outbox=discreet(health.outbox),
        dead_letters=tuple(map(discreet, letters)),
        temporal=side,
    )


def _near(most: int, tasks: Mapping[str, int]) -> list[str]:
    used = sum(tasks.values())
    if not most or used < _NEARLY * most:
        return []
    return [f"there are {used} open tasks, and at {most} callers may make no more (org_open_tasks)"]


async def _side(
    engine: "TemporalEngine", settings: Settings, org_id: str, waiting: Iterable[WaitingTask]
) -> TemporalSide:
    until = asyncio.get_running_loop().time() + _ANSWER_WITHIN
    namespace = engine.namespace_of(org_id)
    server = await _by(until, engine.server()) if engine.answering else None
    if server is None or server[0] is None:
        return TemporalSide(namespace=namespace, error=_SILENT)
    known = TemporalSide(namespace=namespace, server_version=server[0], capabilities=server[1])
    owner = await engine.owner(namespace)
    if owner is None:  # nor is it looked for, which may create it
        return known.model_copy(update={"up": None, "drift": ()})
    if owner != org_id:
        return known.model_copy(update={"error": "it belongs to another organisation"})
    state = await _by(until, engine.look(namespace))
    if state is None or not state.up:
        return known.model_copy(update={"error": _LATE if state is None else discreet_text(state.error)})
    wanted = [queue for _, queue in _waited_for(waiting, settings)][:_MOST_QUEUES]
    queues, compared = await asyncio.gather(
        asyncio.gather(*(_polled(engine, until, namespace, queue) for queue in wanted)),
        _compared(engine, until, org_id),
    )
    return known.model_copy(update={"up": True, "queues": tuple(queues), **compared})


async def _polled(engine: "TemporalEngine", until: float, namespace: str, queue: str) -> Queue:
    return await _by(until, engine.pollers(namespace, queue)) or Queue(namespace, queue, None)


async def _compared(engine: "TemporalEngine", until: float, org_id: str) -> dict[str, object]:
    try:
        found = await _by(until, engine.compare(org_id))
    except TemporalUnavailable as error:
        return {"error": discreet_text(error.message)}
    return {"error": _LATE} if found is None else {"drift": tuple(found.drift), "compared": found.compared}


async def _by(until: float, call: Awaitable[T]) -> T | None:
    """None: it had not answered by then."""
    try:
        async with asyncio.timeout_at(until):
            return await call
    except TimeoutError:
        return None


def discreet(one: E) -> E:
    """What an organisation may read of it: its error without addresses and paths."""
    return replace(one, error=discreet_text(one.error))


@overload
def discreet_text(error: str) -> str: ...
@overload
def discreet_text(error: str | None) -> str | None: ...
def discreet_text(error: str | None) -> str | None:
    """Without addresses and paths."""
    return None if error is None else _PLACE.sub("…", error)


# ----- both


def _is_stuck(outbox: Outbox, before: float) -> bool:
    """Whether it has met an error and got no further."""
    return outbox.error is not None and outbox.oldest_at is not None and outbox.oldest_at.timestamp() <= before


def _waited_for(waiting: Iterable[WaitingTask], settings: Settings) -> list[tuple[str, str]]:
    """(organisation, work queue) of those that wait for an external worker, each once."""
    external = [one for one in waiting if one.placement is Placement.EXTERNAL]
    return [*dict.fromkeys((one.org_id, one.queue or settings.queue) for one in external)]
