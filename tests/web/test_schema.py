"""Generated requests against the OpenAPI document: none breaks the server, every answer is as documented.

It must not know operations by name: the document is all that the generator is given.
"""

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from durable_tasks import DurableTasks, Org, Settings
from durable_tasks.access import Role
from durable_tasks.operations.answers import Claimed
from durable_tasks.operations.operation import Operation
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.web import live, server
from durable_tasks.web.app import Api, create_app
from durable_tasks.web.callers import Authentication
from durable_tasks.web.openapi import document
from tests.cli.running import environment
from tests.faults.figures import count, keep
from tests.store.support import read_all
from tests.web.asking import as_caller, authenticate

# Left out are two checks. A schema cannot say which fields exclude each other, so valid data may be refused. And
# `/tasks/next` is also where a task of the id "next" would be, so Allow names more than the document has there.
CHECKS = ("--checks", "all", "--exclude-checks", "positive_data_acceptance,allow_header_conformance")

LENIENT = ("--continue-on-failure", "--request-timeout", "60")


def test_the_links_reach_every_operation_on_one_task() -> None:
    reached = {link["operationId"] for _, links in linked() for link in links}
    assert reached == {name for name, operation in OPERATIONS.items() if "{" in operation.path}


class Counted:
    """The application, whose answers are counted by their status."""

    def __init__(self, app: Api, answers: Counter[int]) -> None:
        self._app, self._answers = app, answers
        self.leave = app.leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answers[message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counting)


@pytest.mark.timeout(600)
async def test_hundreds_of_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the generator's systematic part, which takes minutes."""
    phases = ("--phases", "examples,fuzzing,stateful")
    answers = await asked_by_generators(tmp_path, monkeypatch, *phases, wanted=200, at_once=1, examples=4)
    assert {status for status in answers if status >= 500} <= {503}


@pytest.mark.acceptance
@pytest.mark.timeout(7200)
async def test_as_many_requests_as_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = count("TASKS_ACCEPTANCE_REQUESTS", 100_000)
    answers = await asked_by_generators(tmp_path, monkeypatch, wanted=wanted, at_once=3, examples=100)
    keep("odd-requests", {"requests": answers.total(), **{str(status): answers[status] for status in sorted(answers)}})
    assert {status for status in answers if status >= 500} <= {503}


async def asked_by_generators(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str, wanted: int, at_once: int, examples: int
) -> Counter[int]:
    """What so many requests or more were answered. The generators found nothing, all that is stored can be read, and
    the audit finds nothing."""
    answers, seeds = Counter[int](), itertools.count(1)

    def counted(tasks: DurableTasks, *, authenticate: Authentication | None) -> Counted:
        return Counted(create_app(tasks, authenticate=authenticate), answers)

    shorten_waits(monkeypatch)
    monkeypatch.setattr(server, "create_app", counted)
    (folder / "openapi.json").write_text(json.dumps(with_links()), encoding="utf-8")
    (folder / "schemathesis.toml").write_text(configuration(), encoding="utf-8")
    tasks = DurableTasks(Settings(db=folder / "tasks.db"))
    async with server.serving(tasks, port=0, authenticate=authenticate) as url:
        every = ("--url", url, "--max-examples", str(examples), *CHECKS, *LENIENT)
        while answers.total() < wanted:
            given = [(*every, *options, "--seed", str(next(seeds))) for _ in range(at_once)]
            found = await asyncio.gather(*(generate(folder, *one) for one in given))
            assert found == [""] * at_once, "\n".join((f"after {answers.total()} requests:", *found))
            options = ("--phases", "fuzzing,stateful")  # the systematic part would be the same again
        assert await read_all(tasks) > 0
        assert await tasks.store.audit() == []
    return answers


async def generate(folder: Path, *options: str) -> str:
    """What the generator complains of."""
    header = f"Authorization: {as_caller(role=Role.ADMIN)['Authorization']}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--header", header, *options),
        cwd=folder, env={**environment(), "PYTHONWARNINGS": "default"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return said.decode() if process.returncode else ""


def shorten_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generated waits would be up to a minute long, and streams half an hour."""
    monkeypatch.setattr(live, "LONGEST", 0.05)
    wait_for = Org._wait_for

    async def shortly(self: Org, key: str, look: Any, timeout: Any) -> Any:
        return await wait_for(self, key, look, min(timeout, 0.01))

    monkeypatch.setattr(Org, "_wait_for", shortly)


def configuration() -> str:
    """Without Temporal some operations answer 503. And an object in place of a list in a query is still a list."""
    asking = [name for name, operation in OPERATIONS.items() if operation.temporal]
    listing = [
        described["operationId"]
        for methods in json.loads(document())["paths"].values()
        for described in methods.values()
        if any(one["in"] == "query" and "array" in json.dumps(one) for one in described.get("parameters", ()))
    ]
    return (
        f"[[operations]]\ninclude-operation-id = {json.dumps(asking)}\n"
        'checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 503]\n'
        f"[[operations]]\ninclude-operation-id = {json.dumps(listing)}\n"
        "checks.negative_data_rejection.enabled = false\n"
    )


def with_links() -> dict[str, Any]:
    """The document, with what the generator cannot guess: which answers give the ids and tokens of other requests."""
    whole: dict[str, Any] = json.loads(document())
    for operation, links in linked():
        described = whole["paths"][f"/v1{operation.path}"][operation.method.lower()]
        described["responses"][str(operation.status)]["links"] = {link["operationId"]: link for link in links}
    return whole


def linked() -> Iterator[tuple[Operation, list[dict[str, Any]]]]:
    for source, kind, place in (
        ("create_task", "task_id", "/id"),
        ("create_workflow", "workflow_id", "/id"),
        ("next_task", "task_id", "/task/id"),
        ("claim_task", "task_id", "/task/id"),
        ("diagnose_org", "letter_id", "/dead_letters/0/id"),
    ):
        operation = OPERATIONS[source]
        claims = operation.answer in (Claimed, Claimed | None)
        targets = [one for one in OPERATIONS.values() if f"{{{kind}}}" in one.path and takes_token(one) == claims]
        links = [{"operationId": one.name, "parameters": {kind: f"$response.body#{place}"}} for one in targets]
        if claims:
            links = [{**link, "requestBody": {"token": "$response.body#/token"}} for link in links]
        yield operation, links


def takes_token(operation: Operation) -> bool:
    return "token" in operation.request.model_fields
