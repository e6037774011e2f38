"""Generated requests against the OpenAPI document: none breaks the server, every answer is as documented.

It must not know operations by name: the document is all that the generator is given.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import DurableTasks, Org, Settings
from durable_tasks.access import Asking, Principal, Role
from durable_tasks.operations.answers import Claimed
from durable_tasks.operations.operation import Operation
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.web import live
from durable_tasks.web.openapi import document
from durable_tasks.web.server import serving
from tests.cli.running import environment
from tests.web.asking import as_caller, authenticate

# Left out are two checks. A schema cannot say which fields exclude each other, so valid data may be refused. And
# `/tasks/next` is also where a task of the id "next" would be, so Allow names more than the document has there.
CHECKS = ("--checks", "all", "--exclude-checks", "positive_data_acceptance,allow_header_conformance")

LENIENT = ("--continue-on-failure", "--request-timeout", "60")


def test_the_links_reach_every_operation_on_one_task() -> None:
    reached = {link["operationId"] for _, links in linked() for link in links}
    assert reached == {name for name, operation in OPERATIONS.items() if "{" in operation.path}


@pytest.mark.timeout(600)
async def test_hundreds_of_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the generator's systematic part, which takes minutes."""
    options = ("--phases", "examples,fuzzing,stateful")
    assert await asked_by_generators(tmp_path, monkeypatch, *options, seeds=[1], examples=4) >= 200


@pytest.mark.acceptance
async def test_twenty_thousand_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await asked_by_generators(tmp_path, monkeypatch, seeds=[1, 2, 3], examples=100) >= 20_000


async def asked_by_generators(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str, seeds: Sequence[int], examples: int
) -> int:
    """How many requests they made; they found nothing."""
    asked = 0

    async def counting(asking: Asking) -> Principal:
        nonlocal asked
        asked += 1
        return await authenticate(asking)

    shorten_waits(monkeypatch)
    (folder / "openapi.json").write_text(json.dumps(with_links()), encoding="utf-8")
    (folder / "schemathesis.toml").write_text(without_temporal(), encoding="utf-8")
    async with serving(DurableTasks(Settings(db=folder / "tasks.db")), port=0, authenticate=counting) as url:
        every = ("--url", url, "--max-examples", str(examples), *CHECKS, *LENIENT, *options)
        found = await asyncio.gather(*(generate(folder, *every, "--seed", str(seed)) for seed in seeds))
    assert found == [""] * len(seeds), "\n".join(found)
    return asked


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


def without_temporal() -> str:
    names = [name for name, operation in OPERATIONS.items() if operation.temporal]
    return (
        f"[[operations]]\ninclude-operation-id = {json.dumps(names)}\n"
        'checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 503]\n'
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
