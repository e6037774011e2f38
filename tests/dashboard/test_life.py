"""A page that lives long: it sleeps, loses the network, outlives the server, and shows what is true all the same.

It must not know how events are followed.
"""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from durable_tasks import TaskState
from tests.dashboard.house import House, sign_in
from tests.dashboard.test_inbox import opened, waiting
from tests.dashboard.test_many_tasks import row

pytestmark = pytest.mark.asyncio(loop_scope="session")

AWAKE = 5000
"""Milliseconds within which a page has caught up."""


async def test_a_tab_that_slept_replays_what_it_missed(house: House) -> None:
    task = await house.org.create("Sleep over it")
    page = await house.visit("tasks")
    await expect(row(page, "Sleep over it")).to_contain_text("pending")
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    claim = await house.org.claim(task.id, agent_id="grace")
    await house.org.complete(task.id, token=claim.token)
    await house.org.create("Came in the night")
    await devtools.send("Page.setWebLifecycleState", {"state": "active"})
    await expect(row(page, "Sleep over it")).to_contain_text("completed", timeout=AWAKE)
    await expect(row(page, "Came in the night")).to_be_visible(timeout=AWAKE)


async def test_a_history_read_across_a_lost_network_has_everything_once(house: House) -> None:
    task = await house.org.create("Count on me")
    page = await house.visit(f"inbox/{task.id}")
    history = opened(page).get_by_role("region", name="History").get_by_role("listitem")
    await expect(history).to_have_count(1)
    await page.context.set_offline(True)
    await expect(page.get_by_text("Reconnecting…")).to_be_visible()
    for name in ("ben", "eve"):
        claim = await house.org.claim(task.id, agent_id=name)
        await house.org.release(task.id, token=claim.token)
    await page.context.set_offline(False)
    await expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=AWAKE)
    await expect(history).to_have_count(5, timeout=AWAKE)
    await house.org.comment(task.id, "still here", author="ben")
    await expect(history).to_have_count(6)
    for name in ("ben", "eve"):
        await expect(history.filter(has_text=f"{name} claimed it")).to_have_count(1)


async def test_the_server_restarts_under_the_page_and_it_recovers_by_itself(house: House) -> None:
    task = await house.org.create("Outlive it")
    page = await house.visit("tasks")
    await expect(row(page, "Outlive it")).to_be_visible()
    await house.close()
    await expect(page.get_by_text("Reconnecting…")).to_be_visible()
    await house.open()
    await house.org.cancel(task.id)
    await expect(row(page, "Outlive it")).to_contain_text("cancelled", timeout=2 * AWAKE)
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await house.org.create("After the restart")
    await expect(row(page, "After the restart")).to_be_visible(timeout=AWAKE)


async def test_what_is_asked_while_the_server_is_away_is_said_to_have_failed_and_works_later(house: House) -> None:
    task = await house.org.create("Wait for me")
    page = await house.visit(f"inbox/{task.id}")
    await expect(opened(page).get_by_role("button", name="Claim")).to_be_visible()
    await house.close()
    await opened(page).get_by_role("button", name="Claim").click()
    await expect(page.get_by_text("cannot be reached").first).to_be_visible(timeout=AWAKE)
    await house.open()
    await expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=2 * AWAKE)
    await opened(page).get_by_role("button", name="Claim").click()
    await expect(opened(page).get_by_role("button", name="Complete")).to_be_visible()
    assert (await house.org.get(task.id)).state is TaskState.CLAIMED


async def test_after_a_long_absence_all_is_read_anew_instead_of_replayed(house: House) -> None:
    page = await house.stranger()
    await page.clock.install()
    await sign_in(page, "acme:ada:OPERATOR", f"{house.url}/dashboard/#/tasks")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await page.context.set_offline(True)
    await expect(page.get_by_text("Reconnecting…")).to_be_visible()
    await page.clock.fast_forward("30:00")
    await house.org.create("Came in the night")
    async with page.expect_request(lambda asked: "events/stream" in asked.url) as asked:
        await page.context.set_offline(False)
    assert "last-event-id" not in (await asked.value).headers
    await expect(row(page, "Came in the night")).to_be_visible(timeout=AWAKE)


async def test_a_browser_whose_clock_is_wrong_says_what_is_true(house: House) -> None:
    await house.org.create("Just made")
    page = await house.stranger()
    await page.clock.install(time=datetime.now(UTC) - timedelta(hours=3))
    await sign_in(page, "acme:ada:OPERATOR", f"{house.url}/dashboard/#/inbox")
    await expect(waiting(page).get_by_role("link")).to_contain_text(re.compile("just now|s ago"))


async def test_a_page_that_nobody_sees_lets_go_of_its_connection_and_catches_up_when_it_is_seen(house: House) -> None:
    """A browser has six connections for all pages of one server: hidden ones would starve those that are seen."""
    page = await house.stranger()
    await page.clock.install()
    await sign_in(page, "acme:ada:OPERATOR", f"{house.url}/dashboard/#/tasks")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await page.evaluate(_VISIBLE, "hidden")
    await page.clock.run_for(6000)
    await expect(page.get_by_text("Reconnecting…")).to_be_visible()
    await house.org.create("Meanwhile")
    await page.evaluate(_VISIBLE, "visible")
    await expect(row(page, "Meanwhile")).to_be_visible(timeout=AWAKE)


_VISIBLE = """state => {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
