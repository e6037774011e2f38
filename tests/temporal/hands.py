"""Scripted hands: an external worker whose `execute` does, for each attempt, what a test told it to do.
It must not know tasks beyond what an Execution carries.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from durable_tasks.contracts import EXECUTE, Execution

DEADLINE = 20.0
Act = Callable[["ScriptedHands", Execution], Awaitable[Any]]


class ScriptedHands:
    """Acts are taken in order, one for each attempt; without one the output is the input."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)
        self.taken: list[Execution] = []
        self.most_at_once = 0
        self.finish = asyncio.Event()
        self._at_once = 0
        self._news = asyncio.Condition()

    @activity.defn(name=EXECUTE)
    async def execute(self, execution: dict[str, Any]) -> Any:
        given = Execution.model_validate(execution)
        act = self.acts.pop(0) if self.acts else echoes
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        async with self._news:
            self.taken.append(given)
            self._news.notify_all()
        try:
            return await act(self, given)
        finally:
            self._at_once -= 1

    async def took(self, attempts: int = 1) -> None:
        async with asyncio.timeout(DEADLINE), self._news:
            await self._news.wait_for(lambda: len(self.taken) >= attempts)

    def worker(self, client: Client, queue: str) -> AbstractAsyncContextManager[Any]:
        return Worker(
            client,
            task_queue=queue,
            activities=[self.execute],
            max_concurrent_activities=200,
            # A cancellation reaches an activity in the answer to a heartbeat.
            default_heartbeat_throttle_interval=timedelta(milliseconds=100),
            max_heartbeat_throttle_interval=timedelta(milliseconds=100),
        )


async def echoes(hands: ScriptedHands, execution: Execution) -> Any:
    return execution.task["input"]


def returns(value: Any) -> Act:
    async def act(hands: ScriptedHands, execution: Execution) -> Any:
        return value

    return act


def raises(error: ApplicationError) -> Act:
    async def act(hands: ScriptedHands, execution: Execution) -> Any:
        raise error

    return act


async def holds(hands: ScriptedHands, execution: Execution) -> Any:
    """Works, and is heard of, until it is cancelled or told to finish."""
    finishing = asyncio.ensure_future(hands.finish.wait())
    try:
        while not finishing.done():
            activity.heartbeat()
            await asyncio.wait({finishing}, timeout=0.1)
    finally:
        finishing.cancel()
    return "finished"


async def is_silent(hands: ScriptedHands, execution: Execution) -> Any:
    """Works without a heartbeat, as a worker does whose machine is gone."""
    await asyncio.Event().wait()
