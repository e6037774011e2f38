"""Identity over HTTP: the settings say who may call, and nobody reaches another organisation.

It must not know how a proof is checked.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from durable_tasks import DurableTasks, Settings
from durable_tasks.errors import ConfigurationError
from durable_tasks.identity.keys import FLOOR, STALE
from durable_tasks.identity.tokens import issue
from durable_tasks.ports import Clock
from durable_tasks.testing import ManualClock
from durable_tasks.web.app import create_app
from durable_tasks.web.server import serving
from tests.identity.support import DEADLINE, In, Issuer, claims, ec_key, jwk, part, signed, wanting_jwts
from tests.store.support import everything


@pytest_asyncio.fixture
async def tasks(tmp_path: Path) -> DurableTasks:
    return DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False, auth="token"))


@pytest_asyncio.fixture
async def client(tasks: DurableTasks) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(tasks, port=0) as url, httpx.AsyncClient(base_url=f"{url}/v1") as client:
        yield client


async def proof(tasks: DurableTasks, org: str, role: str) -> dict[str, str]:
    issued = await issue(tasks.store, org=org, subject=f"{role} of {org}", roles=[role])
    return {"Authorization": f"Bearer {issued.text}"}


async def test_without_a_token_nothing_is_told(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Bearer dt_x_y"}, {"X-Org-Id": "acme", "X-User-Roles": "admin"}):
        answer = await client.get("/tasks", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_role_may_do_what_the_table_says(tasks: DurableTasks, client: httpx.AsyncClient) -> None:
    viewer, agent = await proof(tasks, "acme", "viewer"), await proof(tasks, "acme", "agent")
    assert (await client.post("/tasks", json={"title": "new"}, headers=viewer)).status_code == 403
    made = await client.post("/tasks", json={"title": "new", "mode": "manual"}, headers=agent)
    assert (made.status_code, made.json()["created_by"]) == (201, "agent of acme")
    assert (await client.get(f"/tasks/{made.json()['id']}", headers=viewer)).status_code == 200


async def test_another_organisation_sees_nothing(tasks: DurableTasks, client: httpx.AsyncClient) -> None:
    ours, theirs = await proof(tasks, "acme", "admin"), await proof(tasks, "other", "admin")
    made = (await client.post("/tasks", json={"title": "ours", "mode": "manual"}, headers=ours)).json()
    forged = {**theirs, "X-Org-Id": "acme"}
    seen = await client.get(f"/tasks/{made['id']}", headers=forged)
    unknown = await client.get("/tasks/nothing", headers=forged)
    assert (
        (seen.status_code, seen.json()["code"]) == (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    )
    assert (await client.get("/tasks", headers=forged)).json()["items"] == []
    assert (await client.get("/events", headers=forged)).json()["items"] == []


async def test_other_machines_are_served_only_with_authentication(tmp_path: Path) -> None:
    for auth in (None, "none"):
        tasks = DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False, auth=auth))
        with pytest.raises(ConfigurationError, match="TASKS_AUTH"):
            async with serving(tasks, host="0.0.0.0", port=0):
                raise AssertionError("it serves")


async def test_metrics_are_for_operators_of_the_own_organisation(
    tasks: DurableTasks, client: httpx.AsyncClient
) -> None:
    await tasks.org("other").create("counted too", capability="review", mode="manual")
    url = str(client.base_url.copy_with(path="/metrics"))
    own = tasks.settings.org
    for org, role, status in ((own, "agent", 403), ("other", "admin", 403), (own, "operator", 200)):
        answer = await client.get(url, headers=await proof(tasks, org, role))
        assert answer.status_code == status, (org, role)
    assert 'durable_tasks_open_tasks{capability="review",state="pending"} 1.0' in answer.text
    assert (await client.get(url)).status_code == 401


# ----- proofs that are none


@asynccontextmanager
async def asking(
    settings: Settings, clock: Clock | None = None
) -> AsyncIterator[tuple[DurableTasks, httpx.AsyncClient]]:
    """The application, which lets its settings say who may call, and a client on this machine."""
    tasks = DurableTasks(settings, clock=clock)
    transport = httpx.ASGITransport(create_app(tasks))
    async with tasks.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield tasks, client


def bearing(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


HEAD, BODY, SIGNATURE = signed().split(".")
NO_PROOF = {
    "no algorithm": f"{part({'alg': 'none'})}.{BODY}.",
    "no algorithm, in other letters": f"{part({'alg': 'NONE'})}.{BODY}.{SIGNATURE}",
    "not signed": f"{HEAD}.{BODY}.",
    "other claims under that signature": f"{HEAD}.{part(claims(org='rival', roles=['admin']))}.{SIGNATURE}",
    "another key": signed("another secret of 32 bytes or more"),
    "another kind of key": signed(ec_key("theirs"), "ES256"),
    "another issuer": signed(iss="https://evil.example/"),
    "no issuer": signed(iss=None),
    "for others": signed(aud="others"),
    "for nobody": signed(aud=None),
    "expired": signed(exp=In(-60)),
    "never expires": signed(exp=None),
    "an organisation that cannot be": signed(org="acme/../rival"),
    "no organisation": signed(org=None),
}
EVERYWHERE = (
    ("GET", "/v1/tasks"), ("POST", "/v1/tasks"), ("GET", "/v1/tasks/x/durable"), ("GET", "/v1/events/stream"),
    ("GET", "/api/tasks"), ("POST", "/api/tasks/next"), ("GET", "/metrics"),
)  # fmt: skip


async def test_what_is_no_jwt_of_the_issuer_is_refused_everywhere(tmp_path: Path) -> None:
    async with asking(wanting_jwts(db=tmp_path / "tasks.db")) as (tasks, client):
        assert (await client.get("/v1/orgs", headers=bearing(signed()))).json()["items"] == ["acme"]
        before = everything(tasks.settings.db)
        for why, text in NO_PROOF.items():
            for method, path in EVERYWHERE:
                body = {"title": "forged"} if method == "POST" else None
                answer = await client.request(method, path, json=body, headers=bearing(text))
                assert answer.status_code == 401, (why, path)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert not any(told in answer.text for told in ("rival", "evil", "acme")), (why, path)
        assert everything(tasks.settings.db) == before


async def test_known_keys_count_through_an_outage_of_the_issuer_and_not_for_ever(tmp_path: Path) -> None:
    issuer, clock = Issuer(), ManualClock(time.time())
    issuer.publish(jwk("first", ec_key("first")))
    good = bearing(signed(ec_key("first"), "ES256", headers={"kid": "first"}))
    unknown = bearing(signed(ec_key("second"), "ES256", headers={"kid": "second"}))
    settings = wanting_jwts(db=tmp_path / "tasks.db", jwt_jwks_url=issuer.url, jwt_algorithms="ES256")
    async with asyncio.timeout(DEADLINE), asking(settings, clock) as (_, client):

        async def status(proof: dict[str, str]) -> int:
            return (await client.get("/v1/orgs", headers=proof)).status_code

        assert await status(good) == 401, "nobody can be asked yet, and nothing is known"
        await clock.advance(FLOOR)
        async with issuer.up():
            assert (await status(good), await status(unknown)) == (200, 401)
        await clock.advance(STALE - 1)
        assert (await status(good), await status(unknown)) == (200, 401)
        await clock.advance(1)
        assert await status(good) == 401
        await clock.advance(FLOOR)
        async with issuer.up():
            assert await status(good) == 200


# ----- headers that anybody can write

SECRET = "only-the-gateway-knows"
FORGED = {
    "X-Org-Id": "rival", "X-User-Id": "root", "X-User-Roles": "admin", "X-Tenant-Id": "rival",
    "X-Forwarded-User": "root", "X-Gateway-Secret": "guessed",
}  # fmt: skip
GATEWAY = {"X-Org-Id": "acme", "X-User-Id": "ana", "X-User-Roles": "agent", "X-Gateway-Secret": SECRET}
WAYS: dict[str, Callable[..., Settings]] = {
    "token": partial(Settings, auth="token"),
    "jwt": wanting_jwts,
    "token,jwt": partial(wanting_jwts, auth="token,jwt"),
    "gateway": partial(Settings, auth="gateway", gateway_secret=SECRET),
}


async def proof_of_ana(tasks: DurableTasks) -> dict[str, str]:
    auth = tasks.settings.auth or ""
    if auth == "gateway":
        return GATEWAY
    if "token" in auth:
        return bearing((await issue(tasks.store, org="acme", subject="ana", roles=["agent"])).text)
    return bearing(signed())


@pytest.mark.parametrize("way", WAYS)
async def test_headers_that_anybody_can_write_prove_nothing(way: str, tmp_path: Path) -> None:
    settings = WAYS[way](db=tmp_path / "tasks.db")
    async with asking(settings) as (tasks, client):
        before = everything(settings.db)
        for method, path in EVERYWHERE:
            for forged in (FORGED, {name: FORGED[name] for name in ("X-Org-Id", "X-User-Id", "X-User-Roles")}):
                body = {"title": "forged"} if method == "POST" else None
                assert (await client.request(method, path, json=body, headers=forged)).status_code == 401, path
        assert everything(settings.db) == before
        proof = await proof_of_ana(tasks)
        if way == "gateway":  # who can add a second one is not believed the first either
            both = [*proof.items(), *FORGED.items()]
            assert (await client.get("/v1/orgs", headers=both)).status_code == 401
        else:
            proof = {**FORGED, **proof}
        assert (await client.get("/v1/orgs", headers=proof)).json()["items"] == ["acme"]
        made = (await client.post("/v1/tasks", json={"title": "x"}, headers=proof)).json()
        assert (made["org_id"], made["created_by"]) == ("acme", "ana")
        assert (await client.get("/metrics", headers=proof)).status_code == 403


async def test_alone_on_a_machine_they_change_nothing_either(tmp_path: Path) -> None:
    async with asking(Settings(db=tmp_path / "tasks.db", auth="none", org="home")) as (_, client):
        assert (await client.get("/v1/orgs", headers=FORGED)).json()["items"] == ["home"]
        made = (await client.post("/v1/tasks", json={"title": "x"}, headers=FORGED)).json()
        assert (made["org_id"], made["created_by"]) == ("home", "local")
        for header, said in (("Host", "evil.example"), ("Origin", "https://evil.example")):
            assert (await client.get("/v1/orgs", headers={header: said})).status_code == 401
