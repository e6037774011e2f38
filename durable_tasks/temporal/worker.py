"""The worker on the store queue of one namespace: runs our Temporal workflows and their activities where the file is.
It must not know other namespaces, the relay, nor what the activities do.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkflowRunner,
)

from durable_tasks.ports import Clock
from durable_tasks.temporal.faults import pause
from durable_tasks.temporal.namespaces import Namespace
from durable_tasks.workflows.group import GROUP_WORKFLOW_TYPES
from durable_tasks.workflows.task import AgentTaskWorkflow

_log = logging.getLogger(__name__)

_GRACE = 2.0
"""Seconds for activities to leave by themselves: each of ours only waits, and leaves when told."""
_STOP = 3.0
"""Seconds beyond that for the SDK to stop before it is given up."""

_POLLS = 10
"""Half of them ask the queue itself, which a server keeps in four partitions by default, and spreads polls over these.
With the SDK's one such poll, a workflow task was seen to lie for three minutes beside an idle worker: a poll stays in
one partition for up to a minute. Each poll holds a slot."""


class StoreWorker:
    """Keeps one Temporal worker alive: a worker that fails is built anew, with backoff."""

    def __init__(
        self,
        *,
        namespace: Namespace,
        queue: str,
        activities: Sequence[Callable[..., Awaitable[Any]]],
        max_concurrent: int,
        clock: Clock,
        thread: ThreadPoolExecutor,
        runner: WorkflowRunner | None = None,
    ) -> None:
        """`thread` runs the steps of our Temporal workflows, for every worker of the process."""
        self._namespace = namespace
        self._queue = queue
        self._activities = activities
        self._max_concurrent = max_concurrent
        self._clock = clock
        self._thread = thread
        # The tests run our workflows inside the sandbox and replay them; outside it they need half the CPU.
        self._runner = runner or UnsandboxedWorkflowRunner()
        self._effort = _Effort(clock)
        self.running = asyncio.Event()

    @property
    def quiet_for(self) -> float:
        """Seconds since it last had anything to do."""
        return self._effort.quiet_for()

    def expect(self) -> None:
        """Work is on its way: do not count as idle."""
        self._effort.touch()

    async def run(self) -> None:
        """Serve the queue until cancelled."""
        failures = 0
        while True:
            client = await self._namespace.ready()
            started = self._clock.steady()
            try:
                await self._serve(client)
            except RuntimeError as error:
                failures = 1 if self._clock.steady() - started > 60 else failures + 1
                rest = pause(failures, longest=30.0)
                _log.warning("the worker in %s failed, again in %.1f s: %r", self._namespace.name, rest, error)
                self._namespace.suspect()
                await self._clock.wait_for(asyncio.Event(), rest)

    async def _serve(self, client: Client) -> None:
        worker = self._build(client)
        serving = asyncio.create_task(worker.run(), name=f"temporal worker in {self._namespace.name}")
        self.running.set()
        try:
            # Shielded: a cancelled run() would cut its own shutdown short.
            await asyncio.shield(serving)
        finally:
            self.running.clear()
            await self._stop(worker, serving)

    async def _stop(self, worker: Worker, serving: asyncio.Task[None]) -> None:
        if serving.done():
            return
        stopping = asyncio.create_task(worker.shutdown())
        _, late = await asyncio.wait({serving, stopping}, timeout=_GRACE + _STOP)
        if late:
            _log.warning("the worker in %s did not stop within %.0f s; given up", self._namespace.name, _GRACE + _STOP)
        for task in late:
            task.cancel()
        for ended in await asyncio.gather(serving, stopping, return_exceptions=True):
            if isinstance(ended, Exception):
                _log.warning("the worker in %s failed while it stopped: %r", self._namespace.name, ended)

    def _build(self, client: Client) -> Worker:
        slots = 4 * self._max_concurrent + 16
        return Worker(
            client,
            task_queue=self._queue,
            workflows=[AgentTaskWorkflow, *GROUP_WORKFLOW_TYPES],
            activities=self._activities,
            workflow_runner=self._runner,
            workflow_task_executor=self._thread,
            interceptors=[self._effort],
            # Workflow tasks of a killed process wait this long before another takes them.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
            max_concurrent_workflow_tasks=self._max_concurrent + _POLLS,
            max_concurrent_workflow_task_polls=_POLLS,
            nonsticky_to_sticky_poll_ratio=0.5,
            # Of what we do not use; with more than one the SDK makes a task of each payload.
            max_workflow_task_external_storage_concurrency=1,
            max_concurrent_local_activities=slots,
            max_concurrent_activities=slots,
            graceful_shutdown_timeout=timedelta(seconds=_GRACE),
        )


class _Effort(Interceptor):
    """Notes when activities ran: every step of our Temporal workflows ends in one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._active = 0
        self._last = clock.steady()

    def quiet_for(self) -> float:
        return 0.0 if self._active else max(0.0, self._clock.steady() - self._last)

    def touch(self) -> None:
        self._last = self._clock.steady()

    def began(self) -> None:
        self._active += 1

    def ended(self) -> None:
        self._active -= 1
        self.touch()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Measured(next, self)


class _Measured(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, effort: _Effort) -> None:
        super().__init__(next)
        self._effort = effort

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        self._effort.began()
        try:
            return await super().execute_activity(input)
        finally:
            self._effort.ended()
