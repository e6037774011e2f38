"""`engine`, `adopt` and `redrive`: what an operator does to a file, beside its application or instead of it.

It must not know how any of it is done: the console does it, and this asks, prints and answers with an exit code.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from durable_tasks.cli.asking import AsJson, Db
from durable_tasks.cli.login import logged_in
from durable_tasks.cli.talk import exit_code, failing_plainly, put, put_columns, put_json, say
from durable_tasks.errors import ConfigurationError, Conflict
from durable_tasks.models import Actor, Engine

if TYPE_CHECKING:
    from durable_tasks.console import Console
    from durable_tasks.ports import DeadLetter
    from durable_tasks.store.health import StoreHealth

T = TypeVar("T")

_MEANINGS = (
    "This file was copied or restored. Its open tasks start again as their next generation, and it may be either:",
    "  a file of its own          (durable-tasks adopt)            what the original handed to Temporal is left alone",
    "  the original's replacement (durable-tasks adopt --replace)  what the original handed to Temporal is terminated",
)


def engine(
    wanted: Annotated[
        Engine | None, typer.Argument(metavar="[local|temporal]", help="Without it: say which it is.")
    ] = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="With local: wait until Temporal has ended what it ran.")
    ] = False,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Which engine drives the file's tasks, or hand the open ones to the other. TASKS_ENABLED decides again when
    an application starts."""
    if drain and wanted is not Engine.LOCAL:
        raise typer.BadParameter("--drain belongs to local", param_hint="--drain")

    async def work(console: "Console") -> "StoreHealth":
        if wanted is not None:
            await console.switch(wanted, drain=drain)
        return await console.health()

    health = ask(db, work)
    unsent = sum(outbox.waiting for outbox in health.outboxes)
    if as_json:
        put_json({"engine": health.engine, "outbox": unsent, "processes": health.processes})
        return
    put(health.engine)
    if wanted is not None and health.processes:
        say(f"processes that have the file open: {health.processes}; start them again with the same TASKS_ENABLED")
    if unsent:
        say(f"messages that wait until durable mode reaches Temporal: {unsent}")


def adopt(
    replace: Annotated[
        bool, typer.Option("--replace", help="It stands for the original, whose work in Temporal is terminated.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Let a copied or restored file speak to Temporal, as a file of its own or in the original's place."""
    count = ask(db, lambda console: _adopt(console, replace, yes))
    if as_json:
        put_json({"restarted": count, "replaces": replace})
    else:
        put(f"{count} tasks start again")


async def _adopt(console: "Console", replace: bool, yes: bool) -> int:
    if console.displaced is not None and not yes:
        for line in (f"{console.displaced}.", "", *_MEANINGS, ""):
            say(line)
        if not sys.stdin.isatty():
            raise ConfigurationError("nobody can be asked here; decide, and say so with --yes", setting="yes")
        question = "Terminate what the original handed to Temporal?" if replace else "Make it a file of its own?"
        typer.confirm(question, abort=True, err=True)
    return await console.adopt(replaces=replace)


def redrive(
    letter: Annotated[str | None, typer.Argument(metavar="[ID]", help="Of a dead letter.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Send all of them again.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List them, and send nothing.")] = False,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Send again what Temporal has refused; a task that failed of it is retried."""
    if (letter is not None) + every + listing != 1:
        raise typer.BadParameter("give an ID, --all or --list")

    async def work(console: "Console") -> "tuple[list[DeadLetter], list[Conflict]]":
        if letter is not None:
            return [await console.redrive(letter)], []
        letters = await console.dead_letters()
        return (letters, []) if listing else await _redrive_all(console, letters)

    letters, refused = ask(db, work)
    if as_json:
        put_json({"dead_letters": [plain_letter(one) for one in letters]})
    else:
        put_columns(letter_cells(one) for one in letters)
    for error in refused:
        say(f"error: {error.message}")
    if refused:
        raise typer.Exit(exit_code(refused[0]))


async def _redrive_all(console: "Console", letters: "list[DeadLetter]") -> "tuple[list[DeadLetter], list[Conflict]]":
    sent: list[DeadLetter] = []
    refused: list[Conflict] = []
    for letter in letters:
        try:
            sent.append(await console.redrive(letter.id))
        except Conflict as error:  # its task has gone on: the others must not wait for it
            refused.append(error)
    return sent, refused


def ask(db: Path | None, work: "Callable[[Console], Awaitable[T]]") -> T:
    """What `work` answers on the file's console; ends the command with one sentence when it fails."""
    with failing_plainly():
        return asyncio.run(_open_and(db, work))


async def _open_and(db: Path | None, work: "Callable[[Console], Awaitable[T]]") -> T:
    # Loaded only here: the store is not needed for `--help`.
    from durable_tasks.console import Console
    from durable_tasks.settings import Settings

    async with Console(Settings(**({} if db is None else {"db": db})), actor=Actor(name=logged_in())) as console:
        return await work(console)


def letter_cells(letter: "DeadLetter") -> list[str]:
    """For people. The id names subject, generation and kind."""
    return [letter.id, letter.org_id, shown_time(letter.dead_at), letter.error]


def plain_letter(letter: "DeadLetter") -> dict[str, Any]:
    """For programs."""
    return {**asdict(letter), "kind": letter.kind.value, "dead_at": shown_time(letter.dead_at)}


def shown_time(instant: datetime) -> str:
    """To the second."""
    return instant.isoformat(timespec="seconds")
