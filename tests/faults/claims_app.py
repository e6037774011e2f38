"""Callers of one process that fight for the same tasks: `python -m tests.faults.claims_app JSON`.
It must not know the other processes, nor judge: each call and its answer is written down.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TextIO

from durable_tasks import DurableTasks, Settings
from durable_tasks.errors import Conflict

TASKS = 20
"""In one wave."""
CALLS = 30
"""Of one caller in one wave."""


class Callers:
    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._tasks = DurableTasks(Settings(db=config["db"], worker=False))
        self._org = self._tasks.org()
        self._book: TextIO
        self._tokens: dict[str, list[str]] = {}
        """Every token that this process was given, old ones included: they must be refused."""

    async def run(self) -> None:
        with Path(self._config["book"]).open("w", encoding="utf-8") as self._book:
            await self._run_waves()

    async def _run_waves(self) -> None:
        async with self._tasks:
            for wave in range(self._config["waves"]):
                # The keys are those of all processes: whoever comes first creates, the others find the same tasks.
                keys = [f"{wave}/{number}" for number in range(TASKS)]
                made = await asyncio.gather(
                    *(self._org.create("x", mode="manual", idempotency_key=key) for key in keys)
                )
                ids = [task.id for task in made]
                rngs = [random.Random(f"{self._config['seed']}/{wave}/{n}") for n in range(self._config["callers"])]
                await asyncio.gather(*(self._fight(ids, rng) for rng in rngs))

    async def _fight(self, ids: list[str], rng: random.Random) -> None:
        name = f"{self._config['name']}/{rng.random()}"
        for _ in range(CALLS):
            task_id = rng.choice(ids)
            known = self._tokens.get(task_id)
            verb = rng.choice(("claim", "claim", "next", "get") if not known else ("claim", "get", *ENDS))
            token = rng.choice(known) if known and verb in ENDS else None
            await self._call(task_id, verb, token, name)

    async def _call(self, task_id: str, verb: str, token: str | None, name: str) -> None:
        org, seen = self._org, None
        called = time.monotonic_ns()
        try:
            match verb:
                case "get":
                    task = await org.get(task_id)
                    seen = (task.state, task.attempt)
                case "claim" | "next":
                    asked: Awaitable[Any] = (
                        org.next(agent_id=name, lease=None)
                        if verb == "next"
                        else org.claim(task_id, agent_id=name, lease=None)
                    )
                    claim = await asked
                    if claim is None:
                        return  # of no task in particular
                    verb, task_id, token, seen = "claim", claim.task.id, claim.token, claim.task.attempt
                    self._tokens.setdefault(task_id, []).append(claim.token)
                case "start":
                    await org.start(task_id, token=token or "")
                case "release":
                    await org.release(task_id, token=token or "")
                case "complete":
                    await org.complete(task_id, "done", token=token or "")
            ok = True
        except Conflict:
            ok = False
        answered = time.monotonic_ns()
        self._book.write(json.dumps([task_id, called, answered, verb, ok, token, seen]) + "\n")


ENDS = ("start", "release", "complete")


if __name__ == "__main__":
    asyncio.run(Callers(json.loads(sys.argv[1])).run())
