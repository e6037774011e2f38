"""Backup: the whole file at one instant, as another file.

It must not know our tables but what the copy says of itself: the application's own are copied too.
"""

import os
import sqlite3
import tempfile
from pathlib import Path

from durable_tasks.errors import InvalidInput, StoreUnreadable
from durable_tasks.store import identity
from durable_tasks.store.connection import connect, explain
from durable_tasks.store.schema import check_integrity


def copy(source: Path, target: Path, *, now: float) -> int:
    """Copy `source` to `target`, which must not exist; the size in bytes. Blocking.

    The copy says inside that it is one. It is written beside its place, under a name that no other backup has, and
    appears there once it is checked and on the disk: whoever finds the file finds all of it.
    Raises InvalidInput, StoreUnreadable, StoreCorrupt."""
    try:
        if target.exists():  # said before the work, and again after it by `link`
            raise _taken(target)
        descriptor, name = tempfile.mkstemp(".partial", "backup-", target.parent)
        os.close(descriptor)
        try:
            _fill(source, Path(name), target, now)
            _sync(Path(name), os.O_RDWR)
            os.link(name, target)  # a rename would replace what has appeared there meanwhile
        finally:
            os.unlink(name)
        _sync(target.parent, os.O_RDONLY)
        return target.stat().st_size
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError as error:
        raise StoreUnreadable(f"{target} cannot be written: {error.strerror}", path=str(target)) from error


def _taken(target: Path) -> InvalidInput:
    return InvalidInput(f"{target} exists; give the name of a file to be", target=str(target))


def _fill(source: Path, partial: Path, target: Path, now: float) -> None:
    reading = _reading(source)
    try:
        writing = sqlite3.connect(partial)
        try:
            # All pages in one step: a step that finds the file changed would begin again, for ever on a busy one.
            reading.backup(writing, pages=-1)
            # Without a WAL of its own the copy is one file.
            writing.execute("PRAGMA journal_mode=DELETE")
            identity.mark_copy(writing, now)
            writing.commit()
            check_integrity(writing, source, budget=None)
        finally:
            writing.close()
    except sqlite3.Error as error:
        raise explain(error, target) from error
    finally:
        reading.close()


def _reading(source: Path) -> sqlite3.Connection:
    try:
        conn = connect(source, reading=True)
        try:
            conn.execute("SELECT 1 FROM sqlite_schema").fetchone()  # the first look at what the file is
        except sqlite3.Error:
            conn.close()
            raise
    except sqlite3.Error as error:
        raise explain(error, source) from error
    return conn


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
