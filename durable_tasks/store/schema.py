"""The file itself: checks before it is opened, migrations, and its identity.

It must not know what the tables mean.
"""

import hashlib
import logging
import os
import sqlite3
import time
from importlib.resources import files
from pathlib import Path

from durable_tasks.errors import NetworkFileSystem, StoreBusy, StoreCorrupt, StoreError, StoreTooNew, StoreUnreadable
from durable_tasks.store import identity, processes
from durable_tasks.store.beside import make_folder, real_path
from durable_tasks.store.connection import connect, explain, explain_os

log = logging.getLogger("durable_tasks.store")

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "fuse.s3fs"}
)
CHECK_BUDGET = 2.0
"""Seconds that the integrity check may take before a start; the rest runs in the background."""


def prepare(path: Path, *, now: float, patience: float) -> bool:
    """Create, check and migrate the file; True when the integrity check ran out of its budget.

    Blocking: it runs before there is anything to serve. Raises StoreUnreadable, StoreCorrupt, StoreTooNew,
    NetworkFileSystem, StoreBusy."""
    path = real_path(path)
    refuse_network(path)
    is_new = _create_private(path)
    make_folder(path)
    if is_new and identity.forget(path):
        log.warning("%s was gone and begins anew, without tasks: there was a file here before", path)
    was_empty = not is_new and path.stat().st_size == 0
    try:
        conn = connect(path)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    try:
        finished = check_integrity(conn, path, budget=CHECK_BUDGET)
        _enter_wal(conn, path, patience)
        migrate(conn, path, now=now)
        _begin(conn, path)
        identity.record(conn, path, was_empty=was_empty)
        conn.execute("COMMIT")
        identity.witness(conn, path)
        return not finished
    except sqlite3.Error as error:
        raise explain(error, path) from error
    finally:
        conn.close()


def refuse_network(path: Path, mounts: str | None = None) -> None:
    """Raise NetworkFileSystem when `path` lies on one. `mounts` is the text of /proc/self/mounts, where it exists."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text()
        except OSError:
            return  # not Linux: nothing to read it from
    place = path.resolve()
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) > 2 and place.is_relative_to(fields[1]) and len(fields[1]) >= len(best):
            best, kind = fields[1], fields[2]
    if kind in NETWORK_FILE_SYSTEMS:
        raise NetworkFileSystem(
            f"{path} lies on {kind} (mounted at {best}); SQLite's locks cannot be trusted there, use a local disk",
            path=str(path),
            kind=kind,
        )


def _create_private(path: Path) -> bool:
    """Create the file; False when it is there."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise StoreUnreadable(f"{path} is not a file", path=str(path)) from None
        if not os.access(path, os.R_OK | os.W_OK):
            raise StoreUnreadable(f"{path} cannot be read and written by this user", path=str(path)) from None
        return False
    except OSError as error:
        raise explain_os(error, path) from error
    return True


def check_integrity(conn: sqlite3.Connection, path: Path, *, budget: float | None) -> bool:
    """Run SQLite's quick_check for at most `budget` seconds. False: out of time. Raises StoreCorrupt."""
    stop = None if budget is None else time.monotonic() + budget
    conn.set_progress_handler(lambda: int(stop is not None and time.monotonic() > stop), 10_000)
    try:
        found = conn.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return False
        raise
    finally:
        conn.set_progress_handler(None, 0)
    if found != "ok":
        raise StoreCorrupt(f"{path} is damaged ({found}); restore it from a backup", path=str(path))
    return True


def is_short(conn: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is smaller than the database in it, as after it was cut off, or while a part of it is in the log
    only. Raises sqlite3.DatabaseError where SQLite sees that by itself."""
    pages, size = (conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return bool(path.stat().st_size < pages * size)


def _enter_wal(conn: sqlite3.Connection, path: Path, patience: float) -> None:
    """WAL is the one thing we change of the file. Switching needs a moment without other connections."""
    stop = time.monotonic() + patience
    while True:
        try:
            mode = conn.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > stop:
                raise
            continue
        if mode != "wal":
            raise StoreUnreadable(
                f"{path} cannot use write-ahead logging; its journal mode stays {mode}", path=str(path)
            )
        return


def migrations() -> list[tuple[int, str, str]]:
    """(number, name, SQL) of every migration that this release knows, in order."""
    folder = files("durable_tasks.store").joinpath("migrations")
    known = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return [
        (int(entry.name[:4]), entry.name, entry.read_text(encoding="utf-8"))
        for entry in sorted(known, key=lambda entry: entry.name)
    ]


def pending(path: Path) -> list[str]:
    """The migrations that the file still needs, by name; all of them when there is no file. Changes nothing.
    Raises StoreTooNew, StoreCorrupt, StoreUnreadable."""
    known = migrations()
    if not path.exists():
        return [name for _, name, _ in known]
    try:
        conn = connect(path, reading=True)
        try:
            has_any = conn.execute("SELECT 1 FROM sqlite_schema WHERE name = 'dt_migrations'").fetchone()
            if has_any:
                _refuse_newer(conn, path, known[-1][0])
            done = {number for (number,) in conn.execute("SELECT number FROM dt_migrations")} if has_any else set()
        finally:
            conn.close()
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return [name for number, name, _ in known if number not in done]


def migrate(conn: sqlite3.Connection, path: Path, *, now: float) -> None:
    """Bring the schema up to date, one transaction per migration. Two processes at once are safe: the second
    waits for the first and then finds the work done. Raises StoreBusy where processes of an earlier release live."""
    known = migrations()
    for number, name, sql in known:
        _begin(conn, path)
        try:
            conn.execute(
                "CREATE TABLE IF NOT EXISTS dt_migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL,"
                " checksum TEXT NOT NULL, applied_at REAL NOT NULL) STRICT"
            )
            _refuse_newer(conn, path, known[-1][0])
            _apply(conn, path, number, name, sql, now)
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise


def _begin(conn: sqlite3.Connection, path: Path) -> None:
    stop = time.monotonic() + 30.0
    while True:
        try:
            conn.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > stop:
                raise explain(error, path) from error


def _refuse_newer(conn: sqlite3.Connection, path: Path, known: int) -> None:
    found = conn.execute("SELECT MAX(number) FROM dt_migrations").fetchone()[0]
    if found is not None and found > known:
        raise StoreTooNew(
            f"{path} has schema {found}, this release knows {known}; upgrade durable_tasks",
            path=str(path),
            found=found,
            known=known,
        )


def _apply(conn: sqlite3.Connection, path: Path, number: int, name: str, sql: str, now: float) -> None:
    checksum = hashlib.sha256(sql.encode()).hexdigest()
    applied = dict(conn.execute("SELECT number, checksum FROM dt_migrations"))
    if number in applied:
        if applied[number] != checksum:
            raise StoreError(
                f"{path}: migration {name} was applied with other content; the file is not ours", path=str(path)
            )
        return
    if applied and (living := processes.living(path)):
        raise StoreBusy(
            f"{path} is in use by {len(living)} process(es) of an earlier release, which do not know its new tables:"
            " stop them first, then start this one",
            path=str(path),
        )
    for statement in _statements(sql):
        conn.execute(statement)
    conn.execute("INSERT INTO dt_migrations VALUES (?, ?, ?, ?)", (number, name, checksum, now))


def _statements(sql: str) -> list[str]:
    """Whole statements, as SQLite itself tells where they end: a ";" in a trigger or a string ends none."""
    found, current = [], ""
    for line in sql.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found


def read_uuid(conn: sqlite3.Connection) -> str:
    """The file's own name, given once at its creation."""
    return str(conn.execute("SELECT value FROM dt_meta WHERE key = 'uuid'").fetchone()[0])
