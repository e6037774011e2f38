"""The inbox: what waits for somebody, everything they can do about it, and what a second person sees of it.

It must not know how forms are drawn.
"""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Locator, Page, expect

from durable_tasks import TaskState
from tests.dashboard.furniture import Decision
from tests.dashboard.house import PHONE, House

pytestmark = pytest.mark.asyncio(loop_scope="session")


def waiting(page: Page) -> Locator:
    return page.get_by_role("region", name="Waiting for me")


def opened(page: Page) -> Locator:
    return page.get_by_role("article")


async def test_what_waits_for_me_and_my_groups_and_nothing_else(house: House) -> None:
    org = house.org
    await org.create("For anybody")
    await org.create("For ada", assigned_to="ada")
    await org.create("For the approvers", assigned_to="group:approvers")
    await org.create("For the cooks", assigned_to="group:cooks")
    await org.create("For grace", assigned_to="grace")
    await org.create("A handler's", capability="nobody", mode="auto")
    page = await house.visit("inbox")
    for title in ("For anybody", "For ada", "For the approvers"):
        await expect(waiting(page).get_by_role("link").filter(has_text=title)).to_be_visible()
    await expect(waiting(page).get_by_role("link")).to_have_count(3)


async def test_a_form_is_filled_wrongly_told_so_in_place_and_then_accepted(house: House) -> None:
    task = await house.org.create("Refund order 4711", form=Decision)
    page = await house.visit(f"inbox/{task.id}")
    await opened(page).get_by_role("button", name="Claim").click()
    await page.get_by_role("radio", name="approve").check()
    amount = page.get_by_label("Amount")
    await amount.fill("700")
    await page.get_by_role("button", name="Complete").click()
    await expect(amount).to_be_focused()
    await expect(amount).to_have_attribute("aria-invalid", "true")
    assert (await house.org.get(task.id)).state is TaskState.CLAIMED
    await amount.fill("70.5")
    await page.get_by_label("Note").fill("sorry for the scratch")
    await page.get_by_role("button", name="Complete").click()
    await expect(opened(page).get_by_text("Completed by")).to_be_visible()
    done = await house.org.get(task.id)
    assert done.output["decision"] == "approve"
    assert (done.output["amount"], done.output["note"]) == (70.5, "sorry for the scratch")


async def test_what_only_the_server_finds_wrong_is_shown_at_its_field(house: House) -> None:
    """The page cannot check a format that it does not know; the server's own word is shown where it belongs."""
    form = {
        "type": "object",
        "properties": {"code": {"type": "string", "title": "Code", "pattern": "^[A-Z]{3}-[0-9]+$"}},
        "required": ["code"],
    }
    task = await house.org.create("Book it", form=form)
    page = await house.visit(f"inbox/{task.id}")
    await opened(page).get_by_role("button", name="Claim").click()
    await page.get_by_label("Code").fill("abc")
    await page.get_by_role("button", name="Complete").click()
    await expect(page.get_by_label("Code")).to_be_focused()
    await expect(page.get_by_label("Code")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Code").fill("ABC-1")
    await page.get_by_role("button", name="Complete").click()
    await expect(opened(page).get_by_text("Completed by")).to_be_visible()
    assert (await house.org.get(task.id)).output == {"code": "ABC-1"}


async def test_a_draft_outlives_a_change_by_others_and_a_reload(house: House) -> None:
    task = await house.org.create("Write the answer")
    page = await house.visit(f"inbox/{task.id}")
    await opened(page).get_by_role("button", name="Claim").click()
    await page.get_by_label("Result").fill("half an answ")
    await house.org.update(task.id, title="Write the whole answer")
    await expect(opened(page).get_by_role("heading", name="Write the whole answer")).to_be_visible()
    await expect(page.get_by_label("Result")).to_have_value("half an answ")
    await page.reload()
    await expect(page.get_by_label("Result")).to_have_value("half an answ")


async def test_progress_release_reassign_and_fail(house: House) -> None:
    org = house.org
    task = await org.create("Call the supplier")
    page = await house.visit(f"inbox/{task.id}")
    task_page = opened(page)
    await task_page.get_by_role("button", name="Claim").click()
    await task_page.get_by_role("button", name="Progress…").click()
    await page.get_by_label("Percent").fill("40")
    await page.get_by_label("Message").fill("left a message")
    await page.get_by_role("button", name="Report").click()
    await expect(task_page.get_by_text("left a message").first).to_be_visible()
    assert (await org.get(task.id)).progress == 40

    await task_page.get_by_role("button", name="Release…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Release").click()
    await expect(task_page.get_by_role("button", name="Claim")).to_be_visible()
    assert (await org.get(task.id)).state is TaskState.PENDING

    await task_page.get_by_role("button", name="Claim").click()
    await task_page.get_by_role("button", name="Reassign…").click()
    await page.get_by_label("To", exact=True).fill("grace")
    await page.get_by_role("dialog").get_by_role("button", name="Reassign").click()
    await expect(task_page.get_by_text("reserved for")).to_be_visible()

    grace = await house.visit(f"inbox/{task.id}", subject="grace")
    await opened(grace).get_by_role("button", name="Claim").click()
    await opened(grace).get_by_role("button", name="Fail…").click()
    await grace.get_by_role("dialog").get_by_role("button", name="Fail").click()
    await expect(grace.get_by_label("Reason")).to_be_focused()
    await grace.get_by_label("Reason").fill("they went out of business")
    await grace.get_by_role("dialog").get_by_role("button", name="Fail").click()
    await expect(opened(grace).get_by_text("they went out of business").first).to_be_visible()
    failed = await org.get(task.id)
    assert (failed.state, failed.error and failed.error.message) == (TaskState.FAILED, "they went out of business")


async def test_two_people_on_one_task_the_second_sees_it_at_once(house: House) -> None:
    task = await house.org.create("Only one of us")
    ada, grace = [await house.visit(f"inbox/{task.id}", subject=name) for name in ("ada", "grace")]
    await expect(opened(grace).get_by_role("button", name="Claim")).to_be_visible()
    await opened(ada).get_by_role("button", name="Claim").click()
    await expect(opened(grace).get_by_text("ada has this task")).to_be_visible()
    await expect(opened(grace).get_by_role("button", name="Claim")).to_have_count(0)
    await expect(waiting(grace).get_by_role("link")).to_have_count(0)

    await ada.get_by_label("Result").fill("done by ada")
    await house.org.update(task.id, assigned_to="grace")
    await expect(opened(ada).get_by_text("reserved for")).to_be_visible()
    await expect(ada.get_by_role("button", name="Complete")).to_have_count(0)
    await expect(opened(ada).get_by_text("Your draft is kept")).to_be_visible()


async def test_a_comment_is_read_by_the_other_at_once(house: House) -> None:
    task = await house.org.create("Talk about it")
    ada, grace = [await house.visit(f"inbox/{task.id}", subject=name) for name in ("ada", "grace")]
    await expect(opened(grace).get_by_role("heading", name="History")).to_be_visible()
    await ada.get_by_label("Comment").fill("see https://example.org/plan and <b>decide</b>")
    await ada.get_by_role("button", name="Comment").click()
    await expect(opened(grace).get_by_text("and <b>decide</b>")).to_be_visible()
    link = opened(grace).get_by_role("link", name="example.org/plan")
    await expect(link).to_have_attribute("rel", "noreferrer noopener")
    await expect(ada.get_by_label("Comment")).to_have_value("")


async def test_what_is_late_is_marked(house: House) -> None:
    await house.org.create("Soon", deadline=datetime.now(UTC) + timedelta(minutes=30))
    page = await house.visit("inbox")
    await expect(waiting(page).get_by_role("link").filter(has_text="Soon")).to_contain_text("due in")


async def test_with_the_keyboard_alone(house: House) -> None:
    await house.org.create("First", priority="high")
    second = await house.org.create("Second")
    page = await house.visit("inbox")
    await expect(opened(page).get_by_role("heading", name="First")).to_be_visible()
    await page.keyboard.press("j")
    await expect(opened(page).get_by_role("heading", name="Second")).to_be_visible()
    await page.keyboard.press("c")
    await expect(page.get_by_label("Result")).to_be_focused()
    await page.keyboard.type("typed")
    await page.keyboard.press("Control+Enter")
    await expect(opened(page).get_by_text("Completed by")).to_be_visible()
    assert (await house.org.get(second.id)).output == "typed"
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_on_a_phone_list_and_task_follow_each_other(house: House) -> None:
    await house.org.create("On the way")
    page = await house.visit("inbox", size=PHONE)
    await waiting(page).get_by_role("link").filter(has_text="On the way").click()
    await opened(page).get_by_role("button", name="Claim").click()
    await page.get_by_label("Result").fill("done in the tram")
    await page.get_by_role("button", name="Complete").click()
    await expect(opened(page).get_by_text("Completed by")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
