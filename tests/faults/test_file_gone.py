"""A file that is taken away under load and brought back: nothing is acknowledged that is not in it then.
It must not know how the file is written; the checker looks at what is left.
"""

import asyncio
import itertools
import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from durable_tasks.app import DurableTasks
from durable_tasks.settings import Settings
from tests.faults.checker import faults, journal, most_at_once
from tests.faults.figures import count, keep, spread
from tests.faults.processes import App

PROCESSES = 2
CLIENTS = 4
SECONDS = 60.0
POLL = 0.05


@contextmanager
def moved(db: Path, rng: random.Random) -> Iterator[None]:
    away = db.with_name("away.db")
    os.rename(db, away)
    yield
    os.replace(away, db)


@contextmanager
def moved_with_its_folder(db: Path, rng: random.Random) -> Iterator[None]:
    away = db.parent.with_name("away")
    os.rename(db.parent, away)
    yield
    os.rename(away, db.parent)


@contextmanager
def deleted(db: Path, rng: random.Random) -> Iterator[None]:
    """It is rescued from who has it open still, as from /proc/PID/fd."""
    with db.open("rb") as kept:
        os.unlink(db)
        yield
        with db.open("wb") as rescued:
            shutil.copyfileobj(kept, rescued)


@contextmanager
def replaced_by_another(db: Path, rng: random.Random) -> Iterator[None]:
    with moved(db, rng):
        shutil.copy(db.parent.with_name("another.db"), db)
        yield


@contextmanager
def replaced_by_an_older_one(db: Path, rng: random.Random) -> Iterator[None]:
    with moved(db, rng):
        shutil.copy(db.parent.with_name("older.db"), db)
        yield


@contextmanager
def emptied(db: Path, rng: random.Random) -> Iterator[None]:
    with cut_off_at(db, 0):
        yield


@contextmanager
def cut_off(db: Path, rng: random.Random) -> Iterator[None]:
    with cut_off_at(db, rng.randrange(db.stat().st_size)):
        yield


@contextmanager
def cut_off_at(db: Path, size: int) -> Iterator[None]:
    """What was cut off is put back: nobody commits while it is noted, and nothing is taken from a log that goes on."""
    wal = db.with_name(db.name + "-wal")
    with closing(sqlite3.connect(db, isolation_level=None, timeout=SECONDS)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        whole, log = db.read_bytes(), wal.read_bytes()
        os.truncate(db, size)
        conn.execute("ROLLBACK")
    yield
    db.write_bytes(whole)
    if not wal.exists() or wal.read_bytes()[:HEAD] != log[:HEAD]:
        wal.write_bytes(log)


@contextmanager
def log_emptied(db: Path, rng: random.Random) -> Iterator[None]:
    """In place, and put back: nobody writes a log that was seen to be emptied."""
    wal = db.with_name(db.name + "-wal")
    with closing(sqlite3.connect(db, isolation_level=None, timeout=SECONDS)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        log = wal.read_bytes()
        os.truncate(wal, 0)
        conn.execute("ROLLBACK")
    yield
    assert wal.read_bytes() == b""
    wal.write_bytes(log)


HEAD = 32
"""Bytes at the beginning of a log that are others when it has begun anew."""

Fate = Callable[[Path, random.Random], AbstractContextManager[None]]
FATES: tuple[Fate, ...] = (
    *(
        moved,
        moved_with_its_folder,
        deleted,
        replaced_by_another,
        replaced_by_an_older_one,
        emptied,
        cut_off,
        log_emptied,
    ),
)


class Story:
    """One file under several processes, taken away from them time and again."""

    def __init__(self, folder: Path, seed: int, settings: dict[str, Any]) -> None:
        self.db, self._journals, self._settings = folder / "house" / "tasks.db", folder, settings
        self._rng = random.Random(seed)
        self._rounds = 0
        self.fates: Counter[str] = Counter()
        self.refusals: list[float] = []
        """Seconds until each process had refused a call."""

    async def begin(self) -> None:
        self.db.parent.mkdir()
        for path in (self.db, self._journals / "another.db"):
            async with DurableTasks(Settings(db=path, worker=False)):
                pass

    async def take_away(self, fate: Fate) -> None:
        self._rounds += 1
        shutil.copy(self.db, self._journals / "older.db")
        begun = len(self._noted("effects"))
        async with AsyncExitStack() as running:
            names = [f"round-{self._rounds}-{number}" for number in range(PROCESSES)]
            apps = [await running.enter_async_context(self._app("load", name)) for name in names]
            for app in apps:
                await app.ready()
            await apps[0].lives_for(self._rng.uniform(0.1, 1.5))
            with fate(self.db, self._rng):
                await self._refused(apps)
                await apps[0].lives_for(self._rng.uniform(0.1, 0.5))
                for app in apps:
                    await self._end(app, fate)
        self.fates[fate.__name__] += 1
        assert faults(self.db, self._journals) == [], fate.__name__
        assert most_at_once(self._noted("effects")[begun:]) <= 1
        await self._adopt()

    async def finish(self) -> None:
        async with self._app("drain", "drain") as app:
            await app.settled()
        assert faults(self.db, self._journals) == []

    def _app(self, mode: str, name: str) -> App:
        config: dict[str, Any] = {"seed": self._rng.random(), "clients": CLIENTS, "stubborn": True, "pause": 0.05}
        return App(self.db, mode, name=name, journals=str(self._journals), settings=self._settings, **config)

    def _noted(self, name: str) -> list[dict[str, Any]]:
        return journal(self._journals / name)

    async def _refused(self, apps: list[App]) -> None:
        """Wait until each of them has refused a call."""
        since, names = time.monotonic(), {app.name for app in apps}
        async with asyncio.timeout(SECONDS):
            while not names <= {fact["by"] for fact in self._noted("refused")}:
                for app in apps:
                    await app.lives_for(POLL)
        self.refusals.append(time.monotonic() - since)

    async def _end(self, app: App, fate: Fate) -> None:
        """Killed or, unless its end would write over what is to be put back, asked to end."""
        if fate in (emptied, cut_off, log_emptied) or self._rng.random() < 0.5:
            await app.kill()
        else:
            app.tell("end")
            assert await app.ends() == 0, app.stderr

    async def _adopt(self) -> None:
        """What was rescued by copying it says so, and is told that it stands for the original."""
        async with DurableTasks(Settings(db=self.db, worker=False, **self._settings)) as tasks:
            if tasks.store.displaced is not None:
                await tasks.store.adopt(replaces=True)


async def storm(folder: Path, times: int, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """So many fates, each as often as any other. Raises AssertionError on the first broken promise."""
    print(f"\nseed {seed}")
    story, fates = Story(folder, seed, settings), list(FATES)
    random.Random(seed).shuffle(fates)
    await story.begin()
    for fate in itertools.islice(itertools.cycle(fates), times):
        await story.take_away(fate)
    await story.finish()
    acknowledged = sum(fact["op"] != "creating" for fact in journal(folder / "acknowledged"))
    refused = Counter(fact["op"] for fact in journal(folder / "refused"))
    return {
        "seed": seed,
        "taken_away": times,
        "fates": dict(story.fates),
        "acknowledged": acknowledged,
        "refused": dict(refused),
        "lost": 0,
        "twice_at_once": 0,
        "refused_by_all_after": spread(story.refusals),
    }


async def test_a_file_is_taken_away_under_load(tmp_path: Path) -> None:
    keep("files-gone-smoke", await storm(tmp_path, 2, random.randrange(10**9), {}))


@pytest.mark.acceptance
async def test_files_are_taken_away_under_load(tmp_path: Path, settings: dict[str, Any]) -> None:
    seed = count("TASKS_ACCEPTANCE_SEED", random.randrange(10**9))
    figures = await storm(tmp_path, count("TASKS_ACCEPTANCE_FILES", 20), seed, settings)
    keep(f"files-gone-{'temporal' if settings else 'local'}", figures)
