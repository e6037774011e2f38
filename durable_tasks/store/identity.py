"""Identity: whether the file is still the one whose tasks Temporal was given, and making it a file of its own.

It must not know tasks or Temporal.
"""

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

from durable_tasks.store import beside
from durable_tasks.store.connection import connect, explain_os


def record(conn: sqlite3.Connection, path: Path) -> None:
    """Give a new file its name and note which inode it is; count this opening. Inside the caller's transaction."""
    conn.execute("INSERT OR IGNORE INTO dt_meta VALUES ('uuid', ?)", (str(uuid.uuid4()),))
    conn.execute("INSERT OR IGNORE INTO dt_meta VALUES ('inode', ?)", (_inode(path),))
    conn.execute("INSERT OR IGNORE INTO dt_meta VALUES ('epoch', '0')")
    if _displacement(conn, path) is None:
        conn.execute("UPDATE dt_meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'epoch'")


def witness(conn: sqlite3.Connection, path: Path) -> None:
    """Note beside the file how often it was opened, so that an older state of it is known for one."""
    if _displacement(conn, path) is None:
        _write_witness(path, _meta(conn, "uuid"), int(_meta(conn, "epoch")))


def displacement(path: Path) -> str | None:
    """Why the file is not the one whose tasks were handed over, in a sentence; None when it is."""
    with closing(connect(path, reading=True)) as conn:
        return _displacement(conn, path)


def _displacement(conn: sqlite3.Connection, path: Path) -> str | None:
    if _meta(conn, "inode") != _inode(path):
        return f"{path} is a copy of the file that its tasks were handed over from, or was restored from one"
    name, epoch = _read_witness(path)
    if name == _meta(conn, "uuid") and epoch > int(_meta(conn, "epoch")):
        return f"{path} was replaced by an older state of itself: it was opened {epoch} times, its own count is less"
    return None


def renew(conn: sqlite3.Connection, path: Path, *, replaces: bool) -> None:
    """Make this the file that counts from now on: under its old name if it `replaces` the original, else under a
    name of its own. Inside the caller's transaction."""
    _, witnessed = _read_witness(path)
    if not replaces:
        conn.execute("UPDATE dt_meta SET value = ? WHERE key = 'uuid'", (str(uuid.uuid4()),))
    conn.execute("UPDATE dt_meta SET value = ? WHERE key = 'inode'", (_inode(path),))
    epoch = max(witnessed, int(_meta(conn, "epoch"))) + 1
    conn.execute("UPDATE dt_meta SET value = ? WHERE key = 'epoch'", (str(epoch),))


def _meta(conn: sqlite3.Connection, key: str) -> str:
    found = conn.execute("SELECT value FROM dt_meta WHERE key = ?", (key,)).fetchone()
    return "0" if found is None else str(found[0])


def _inode(path: Path) -> str:
    return str(path.stat().st_ino)


def _witness_path(path: Path) -> Path:
    """Beside the file, so that a backup written over it does not take it along."""
    return beside.folder_of(path) / "epoch"


def _read_witness(path: Path) -> tuple[str, int]:
    try:
        name, _, epoch = _witness_path(path).read_text().partition(" ")
        return name, int(epoch)
    except (FileNotFoundError, ValueError):  # never written, or not whole: it witnesses nothing
        return "", 0
    except OSError as error:
        raise explain_os(error, _witness_path(path)) from error


def _write_witness(path: Path, name: str, epoch: int) -> None:
    try:
        beside.write_private(_witness_path(path), f"{name} {epoch}")
    except OSError as error:
        raise explain_os(error, _witness_path(path)) from error
