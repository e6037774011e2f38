"""Who may see the dashboard, and what of it: signing in, roles, other organisations.

It must not know what the pages show.
"""

import pytest
from playwright.async_api import expect

from durable_tasks.access import Role
from tests.dashboard.house import House, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_token_that_is_not_accepted_is_said_to_be_so_and_another_may_follow(house: House) -> None:
    page = await house.stranger()
    await page.goto(f"{house.url}/dashboard/")
    await page.get_by_label("Token").fill("nonsense")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_text("give Authorization: Bearer org:subject:role")).to_be_visible()
    await sign_in(page, "acme:ada:AGENT", page.url)
    await expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("heading", name="Inbox")).to_be_visible()


async def test_signing_out_forgets_the_token(house: House) -> None:
    page = await house.visit("inbox")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Token")).to_be_visible()
    await page.reload()
    await expect(page.get_by_label("Token")).to_be_visible()


async def test_a_task_of_another_organisation_is_not_found(house: House) -> None:
    secret = await house.tasks.org("rival").create("Their secret plan")
    page = await house.visit(f"tasks/{secret.id}", role=Role.ADMIN)
    await expect(page.get_by_text("not found", exact=False).first).to_be_visible()
    await expect(page.get_by_text("Their secret plan")).to_have_count(0)


async def test_keys_of_one_letter_can_be_switched_off(house: House) -> None:
    page = await house.visit("inbox")
    await page.keyboard.press("2")
    await expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    await page.keyboard.press("?")
    await page.get_by_role("checkbox", name="Keys of one letter").uncheck()
    await page.keyboard.press("Escape")
    await page.reload()
    await expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    await page.keyboard.press("1")
    await page.get_by_role("button", name="Keys").click()
    await page.get_by_role("checkbox", name="Keys of one letter").check()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    await page.keyboard.press("1")
    await expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
