"""Where the file lies: links to it, what lies beside it, and what becomes of it while it is open.

It must not know what tasks mean.
"""

import asyncio
import logging
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, Task, TaskContext, errors
from durable_tasks.store import schema
from durable_tasks.store.file import StoreFile
from durable_tasks.store.processes import is_free
from durable_tasks.testing import ManualClock
from tests.store.support import make, opened, query, spin_until, time_of, within

# ----- one file, however it is spelled


@pytest.mark.parametrize("linked", ["file", "folder"])
async def test_two_spellings_are_one_file(tmp_path: Path, linked: str) -> None:
    """A process that comes by a link must see the locks of those that came without, and bury nobody."""
    there, link = tmp_path / "there", tmp_path / "link"
    there.mkdir()
    if linked == "file":
        link.mkdir()
        (link / "app.db").symlink_to(there / "app.db")
    else:
        link.symlink_to(there, target_is_directory=True)
    one, begun, go = make(there / "app.db"), [], asyncio.Event()

    @one.handler("work")
    async def work(ctx: TaskContext, task: Task) -> None:
        begun.append(task.attempt)
        await go.wait()

    async with one:
        task = await one.org().create("x", capability="work")
        await spin_until(lambda: bool(begun))
        async with opened(link / "app.db", worker=False) as two:
            assert two.store.path == one.store.path
            peers = await one.store.peers()
            assert peers != []
            assert not any(is_free(two.store.path, peer.instance) for peer in peers)
        go.set()
        done = await within(one.org().wait(task.id))
    assert (done.state, begun, done.attempt) == ("completed", [1], 1)
    assert sorted(path.name for path in there.iterdir()) == ["app.db", "app.db-processes"]


async def test_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.db").symlink_to(tmp_path / "b.db")
    (tmp_path / "b.db").symlink_to(tmp_path / "a.db")
    with pytest.raises(errors.StoreUnreadable):
        async with opened(tmp_path / "a.db"):
            pass


async def test_a_file_of_two_names_is_refused_by_both(db: Path) -> None:
    async with opened(db):
        pass
    os.link(db, db.with_name("other.db"))
    for name in (db, db.with_name("other.db")):
        with pytest.raises(errors.StoreUnreadable, match="2 names"):
            await make(name).start()
    os.unlink(db.with_name("other.db"))
    async with opened(db):
        pass


# ----- the folder beside it


def a_file(folder: Path) -> None:
    folder.write_text("somebody's file")


def a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to(folder.parent / "elsewhere")


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def anothers(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    folder.mkdir()
    os.chown(folder, 12345, 12345)


def unusable(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root enters every folder")
    folder.mkdir(0o000)


@pytest.mark.parametrize("prepared", [a_file, a_link, open_to_all, anothers, unusable])
async def test_a_folder_that_can_hold_no_locks(db: Path, prepared: Callable[[Path], None]) -> None:
    folder = db.with_name("app.db-processes")
    prepared(folder)
    with pytest.raises(errors.StoreUnreadable, match=r"app\.db-processes .*(move it away|cannot be used)"):
        await make(db).start()
    assert not (folder.parent / "elsewhere").exists() or not list((folder.parent / "elsewhere").iterdir())


async def test_nothing_beside_the_file_is_written_through_a_link(db: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    async with opened(db):
        pass
    folder = db.with_name("app.db-processes")
    (folder / f"epoch.{os.getpid()}").symlink_to(victim)
    async with opened(db) as tasks:
        (folder / "gone.lock").symlink_to(victim)
        with pytest.raises(errors.StoreUnreadable):
            is_free(tasks.store.path, "gone")
    (folder / "epoch").unlink()
    (folder / "epoch").symlink_to(victim)
    with pytest.raises(errors.StoreUnreadable, match="epoch"):
        await make(db).start()
    (folder / "epoch").unlink()
    async with opened(db):
        pass
    assert victim.read_text() == "precious"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "epoch").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for somebody else")
async def test_root_locks_the_files_own_user_out_of_nothing(db: Path) -> None:
    db.touch()
    os.chown(db, 12345, 12345)
    async with opened(db):
        made = [db.with_name("app.db-processes"), *db.with_name("app.db-processes").iterdir()]
        assert len(made) == 3
        assert {path.stat().st_uid for path in made} == {12345}


# ----- the file goes away while it is open


def moved(db: Path) -> None:
    os.rename(db, db.with_name("elsewhere.db"))


def deleted(db: Path) -> None:
    os.unlink(db)


def replaced(db: Path) -> None:
    shutil.copy(db, db.with_name("fresh.db"))
    os.replace(db.with_name("fresh.db"), db)


def emptied(db: Path) -> None:
    os.truncate(db, 0)


def log_deleted(db: Path) -> None:
    os.unlink(f"{db}-wal")


def log_replaced(db: Path) -> None:
    shutil.copy(f"{db}-wal", f"{db}-fresh")
    os.replace(f"{db}-fresh", f"{db}-wal")


def index_deleted(db: Path) -> None:
    os.unlink(f"{db}-shm")


def folder_moved(db: Path) -> None:
    os.rename(db.parent, db.parent.with_name("moved"))


FATES = [moved, deleted, replaced, emptied, log_deleted, log_replaced, index_deleted, folder_moved]


@pytest.fixture
def housed(tmp_path: Path) -> Path:
    """A file in a folder of its own, which can be moved."""
    (tmp_path / "house").mkdir()
    return tmp_path / "house" / "app.db"


@pytest.mark.parametrize("fate", FATES)
async def test_nothing_is_acknowledged_once_the_file_is_gone(
    housed: Path, fate: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(housed, ManualClock()) as tasks:
        before = await tasks.org().create("before")
        assert tasks.store.lost is None
        fate(housed)
        tasks.store._watch._index_due = 0.0  # as if a second had passed
        calls = (tasks.org().create("after") for _ in range(3))
        refused = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in refused] == [errors.StoreUnreadable] * 3
        assert str(housed) in str(refused[0])
        with pytest.raises(errors.StoreUnreadable, match="start it again"):
            await tasks.store.probe()
        if fate is not emptied:
            assert (await tasks.org().get(before.id)).title == "before", "reading goes on"
            found = await tasks.diagnose()
            assert (found.healthy, "taken away" in found.warnings[0]) == (False, True)
            assert str(housed) not in str(found)
    critical = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert len(critical) == 1


def log_emptied(db: Path) -> None:
    os.truncate(f"{db}-wal", 0)


def log_halved(db: Path) -> None:
    os.truncate(f"{db}-wal", os.stat(f"{db}-wal").st_size // 2)


def log_overwritten(db: Path) -> None:
    with open(f"{db}-wal", "r+b") as log:
        log.write(b"\0" * 4096)


def log_headless(db: Path) -> None:
    os.truncate(f"{db}-wal", 20)


@pytest.mark.parametrize("damage", [log_emptied, log_halved, log_overwritten, log_headless])
async def test_nothing_is_acknowledged_once_the_log_is_cut_off(
    db: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """In place, as by a tool that rotates or copies files: what is written behind the cut would not be read again."""
    async with opened(db, ManualClock(), worker=False) as tasks:
        for number in range(5):
            await tasks.org().create(f"t{number}")
        damage(db)
        for _ in range(3):
            with pytest.raises(errors.StoreUnreadable, match=r"lost a part of its log.*start it again"):
                await tasks.org().create("after")
        assert tasks.store.lost is not None
    assert len([record for record in caplog.records if record.levelno == logging.CRITICAL]) == 1
    async with opened(db, worker=False) as again:
        assert "has lost its log" in (again.store.displaced or "")


async def test_a_log_that_sqlite_itself_made_smaller_is_well(db: Path) -> None:
    """By a checkpoint that truncates, with and without a writer after it, or by an application's smaller limit."""
    async with opened(db, ManualClock(), worker=False) as tasks:
        with closing(sqlite3.connect(db, isolation_level=None)) as conn:
            conn.execute("CREATE TABLE apps (value)")
            for change in ("SELECT 1", "INSERT INTO apps VALUES (1)"):
                await tasks.org().create("x", input="x" * 200_000)
                conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                conn.execute(change)
                await tasks.org().create("emptied")
            await tasks.org().create("x", input="x" * 200_000)
            before = os.stat(f"{db}-wal").st_size
            conn.execute("PRAGMA journal_size_limit=10000")
            conn.execute("PRAGMA wal_checkpoint(RESTART)")
            conn.execute("INSERT INTO apps VALUES (2)")
            assert os.stat(f"{db}-wal").st_size < before
            await tasks.org().create("limited")
        assert tasks.store.lost is None
    assert query(db, "SELECT COUNT(*) FROM dt_tasks") == [(6,)]


async def test_a_log_that_was_cut_off_after_others_wrote(db: Path) -> None:
    """What they wrote is to be read before a transaction can begin: SQLite itself misses it."""
    async with opened(db, ManualClock(), worker=False) as tasks:
        await tasks.org().create("before")
        with closing(sqlite3.connect(db)) as conn:
            conn.execute("CREATE TABLE apps (value)")
            log_emptied(db)
            with pytest.raises(errors.StoreUnreadable, match="lost a part of its log"):
                await tasks.org().create("after")
        assert tasks.store.lost is not None


async def test_what_came_back_is_not_written_before_a_restart(housed: Path) -> None:
    async with opened(housed) as tasks:
        moved(housed)
        with pytest.raises(errors.StoreUnreadable, match="moved or deleted"):
            await tasks.org().create("x")
        os.rename(housed.with_name("elsewhere.db"), housed)
        with pytest.raises(errors.StoreUnreadable, match="moved or deleted"):
            await tasks.org().create("x")
    async with opened(housed) as again:
        assert again.store.displaced is None
        await again.org().create("x")


async def test_a_beat_finds_it_and_stops_the_handlers(db: Path) -> None:
    tasks, begun, cancelled = make(db, ManualClock(), process_lease=15), asyncio.Event(), asyncio.Event()

    @tasks.handler("work")
    async def work(ctx: TaskContext, task: Task) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with tasks:
        await tasks.org().create("x", capability="work")
        await within(begun.wait())
        deleted(db)
        await time_of(tasks).advance(3)
        await within(cancelled.wait())
        assert tasks.store.lost == "was moved or deleted"
    assert not db.exists(), "nobody made an empty one in its place"


async def test_a_file_that_was_cut_off(db: Path) -> None:
    async with opened(db) as tasks:
        for number in range(50):
            await tasks.org().create(f"t{number}", input="x" * 5000)
        with closing(sqlite3.connect(db)) as conn:
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        await tasks.org().create("one more")
        os.truncate(db, db.stat().st_size // 2)
        lost = await _lost(tasks)
    assert lost == "was cut off"


async def test_a_file_that_was_made_smaller_by_its_application_is_well(db: Path) -> None:
    async with opened(db) as tasks:
        with closing(sqlite3.connect(db)) as conn:
            conn.execute("CREATE TABLE big AS SELECT zeroblob(1000000) AS x")
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        await tasks.org().create("large")
        with closing(sqlite3.connect(db)) as conn:
            conn.execute("DROP TABLE big")
            conn.execute("VACUUM")
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        await tasks.org().create("small")
        checking = tasks.store._checking
        assert checking is not None
        await within(checking)
        assert tasks.store.lost is None
        await tasks.org().create("still")
    assert query(db, "SELECT COUNT(*) FROM dt_tasks") == [(3,)]


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[StoreFile]:
    """Each check of a whole file."""
    made: list[StoreFile] = []
    check = StoreFile.check

    async def counted(self: StoreFile) -> None:
        made.append(self)
        await check(self)

    monkeypatch.setattr(StoreFile, "check", counted)
    return made


async def test_a_file_that_shrinks_by_itself_is_not_checked_again_and_again(db: Path, checks: list[StoreFile]) -> None:
    with closing(sqlite3.connect(db)) as conn:
        conn.execute("PRAGMA auto_vacuum = FULL")
        conn.execute("CREATE TABLE cache (value)")
    async with opened(db) as tasks:
        for _ in range(5):
            for change in ("INSERT INTO cache VALUES (zeroblob(1000000))", "DELETE FROM cache"):
                before = tasks.store._checking
                with closing(sqlite3.connect(db)) as conn, conn:
                    conn.execute(change)
                with closing(sqlite3.connect(db)) as conn:
                    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                await tasks.org().create("x")
            checking = tasks.store._checking
            assert checking is not None
            assert checking is not before, "it was found to have shrunk"
            await within(checking)
        assert checks == []
        assert tasks.store.lost is None


async def test_a_file_that_seems_cut_off_is_checked_once_an_hour(
    db: Path, checks: list[StoreFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "is_short", lambda conn, path: True)
    async with opened(db, ManualClock()) as tasks:
        tasks.store._check_soon()
        await spin_until(lambda: len(checks) == 1)
        assert tasks.store._checking is not None
        await within(tasks.store._checking)
        tasks.store._check_soon()
        await time_of(tasks).advance(3590)
        assert len(checks) == 1
        await time_of(tasks).advance(20)
        await spin_until(lambda: len(checks) == 2)


async def test_a_second_name_stops_the_writing_for_as_long_as_it_is_there(
    db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a copy that shares files gives it. Nothing that was committed is refused, and no handler is stopped."""
    async with opened(db, ManualClock(), worker=False) as tasks:
        org = tasks.org()
        await org.create("before")
        await tasks.store._writer.run(lambda tx: os.link(db, db.with_name("snapshot.db")))
        for _ in range(2):
            with pytest.raises(errors.StoreUnreadable, match="2 names"):
                await org.create("refused")
        with pytest.raises(errors.StoreUnreadable, match="2 names"):
            await tasks.store.probe()
        os.unlink(db.with_name("snapshot.db"))
        await org.create("after")
        assert tasks.store.lost is None
    titles = [title for (title,) in query(db, "SELECT title FROM dt_tasks ORDER BY seq")]
    assert titles == ["before", "after"]
    said = [record.levelname for record in caplog.records if "name" in record.message and "app.db" in record.message]
    assert said == ["CRITICAL", "WARNING"]


async def test_a_commit_stands_when_the_file_cannot_be_looked_at_after_it(
    db: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(name: str) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    async with opened(db, ManualClock()) as tasks:
        monkeypatch.setattr("durable_tasks.store.watch._look_at", refused)
        made = [await tasks.org().create(title) for title in ("one", "two")]
        monkeypatch.undo()
        assert tasks.store.lost is None
        await tasks.org().create("three")
    assert query(db, "SELECT id FROM dt_tasks ORDER BY seq LIMIT 2") == [(task.id,) for task in made]
    assert len([record for record in caplog.records if "looked at after a commit" in record.message]) == 1


async def _lost(tasks: DurableTasks) -> str | None:
    async with asyncio.timeout(30):
        while tasks.store.lost is None:
            try:
                await tasks.org().create("another")
            except errors.StoreError:
                await asyncio.sleep(0)
    return tasks.store.lost
