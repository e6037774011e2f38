"""`doctor`, `engine`, `adopt` and `redrive`: what an operator does to a file, beside its application or instead of it.

It must not know how any of it is done: the console does it, and this asks, prints and answers with an exit code.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from durable_tasks.cli.asking import AsJson, Db
from durable_tasks.cli.talk import FAILED, UNREACHABLE, exit_code, failing_plainly, put, put_columns, put_json, say
from durable_tasks.errors import ConfigurationError, Conflict, TemporalUnavailable
from durable_tasks.models import Engine

if TYPE_CHECKING:
    from durable_tasks.console import Console, Diagnosis
    from durable_tasks.ports import DeadLetter
    from durable_tasks.store.health import StoreHealth

T = TypeVar("T")

_MEANINGS = (
    "This file was copied or restored. Its open tasks start again as their next generation, and it may be either:",
    "  a file of its own          (durable-tasks adopt)            what the original handed to Temporal is left alone",
    "  the original's replacement (durable-tasks adopt --replace)  what the original handed to Temporal is terminated",
)


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Reconcile once and send what waits, then look again.")] = False,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """How the file and Temporal stand. Exit code 0: well; 1: something needs you; 5: Temporal does not answer."""

    async def work(console: "Console") -> "Diagnosis":
        if fix:
            try:
                await console.mend()
            except (ConfigurationError, TemporalUnavailable) as error:
                say(f"not mended: {error.message}")
        return await console.diagnose()

    found = ask(db, work)
    if as_json:
        put_json(_plain_diagnosis(found))
    else:
        _put_diagnosis(found)
    raise typer.Exit(UNREACHABLE if found.unreachable else 0 if found.healthy else FAILED)


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
    number: Annotated[int | None, typer.Argument(metavar="[ID]", help="Of a dead letter.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Send all of them again.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List them, and send nothing.")] = False,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Send again what Temporal has refused; a task that failed of it is retried."""
    if (number is not None) + every + listing != 1:
        raise typer.BadParameter("give an ID, --all or --list")

    async def work(console: "Console") -> "tuple[list[DeadLetter], list[Conflict]]":
        if number is not None:
            return [await console.redrive(number)], []
        letters = await console.dead_letters()
        return (letters, []) if listing else await _redrive_all(console, letters)

    letters, refused = ask(db, work)
    if as_json:
        put_json({"dead_letters": [_plain_letter(letter) for letter in letters]})
    else:
        put_columns(_letter_cells(letter) for letter in letters)
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

    async with Console(Settings(**({} if db is None else {"db": db}))) as console:
        return await work(console)


# ----- for people


def _put_diagnosis(found: "Diagnosis") -> None:
    put_columns(_facts(found))
    _put_section("organisations", map(_organisation_cells, found.organisations))
    _put_section("workers", ([one.namespace, one.queue, _counted(one.workers)] for one in found.queues))
    _put_section("dead letters (durable-tasks redrive ID)", map(_letter_cells, found.dead_letters))
    _put_section(
        "drift (durable-tasks doctor --fix)",
        (
            [
                one.org_id,
                one.subject_id,
                f"generation {one.generation}",
                f"{one.sqlite_state} here",
                one.temporal_status,
            ]
            for one in found.drift or []
        ),
    )
    _put_section(
        "waiting",
        (
            [one.org_id, one.task_id, one.state.value, f"since {_time(one.since)}", one.title, f"for {one.why}"]
            for one in found.store.waiting
        ),
    )
    put("")
    put("healthy" if found.healthy else "NOT healthy")


def _facts(found: "Diagnosis") -> Iterator[list[str]]:
    store, temporal = found.store, found.temporal
    yield ["file", found.db]
    if found.displaced is not None:
        yield ["DISPLACED", f"{found.displaced}: see durable-tasks adopt"]
    yield ["engine", store.engine]
    yield ["SQLite", store.sqlite]
    for warning in store.warnings:
        yield ["warning", warning]
    yield ["processes", str(store.processes)]
    yield ["open tasks", ", ".join(f"{count} {state}" for state, count in sorted(store.tasks.items())) or "none"]
    if temporal is None:
        yield ["Temporal", "off"]
        return
    version = "does not answer" if temporal.server_version is None else f"server {temporal.server_version}"
    yield ["Temporal", f"{temporal.address}, {version}"]
    if temporal.capabilities:
        yield ["can", ", ".join(temporal.capabilities)]
    yield ["drift", f"unknown: {found.said}" if found.drift is None else str(len(found.drift))]


def _organisation_cells(one: Any) -> list[str]:
    state = "not asked" if one.up is None else "up" if one.up else f"DOWN: {one.error}"
    box = one.outbox
    waits = f"outbox {box.waiting}" + (f" since {_time(box.oldest_at)}" if box.oldest_at else "")
    error = [] if box.error is None else [f"last error: {box.error}"]
    return [one.org_id, f"namespace {one.namespace}", state, waits, f"dead {box.dead_letters}", *error]


def _letter_cells(letter: "DeadLetter") -> list[str]:
    at = _time(datetime.fromtimestamp(letter.dead_at, UTC))
    return [
        str(letter.id),
        letter.org_id,
        letter.kind.value,
        f"{letter.subject_id}/{letter.generation}",
        at,
        letter.error,
    ]


def _put_section(title: str, rows: Any) -> None:
    lines = list(rows)
    if lines:
        put("")
        put(title)
        put_columns(lines, indent="  ")


def _counted(workers: int | None) -> str:
    if workers is None:
        return "unknown"
    return {0: "NO worker", 1: "1 worker"}.get(workers, f"{workers} workers")


def _time(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds")


# ----- for programs


def _plain_diagnosis(found: "Diagnosis") -> dict[str, Any]:
    store, temporal = found.store, found.temporal
    return {
        "healthy": found.healthy,
        "db": found.db,
        "displaced": found.displaced,
        "engine": store.engine,
        "sqlite": store.sqlite,
        "warnings": store.warnings,
        "processes": store.processes,
        "tasks": store.tasks,
        "organisations": [_plain_organisation(one) for one in found.organisations],
        "dead_letters": [_plain_letter(letter) for letter in found.dead_letters],
        "waiting": [
            {**asdict(one), "state": one.state.value, "since": _time(one.since)} for one in found.store.waiting
        ],
        "temporal": temporal
        and {
            "address": temporal.address,
            "server_version": temporal.server_version,
            "capabilities": list(temporal.capabilities),
            "error": found.said,
        },
        "workers": [asdict(one) for one in found.queues],
        "drift": found.drift if found.drift is None else [asdict(one) for one in found.drift],
    }


def _plain_organisation(one: Any) -> dict[str, Any]:
    box = one.outbox
    return {
        "org_id": one.org_id,
        "namespace": one.namespace,
        "up": one.up,
        "error": one.error,
        "outbox": box.waiting,
        "oldest_at": box.oldest_at and _time(box.oldest_at),
        "dead_letters": box.dead_letters,
        "last_error": box.error,
    }


def _plain_letter(letter: "DeadLetter") -> dict[str, Any]:
    return {**asdict(letter), "kind": letter.kind.value, "dead_at": _time(datetime.fromtimestamp(letter.dead_at, UTC))}
