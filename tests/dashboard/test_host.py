"""The dashboard inside another application: under its prefix, for whom its own cookie says they are.

It must not know the pages.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.async_api import Browser, Page, expect
from starlette.applications import Starlette

from durable_tasks import DurableTasks, Settings
from durable_tasks.access import Asking, Principal, Role
from durable_tasks.errors import Unauthenticated

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _known_by_cookie(asking: Asking) -> Principal:
    _, known, who = asking.headers.get("cookie", "").partition("who=")
    if not known:
        raise Unauthenticated("sign in to the shop first")
    return Principal(org="acme", subject=who, roles=frozenset({Role.AGENT} if who == "ada" else ()))


@asynccontextmanager
async def _shop(folder: Path) -> AsyncIterator[str]:
    tasks, app = DurableTasks(Settings(db=folder / "tasks.db")), Starlette()
    tasks.install(app, path="/shop/tasks", authenticate=_known_by_cookie)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/shop/tasks/dashboard"
        finally:
            server.should_exit = True
            await serving


async def _visitor(chromium: Browser, url: str, who: str | None) -> Page:
    context = await chromium.new_context()
    if who is not None:
        await context.add_cookies([{"name": "who", "value": who, "url": url}])
    page = await context.new_page()
    await page.goto(url)
    return page


async def test_whom_the_host_knows_is_not_asked_for_a_token(chromium: Browser, tmp_path: Path) -> None:
    async with _shop(tmp_path) as url:
        ada = await _visitor(chromium, url, "ada")
        await expect(ada.get_by_role("heading", name="Inbox")).to_be_visible()
        await expect(ada.get_by_text("Live", exact=True)).to_be_visible()

        nobody = await _visitor(chromium, url, "nobody")
        await expect(nobody.get_by_role("heading", name="nothing here that you may see")).to_be_visible()
        await expect(nobody.get_by_label("Token")).to_have_count(0)

        late = await _visitor(chromium, url, None)
        await expect(late.get_by_label("Token")).to_be_visible()
        await late.context.add_cookies([{"name": "who", "value": "ada", "url": url}])
        await late.get_by_role("button", name="try again").click()
        await expect(late.get_by_role("heading", name="Inbox")).to_be_visible()
        for page in (ada, nobody, late):
            await page.context.close()
