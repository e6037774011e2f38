"""Fixtures of the store's tests: a clock to move by hand and tasks on a fresh file.

It must not know what is tested.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, Org
from durable_tasks.testing import ManualClock
from tests.store.support import opened


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def tasks(db: Path, clock: ManualClock) -> AsyncIterator[DurableTasks]:
    """Started on a fresh file, on the manual clock; the audit must hold at the end of every test."""
    async with opened(db, clock) as started:
        yield started
        assert await started.store.audit() == []


@pytest.fixture
def org(tasks: DurableTasks) -> Org:
    return tasks.org("acme")
