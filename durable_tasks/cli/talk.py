"""How the command line talks: data on stdout, everything else on stderr, failures as exit codes.

It must not know the commands. Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict, 5 unreachable,
124 a wait was over first.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import typer

from durable_tasks.errors import (
    ConfigurationError,
    Conflict,
    DurableTasksError,
    InvalidInput,
    InvalidOutput,
    NotFound,
    RateLimited,
    ServerUnavailable,
    StoreError,
    TemporalUnavailable,
    WaitTimeout,
)
from durable_tasks.wording import visible

FAILED = 1
UNREACHABLE = 5
TIMED_OUT = 124
_CODES: tuple[tuple[type[DurableTasksError], int], ...] = (
    (InvalidInput, 2),
    (ConfigurationError, 2),
    (NotFound, 3),
    (Conflict, 4),
    (StoreError, UNREACHABLE),
    (TemporalUnavailable, UNREACHABLE),
    (ServerUnavailable, UNREACHABLE),
    (RateLimited, UNREACHABLE),
    (WaitTimeout, TIMED_OUT),
)
_STEPS = 10


def exit_code(error: DurableTasksError) -> int:
    """What the process answers when a command ends with `error`."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


@contextmanager
def failing_plainly() -> Iterator[None]:
    """One sentence and an exit code instead of a traceback, for errors that the caller can do something about."""
    try:
        yield
    except DurableTasksError as error:
        say(f"error: {error.message}")
        if isinstance(error, InvalidOutput):
            for one in error.errors:
                say(f"  {one['pointer'] or '/'}: {one['message']}")
        raise typer.Exit(exit_code(error)) from error


def say(text: str) -> None:
    """A line for people. That nobody reads any more keeps nothing from going on, least of all from stopping."""
    try:
        print(visible(text), file=sys.stderr, flush=True)
    except OSError:
        _lead_nowhere(sys.stderr)


def put(text: str) -> None:
    """A line of data. Raises typer.Exit when nobody takes it."""
    try:
        print(visible(text), flush=True)
    except OSError as error:
        _lead_nowhere(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # `… | head` has what it wanted
            say(f"error: stdout cannot be written: {error.strerror}")
        raise typer.Exit(FAILED) from error


def announce(facts: dict[str, Any]) -> None:
    """One line of JSON for whoever started a server; that nobody reads it is no reason to stop serving."""
    with suppress(typer.Exit):
        put_json(facts)


def _lead_nowhere(stream: TextIO) -> None:
    """What is left in a buffer would fail again, at the latest when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def put_json(value: Any) -> None:
    """One JSON document, on one line."""
    put(json_text(value))


def json_text(value: Any) -> str:
    """JSON that stdout can carry: what its encoding lacks would be escaped as no JSON is."""
    return json.dumps(value, ensure_ascii=sys.stdout.encoding.lower() not in ("utf-8", "utf8"))


def put_columns(rows: Iterable[Sequence[str]], indent: str = "") -> None:
    """Lines of data whose cells stand below each other."""
    lines = [[visible(" ".join(cell.split())) for cell in row] for row in rows]
    widths = [max(len(cells[n]) for cells in lines if n < len(cells)) for n in range(max(map(len, lines), default=0))]
    for cells in lines:
        put((indent + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))).rstrip())


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total): a bar on a terminal, now and then a line elsewhere."""
    if not sys.stderr.isatty():
        yield _lines(what)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _lines(what: str) -> Callable[[int, int], None]:
    said = -1

    def show(done: int, total: int) -> None:
        nonlocal said
        step = done * _STEPS // total
        if step > said:
            said = step
            say(f"{what}: {done} of {total}")

    return show
