"""The watch: whether the file that is open is still the one at its path. What has become of it holds until a restart.

It must not know what is written, nor open the file or its index: closing them again would free SQLite's locks.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from durable_tasks.errors import StoreUnreadable
from durable_tasks.store.connection import WAL_SIZE, explain_os

log = logging.getLogger("durable_tasks.store")

_INDEX_EVERY = 1.0
"""Seconds between looks at the log's index: each costs as much as one at the file."""
_SMALLEST_PAGE = 512
"""Bytes: no database that has a table is smaller."""
_LOG_HEAD = 32
"""Bytes at the beginning of a log (-wal): others each time that it begins anew."""
_LOG_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_LOG_CUT = "lost a part of its log (-wal), with what had not been moved out of it,"


class Watch:
    """Compares by device and inode, which nobody else is given while the file is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        self._opened: tuple[int, int] | None = None
        self._opened_beside: dict[str, tuple[int, int] | None] = {}
        self._index_due = 0.0
        self._size = 0
        self.wal_size = 0
        """Bytes, at the last look."""
        self._log = (0, b"")
        """The size and the head of the log when `inspect_log` looked last."""
        self._shrank = False
        self._told = False
        self.trouble: str | None = None
        """What has become of the file; None while it is the one that was opened."""
        self._names = 1
        """How many hard links the file has. More than one may pass: somebody makes a copy that shares what is equal."""
        self._told_names = 1
        self._blind = False
        self.on_trouble: Callable[[], None] = lambda: None
        self.on_log_cut: Callable[[], None] = lambda: None
        """Something that was acknowledged may be missing from now on. Called once, in the thread that finds it."""
        self.on_shrinking: Callable[[], None] = lambda: None
        """The file has become smaller: after a VACUUM, or because somebody has cut it off. To be checked."""

    def begin(self) -> None:
        """Before the connections are opened: `look` afterwards tells whether they opened the same file."""
        self._opened = _inode(os.stat(self._name))

    def look(self) -> None:
        """Raises StoreUnreadable while the file is not what it was, or cannot be looked at. Some microseconds."""
        try:
            self._find()
        except OSError as error:
            raise explain_os(error, self._path) from error
        self.refuse()

    def confirm(self) -> None:
        """After a commit, before it is acknowledged: raises StoreUnreadable for what has become of the file. What is on
        the disk is not taken back because the file could not be looked at just now, or has a second name."""
        try:
            self._find()
            self._blind = False
        except OSError as error:
            if not self._blind:
                self._blind = True
                log.error("the file could not be looked at after a commit", extra={"said": str(error)})
        self._refuse_trouble()

    def inspect_log(self) -> bool:
        """Under the write lock, when nobody else may write the log: see whether it was cut off in place. Whether it was
        emptied, which SQLite does too (a checkpoint that truncates): to be asked. Raises StoreUnreadable for any other
        cut: SQLite itself only shortens a log that begins anew, with another head. (When such a beginning was taken
        back, the same head stays for the next: by our own connections, no shorter than WAL_SIZE.)"""
        try:
            size, head = _read_head(self._name + "-wal")
        except OSError:
            self.look()  # which tells what has become of it
            return False
        had, known = self._log
        if not size:
            return had > 0
        if size < min(had, WAL_SIZE) if head == known else had > 0 and not _is_log(head):
            self.lose_log()
        self._log = size, head
        return False

    def lose_log(self) -> None:
        """SQLite misses something in the log. Raises StoreUnreadable."""
        if self.trouble is None:
            self.trouble = _LOG_CUT
            self.on_log_cut()
        self._refuse_trouble()

    def refuse(self) -> None:
        """Raises StoreUnreadable when something was found before. A second name is looked for again."""
        self._refuse_trouble()
        if self._names < 2:
            return
        found = _look_at(self._name)
        self._names = 1 if found is None else found.st_nlink
        if self._names > 1:
            raise StoreUnreadable(
                f"{self._path} has {self._names} names (hard links), each of which would get a log of its own: nothing"
                " is written until the others are removed (as by a copy that shares files: leave this one out of it)",
                path=self._name,
            )

    def report(self) -> None:
        """Tell what was found, on the event loop: the log and `on_trouble` once, `on_shrinking` each time."""
        if self._shrank:
            self._shrank = False
            self.on_shrinking()
        if (names := self._names) != self._told_names:
            self._told_names = names
            if names > 1:
                log.critical("%s has %d names (hard links): nothing is written until the others go", self._path, names)
            else:
                log.warning("%s has one name again, and is written again", self._path)
        if self.trouble is not None and not self._told:
            self._told = True
            log.critical("%s %s while it was open: nothing more is written by this process", self._path, self.trouble)
            self.on_trouble()

    def _refuse_trouble(self) -> None:
        if self.trouble is not None:
            raise StoreUnreadable(
                f"{self._path} {self.trouble} while it was open: nothing more is written by this process. Stop it, put"
                " the right file in its place, and start it again",
                path=self._name,
            )

    def _find(self) -> None:
        if self.trouble is None:
            self.trouble = self._compare()

    def _compare(self) -> str | None:
        found = _look_at(self._name)
        if found is None:
            return "was moved or deleted"
        if _inode(found) != self._opened:
            return "was replaced by another file"
        self._names = found.st_nlink
        if found.st_size < _SMALLEST_PAGE:
            return "was emptied"
        self._shrank |= found.st_size < self._size
        self._size = found.st_size
        if not self._has_same("-wal"):
            return "lost its log (-wal), with what had not been moved out of it,"
        now = time.monotonic()
        if now < self._index_due:
            return None
        self._index_due = now + _INDEX_EVERY
        return None if self._has_same("-shm") else "lost the index of its log (-shm), by which its processes agree,"

    def _has_same(self, suffix: str) -> bool:
        """Whether this is still there: SQLite deletes neither while somebody has the file open."""
        found = _look_at(self._name + suffix)
        if suffix == "-wal":
            self.wal_size = 0 if found is None else found.st_size
        now = None if found is None else _inode(found)
        return self._opened_beside.setdefault(suffix, now) == now


def _look_at(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_head(name: str) -> tuple[int, bytes]:
    """The size and the head of a log: SQLite holds no locks on it, so that it may be opened and closed."""
    descriptor = os.open(name, os.O_RDONLY)
    try:
        return os.fstat(descriptor).st_size, os.pread(descriptor, _LOG_HEAD, 0)
    finally:
        os.close(descriptor)


def _is_log(head: bytes) -> bool:
    return len(head) == _LOG_HEAD and head.startswith(_LOG_MAGIC)


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
