"""Asking over HTTP in tests: who the callers are, and a client of an application without a socket.

It must not know what is asked.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable_tasks import DurableTasks, Settings
from durable_tasks.access import Asking, Principal, Role
from durable_tasks.errors import Unauthenticated
from durable_tasks.identity.proof import named_groups
from durable_tasks.store.store import Store
from durable_tasks.web import live
from durable_tasks.web.app import create_app


async def authenticate(asking: Asking) -> Principal:
    """`Authorization: Bearer org:subject:role` is believed, and `X-Groups`; the role may be left out."""
    scheme, _, said = asking.headers.get("authorization", "").partition(" ")
    org, *rest = said.split(":")
    if scheme != "Bearer" or len(rest) != 2 or rest[1] not in ("", *Role.__members__):
        raise Unauthenticated("give Authorization: Bearer org:subject:role")
    groups = named_groups(asking.headers.get("x-groups"))
    return Principal(org=org, subject=rest[0], roles=frozenset({Role[rest[1]]} if rest[1] else ()), groups=groups)


def as_caller(org: str = "acme", subject: str = "ann", role: Role | None = Role.AGENT) -> dict[str, str]:
    """The headers of somebody."""
    return {"Authorization": f"Bearer {org}:{subject}:{'' if role is None else role.name}"}


@asynccontextmanager
async def api(folder: Path, **settings: Any) -> AsyncIterator[tuple[DurableTasks, httpx.AsyncClient]]:
    """A running DurableTasks and a client of its API, who is ann of acme."""
    tasks = DurableTasks(Settings(db=folder / "tasks.db", **settings))
    transport = httpx.ASGITransport(create_app(tasks, authenticate=authenticate))
    async with (
        tasks.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://api", headers=as_caller()) as client,
    ):
        yield tasks, client


@asynccontextmanager
async def api_of_short_streams(folder: Path, **settings: Any) -> AsyncIterator[tuple[DurableTasks, httpx.AsyncClient]]:
    """The same, whose streams say where they begin, and end: this client hears of an answer when it is over."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "LONGEST", 0.0)
        async with api(folder, **settings) as made:
            yield made


def event_of_a_wait(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set once a wait for a task has looked, and goes on to wait."""
    get_ended, looked = Store.get_ended, asyncio.Event()

    async def looking(*arguments: Any) -> Any:
        found = await get_ended(*arguments)
        looked.set()
        return found

    monkeypatch.setattr(Store, "get_ended", looking)
    return looked
