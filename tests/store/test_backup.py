"""Copies of the whole file: complete, and never over another file.

It must not know what tasks mean.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from durable_tasks import Settings, errors
from durable_tasks.console import backup
from tests.store.support import opened


async def filled(path: Path) -> None:
    async with opened(path) as tasks:
        for number in range(20):
            await tasks.org().create(f"t{number}", input="x" * 100_000)


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as conn:
        return int(conn.execute("SELECT COUNT(*) FROM dt_tasks").fetchone()[0])


async def test_of_backups_to_one_name_one_is_made_and_the_others_are_refused(db: Path, tmp_path: Path) -> None:
    await filled(db)
    target = tmp_path / "saved.db"
    answers = await asyncio.gather(*(backup(Settings(db=db), target) for _ in range(4)), return_exceptions=True)
    assert [size for size in answers if not isinstance(size, BaseException)] == [target.stat().st_size]
    assert [type(error) for error in answers if isinstance(error, BaseException)] == [errors.InvalidInput] * 3
    assert rows(target) == 20
    assert not list(tmp_path.glob("*.partial*"))


async def test_a_file_that_appeared_meanwhile_is_left_alone(db: Path, tmp_path: Path) -> None:
    await filled(db)
    target = tmp_path / "saved.db"
    # A link that leads nowhere is not seen before the work, as a file that comes during the work is not.
    target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(errors.InvalidInput, match="exists"):
        await backup(Settings(db=db), target)
    assert target.is_symlink()
    assert not list(tmp_path.glob("*.partial*"))


async def test_what_cannot_be_copied_is_named(db: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.StoreUnreadable, match="there is no file"):
        await backup(Settings(db=db), tmp_path / "saved.db")
    assert not db.exists()
    db.write_bytes(b"these are not the bytes of a database\n" * 100)
    with pytest.raises(errors.StoreCorrupt) as caught:
        await backup(Settings(db=db), tmp_path / "saved.db")
    assert caught.value.path == str(db)
    assert [path.name for path in tmp_path.iterdir()] == [db.name]


async def test_a_name_that_no_file_can_have(db: Path, tmp_path: Path) -> None:
    await filled(db)
    with pytest.raises(errors.StoreUnreadable, match="too long"):
        await backup(Settings(db=db), tmp_path / ("x" * 300))
