"""The file itself: bad files, privacy, the application's own tables, migrations, group commit and other writers.

It must not know what tasks mean.
"""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from durable_tasks import DurableTasks, NewTask, Org, errors
from durable_tasks.store import schema
from durable_tasks.store.connection import WAL_SIZE
from durable_tasks.store.transaction import Transaction
from durable_tasks.testing import ManualClock
from tests.store.support import DEADLINE, claimed, everything, make, opened, query, within


async def refuses_to_start(path: Path, kind: type[errors.StoreError]) -> errors.StoreError:
    before = path.read_bytes() if path.is_file() and os.access(path, os.R_OK) else None
    with pytest.raises(errors.StoreError) as caught:
        await make(path).start()
    assert type(caught.value) is kind
    assert str(path) in caught.value.message
    assert caught.value.path == str(path)
    if before is not None:
        assert path.read_bytes() == before
    return caught.value


async def filled(path: Path, count: int = 50) -> None:
    async with opened(path) as tasks:
        for number in range(count):
            await tasks.org().create(f"t{number}", input="x" * 500)


# ----- bad files


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    await refuses_to_start(tmp_path, errors.StoreUnreadable)


async def test_a_file_in_no_folder(tmp_path: Path) -> None:
    await refuses_to_start(tmp_path / "missing" / "app.db", errors.StoreUnreadable)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("mode", [0o000, 0o400])
async def test_a_file_that_this_user_may_not_use(db: Path, mode: int) -> None:
    db.touch(mode)
    await refuses_to_start(db, errors.StoreUnreadable)


async def test_a_text_file_is_no_database(db: Path) -> None:
    db.write_text("these are not the bytes of a database\n" * 100)
    error = await refuses_to_start(db, errors.StoreCorrupt)
    assert "restore" in error.message


async def test_a_damaged_database(db: Path) -> None:
    await filled(db)
    with closing(sqlite3.connect(db)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(db.read_bytes())
    for page in range(8, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = os.urandom(64)
    db.write_bytes(data)
    await refuses_to_start(db, errors.StoreCorrupt)


async def test_a_newer_schema(db: Path) -> None:
    await filled(db, 1)
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute("INSERT INTO dt_migrations VALUES (9999, '9999_future.sql', 'x', 0)")
    before = everything(db)
    with pytest.raises(errors.StoreTooNew, match="upgrade") as caught:
        await make(db).start()
    assert (caught.value.found, caught.value.path) == (9999, str(db))
    assert everything(db) == before


async def test_a_migration_with_other_content(db: Path) -> None:
    await filled(db, 1)
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute("UPDATE dt_migrations SET checksum = 'other' WHERE number = 1")
    with pytest.raises(errors.StoreError, match="other content"):
        await make(db).start()


MOUNTS = "/dev/sda1 / ext4 rw 0 0\nserver:/x {here} {kind} rw 0 0\n/dev/sdb1 {here}/local ext4 rw 0 0\n"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p"])
def test_network_file_systems_are_refused(tmp_path: Path, kind: str) -> None:
    mounts = MOUNTS.format(here=tmp_path.resolve(), kind=kind)
    with pytest.raises(errors.NetworkFileSystem, match="local disk") as caught:
        schema.refuse_network(tmp_path / "app.db", mounts)
    assert caught.value.kind == kind
    schema.refuse_network(tmp_path / "local" / "app.db", mounts)
    schema.refuse_network(Path("/elsewhere/app.db"), mounts)


# ----- a good neighbour


async def test_the_file_is_private(db: Path) -> None:
    async with opened(db) as tasks:
        await tasks.org().create("task")
        for path in db.parent.glob("app.db*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode & 0o077 == 0, (path.name, oct(mode))


async def test_the_applications_own_tables_are_untouched(db: Path) -> None:
    script = (
        "CREATE TABLE tasks (x); CREATE TABLE events (y); INSERT INTO tasks VALUES (1); INSERT INTO events VALUES (2)"
    )
    with closing(sqlite3.connect(db)) as conn:
        for statement in (*script.split("; "), "PRAGMA user_version=42", "PRAGMA application_id=4711"):
            conn.execute(statement)
        conn.commit()
    await filled(db, 3)
    assert query(db, "SELECT x FROM tasks UNION ALL SELECT y FROM events") == [(1,), (2,)]
    assert query(db, "PRAGMA user_version") + query(db, "PRAGMA application_id") == [(42,), (4711,)]
    ours = query(db, "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    assert {name for (name,) in ours if not name.startswith("dt_")} == {"tasks", "events"}


START_AND_CREATE = """
import asyncio, sys
from durable_tasks import DurableTasks, Settings
async def main():
    sys.stdin.readline()
    async with DurableTasks(Settings(db=sys.argv[1], enabled=False)) as tasks:
        await tasks.org().create("from a process")
print("up", flush=True)
asyncio.run(main())
"""


def child(code: str, *args: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


async def test_nobody_changes_the_tables_beneath_processes_of_an_earlier_release(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(db, worker=False) as earlier:
        await earlier.org().create("x")
        known = [*schema.migrations(), (9000, "9000_next.sql", "CREATE TABLE dt_next (x);\n")]
        monkeypatch.setattr(schema, "migrations", lambda: known)
        with pytest.raises(errors.StoreBusy, match="of an earlier release"):
            await make(db).start()
        await earlier.org().create("y")
    assert query(db, "SELECT 1 FROM sqlite_schema WHERE name = 'dt_next'") == []
    async with opened(db):
        pass
    assert query(db, "SELECT COUNT(*) FROM dt_next") == [(0,)]


def test_processes_that_start_at_once_share_one_migration(db: Path) -> None:
    processes = [child(START_AND_CREATE, db) for _ in range(4)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.wait(DEADLINE) for process in processes] == [0, 0, 0, 0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert query(db, "SELECT COUNT(*), COUNT(DISTINCT id) FROM dt_tasks") == [(4, 4)]
    assert query(db, "SELECT COUNT(*) FROM dt_meta WHERE key = 'uuid'") == [(1,)]
    assert query(db, "SELECT COUNT(*) FROM dt_processes") == [(0,)]


async def test_instances_on_two_files_share_nothing(db: Path, tmp_path: Path) -> None:
    async with opened(db) as one, opened(tmp_path / "two.db") as two:
        task = await one.org().create("only here")
        with pytest.raises(errors.NotFound):
            await two.org().get(task.id)
        assert one.store.file_uuid != two.store.file_uuid


async def test_instances_on_one_file_share_everything(db: Path) -> None:
    async with opened(db) as one, opened(db) as two:
        task, token, _ = await claimed(one.org())
        waiting = asyncio.create_task(two.org().wait(task.id))
        await one.org().complete(task.id, 42, token=token)
        assert (await within(waiting)).output == 42
        await one.stop()
        assert (await two.org().create("still open")).state == "pending"
        assert await two.store.audit() == []


# ----- create_in


async def begin(conn: sqlite3.Connection) -> sqlite3.Connection:
    conn.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER)")
    conn.execute("BEGIN IMMEDIATE")
    conn.execute("INSERT INTO orders VALUES (1)")
    return conn


@pytest.mark.parametrize("commits", [True, False])
async def test_a_task_in_the_applications_transaction(org: Org, db: Path, commits: bool) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        await begin(conn)
        task = await org.create_in(conn, "bill", input={"order": 1})
        conn.execute("COMMIT" if commits else "ROLLBACK")
    assert query(db, "SELECT COUNT(*) FROM orders") == [(int(commits),)]
    if commits:
        assert await org.get(task.id) == task
    else:
        with pytest.raises(errors.NotFound):
            await org.get(task.id)


@pytest.mark.parametrize("commits", [True, False])
async def test_the_same_with_aiosqlite(org: Org, db: Path, commits: bool) -> None:
    async with aiosqlite.connect(db, isolation_level=None) as conn:
        await conn.execute("BEGIN IMMEDIATE")
        task = await org.create_in(conn, "bill", idempotency_key="k")
        await conn.execute("COMMIT" if commits else "ROLLBACK")
    found = await org.list()
    assert [one.id for one in found.items] == ([task.id] if commits else [])
    assert ((await org.create("bill", idempotency_key="k")).id == task.id) is commits


def as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


async def test_the_applications_way_of_reading_rows_does_not_matter(org: Org, db: Path) -> None:
    parent = await org.create("parent")
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        conn.row_factory, conn.text_factory = as_dict, bytes
        conn.execute("BEGIN IMMEDIATE")
        task = await org.create_in(conn, "child", depends_on=[parent.id])
        assert (conn.row_factory, conn.text_factory) == (as_dict, bytes)
        conn.execute("COMMIT")
    assert (await org.get(task.id)).state == "blocked"


async def test_a_refused_create_in_leaves_the_transaction_as_it_was(org: Org, db: Path) -> None:
    parent = await org.create("parent")
    before = everything(db)
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        await begin(conn)
        with pytest.raises(errors.UnknownDependency):
            await org.create_in(conn, "child", depends_on=[parent.id, "nobody"])
        assert conn.in_transaction
        conn.execute("COMMIT")
    assert query(db, "SELECT COUNT(*) FROM orders") == [(1,)]
    assert everything(db) == before


JOINS_BADLY = {
    "another file": ("BEGIN IMMEDIATE", "other.db", "the tasks live in"),
    "a database in memory": ("BEGIN IMMEDIATE", ":memory:", "a database in memory"),
    "no transaction": ("SELECT 1", "app.db", "BEGIN IMMEDIATE first"),
    "a deferred transaction": ("BEGIN", "app.db", "not begun IMMEDIATE"),
    "synchronous NORMAL": ("PRAGMA synchronous=NORMAL;BEGIN IMMEDIATE", "app.db", "synchronous=1.* FULL"),
    "synchronous OFF": ("PRAGMA synchronous=OFF;BEGIN IMMEDIATE", "app.db", "synchronous=0.* FULL"),
}


@pytest.mark.parametrize("case", list(JOINS_BADLY))
async def test_what_cannot_be_joined_safely(org: Org, db: Path, case: str) -> None:
    statements, name, said = JOINS_BADLY[case]
    before = everything(db)
    with closing(sqlite3.connect(name if name == ":memory:" else db.with_name(name), isolation_level=None)) as conn:
        for statement in statements.split(";"):
            conn.execute(statement)
        with pytest.raises(errors.ForeignTransaction, match=said):
            await org.create_in(conn, "bill")
    assert everything(db) == before


async def test_what_is_no_connection_of_this_sqlite(org: Org) -> None:
    with pytest.raises(errors.ForeignTransaction, match="connection, not object"):
        await org.create_in(object(), "bill")  # type: ignore[arg-type]


async def test_a_link_to_the_file_is_the_file(org: Org, db: Path) -> None:
    link = db.with_name("link.db")
    link.symlink_to(db)
    with closing(sqlite3.connect(link, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        task = await org.create_in(conn, "bill")
        conn.execute("COMMIT")
    assert (await org.get(task.id)).title == "bill"


# ----- group commit and other writers


async def test_one_failing_operation_fails_alone(org: Org, tasks: DurableTasks) -> None:
    task, _, _ = await claimed(org)

    def broken(tx: Transaction) -> None:
        tx.run("UPDATE dt_tasks SET title = 'never'")
        raise KeyError("a bug in one operation")

    calls = [
        org.create("one"),
        tasks.store._writer.run(broken),
        org.complete(task.id, token="wrong"),
        org.cancel(task.id, reason={"no": "text"}),  # type: ignore[arg-type]
        org.next(agent_id="a", space_id={}),  # type: ignore[arg-type]
        org.next(agent_id="half a pair: \ud800"),
        org.update(task.id, priority="high"),
        org.create("two"),
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == [
        "Task", "KeyError", "StaleToken", "InvalidInput", "InvalidInput", "InvalidInput", "Task", "Task",
    ]  # fmt: skip
    assert sorted(one.title for one in (await org.list()).items) == ["claimed", "one", "two"]


async def test_many_operations_share_few_commits(org: Org, tasks: DurableTasks) -> None:
    commits = []
    tasks.store.subscribe(lambda notice: commits.append(notice) if notice.orgs else None)
    await asyncio.gather(*(org.create(f"t{n}") for n in range(200)))
    assert len(commits) <= 3


async def test_a_foreign_lock_makes_writes_wait_and_reads_go_on(org: Org, db: Path) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(org.create("patient"))
        assert (await within(org.list())).items == []
        assert not writing.done()
        conn.execute("COMMIT")
        assert (await within(writing)).title == "patient"


async def test_a_lock_held_too_long_is_store_busy(db: Path, clock: ManualClock) -> None:
    async with opened(db, clock, busy_timeout=0.2) as tasks:
        with closing(sqlite3.connect(db, isolation_level=None)) as conn:
            conn.execute("BEGIN IMMEDIATE")
            with pytest.raises(errors.StoreBusy, match="another connection") as caught:
                await within(tasks.org().create("impatient"))
            assert caught.value.path == str(db)
            conn.execute("ROLLBACK")
        assert (await tasks.org().create("later")).title == "later"
        assert [task.title for task in (await tasks.org().list()).items] == ["later"]


COMPLETE = """
import asyncio, sys
from durable_tasks import DurableTasks, Settings
async def main():
    async with DurableTasks(Settings(db=sys.argv[1], enabled=False)) as tasks:
        await tasks.org("acme").complete(sys.argv[2], "from afar", token=sys.argv[3])
asyncio.run(main())
"""


async def test_another_processes_completion_wakes_a_waiter(db: Path) -> None:
    async with opened(db) as tasks:
        task, token, _ = await claimed(tasks.org(), lease=None)
        waiting = asyncio.create_task(tasks.org().wait(task.id))
        process = child(COMPLETE, db, task.id, token)
        try:
            assert (await within(waiting)).output == "from afar"
        finally:
            await asyncio.to_thread(process.communicate, timeout=DEADLINE)
        assert process.returncode == 0


async def test_another_connections_commit_is_noticed(org: Org, db: Path) -> None:
    task = await org.create("task")
    watching = asyncio.ensure_future(anext(org.watch(after=1)))
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        made = await org.create_in(conn, "from the application")
        conn.execute("COMMIT")
    event = await within(watching)
    assert (event.kind, event.task_id) == ("task.created", made.id)
    assert event.task_id != task.id


# ----- the log that SQLite writes ahead


async def written_ahead(org: Org, db: Path) -> int:
    """Write some 30 MB without a pause; the size of the log then."""
    many = [NewTask(title="large", input="x" * 5000)] * 100
    for _ in range(40):
        await org.create_many(many)
    return db.with_name(f"{db.name}-wal").stat().st_size


async def test_the_log_begins_anew_while_writing_never_pauses(org: Org, db: Path) -> None:
    assert await written_ahead(org, db) < 3 * WAL_SIZE


async def test_who_reads_for_long_holds_the_log_only_meanwhile(org: Org, db: Path) -> None:
    """What somebody reads from cannot be written over."""
    with closing(sqlite3.connect(db, isolation_level=None)) as conn:
        conn.execute("BEGIN")
        conn.execute("SELECT COUNT(*) FROM dt_tasks").fetchone()
        held = await written_ahead(org, db)
    assert held > 3 * WAL_SIZE
    assert await written_ahead(org, db) <= held + WAL_SIZE
