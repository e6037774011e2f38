"""Backup: the whole file at one instant, as another file.

It must not know our tables: the application's own are copied too.
"""

import os
import sqlite3
from pathlib import Path

from durable_tasks.errors import InvalidInput, StoreUnreadable
from durable_tasks.store.connection import connect, explain
from durable_tasks.store.schema import check_integrity


def copy(source: Path, target: Path) -> int:
    """Copy `source` to `target`, which must not exist; the size in bytes. Blocking.

    The copy is written beside its place and moved there once it is checked and on the disk: whoever finds the file
    finds all of it. Raises InvalidInput, StoreUnreadable, StoreCorrupt."""
    if target.exists():
        raise InvalidInput(f"{target} exists; give the name of a file to be", target=str(target))
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.unlink(missing_ok=True)  # of a backup that was cut short
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            _fill(source, partial)
            _sync(partial, os.O_RDWR)
            partial.rename(target)
            _sync(target.resolve().parent, os.O_RDONLY)
        finally:
            partial.unlink(missing_ok=True)
        return target.stat().st_size
    except OSError as error:
        raise StoreUnreadable(f"{target} cannot be written: {error.strerror}", path=str(target)) from error


def _fill(source: Path, partial: Path) -> None:
    try:
        reading, writing = connect(source, reading=True), sqlite3.connect(partial)
        try:
            # All pages in one step: a step that finds the file changed would begin again, for ever on a busy one.
            reading.backup(writing, pages=-1)
            # Without a WAL of its own the copy is one file.
            writing.execute("PRAGMA journal_mode=DELETE")
            check_integrity(writing, partial, budget=None)
        finally:
            writing.close()
            reading.close()
    except sqlite3.Error as error:
        raise explain(error, partial) from error


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
