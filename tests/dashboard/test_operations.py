"""Operations: what an operator sees of queues, outbox, dead letters and Temporal, and what redriving does.

It must not know how any of it is measured.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from durable_tasks import TaskState
from durable_tasks.access import Role
from durable_tasks.temporal.server import EmbeddedServer
from tests.dashboard.furniture import asked_for
from tests.dashboard.house import House, opened
from tests.web.test_diagnosis import NOWHERE, trouble

pytestmark = pytest.mark.asyncio(loop_scope="session")

SLOWER = 15_000
"""Milliseconds: what is asked again each few seconds, not told by events."""


def panel(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name)


async def test_queues_rates_and_the_engine(house: House) -> None:
    await asked_for(house.org, (await house.org.create("Sent", capability="send")).id)
    await house.org.create("Waits", capability="unknown", mode="auto")
    page = await house.visit("operations")
    await expect(page.get_by_text("driven by this server alone")).to_be_visible()
    await expect(panel(page, "Queues").get_by_role("row").filter(has_text="unknown")).to_be_visible()
    await expect(page.get_by_text("1 open task")).to_be_visible()
    await house.org.create("Another")
    await expect(page.get_by_text("2 open tasks")).to_be_visible(timeout=SLOWER)


async def test_a_dead_letter_is_seen_and_redriven(chromium: Browser, tmp_path: Path) -> None:
    async with opened(tmp_path, chromium, enabled=True, address=NOWHERE) as house:
        await trouble(house.tasks, house.org, "Render the film", "the input is too large")
        page = await house.visit("operations")
        letter = panel(page, "Outbox").get_by_role("row").filter(has_text="the input is too large")
        await expect(letter).to_be_visible(timeout=SLOWER)
        await expect(page.get_by_text("Temporal does not answer").first).to_be_visible()
        await letter.get_by_role("button", name="Redrive").click()
        await expect(letter).to_have_count(0, timeout=SLOWER)
        assert await house.tasks.store.dead_letters("acme") == []


async def test_a_task_leads_to_its_temporal_workflow(
    chromium: Browser, temporal_server: EmbeddedServer, tmp_path: Path
) -> None:
    ui = "http://temporal.example:8233"
    settings: dict[str, Any] = {
        "enabled": True,
        "address": temporal_server.address,
        "temporal_ui": ui,
        "namespace_template": "page-{org}",
    }
    async with opened(tmp_path, chromium, **settings) as house:
        task = await house.org.create("Decide it")
        page = await house.visit(f"tasks/{task.id}")
        link = page.get_by_role("link", name="Open in Temporal")
        await expect(link).to_be_visible(timeout=SLOWER)
        assert str(await link.get_attribute("href")).startswith(f"{ui}/namespaces/page-acme/workflows/")
        await page.get_by_role("button", name="Claim").click()
        await page.get_by_role("link", name="Answer it").click()
        await page.get_by_label("Result").fill("yes")
        await page.get_by_role("button", name="Complete").click()
        await expect(page.get_by_role("article").get_by_text("Completed by")).to_be_visible()
        assert (await house.org.get(task.id)).state is TaskState.COMPLETED
        await page.goto(f"{house.url}/dashboard/#/operations")
        await expect(page.get_by_text("driven by Temporal")).to_be_visible(timeout=SLOWER)


async def test_who_does_not_operate_sees_less(house: House) -> None:
    page = await house.visit("operations", role=Role.AGENT)
    await expect(page.get_by_text("Operators see more here")).to_be_visible()
    await expect(panel(page, "Outbox")).to_have_count(0)
