"""How things are measured here: one stretch of work, readings of one round, their medians, goals and the table.

It must not know what is measured.
"""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

JUDGED_BELOW = 8000.0
"""Commits per second of raw SQLite: on a faster disk, or one that does not sync, the ratios mean little."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides. `directory` holds the database files: its disk is what is measured."""

    runs: int
    full: bool
    directory: Path


@dataclass(slots=True)
class Sample:
    """One stretch of work: how many logical operations in how much time."""

    count: int
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu / self.count * 1e6


@contextmanager
def measured(count: int) -> Iterator[Sample]:
    """Time of the clock and of this process's CPU, all its threads, for `count` operations."""
    sample = Sample(count)
    started, cpu = time.perf_counter(), time.process_time()
    yield sample
    sample.seconds, sample.cpu = time.perf_counter() - started, time.process_time() - cpu


async def in_flight(callers: int, count: int, operation: Callable[[], Awaitable[object]]) -> None:
    """Run `operation` `count` times, `callers` at once, each caller one after the other."""
    left = count

    async def call() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await operation()

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())


@dataclass(frozen=True, slots=True)
class Reading:
    """What one round found of one thing. `ratio` is to its peer in the same round."""

    name: str
    value: float
    unit: str
    cpu_us: float | None = None
    ratio: float | None = None


def rate(name: str, sample: Sample, peer: Sample | None = None) -> Reading:
    return Reading(name, sample.rate, "/s", sample.cpu_us, None if peer is None else sample.rate / peer.rate)


@dataclass(frozen=True, slots=True)
class Goal:
    """The figure a reading is accepted by: `field` of the reading `name`, at least or at most `limit`."""

    name: str
    field: str
    limit: float
    at_least: bool = False
    against_raw: bool = False
    """Judged only while raw SQLite is as slow as a disk that syncs."""

    def __str__(self) -> str:
        what = {"cpu_us": "CPU µs", "ratio": "ratio", "value": "value"}[self.field]
        return f"{what} {'≥' if self.at_least else '≤'} {self.limit:g}"

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


Rounds = Callable[[Options], AsyncIterator[list[Reading]]]


@dataclass(frozen=True, slots=True)
class Case:
    """One question: `rounds` prepares, then yields the readings of one round after the other."""

    name: str
    question: str
    rounds: Rounds
    goals: Sequence[Goal] = ()


@dataclass(slots=True)
class Report:
    """Collects rounds, writes each as a JSON line, and prints one table per case."""

    out: TextIO | None
    missed: list[str] = field(default_factory=list)

    def show(self, case: Case, rounds: Sequence[Sequence[Reading]]) -> None:
        raw = [reading.value for readings in rounds for reading in readings if reading.unit == "commits/s"]
        judged = not raw or statistics.median(raw) <= JUDGED_BELOW
        print(f"\n{case.name}: {case.question}")
        for name in dict.fromkeys(reading.name for readings in rounds for reading in readings):
            column = [reading for readings in rounds for reading in readings if reading.name == name]
            print(f"  {name:<38}{_value(column):<34}{_cpu(column):<14}{_ratio(column):<24}".rstrip())
            for goal in case.goals:
                if goal.name == name:
                    self._judge(case, goal, column, judged)

    def write(self, case: Case, number: int, readings: Sequence[Reading]) -> None:
        if self.out is not None:
            for reading in readings:
                line = {"case": case.name, "round": number, "at": time.time(), **asdict(reading)}
                self.out.write(json.dumps(line, ensure_ascii=False) + "\n")
            self.out.flush()

    def _judge(self, case: Case, goal: Goal, column: Sequence[Reading], judged: bool) -> None:
        found = statistics.median(getattr(reading, goal.field) for reading in column)
        verdict = "met" if goal.met(found) else "MISSED"
        if goal.against_raw and not judged:
            verdict = f"not judged (raw above {JUDGED_BELOW:.0f} commits/s)"
        elif verdict == "MISSED":
            self.missed.append(f"{case.name}, {goal.name}: {goal}, found {found:.3g}")
        print(f"    {goal}: {verdict}")


def _value(column: Sequence[Reading]) -> str:
    return f"{_spread([reading.value for reading in column])} {column[0].unit}"


def _cpu(column: Sequence[Reading]) -> str:
    found = [reading.cpu_us for reading in column if reading.cpu_us is not None]
    return f"{statistics.median(found):,.0f} µs CPU" if found else ""


def _ratio(column: Sequence[Reading]) -> str:
    found = [reading.ratio for reading in column if reading.ratio is not None]
    return f"× {_spread(found)}" if found else ""


def _spread(values: Sequence[float]) -> str:
    return f"{_short(statistics.median(values))} ({_short(min(values))}–{_short(max(values))})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
