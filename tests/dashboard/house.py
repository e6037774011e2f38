"""The house: a DurableTasks served at an address that stays, and the browsers of those who visit its dashboard.

It must not know the pages.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, expect

from durable_tasks import DurableTasks, Org, Settings
from durable_tasks.access import Asking, Principal, Role
from durable_tasks.errors import Unauthenticated
from durable_tasks.web.server import serving
from tests.dashboard import furniture

DEADLINE = 40.0
"""Seconds within which a page shows what is expected of it; how soon it does is measured elsewhere."""
DESK = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)
# The browser itself reports answers of 4xx and connections that are refused: what the page makes of them is tested.
expect.set_options(timeout=DEADLINE * 1000)
_OF_THE_NETWORK = re.compile(r"Failed to load resource|net::ERR_")


async def authenticate(asking: Asking) -> Principal:
    """`Authorization: Bearer org:subject:role:group` is believed; the group may be left out."""
    scheme, _, said = asking.headers.get("authorization", "").partition(" ")
    org, *rest = said.split(":")
    if scheme != "Bearer" or len(rest) not in (2, 3) or rest[1] not in Role.__members__:
        raise Unauthenticated("give Authorization: Bearer org:subject:role")
    return Principal(org=org, subject=rest[0], roles=frozenset({Role[rest[1]]}), groups=frozenset(rest[2:]))


class House:
    """Who visits it sees `acme`'s tasks."""

    def __init__(self, folder: Path, browser: Browser, screenshots: Path | None, **settings: Any) -> None:
        self.screenshots = screenshots
        self._settings = settings
        self._db = folder / "tasks.db"
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._said: list[str] = []
        self._open = AsyncExitStack()
        self._port = 0
        self.tasks = self._tasks()

    def _tasks(self) -> DurableTasks:
        tasks = DurableTasks(Settings(db=self._db, **self._settings))
        furniture.register(tasks)
        return tasks

    @property
    def org(self) -> Org:
        return self.tasks.org("acme")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        """Serve, at the same address as before."""
        self.tasks = self._tasks()
        url = await self._open.enter_async_context(serving(self.tasks, port=self._port, authenticate=authenticate))
        self._port = int(url.rpartition(":")[2])

    async def close(self) -> None:
        """Stop serving: every connection ends."""
        await self._open.aclose()

    async def visit(
        self,
        place: str = "",
        *,
        subject: str = "ada",
        role: Role = Role.OPERATOR,
        org: str = "acme",
        group: str = "approvers",
        size: ViewportSize = DESK,
        dark: bool = False,
    ) -> Page:
        """A browser of its own, signed in, at `#/place`."""
        page = await self.stranger(size=size, dark=dark)
        await sign_in(page, f"{org}:{subject}:{role.name}:{group}", f"{self.url}/dashboard/#/{place}")
        return page

    async def stranger(self, *, size: ViewportSize = DESK, dark: bool = False) -> Page:
        """A browser of its own that nobody has signed in with."""
        context = await self._browser.new_context(
            viewport=size, color_scheme="dark" if dark else "light", reduced_motion="reduce", service_workers="block"
        )
        self._contexts.append(context)
        context.set_default_timeout(DEADLINE * 1000)
        page = await context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._said.append(str(error)))
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _OF_THE_NETWORK.search(message.text):
            self._said.append(message.text)

    async def leave(self) -> None:
        """All browsers are closed. None of them had anything to complain of."""
        for context in self._contexts:
            await context.close()
        assert self._said == []


async def sign_in(page: Page, token: str, url: str) -> None:
    """As a person does it."""
    await page.goto(url)
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("navigation").first).to_be_visible()


@asynccontextmanager
async def opened(
    folder: Path, browser: Browser, screenshots: Path | None = None, **settings: Any
) -> AsyncIterator[House]:
    """`settings` are those of the DurableTasks."""
    house = House(folder, browser, screenshots, **settings)
    await house.open()
    try:
        yield house
        await house.leave()
    finally:
        await house.close()
