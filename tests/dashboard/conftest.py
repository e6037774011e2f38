"""Fixtures of the browser's tests: one Chromium per run, and a house that it visits.

It must not know the pages.
"""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.dashboard.house import House, opened

NAMES = ("chromium", "chromium-browser", "google-chrome")
# As root Chromium has no sandbox of its own; the rest keeps it from asking for things that nobody here wants.
ARGUMENTS = (
    "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"needs one of {', '.join(NAMES)} on the PATH (Debian's package chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def house(chromium: Browser, tmp_path: Path, pytestconfig: pytest.Config) -> AsyncIterator[House]:
    """Tasks of two organisations, served; whoever visits must not have met an error in the browser."""
    async with opened(tmp_path, chromium, pytestconfig.getoption("--screenshots")) as house:
        yield house
