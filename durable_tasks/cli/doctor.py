"""`doctor`: how a file and Temporal stand, of all organisations; or how one organisation stands on a server.

It must not know how that is found out: the console or the server says it; this prints it, and answers with a code.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from durable_tasks.cli.asking import ApiToken, AsJson, Db, Patience, Url, Where, connected, meant
from durable_tasks.cli.operate import ask, letter_cells, plain_letter, shown_time
from durable_tasks.cli.talk import FAILED, UNREACHABLE, failing_plainly, put, put_columns, put_json, say
from durable_tasks.errors import ConfigurationError, TemporalUnavailable

if TYPE_CHECKING:
    from durable_tasks.console import Console
    from durable_tasks.diagnosis import Diagnosis, Organisation, OrgDiagnosis
    from durable_tasks.ports import DeadLetter, Drift, Queue
    from durable_tasks.store.health import Outbox, WaitingTask


def doctor(
    context: typer.Context,
    fix: Annotated[bool, typer.Option("--fix", help="Reconcile once and send what waits, then look again.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read all that is stored: SQLite's integrity checks, and `audit`.")
    ] = False,
    db: Db = None,
    url: Url = None,
    api_token: ApiToken = None,
    patience: Patience = "30s",
    as_json: AsJson = False,
) -> None:
    """How the file and Temporal stand; of a server (--url), how your organisation stands there. Exit code 0: well;
    1: something needs you; 5: Temporal does not answer."""
    where = meant(context, Where(db, None, url, api_token, patience))
    if where.url is not None and fix:
        raise typer.BadParameter("a server mends by itself; else it is `doctor --db FILE --fix`", param_hint="--fix")
    if where.url is not None and deep:
        raise typer.BadParameter("it reads the file itself: `doctor --db FILE --deep`", param_hint="--deep")
    code = _say_of_file(db, fix, deep, as_json) if where.url is None else _say_of_org(where, where.url, as_json)
    raise typer.Exit(code)


def _say_of_file(db: Path | None, fix: bool, deep: bool, as_json: bool) -> int:
    found, damage = _of_file(db, fix, deep)
    healthy = found.healthy and not damage
    if as_json:
        put_json({**_plain_diagnosis(found), "healthy": healthy, "damage": damage})
    else:
        _put_diagnosis(found, damage or [], healthy)
    return _code(healthy, found.unreachable)


def _say_of_org(where: Where, url: str, as_json: bool) -> int:
    with failing_plainly():
        found = asyncio.run(_of_org(where, url))
    if as_json:
        put_json(found.model_dump(mode="json"))
    else:
        _put_org(found)
    return _code(found.healthy, found.temporal is not None and found.temporal.server_version is None)


def _code(healthy: bool, unreachable: bool) -> int:
    return UNREACHABLE if unreachable else 0 if healthy else FAILED


def _of_file(db: Path | None, fix: bool, deep: bool) -> "tuple[Diagnosis, list[str] | None]":
    """And what is damaged; None: nobody has looked."""

    async def work(console: "Console") -> "tuple[Diagnosis, list[str] | None]":
        if fix:
            try:
                await console.mend()
            except (ConfigurationError, TemporalUnavailable) as error:
                say(f"not mended: {error.message}")
        damage = await console.audit(deep=True) if deep else None
        return await console.diagnose(), damage

    return ask(db, work)


async def _of_org(where: Where, url: str) -> "OrgDiagnosis":
    async with connected(where, url) as server:
        found: OrgDiagnosis = await server.call("diagnose_org")
        return found


# ----- for people


def _put_diagnosis(found: "Diagnosis", damage: list[str], healthy: bool) -> None:
    put_columns(_facts_of_file(found))
    _put_section("organisations", map(_organisation_cells, found.organisations))
    _put_details(found.queues, found.dead_letters, found.drift or (), found.store.waiting)
    _put_section("damage (restore a backup)", ([one] for one in damage))
    _put_verdict(healthy)


def _put_org(found: "OrgDiagnosis") -> None:
    put_columns(_facts_of_org(found))
    drift = () if found.temporal is None else found.temporal.drift or ()
    queues = () if found.temporal is None else found.temporal.queues
    _put_details(queues, found.dead_letters, drift, found.waiting)
    if found.more_waiting:
        put("  … and more")
    _put_verdict(found.healthy)


def _put_details(
    queues: "Iterable[Queue]",
    letters: "Iterable[DeadLetter]",
    drift: "Iterable[Drift]",
    waiting: "Iterable[WaitingTask]",
) -> None:
    _put_section("workers", ([one.namespace, one.queue, _counted(one.workers)] for one in queues))
    _put_section("dead letters (durable-tasks redrive ID)", map(letter_cells, letters))
    _put_section("drift (durable-tasks doctor --fix)", map(_drift_cells, drift))
    _put_section("waiting", map(_waiting_cells, waiting))


def _put_verdict(healthy: bool) -> None:
    put("")
    put("healthy" if healthy else "NOT healthy")


def _facts_of_file(found: "Diagnosis") -> Iterator[list[str]]:
    store, temporal = found.store, found.temporal
    yield ["file", found.db]
    if found.displaced is not None:
        yield ["DISPLACED", f"{found.displaced}: see durable-tasks adopt"]
    yield ["engine", store.engine]
    yield ["SQLite", store.sqlite]
    for warning in store.warnings:
        yield ["warning", warning]
    yield ["processes", str(store.processes)]
    yield ["open tasks", _shown_states(store.tasks)]
    if temporal is None:
        yield ["Temporal", "off"]
        return
    yield ["Temporal", f"{temporal.address}, {_shown_version(temporal.server_version)}"]
    if temporal.capabilities:
        yield ["can", ", ".join(temporal.capabilities)]
    for namespace, count in temporal.unknown.items():
        yield ["UNKNOWN", f"{count} Temporal workflows of this file run in {namespace} for tasks that it does not have"]
    yield ["drift", f"unknown: {found.said}" if found.drift is None else str(len(found.drift))]


def _facts_of_org(found: "OrgDiagnosis") -> Iterator[list[str]]:
    temporal = found.temporal
    yield ["organisation", found.org_id]
    if found.displaced:
        yield ["DISPLACED", "the file is a copy, or was restored: see durable-tasks adopt"]
    yield ["engine", found.engine]
    yield ["SQLite", found.sqlite]
    for warning in found.warnings:
        yield ["warning", warning]
    handled = ", ".join([*found.workers.capabilities, *(["no capability"] if found.workers.without_capability else [])])
    yield ["processes", f"{found.workers.processes} with handlers" + (f" for {handled}" if handled else "")]
    yield ["open tasks", _shown_states(found.tasks)]
    yield ["outbox", "; ".join(_outbox_cells(found.outbox))]
    if temporal is None:
        yield ["Temporal", "off"]
        return
    yield ["Temporal", _shown_version(temporal.server_version)]
    if temporal.capabilities:
        yield ["can", ", ".join(temporal.capabilities)]
    yield ["namespace", f"{temporal.namespace}, {_shown_namespace(temporal.up, temporal.error)}"]
    drift = f"unknown: {temporal.error}" if temporal.drift is None else str(len(temporal.drift))
    yield ["drift", f"{drift}, of {temporal.compared} compared"]


def _organisation_cells(one: "Organisation") -> list[str]:
    state = _shown_namespace(one.up, one.error)
    return [one.org_id, f"namespace {one.namespace}", state, *_outbox_cells(one.outbox)]


def _outbox_cells(box: "Outbox") -> list[str]:
    waits = f"outbox {box.waiting}" + (f" since {shown_time(box.oldest_at)}" if box.oldest_at else "")
    return [waits, f"dead {box.dead_letters}", *([] if box.error is None else [f"last error: {box.error}"])]


def _drift_cells(one: "Drift") -> list[str]:
    here = f"{one.sqlite_state} here"
    return [one.org_id, one.subject_id, f"generation {one.generation}", here, one.temporal_status]


def _waiting_cells(one: "WaitingTask") -> list[str]:
    why = f"for {one.why}" + ("" if one.error is None else f"; the last answer: {one.error}")
    return [one.org_id, one.task_id, one.state.value, f"since {shown_time(one.since)}", one.title, why]


def _put_section(title: str, rows: Iterable[list[str]]) -> None:
    lines = list(rows)
    if lines:
        put("")
        put(title)
        put_columns(lines, indent="  ")


def _shown_states(tasks: Mapping[Any, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(tasks.items())) or "none"


def _shown_version(version: str | None) -> str:
    return "does not answer" if version is None else f"server {version}"


def _shown_namespace(up: bool | None, error: str | None) -> str:
    return "not asked" if up is None else "up" if up else f"DOWN: {error}"


def _counted(workers: int | None) -> str:
    if workers is None:
        return "unknown"
    return {0: "NO worker", 1: "1 worker"}.get(workers, f"{workers} workers")


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
        "dead_letters": [plain_letter(one) for one in found.dead_letters],
        "waiting": [{**asdict(one), "state": one.state.value, "since": shown_time(one.since)} for one in store.waiting],
        "temporal": temporal
        and {
            "address": temporal.address,
            "server_version": temporal.server_version,
            "capabilities": list(temporal.capabilities),
            "unknown": temporal.unknown,
            "error": found.said,
        },
        "workers": [asdict(one) for one in found.queues],
        "drift": found.drift if found.drift is None else [asdict(one) for one in found.drift],
    }


def _plain_organisation(one: "Organisation") -> dict[str, Any]:
    box = one.outbox
    return {
        "org_id": one.org_id,
        "namespace": one.namespace,
        "up": one.up,
        "error": one.error,
        "outbox": box.waiting,
        "oldest_at": box.oldest_at and shown_time(box.oldest_at),
        "dead_letters": box.dead_letters,
        "last_error": box.error,
    }
