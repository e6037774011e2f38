"""Identity: whether the file is still the one whose tasks were handed over, and making it a file of its own.

It must not know tasks or Temporal.
"""

import secrets
import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from durable_tasks.store import beside
from durable_tasks.store.connection import connect, explain_os

_OPENINGS = 100
"""How many of the last openings a file remembers: more than processes start within one write of the witness."""


@dataclass(frozen=True, slots=True)
class Witness:
    """What is known beside the file of the newest state of it that was seen, so that an older one is known for one."""

    uuid: str = ""
    openings: int = 0
    opening: str = ""
    """The random name of the newest opening."""
    beat: int = 0
    """How often, while it was open, it was noted that time goes on."""


def record(conn: sqlite3.Connection, path: Path, *, was_empty: bool) -> None:
    """Give a new file its name and note which inode it is; note this opening, or for good that it is an older state.
    `was_empty`: the file was there, without content. Inside the caller's transaction."""
    seen = read_witness(path)  # under the write lock: nobody's commit can come between
    is_new = "uuid" not in _meta(conn)
    for key, value in (("uuid", str(uuid.uuid4())), ("inode", _inode(path)), ("epoch", "0")):
        conn.execute("INSERT OR IGNORE INTO dt_meta VALUES (?, ?)", (key, value))
    meta = _meta(conn)
    said = _displacement(path, meta, seen)
    older = _emptied(path, seen) if is_new and was_empty else _older(path, meta, seen)
    if older is not None:
        # What is written from now on must not make it look like the newer one.
        _note(conn, "displaced", said or older)
    elif said is None:
        _note(conn, "epoch", str(int(meta["epoch"]) + 1))
        _note(conn, "openings", _with(meta, secrets.token_hex(4)))


def testimony(conn: sqlite3.Connection) -> Witness:
    """What there is to say of the file now."""
    meta = _meta(conn)
    return Witness(meta["uuid"], int(meta["epoch"]), _newest(meta), int(meta.get("beat", "0")))


def beat(conn: sqlite3.Connection) -> Witness:
    """Note that time went on: the file's next states differ from all before. Inside the caller's transaction."""
    conn.execute(
        "INSERT INTO dt_meta VALUES ('beat', '1') ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
    )
    return testimony(conn)


def witness(conn: sqlite3.Connection, path: Path) -> None:
    """Write beside the file what was seen of it, unless it is not the one that is spoken of there."""
    if _displacement(path, _meta(conn), read_witness(path)) is None:
        write_witness(path, testimony(conn))


def witness_loss(path: Path) -> None:
    """Note beside the file that there was a later state of it than any that it can have from now on."""
    seen = read_witness(path)
    write_witness(path, replace(seen, beat=seen.beat + 1))


def displacement(path: Path) -> str | None:
    """Why the file is not the one whose tasks were handed over, in a sentence; None when it is."""
    seen = read_witness(path)  # first: the file knows all that was witnessed before
    with closing(connect(path, reading=True)) as conn:
        return _displacement(path, _meta(conn), seen)


def _displacement(path: Path, meta: Mapping[str, str], seen: Witness) -> str | None:
    if "displaced" in meta:
        return meta["displaced"]
    if "copy" in meta:
        return f"{path} is a copy: a backup of {meta['copy']}"
    if meta["inode"] != _inode(path):
        return f"{path} is a copy of the file that its tasks were handed over from, or was restored from one"
    return _older(path, meta, seen)


def _older(path: Path, meta: Mapping[str, str], seen: Witness) -> str | None:
    if seen.uuid != meta["uuid"]:
        return None
    if seen.openings > int(meta["epoch"]):
        how = f"it was opened {seen.openings} times, its own count is {meta['epoch']}"
    elif seen.opening and seen.opening not in meta.get("openings", "").split():
        how = "of its last opening it knows nothing"
    elif seen.opening == _newest(meta) and seen.beat > int(meta.get("beat", "0")):
        how = "what was written last is missing"
    else:
        return None
    return f"{path} was replaced by an older state of itself, or has lost its log: {how}"


def _emptied(path: Path, seen: Witness) -> str | None:
    return f"{path} was emptied: it was opened {seen.openings} times before, and had tasks" if seen.uuid else None


def forget(path: Path) -> bool:
    """A new file begins where none is: what is witnessed there was of another. Whether there was one."""
    known = read_witness(path) != Witness()
    if known:
        _witness_path(path).unlink(missing_ok=True)
    return known


def mark_copy(conn: sqlite3.Connection, now: float) -> None:
    """Have a copy of the file say that it is one, wherever it is put."""
    if conn.execute("SELECT 1 FROM sqlite_schema WHERE name = 'dt_meta'").fetchone() is not None:
        _note(conn, "copy", datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"))


def renew(conn: sqlite3.Connection, path: Path, *, replaces: bool) -> None:
    """Make this the file that counts from now on: under its old name if it `replaces` the original, else under a
    name of its own. Inside the caller's transaction."""
    seen, meta = read_witness(path), _meta(conn)
    if not replaces:
        _note(conn, "uuid", str(uuid.uuid4()))
    conn.execute("DELETE FROM dt_meta WHERE key IN ('displaced', 'copy')")
    _note(conn, "inode", _inode(path))
    _note(conn, "epoch", str(max(seen.openings, int(meta["epoch"])) + 1))
    _note(conn, "openings", _with(meta, seen.opening, secrets.token_hex(4)))


def _meta(conn: sqlite3.Connection) -> dict[str, str]:
    return dict(conn.execute("SELECT key, value FROM dt_meta").fetchall())


def _note(conn: sqlite3.Connection, key: str, value: str) -> None:
    conn.execute("INSERT OR REPLACE INTO dt_meta VALUES (?, ?)", (key, value))


def _with(meta: Mapping[str, str], *openings: str) -> str:
    return " ".join([*meta.get("openings", "").split(), *filter(None, openings)][-_OPENINGS:])


def _newest(meta: Mapping[str, str]) -> str:
    return meta.get("openings", "").rpartition(" ")[2]


def _inode(path: Path) -> str:
    return str(path.stat().st_ino)


# ----- beside the file, so that a backup written over it does not take it along


def _witness_path(path: Path) -> Path:
    return beside.folder_of(path) / "epoch"


def read_witness(path: Path) -> Witness:
    """Raises StoreUnreadable."""
    try:
        name, openings, *rest = beside.read_private(_witness_path(path)).split()
        opening, beats = rest or ("", "0")  # earlier releases knew only the first two
        return Witness(name, int(openings), opening, int(beats))
    except (FileNotFoundError, ValueError):  # never written, or not whole: it witnesses nothing
        return Witness()
    except OSError as error:
        raise explain_os(error, _witness_path(path)) from error


def write_witness(path: Path, seen: Witness) -> None:
    """Raises StoreError."""
    said = f"{seen.uuid} {seen.openings} {seen.opening} {seen.beat}"
    try:
        beside.write_private(_witness_path(path), said)
    except OSError as error:
        raise explain_os(error, _witness_path(path)) from error
