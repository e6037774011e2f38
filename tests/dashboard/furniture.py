"""Furniture: tasks and workflows in every state, as a small company would have them.

It must not know the dashboard.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from durable_tasks import DurableTasks, NewTask, NonRetryable, Org, Task, TaskContext, Workflow

DEADLINE = 60.0


class Decision(BaseModel):
    """What is decided about a refund."""

    decision: Literal["approve", "reject", "ask"] = Field(description="What shall happen with the money.")
    amount: float = Field(gt=0, le=500, description="In euros, at most 500.")
    due: datetime | None = None
    note: str = Field("", max_length=200, description="The customer reads this.")


class Furniture(NamedTuple):
    """What the house has."""

    approval: Task
    held: Task
    overdue: Task
    failed: Task
    pipeline: Workflow
    fan_out: Workflow
    dag: Workflow


def register(tasks: DurableTasks) -> None:
    """The handlers of the auto tasks."""

    @tasks.handler("send")
    async def send(ctx: TaskContext, task: Task) -> dict[str, Any]:
        return {"sent": task.title}

    @tasks.handler("break")
    async def break_down(ctx: TaskContext, task: Task) -> None:
        raise NonRetryable("the bank refused the transfer: account closed")


async def furnish(org: Org) -> Furniture:
    approval = await org.create(
        "Refund of order 4711",
        description="The customer returned two of three chairs. The third has a scratch.",
        form=Decision,
        input={"order": 4711, "customer": "Ingrid Berg", "photos": ["https://example.org/chair-1.jpg"]},
        assigned_to="group:approvers",
        priority="high",
        labels=["refund", "chairs"],
        deadline=datetime.now(UTC) + timedelta(hours=3),
    )
    held = await org.create("Call the supplier about the delay", labels=["supplier"], description="Ask for a date.")
    claim = await org.claim(held.id, agent_id="ada", lease=None)
    await org.progress(held.id, 40, token=claim.token, message="left a message")
    overdue = await org.create("Check the new price list", priority="urgent", metadata={"source": "mail"})
    for title in ("Read the inspection report", "Choose the photo for the catalogue", "Answer the question of a guest"):
        await org.create(title, labels=["office"])
    failed = await org.create("Transfer to account 0815", capability="break", priority="low")
    await asked_for(org, failed.id)
    pipeline = await org.pipeline(
        "Order 4711",
        [
            NewTask(name="pack", title="Pack the chairs", capability="send"),
            NewTask(name="inspect", title="Inspect the parcel", labels=("chairs",)),
            NewTask(name="ship", title="Ship it", capability="send"),
        ],
    )
    fan_out = await org.fan_out(
        "Newsletter of November",
        [NewTask(title=f"Letter {number}", capability="send") for number in range(60)],
    )
    dag = await org.dag(
        "Yearly accounts",
        [
            NewTask(name="sales", title="Add up the sales", capability="send"),
            NewTask(name="costs", title="Add up the costs", capability="send"),
            NewTask(name="stock", title="Count the stock"),
            NewTask(
                name="balance", title="Draw the balance", depends_on=("sales", "costs", "stock"), capability="send"
            ),
            NewTask(name="tax", title="Compute the tax", depends_on=("balance",), capability="send"),
            NewTask(name="sign", title="Sign the accounts", depends_on=("balance", "tax")),
        ],
    )
    stock = (await org.workflow_tasks(dag.id))[2]
    counting = await org.claim(stock.id, agent_id="grace", lease=None)
    await org.start(stock.id, token=counting.token)
    await org.progress(stock.id, 60, token=counting.token, message="the second hall")
    await org.wait_workflow(fan_out.id, timeout=DEADLINE)
    return Furniture(approval, held, overdue, failed, pipeline, fan_out, dag)


async def asked_for(org: Org, task_id: str) -> Task:
    async with asyncio.timeout(DEADLINE):
        return await org.wait(task_id)
