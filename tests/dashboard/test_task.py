"""A task's page: everything known of it, why it is not running, and what may be done with it.

It must not know how the parts are drawn.
"""

import re

import pytest
from playwright.async_api import ViewportSize, expect

from durable_tasks import Actor, TaskState
from durable_tasks.access import Role
from tests.dashboard.furniture import asked_for
from tests.dashboard.house import House

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_history_and_attempts_say_who_did_it(house: House) -> None:
    task = await house.org.create("Whose is it?", mode="manual", created_by="ben")
    claim = await house.org.by(Actor(name="olga", proved=True)).claim(task.id, agent_id="ben")
    await house.org.by(Actor(name="ben", proved=True)).complete(task.id, token=claim.token)
    await house.org.by(Actor(name="eve", proved=True)).comment(task.id, "thanks", author="zoe")
    page = await house.visit(f"tasks/{task.id}")
    history = page.get_by_role("region", name="History").get_by_role("listitem")
    # Before each name stand its initials.
    for number, told in enumerate(
        ("ben created it (said, not proved)", "ben claimed it by OLolga", "ben completed it", "zoe by EVeve")
    ):
        await expect(history.nth(number)).to_contain_text(told)
    await expect(history.nth(2)).not_to_contain_text(" by ")
    attempts = page.get_by_role("region", name="Attempts").get_by_role("row")
    await expect(attempts.nth(1)).to_contain_text("ben for whom OLolga took it")
    if house.screenshots is not None:
        await page.screenshot(path=house.screenshots / "task-actors.png", full_page=True)


async def test_nobody_is_offered_to_give_away_what_is_anothers(house: House) -> None:
    task = await house.org.create("Not yours", mode="manual", assigned_to="ben")
    for role, count in ((Role.AGENT, 0), (Role.OPERATOR, 1)):
        page = await house.visit(f"tasks/{task.id}", role=role)
        await expect(page.get_by_role("button", name="Cancel")).to_be_visible()
        await expect(page.get_by_role("button", name="Reassign")).to_have_count(count)
        await expect(page.get_by_role("button", name="Claim")).to_have_count(0)


async def test_a_failed_task_says_why_and_is_retried(house: House) -> None:
    org = house.org
    task = await asked_for(org, (await org.create("Transfer it", capability="break", input={"account": "0815"})).id)
    page = await house.visit(f"tasks/{task.id}")
    await expect(page.get_by_role("region", name="Why it failed")).to_contain_text("account closed")
    attempts = page.get_by_role("region", name="Attempts").get_by_role("row").filter(has_text="failed")
    await expect(attempts).to_have_count(1)
    await expect(page.get_by_role("region", name="History").get_by_text("failed: NonRetryable")).to_be_visible()
    await expect(page.get_by_text("0815")).to_be_visible()
    await page.get_by_role("button", name="Retry").click()
    await expect(attempts).to_have_count(2)


async def test_why_a_task_is_not_running(house: House) -> None:
    org = house.org
    first = await org.create("First")
    second = await org.create("Second", depends_on=[first.id])
    nobodys = await org.create("Nobody can", capability="unknown", mode="auto")
    page = await house.visit(f"tasks/{second.id}")
    await expect(page.get_by_role("main")).to_contain_text("its dependency")
    claim = await org.claim(first.id, agent_id="grace")
    await org.complete(first.id, token=claim.token)
    await expect(page.get_by_role("main").get_by_text("pending").first).to_be_visible()
    await page.goto(f"{house.url}/dashboard/#/tasks/{nobodys.id}")
    await expect(page.get_by_role("main").get_by_text("unknown", exact=False).first).to_be_visible()


async def test_parent_and_children_lead_to_each_other(house: House) -> None:
    parent = await house.org.create("The whole")
    await house.org.create("A part", parent_task_id=parent.id)
    page = await house.visit(f"tasks/{parent.id}")
    await page.get_by_role("link", name="A part").click()
    await expect(page.get_by_role("heading", name="A part")).to_be_visible()
    await page.get_by_role("complementary").get_by_role("link", name="The whole").click()
    await expect(page.get_by_role("heading", name="The whole")).to_be_visible()


async def test_cancel_is_seen_by_everybody_at_once(house: House) -> None:
    task = await house.org.create("Stop me")
    ada, grace = [await house.visit(f"tasks/{task.id}", subject=name) for name in ("ada", "grace")]
    await expect(grace.get_by_role("button", name="Claim")).to_be_visible()
    await ada.get_by_role("button", name="Cancel…").click()
    await ada.get_by_label("Reason").fill("not needed")
    await ada.get_by_role("dialog").get_by_role("button", name="Cancel the task").click()
    await expect(grace.get_by_text("not needed").first).to_be_visible()
    await expect(grace.get_by_role("button", name="Claim")).to_have_count(0)
    assert (await house.org.get(task.id)).state is TaskState.CANCELLED


async def test_what_a_role_may_not_do_is_not_offered_and_refused_all_the_same(house: House) -> None:
    task = await house.org.create("Look, do not touch")
    page = await house.visit(f"tasks/{task.id}", role=Role.VIEWER)
    await expect(page.get_by_role("heading", name="Look, do not touch")).to_be_visible()
    await expect(page.get_by_role("button", name=re.compile("Claim|Cancel|Reassign|Comment"))).to_have_count(0)
    status = await page.evaluate(CANCEL, task.id)
    assert status == 403
    assert (await house.org.get(task.id)).state is TaskState.PENDING


CANCEL = """async (id) => {
  const token = sessionStorage.getItem("durable-tasks-token");
  const headers = {"content-type": "application/json", authorization: `Bearer ${token}`};
  return (await fetch(`../v1/tasks/${id}/cancel`, {method: "POST", body: "{}", headers})).status;
}"""


async def test_the_longest_words_make_no_page_wider_than_a_phone(house: House) -> None:
    form = {"type": "object", "properties": {"p" * 200: {"enum": ["o" * 300, "b"]}}}
    task = await house.org.create(
        "W" * 512, description="y" * 2000, input={"k" * 300: "v" * 2000}, form=form, created_by="b" * 256
    )
    claim = await house.org.claim(task.id, agent_id="ada")
    await house.org.progress(task.id, 10, token=claim.token, message="m" * 600)
    page = await house.visit("inbox", size=ViewportSize(width=360, height=740))
    for place in (f"inbox/{task.id}", f"tasks/{task.id}"):
        await page.goto(f"{house.url}/dashboard/#/{place}")
        await expect(page.get_by_text("m" * 600).first).to_be_visible()
        assert await page.evaluate("document.getElementById('main').scrollWidth <= innerWidth"), place
