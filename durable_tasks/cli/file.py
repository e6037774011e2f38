"""`backup`, `audit` and `migrate`: what is done to the file as a whole.

It must not know SQL, nor how either is done.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from durable_tasks.cli.asking import AsJson, Db
from durable_tasks.cli.operate import ask
from durable_tasks.cli.talk import FAILED, failing_plainly, put, put_json, say

if TYPE_CHECKING:
    from durable_tasks.settings import Settings


def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="Must not exist.")],
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Copy the whole file, the application's own tables too, as it is at one instant; nobody is held up."""
    with failing_plainly():
        size = asyncio.run(_backup(db, target))
    if as_json:
        put_json({"file": str(target.resolve()), "bytes": size})
    else:
        put(str(target.resolve()))
        say("restored beside its original it is a copy: `durable-tasks adopt` lets it speak to Temporal")


async def _backup(db: Path | None, target: Path) -> int:
    # Loaded only here: the store is not needed for `--help`.
    from durable_tasks.console import backup

    return await backup(_settings(db), target)


def audit(db: Db = None, as_json: AsJson = False) -> None:
    """Whether what is stored is what was stored: events by their hashes, tasks (state, attempts, assignee, priority,
    input, form and output) by their events, workflows by their tasks. Not compared is what no event tells: titles,
    descriptions, metadata, labels, deadlines, errors, dependencies. It reads the whole file and holds nobody up. Exit
    code 1: something is not."""
    found = ask(db, lambda console: console.audit())
    if as_json:
        put_json({"damage": found})
    else:
        for one in found:
            put(one)
        say(f"{len(found)} disagreements" if found else "all that events tell is as it was stored")
    if found:
        raise typer.Exit(FAILED)


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 when there is something to do.")
    ] = False,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Bring the file's schema up to date, as every start does too; creates the file when missing."""
    with failing_plainly():
        names = asyncio.run(_migrate(db, check))
    if as_json:
        put_json({"applied": [] if check else names, "pending": names if check else []})
    else:
        for name in names:
            put(name)
        if not names:
            say("nothing to do")
    if check and names:
        raise typer.Exit(1)


async def _migrate(db: Path | None, check: bool) -> list[str]:
    # Loaded only here: the store is not needed for `--help`.
    from durable_tasks.console import migrate, pending_migrations

    settings = _settings(db)
    return await (pending_migrations(settings) if check else migrate(settings))


def _settings(db: Path | None) -> "Settings":
    from durable_tasks.settings import Settings

    return Settings(**({} if db is None else {"db": db}))
