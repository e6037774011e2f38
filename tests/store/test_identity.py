"""Whether a file is noticed for an older state of itself, a backup or an empty one, and what is said of it.

It must not know Temporal.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from durable_tasks import Settings
from durable_tasks.console import Console, backup
from durable_tasks.testing import ManualClock
from tests.store.support import DEADLINE, make, opened, query, time_of
from tests.store.test_store_file import child


def written_over(saved: Path, db: Path) -> None:
    db.write_bytes(saved.read_bytes())


def deleted_and_copied(saved: Path, db: Path) -> None:
    os.unlink(db)
    shutil.copy(saved, db)


def put_in_place(saved: Path, db: Path) -> None:
    shutil.copy(saved, db.with_name("new"))
    os.replace(db.with_name("new"), db)


WAYS = [written_over, deleted_and_copied, put_in_place]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "saved.db"


async def verdict(db: Path) -> tuple[str | None, bool]:
    """What is said of the file, by the store and by its doctor."""
    async with Console(Settings(db=db, enabled=False)) as console:
        found = await console.diagnose()
        assert found.displaced == console.displaced
        return found.displaced, found.healthy


@pytest.mark.parametrize("way", WAYS)
async def test_a_backup_restored_in_place_is_noticed(
    db: Path, saved: Path, way: Callable[[Path, Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(db, ManualClock()) as tasks:
        await tasks.org().create("before")
        await backup(Settings(db=db), saved)
        await tasks.org().create("after")
    assert await verdict(db) == (None, True)
    way(saved, db)
    for _ in range(2):  # it does not pass by working on
        async with opened(db) as tasks:
            assert tasks.store.displaced is not None
            assert "copy" in tasks.store.displaced
            await tasks.org().create("later")
    assert len([one for one in caplog.records if one.levelname == "CRITICAL"]) == 2
    said, healthy = await verdict(db)
    assert (said is not None, healthy) == (True, False)
    async with Console(Settings(db=db, enabled=False)) as console:
        await console.adopt(replaces=True)
    assert await verdict(db) == (None, True)


@pytest.mark.parametrize("way", WAYS)
async def test_a_plain_copy_of_the_stopped_file_is_noticed(
    db: Path, saved: Path, way: Callable[[Path, Path], None]
) -> None:
    async with opened(db) as tasks:
        await tasks.org().create("before")
    shutil.copy(db, saved)
    async with opened(db) as tasks:
        await tasks.org().create("after")
    way(saved, db)
    async with opened(db) as tasks:
        assert tasks.store.displaced is not None
        for number in range(20):
            await tasks.org().create(f"later {number}")
    for _ in range(3):
        assert (await verdict(db))[1] is False


async def test_an_older_state_of_the_same_opening_is_noticed(db: Path, saved: Path) -> None:
    """As a snapshot of the disk would bring it back: nothing was opened since, but time went on."""
    async with opened(db, ManualClock()) as tasks:
        await tasks.org().create("before")
        with closing(sqlite3.connect(db)) as source, closing(sqlite3.connect(saved)) as target:
            source.backup(target)
        await tasks.org().create("after")
        await time_of(tasks).advance(3)
    with closing(sqlite3.connect(saved)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
    written_over(saved, db)
    said, healthy = await verdict(db)
    assert (said is not None and "older state" in said, healthy) == (True, False)


CRASH = """
import asyncio, os, sys
from durable_tasks import DurableTasks, Settings
async def main():
    async with DurableTasks(Settings(db=sys.argv[1], enabled=False, process_lease=1)) as tasks:
        await tasks.org().create("acknowledged")
        before = open(sys.argv[1] + "-processes/epoch").read()
        while open(sys.argv[1] + "-processes/epoch").read() == before:
            await asyncio.sleep(0.01)
        os._exit(9)
asyncio.run(main())
"""


async def test_a_log_deleted_after_a_crash_is_noticed(db: Path) -> None:
    async with opened(db):
        pass
    process = child(CRASH, db)
    try:
        assert process.wait(DEADLINE) == 9
    finally:
        process.kill()
        process.communicate()
    os.unlink(f"{db}-wal")
    said, healthy = await verdict(db)
    assert (said is not None and "lost its log" in said, healthy) == (True, False)


async def test_a_crash_alone_is_no_older_state(db: Path) -> None:
    process = child(CRASH, db)
    try:
        assert process.wait(DEADLINE) == 9
    finally:
        process.kill()
        process.communicate()
    assert (await verdict(db))[0] is None


async def test_an_emptied_file_is_noticed(db: Path) -> None:
    async with opened(db) as tasks:
        await tasks.org().create("gone")
    os.truncate(db, 0)
    for _ in range(2):
        said, healthy = await verdict(db)
        assert (said is not None and "emptied" in said, healthy) == (True, False)


async def test_a_deleted_file_begins_anew_and_says_so(db: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(db) as tasks:
        await tasks.org().create("gone")
    os.unlink(db)
    async with opened(db) as tasks:
        assert tasks.store.displaced is None
    assert [one.getMessage() for one in caplog.records if "begins anew" in one.getMessage()]
    assert await verdict(db) == (None, True)


async def test_many_openings_and_many_processes_are_no_older_state(db: Path) -> None:
    async with opened(db, ManualClock()) as one:
        for _ in range(120):
            async with Console(Settings(db=db, enabled=False)) as console:
                assert console.displaced is None
        async with opened(db, ManualClock()) as two:
            await time_of(one).advance(3)
            await time_of(two).advance(3)
    assert await verdict(db) == (None, True)


async def test_the_witness_of_an_earlier_release_counts(db: Path) -> None:
    async with opened(db):
        pass
    [(uuid,)] = query(db, "SELECT value FROM dt_meta WHERE key = 'uuid'")
    [(count,)] = query(db, "SELECT value FROM dt_meta WHERE key = 'epoch'")
    witness = db.with_name("app.db-processes") / "epoch"
    witness.write_text(f"{uuid} {count}")
    assert (await verdict(db))[0] is None
    witness.write_text(f"{uuid} {int(count) + 9}")
    assert "older state" in str((await verdict(db))[0])


async def test_a_backup_says_inside_what_it_is(db: Path, saved: Path, tmp_path: Path) -> None:
    async with opened(db):
        pass
    await backup(Settings(db=db), saved, ManualClock())
    assert query(saved, "SELECT value FROM dt_meta WHERE key = 'copy'") == [("2025-06-15T15:06:40+00:00",)]
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(saved, tmp_path / "elsewhere" / "app.db")
    assert "a backup of 2025-06-15" in str((await verdict(tmp_path / "elsewhere" / "app.db"))[0])
    with closing(sqlite3.connect(tmp_path / "own.db")) as conn, conn:
        conn.execute("CREATE TABLE mine (x)")
    await backup(Settings(db=tmp_path / "own.db"), tmp_path / "own-saved.db")
    assert query(tmp_path / "own-saved.db", "SELECT name FROM sqlite_schema") == [("mine",)]


async def test_a_file_of_the_application_without_our_tables_begins_as_its_own(db: Path) -> None:
    """Whoever deletes it and has its own migrations make it again has done nothing wrong."""
    async with make(db):
        pass
    os.unlink(db)
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute("CREATE TABLE mine (x)")
    assert await verdict(db) == (None, True)
