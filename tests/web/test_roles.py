"""Roles over HTTP: on every route exactly those pass whom the table lets pass, and the others change nothing.

It must not know what those who pass are answered.
"""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from durable_tasks import DurableTasks
from durable_tasks.access import Role
from tests.foreign import foreign
from tests.store.support import everything
from tests.web.asking import api_of_short_streams, as_caller
from tests.web.routes import TOOLS, WAYS, Ask, Way

pytestmark = pytest.mark.asyncio(loop_scope="module")

World = tuple[DurableTasks, httpx.AsyncClient]
NEEDING = [
    *{way.route: way for way in WAYS if way.role is not None and way not in TOOLS}.values(),
    *TOOLS,
]
"""One way for each route; of MCP's, where roles go by tool, all."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One application for all: to make one takes longer than a test. Every test has an organisation of its own; they
    all ask from one address, as often as they like."""
    async with api_of_short_streams(tmp_path_factory.mktemp("roles"), limits=False) as made:
        yield made


async def asked(
    client: httpx.AsyncClient, ask: Ask, org: str, role: Role | None, subject: str = "ann"
) -> httpx.Response:
    headers = {**as_caller(org, subject, role), **ask.headers}
    return await client.request(ask.method, ask.path, params=ask.query, json=ask.body, headers=headers)


def refused_to_a_tool(answer: httpx.Response) -> bool:
    """MCP's way to say it: the request is answered, and the answer is a refusal."""
    result = answer.json()["result"]
    return bool(result["isError"]) and '"code": "forbidden"' in result["content"][0]["text"]


def is_forbidden(answer: httpx.Response, way: Way) -> bool:
    return refused_to_a_tool(answer) if way in TOOLS else answer.status_code == 403


@pytest.mark.parametrize(("number", "way"), [*enumerate(NEEDING)], ids=[str(way) for way in NEEDING])
async def test_exactly_those_pass_whom_the_table_lets_pass(world: World, number: int, way: Way) -> None:
    tasks, client = world
    org = tasks.org(f"org-{number}")
    its = await foreign(tasks, org.id)
    if not way.route[1].endswith("/start"):  # the classic routes look at the state first
        await org.start(its.task, token=its.token)
    assert way.role is not None
    before = everything(tasks.settings.db)
    for role in [None, *(role for role in Role if role < way.role)]:
        answer = await asked(client, way.ask(its), org.id, role, its.agent)
        assert is_forbidden(answer, way), (role, answer.text)
        if way.route[1].startswith("/v1") and way.route[0] != "HEAD":
            said = answer.json()
            assert (said["code"], said["facts"]["role"]) == ("forbidden", way.role.name.lower())
    assert everything(tasks.settings.db) == before
    for role in (role for role in Role if role >= way.role):
        answer = await asked(client, way.ask(its), org.id, role, its.agent)
        assert answer.status_code != 401, role
        assert not is_forbidden(answer, way), role


async def test_metrics_are_for_operators_of_the_application_itself(world: World) -> None:
    tasks, client = world
    metrics = Ask("GET", "/metrics")
    for org, passing in ((tasks.settings.org, {Role.OPERATOR, Role.ADMIN}), ("acme", set[Role]())):
        for role in (None, *Role):
            status = (await asked(client, metrics, org, role)).status_code
            assert status == (200 if role in passing else 403), (org, role)


async def test_who_proves_nothing_is_told_nothing(world: World) -> None:
    tasks, client = world
    its = await foreign(tasks, "acme")
    before = everything(tasks.settings.db)
    for way in WAYS:
        ask = way.ask(its)
        if way.role is not None or ask.path == "/metrics":
            headers = {**ask.headers, "Authorization": "", "X-Org-Id": "acme", "X-User-Roles": "admin"}
            answer = await client.request(ask.method, ask.path, params=ask.query, json=ask.body, headers=headers)
            assert answer.status_code == 401, way
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert everything(tasks.settings.db) == before
