"""A workflow's page: its graph and timeline as they change, cancel and retry.

It must not know how a graph is laid out.
"""

import re

import pytest
from playwright.async_api import Locator, Page, expect

from durable_tasks import NewTask, Org, TaskState, Workflow
from durable_tasks.access import Role
from tests.dashboard.house import House

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def accounts(org: Org) -> Workflow:
    return await org.dag(
        "Yearly accounts",
        [
            NewTask(name="count", title="Count the stock"),
            NewTask(name="sign", title="Sign the accounts", depends_on=("count",)),
        ],
    )


def node(page: Page, words: str) -> Locator:
    return page.get_by_role("region", name="Graph").get_by_role("link", name=words)


def panel(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


async def test_the_graph_the_timeline_and_the_table_are_live(house: House) -> None:
    org = house.org
    workflow = await accounts(org)
    first, _ = await org.workflow_tasks(workflow.id)
    page = await house.visit(f"workflows/{workflow.id}")
    await expect(node(page, "Count the stock, pending")).to_be_visible()
    await expect(node(page, "Sign the accounts, blocked, after Count the stock")).to_be_visible()
    claim = await org.claim(first.id, agent_id="grace")
    await org.start(first.id, token=claim.token)
    await expect(node(page, "Count the stock, running")).to_be_visible()
    await org.progress(first.id, 30, token=claim.token)
    await expect(node(page, "Count the stock, running, 30 percent")).to_be_visible()
    await org.complete(first.id, token=claim.token)
    await expect(node(page, "Count the stock, completed")).to_be_visible()
    await expect(node(page, "Sign the accounts, pending")).to_be_visible()
    await panel(page, "Timeline").get_by_role("button", name="Table").click()
    await expect(panel(page, "Timeline").get_by_role("row").filter(has_text="Count the stock")).to_contain_text("grace")
    await expect(panel(page, "Tasks").get_by_role("row").filter(has_text="Count the stock")).to_contain_text(
        "completed"
    )
    await node(page, "Sign the accounts").click()
    await expect(page.get_by_role("heading", name="Sign the accounts")).to_be_visible()


async def test_a_large_fan_out_is_one_node_that_can_be_opened(house: House) -> None:
    workflow = await house.org.fan_out("Letters", [NewTask(title=f"Letter {number}") for number in range(60)])
    page = await house.visit(f"workflows/{workflow.id}")
    group = panel(page, "Graph").get_by_role("button", name="Letter …: 60 pending")
    await expect(group).to_have_attribute("aria-expanded", "false")
    await expect(node(page, "Letter 1")).to_have_count(0)
    task = (await house.org.list(limit=1)).items[0]
    await house.org.cancel(task.id)
    await expect(panel(page, "Graph").get_by_role("button", name="59 pending, 1 cancelled")).to_be_visible()
    await panel(page, "Graph").get_by_role("button", name="59 pending").press("Enter")
    await expect(node(page, "Letter 1, pending").first).to_be_visible()


async def test_cancel_and_retry(house: House) -> None:
    workflow = await accounts(house.org)
    ada, grace = [await house.visit(f"workflows/{workflow.id}", subject=name) for name in ("ada", "grace")]
    await expect(node(grace, "Count the stock, pending")).to_be_visible()
    await ada.get_by_role("button", name="Cancel").click()
    await expect(ada.get_by_role("dialog").get_by_text("2 tasks are not ended yet")).to_be_visible()
    await ada.get_by_label("Reason").fill("next year")
    await ada.get_by_role("button", name="Cancel the workflow").click()
    await expect(node(grace, "Count the stock, cancelled")).to_be_visible()
    assert {task.state for task in await house.org.workflow_tasks(workflow.id)} == {TaskState.CANCELLED}
    await grace.get_by_role("button", name="Retry").click()
    await grace.get_by_role("dialog").get_by_role("button", name="Retry").click()
    await expect(node(ada, "Count the stock, pending")).to_be_visible()


async def test_who_only_looks_is_offered_no_change(house: House) -> None:
    workflow = await accounts(house.org)
    page = await house.visit(f"workflows/{workflow.id}", role=Role.VIEWER)
    await expect(node(page, "Count the stock, pending")).to_be_visible()
    await expect(page.get_by_role("button", name=re.compile("Cancel|Retry"))).to_have_count(0)


async def test_the_list_of_workflows_is_searched_and_live(house: House) -> None:
    workflow = await accounts(house.org)
    await house.org.fan_out("Letters", [NewTask(title="One letter")])
    page = await house.visit("workflows")
    await expect(page.get_by_role("link", name="Yearly accounts")).to_be_visible()
    await page.get_by_role("searchbox").fill("letters")
    await expect(page.get_by_role("link", name="Yearly accounts")).to_have_count(0)
    await expect(page.get_by_role("link", name="Letters")).to_be_visible()
    await page.get_by_role("searchbox").fill("")
    await house.org.cancel_workflow(workflow.id)
    await expect(page.get_by_role("listitem").filter(has_text="Yearly accounts")).to_contain_text("cancelled")
    await house.org.pipeline("A new one", [NewTask(name="only")])
    await expect(page.get_by_role("link", name="A new one")).to_be_visible()
