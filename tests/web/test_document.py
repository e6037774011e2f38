"""The OpenAPI document and the reference page: they are those of the code, and complete.

It must not call operations.
"""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from durable_tasks import errors
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.web import connections, examples, problems
from durable_tasks.web.inputs import Inputs
from durable_tasks.web.openapi import document
from tests.test_docs import REFERENCE, table

COMMITTED = REFERENCE / "openapi.json"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document())
    return found


def operations(described: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }


def test_the_committed_document_is_the_one_of_the_code() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == document(), (
        "run: python -m durable_tasks.web.openapi > docs/reference/openapi.json"
    )


def test_every_operation_stands_where_the_table_says(described: dict[str, Any]) -> None:
    found = {name: (method, path) for name, (method, path, _) in operations(described).items()}
    assert {name: found.get(name) for name in OPERATIONS} == {
        name: (operation.method, f"/v1{operation.path}") for name, operation in OPERATIONS.items()
    }
    assert described["openapi"].startswith("3.1")


def test_every_operation_says_how_it_answers_and_refuses(described: dict[str, Any]) -> None:
    found = operations(described)
    for name, operation in OPERATIONS.items():
        _, _, said = found[name]
        assert said["security"] == [{"bearer": []}]
        assert said["responses"][str(operation.status)]["content"]["application/json"]["schema"]
        wanted = {"401", "403", "422", "500", "503"} | (set() if operation.reads else {"400", "409", "413", "415"})
        assert wanted <= set(said["responses"]), name
        if not operation.reads:
            assert said["requestBody"]["content"]["application/json"]["schema"]
    assert "204" in found["next_task"][2]["responses"]
    assert "412" in found["update_task"][2]["responses"]
    assert "429" in found["wait_task"][2]["responses"]


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    text = json.dumps(described)
    for kind, names in described["components"].items():
        for name in names:
            text = text.replace(f'"#/components/{kind}/{name}"', "")
    assert '"#/' not in text


def test_every_example_is_what_its_operation_takes_and_answers(described: dict[str, Any]) -> None:
    for name, body in examples.BODIES.items():
        rest = Inputs.of(OPERATIONS[name]).rest
        assert rest is not None
        rest.model_validate_json(json.dumps(body))
    for name, operation in OPERATIONS.items():
        if operation.temporal:
            continue
        said = operations(described)[name][2]["responses"][str(operation.status)]["content"]["application/json"]
        TypeAdapter(operation.answer).validate_json(json.dumps(said["example"]))


def test_the_page_names_every_operation() -> None:
    assert {tuple(row) for row in table("http.md", "Operation")} == {
        (one.name, one.method, one.path, one.role.name.lower()) for one in OPERATIONS.values()
    }


def test_the_page_names_every_code_and_its_status() -> None:
    said = {row[0]: int(row[1]) for row in table("http.md", "Code")}
    never = {"wait_timeout", "server_unavailable", "handler", "non_retryable", "retry_after"}
    kinds = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.DurableTasksError)]
    ours = {kind.code: problems.status_of(kind.__new__(kind)) for kind in kinds if kind.code not in never}
    assert {code: said.get(code) for code in ours} == ours
    source = "".join(Path(str(one.__file__)).read_text(encoding="utf-8") for one in (problems, connections))
    assert [code for code in said.keys() - ours.keys() if f'"{code}"' not in source] == []
