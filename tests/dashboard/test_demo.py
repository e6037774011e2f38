"""The demo of `durable-tasks up`, followed to its end by a person in the browser alone.

It must not know what the demo's handlers do.
"""

import asyncio
import json
import re
import signal
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.cli.running import free_port, started

pytestmark = pytest.mark.asyncio(loop_scope="session")

FILES = 60


async def test_a_person_follows_it_to_its_end(chromium: Browser, binary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number}.txt").write_text("one two\n" * number)
    port = free_port()
    async with started(
        "up", "--demo", folder, "--json", "--port", str(port), "--temporal-port", str(free_port()), cwd=tmp_path
    ) as up:
        found = re.search(r"http://\S+/dashboard/", await up.hear("dashboard "))
        assert found is not None
        page = await (await chromium.new_context()).new_page()
        page.set_default_timeout(60_000)
        await page.goto(found[0])
        await page.get_by_role("link", name="Workflows").click()
        await page.get_by_role("link", name="Count the files").click()
        await expect(page.get_by_text("completed").first).to_be_visible()
        await expect(page.get_by_text(re.compile(rf"\b{FILES}\b")).first).to_be_visible()

        await page.get_by_role("link", name="Inbox").click()
        await page.get_by_role("link", name="Approve the report").click()
        task = page.get_by_role("article")
        await task.get_by_role("button", name="Claim").click()
        await page.get_by_role("radio", name="Yes").check()
        await page.get_by_label("Note").fill("the figures are right")
        await page.get_by_role("button", name="Complete").click()
        await expect(task.get_by_text("Completed by")).to_be_visible()
        await task.get_by_role("link", name="Workflow").click()
        await expect(page.get_by_role("heading", name="Report and approval")).to_be_visible()
        await expect(page.get_by_role("main").get_by_text("completed").first).to_be_visible()
        await page.context.close()

        assert up.process.stdout is not None
        summary = json.loads(await asyncio.wait_for(up.process.stdout.readline(), 30))
        assert (summary["files"], summary["drift"]) == (FILES, 0)
        up.send(signal.SIGINT)
        assert (await up.ended()).code == 0
