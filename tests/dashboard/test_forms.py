"""Forms made of pydantic models: what somebody fills in is what the model takes.

It must not know how a schema becomes controls.
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from playwright.async_api import Page, expect
from pydantic import BaseModel, Field

from durable_tasks import Task
from tests.dashboard.house import House
from tests.dashboard.test_inbox import opened

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Way(StrEnum):
    SHIP = "ship"
    FLIGHT = "flight"


class Line(BaseModel):
    article: int
    price: Annotated[Decimal, Field(ge=0, max_digits=30, decimal_places=2)]


class Bank(BaseModel):
    kind: Literal["bank"] = "bank"
    account: str


class Cash(BaseModel):
    kind: Literal["cash"] = "cash"


class Order(BaseModel):
    total: Decimal
    due: date
    pickup: datetime | None = None
    way: Way
    gift: Literal["card", "box", None] = None
    lines: list[Line]
    pay: Annotated[Bank | Cash, Field(discriminator="kind")]
    sender: Line | None = None
    note: str = "as usual"


async def _claimed(house: House, form: type[BaseModel]) -> tuple[Task, Page]:
    task = await house.org.create("Order it", form=form)
    page = await house.visit(f"inbox/{task.id}")
    await opened(page).get_by_role("button", name="Claim").click()
    return task, page


async def test_a_model_of_everything_is_filled_in_and_read_back(house: House) -> None:
    task, page = await _claimed(house, Order)
    await page.get_by_label("Total").fill("12345678901234567890.05")
    await page.get_by_label("Due").fill("2026-05-01")
    await page.get_by_role("radio", name="Flight").check()
    lines = page.get_by_role("group", name="Lines")
    await lines.get_by_role("button", name="Add").click()
    await lines.get_by_label("Article").fill("9007199254740993")
    await lines.get_by_label("Price").fill("1,000")
    await page.get_by_role("radio", name="Bank").check()
    await page.get_by_label("Account").fill("AT61 1904")
    await page.get_by_label("Note").fill("")
    await page.get_by_role("button", name="Complete").click()
    await expect(lines.get_by_label("Price")).to_be_focused()
    await lines.get_by_label("Price").fill("1000.50")
    await page.get_by_role("button", name="Complete").click()
    await expect(opened(page).get_by_text("Completed by")).to_be_visible()
    order = Order.model_validate((await house.org.get(task.id)).output)
    assert order == Order(
        total=Decimal("12345678901234567890.05"), due=date(2026, 5, 1), way=Way.FLIGHT, pay=Bank(account="AT61 1904"),
        lines=[Line(article=9007199254740993, price=Decimal("1000.5"))], note="",
    )  # fmt: skip
    await expect(opened(page).get_by_text("9007199254740993")).to_be_visible()
