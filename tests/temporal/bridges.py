"""A TaskBridge whose tasks live in memory: it keeps the port's promises, and a test moves its tasks by hand.
It must not know Temporal: what asks it are the real activities, run by a real worker.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from durable_tasks.contracts import RunRequest, TaskRef, TaskStatus, Verdict
from durable_tasks.errors import DurableTasksError, NotFound
from durable_tasks.lifecycle import is_terminal
from durable_tasks.models import TaskState
from durable_tasks.ports import Errand

DEADLINE = 20.0


class ScriptedBridge:
    """Every change of a task makes its next version, as in SQLite."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskStatus] = {}
        self.calls: Counter[str] = Counter()
        self.requests: list[str] = []
        self.reasons: list[str] = []
        self.before_cancel: Callable[[], object] = lambda: None
        self.failures: list[DurableTasksError] = []
        """Each is raised once, by the next calls."""
        self._changed = asyncio.Event()

    def put(self, task_id: str, verdict: Verdict, state: TaskState, **facts: Any) -> TaskStatus:
        before = self.tasks.get(task_id)
        version = 1 if before is None else before.version + 1
        attempt = facts.pop("attempt", 0 if before is None else before.attempt)
        self.tasks[task_id] = TaskStatus(verdict=verdict, state=state, version=version, attempt=attempt, **facts)
        self._announce()
        return self.tasks[task_id]

    async def called(self, name: str, times: int = 1) -> None:
        await self._until(lambda: self.calls[name] >= times, DEADLINE)
        assert self.calls[name] >= times, f"{name} was called {self.calls[name]} times, not {times}"

    async def run(self, request: RunRequest, *, namespace: str, workflow_id: str, run_id: str) -> TaskStatus:
        assert namespace
        assert workflow_id.startswith(f"task/{request.ref.task_id}/")
        assert request.request.startswith(f"{run_id}/")
        self.requests.append(request.request)
        self._called("run")
        await self._settled(request.ref, 0.05)
        return self._status(request.ref)

    async def started(self, errand: Errand, run_id: str) -> None:
        raise AssertionError("no relay runs in these tests")

    async def join(self, ref: TaskRef, *, namespace: str, workflow_id: str, patience: float) -> TaskStatus:
        self._called("join")
        await self._settled(ref, patience)
        return self._status(ref)

    async def read(self, ref: TaskRef) -> TaskStatus:
        self._called("read")
        return self._status(ref)

    async def cancel(self, ref: TaskRef, *, namespace: str, workflow_id: str, reason: str) -> TaskStatus:
        self.before_cancel()
        self.reasons.append(reason)
        status = self._status(ref)
        if not is_terminal(status.state) and status.verdict is not Verdict.SUPERSEDED:
            self.put(ref.task_id, Verdict.ENDED, TaskState.CANCELLED, reason=reason)
        self._called("cancel")
        return self._status(ref)

    def _status(self, ref: TaskRef) -> TaskStatus:
        if self.failures:
            raise self.failures.pop(0)
        if ref.task_id not in self.tasks:
            raise NotFound(f"there is no task {ref.task_id}", id=ref.task_id)
        return self.tasks[ref.task_id]

    async def _settled(self, ref: TaskRef, seconds: float) -> None:
        def settled() -> bool:
            status = self.tasks.get(ref.task_id)
            return status is None or status.verdict is not Verdict.LIVE

        await self._until(settled, seconds)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            return

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
