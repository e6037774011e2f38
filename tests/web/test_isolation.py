"""Two organisations on one application: of every route, what is another's gets the answer for what nobody has.

It must not know how the store keeps them apart. test_alone.py asks the same the other way round: is the answer the same
when nobody else is there?
"""

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from durable_tasks import DurableTasks, NewTask, Org, Settings
from durable_tasks.access import Role
from durable_tasks.operations.table import OPERATIONS
from durable_tasks.web.app import create_app
from tests.foreign import CALLS, SECRET, Foreign, foreign, unknown
from tests.store.support import everything
from tests.web.asking import api_of_short_streams, as_caller, authenticate
from tests.web.routes import WAYS, Ask, Way, routes_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

World = tuple[DurableTasks, httpx.AsyncClient]


class Own(NamedTuple):
    """What the one who asks has: a claimed task and an open workflow."""

    task: str
    token: str
    workflow: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One application for all: to make one takes longer than a test. Every test has a rival of its own."""
    folder, never = tmp_path_factory.mktemp("isolation"), 3600  # what one test cancels does not end in another
    async with api_of_short_streams(folder, cancel_grace=never) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own(world: World) -> Own:
    """Acme's, who has much less than its rivals."""
    return await something_of(world[0].org("acme"))


async def something_of(org: Org) -> Own:
    claim = await org.claim((await org.create("own")).id, agent_id="ann", lease=None)
    workflow = await org.dag("own", [NewTask(name="own")])
    return Own(claim.task.id, claim.token, workflow.id)


async def heard(client: httpx.AsyncClient, ask: Ask, org: str = "acme") -> str:
    """All that is answered to an administrator of that organisation."""
    headers = {**as_caller(org, role=Role.ADMIN), "X-Request-Id": "the-same", **ask.headers}
    answer = await client.request(ask.method, ask.path, params=ask.query, json=ask.body, headers=headers)
    lines = [str(answer.status_code), *(f"{name}: {value}" for name, value in sorted(answer.headers.items()))]
    return "\n".join([*lines, answer.text])


def own_name(node: pytest.Item) -> str:
    return f"rival-{hashlib.sha256(node.nodeid.encode()).hexdigest()[:16]}"


# ----- every route


async def test_every_route_and_operation_is_asked() -> None:
    """A new one fails here until the tables know how it could tell too much."""
    app = create_app(DurableTasks(Settings.model_construct()), authenticate=authenticate)
    assert routes_of(app) == {way.route for way in WAYS}
    assert set(CALLS) == set(OPERATIONS)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_what_is_anothers_is_as_if_nobody_had_it(
    world: World, own: Own, way: Way, request: pytest.FixtureRequest
) -> None:
    tasks, client = world
    rival = own_name(request.node)
    theirs = await foreign(tasks, rival)
    nobodys = unknown(theirs)
    before = everything(tasks.settings.db)
    told = await heard(client, way.ask(theirs))
    assert theirs.left_out_of(told) == nobodys.left_out_of(await heard(client, way.ask(nobodys)))
    assert SECRET not in told
    assert rival not in told
    assert everything(tasks.settings.db) == before
    if way.tells:  # else all this would show nothing
        known, of_nobody = [await heard(client, way.ask(its), rival) for its in (theirs, nobodys)]
        assert nobodys.left_out_of(theirs.left_out_of(known)) != nobodys.left_out_of(theirs.left_out_of(of_nobody))


OWN_WITH_THEIRS: dict[str, Callable[[Own, Foreign], Ask]] = {
    "token": lambda own, its: Ask("POST", f"/v1/tasks/{own.task}/complete", body={"token": its.token}),
    "token, to be kept": lambda own, its: Ask("POST", f"/v1/tasks/{own.task}/heartbeat", body={"token": its.token}),
    "token, classic": lambda own, its: Ask("POST", f"/api/tasks/{own.task}/progress", body={"token": its.token}),
    "dependency": lambda own, its: Ask(
        "POST", f"/v1/workflows/{own.workflow}/tasks", body={"tasks": [{"name": "x", "depends_on": [its.task]}]}
    ),
    "parent": lambda own, its: Ask(
        "POST", f"/v1/workflows/{own.workflow}/tasks", body={"tasks": [{"name": "x", "parent_task_id": its.done}]}
    ),
    "cursor among own": lambda own, its: Ask("GET", "/v1/tasks", query={"cursor": its.cursor, "state": "claimed"}),
    "ETag": lambda own, its: Ask("PATCH", f"/v1/tasks/{its.task}", body={"title": "x"}, headers={"If-Match": '"1"'}),
}


@pytest.mark.parametrize("ask", OWN_WITH_THEIRS.values(), ids=OWN_WITH_THEIRS.keys())
async def test_what_is_anothers_is_nothing_beside_what_is_ones_own(
    world: World, own: Own, ask: Callable[[Own, Foreign], Ask], request: pytest.FixtureRequest
) -> None:
    tasks, client = world
    theirs = await foreign(tasks, own_name(request.node))
    nobodys = unknown(theirs)
    before = everything(tasks.settings.db)
    told = await heard(client, ask(own, theirs))
    assert theirs.left_out_of(told) == nobodys.left_out_of(await heard(client, ask(own, nobodys)))
    assert told[0] == "4"
    assert everything(tasks.settings.db) == before


# ----- what is one's own to choose

VARYING = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b(?:[0-9a-f]{24}|[0-9a-f]{64})\b|\d{4}-\d\d-\d\dT[\d:.]+Z|buyer-\w+"
)
"""Ids, tokens, hashes, times, and the name of who asks."""


async def chosen(client: httpx.AsyncClient, org: Org, its: Foreign) -> list[str]:
    """What a new organisation hears that chooses the keys, command ids and names of another for its own."""
    own = await something_of(org)
    workflow = f"/v1/workflows/{own.workflow}"
    asks = [
        Ask("POST", "/v1/tasks", body={"title": "own"}, headers={"Idempotency-Key": its.key}),
        Ask("POST", "/v1/tasks", body={"title": "own", "idempotency_key": its.command}),
        Ask(
            "POST",
            "/v1/workflows",
            body={"kind": "dag", "name": "own", "tasks": [{"name": "own"}]},
            headers={"Idempotency-Key": its.key},
        ),
        Ask(
            "POST",
            f"/v1/tasks/{own.task}/progress",
            body={"token": own.token, "percent": 1},
            headers={"Idempotency-Key": its.command},
        ),
        Ask("POST", f"/v1/tasks/{own.task}/complete", body={"token": own.token, "command_id": its.key}),
        Ask("POST", "/v1/tasks", body={"title": "own", "space_id": its.space, "labels": [its.label]}),
        Ask(
            "POST",
            "/v1/tasks/next",
            body={"space_id": its.space, "agent_id": its.agent, "lease": None, "command_id": its.command},
        ),
        Ask("POST", f"{workflow}/tasks", body={"tasks": [{"name": "x"}], "command_id": its.command}),
        Ask("POST", f"{workflow}/cancel", body={"command_id": its.cancelling}),
        Ask("POST", f"{workflow}/retry", body={"command_id": its.retrying}),
        Ask("GET", "/v1/tasks", query={"labels": its.label}),
        Ask("GET", "/v1/events", query={"after": 0}),
    ]
    return [VARYING.sub("<>", its.left_out_of(await heard(client, ask, org.id))) for ask in asks]


async def test_what_another_has_chosen_is_free(world: World) -> None:
    tasks, client = world
    theirs = await foreign(tasks, "rival-of-all")
    nobodys = unknown(theirs)
    before = rows_of(tasks, "rival-of-all")
    told = await chosen(client, tasks.org("buyer-one"), theirs)
    assert {text[:3] for text in told} == {"200", "201"}
    assert told == await chosen(client, tasks.org("buyer-two"), nobodys)
    assert SECRET not in "".join(told)
    assert rows_of(tasks, "rival-of-all") == before


def rows_of(tasks: DurableTasks, org_id: str) -> list[Any]:
    return [row for rows in everything(tasks.settings.db).values() for row in rows if org_id in row]
