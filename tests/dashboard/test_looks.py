"""How every page looks: in light, in dark, on a phone; and whether everybody can use it.

It must not know what the pages do. `--screenshots DIR` keeps a picture of each.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.dashboard.furniture import Furniture, furnish
from tests.dashboard.house import DESK, PHONE, House

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE = Path(__file__).parents[2] / "dashboard" / "node_modules" / "axe-core" / "axe.min.js"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"size": DESK},
    "dark": {"size": DESK, "dark": True},
    "phone": {"size": PHONE},
}


@pytest.mark.parametrize("look", LOOKS)
async def test_every_page(house: House, look: str) -> None:
    places = pages(await furnish(house.org))
    page = await house.stranger(**LOOKS[look])
    await page.goto(f"{house.url}/dashboard/")
    await expect(page.get_by_label("Token")).to_be_visible()
    await looked_at(house, page, f"sign-in-{look}")
    page = await house.visit(**LOOKS[look])
    for name, (place, shows) in places.items():
        await page.goto(f"{house.url}/dashboard/#/{place}")
        await expect(page.get_by_text(shows).filter(visible=True).first).to_be_visible()
        await looked_at(house, page, f"{name}-{look}")


def pages(found: Furniture) -> dict[str, tuple[str, str]]:
    """By name: where it is, and a text that shows that it is there."""
    return {
        "inbox": (f"inbox/{found.approval.id}", "Refund of order 4711"),
        "tasks": ("tasks", "Check the new price list"),
        "board": ("board", "Check the new price list"),
        "task": (f"tasks/{found.failed.id}", "account closed"),
        "workflows": ("workflows", "Yearly accounts"),
        "pipeline": (f"workflows/{found.pipeline.id}", "Inspect the parcel"),
        "fan-out": (f"workflows/{found.fan_out.id}", "Newsletter of November"),
        "dag": (f"workflows/{found.dag.id}", "Draw the balance"),
        "operations": ("operations", "Queues"),
        "nowhere": ("nowhere", "No such page"),
    }


async def looked_at(house: House, page: Page, name: str) -> None:
    """Everybody can use it as it is now, nothing is wider than the screen, and there may be a picture of it."""
    if house.screenshots is not None:
        house.screenshots.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=house.screenshots / f"{name}.png")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate("axe.run({resultTypes: ['violations']})")
    wrong = [
        (one["id"], one["help"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert wrong == [], name
