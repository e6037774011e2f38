"""Metrics: one instance's numbers for Prometheus, on a registry of their own.

They must not know who may read them, nor how they are served.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from durable_tasks.app import DurableTasks
from durable_tasks.ports import Notice
from durable_tasks.store.levels import Levels

if TYPE_CHECKING:
    from durable_tasks.temporal.engine import TemporalEngine, TemporalReport

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "durable_tasks"
_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)
"""Seconds, up to a day: an approval may wait that long."""
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SPARED = 20
"""Times as long as counting took are its figures good enough."""
_REPORT_EVERY = 30.0
"""Seconds for which an answer of Temporal's is good enough: a scrape must not load the server."""


class Metrics:
    """Counts what this process commits; levels are read when somebody asks.

    A capability is a label: there are as many series as the application has capabilities, and none per organisation."""

    def __init__(self, tasks: DurableTasks) -> None:
        self._tasks = tasks
        self._reading = asyncio.Lock()
        self._report: TemporalReport | None = None
        self._reported_at = self._counted_at = float("-inf")
        self._counting = 0.0
        self.registry = registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"{_PREFIX}_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"{_PREFIX}_{name}", text, labels, registry=registry, buckets=buckets)

        self._open = gauge("open_tasks", "Open tasks of the file.", "capability", "state")
        self._complete = gauge("open_tasks_complete", "0 when there are more open tasks than are counted.")
        self._age = gauge("ready_age_seconds", "How long the first ready task has been waiting.", "capability")
        self._processes = gauge("processes", "Processes that have the file open.")
        self._handlers = gauge("running_handlers", "Handlers that run in this process.")
        self._to_send = gauge("outbox_rows", "What Temporal is still to be told.")
        self._send_age = gauge("outbox_age_seconds", "Age of the oldest of it.")
        self._dead = gauge("dead_letters", "What Temporal refuses for ever.")
        self._connected = gauge("temporal_connected", "1 while Temporal answers and the default namespace is up.")
        self._parked = gauge("parked_organisations", "Organisations whose namespace is not served now.")
        self._pollers = gauge("pollers", "Workers that ask a namespace for work, of all processes.", "namespace")
        self._drift = gauge("drift", "Tasks and workflows that the leader's last sweep found to differ in Temporal.")
        self._wait = histogram("claim_wait_seconds", "From ready to claimed or begun.", _WAITS, "capability")
        self._took = histogram("attempt_seconds", "From start to end of an attempt.", _WAITS, "capability")
        self._batch = histogram("commit_operations", "Operations that share one commit.", _BATCHES)
        self._attempts = Counter(
            f"{_PREFIX}_attempts", "Attempts that ended.", ("capability", "outcome"), registry=registry
        )

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count meanwhile. Raises Closed when the instance is not running."""
        unsubscribe = self._tasks.store.subscribe(self._heed)
        try:
            yield
        finally:
            unsubscribe()

    async def render(self) -> bytes:
        """Everything as text, in the format that CONTENT_TYPE names. Raises StoreError, Closed."""
        async with self._reading:  # levels are cleared and filled: nobody may look in between
            await self._show_levels()
            if self._tasks.temporal is not None:
                await self._show_temporal(self._tasks.temporal)
            return generate_latest(self.registry)

    # ----- counted

    def _heed(self, notice: Notice) -> None:
        if notice.operations:
            self._batch.observe(notice.operations)
        for capability, waited in notice.begun:
            self._wait.labels(_label(capability)).observe(waited)
        for capability, outcome, took in notice.outcomes:
            self._attempts.labels(_label(capability), outcome).inc()
            if took is not None:
                self._took.labels(_label(capability)).observe(took)

    # ----- read

    async def _show_levels(self) -> None:
        """What took long to count is shown again for a while: scrapes take at most a small part of the time."""
        began = self._tasks.clock.now()
        if 0 <= began - self._counted_at < _SPARED * self._counting:
            return
        levels = await self._tasks.store.levels()
        self._counted_at = now = self._tasks.clock.now()
        self._counting = now - began
        self._show(levels, now)

    def _show(self, levels: Levels, now: float) -> None:
        self._open.clear()
        self._age.clear()
        for one in levels.open_tasks:
            self._open.labels(_label(one.capability), one.state.value).set(one.count)
            if one.ready_since is not None:
                self._age.labels(_label(one.capability)).set(max(now - one.ready_since, 0.0))
        self._complete.set(levels.complete)
        self._processes.set(levels.processes)
        self._handlers.set(self._tasks.running_handlers)
        self._to_send.set(levels.to_send)
        self._send_age.set(0.0 if levels.to_send_since is None else max(now - levels.to_send_since, 0.0))
        self._dead.set(levels.dead_letters)

    async def _show_temporal(self, engine: "TemporalEngine") -> None:
        now = self._tasks.clock.steady()
        if self._report is None or now - self._reported_at >= _REPORT_EVERY:
            self._report, self._reported_at = await engine.report(), now
        self._connected.set(engine.connected)
        self._drift.set(engine.differences)
        self._parked.set(len(self._report.parked))
        self._pollers.clear()
        for namespace, count in self._report.pollers.items():
            self._pollers.labels(namespace).set(count)


def _label(capability: str | None) -> str:
    return "" if capability is None else capability
