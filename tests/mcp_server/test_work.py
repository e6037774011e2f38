"""Agents at work over every transport: the whole life of tasks and workflows, as an agent calls it.

It must not know how a transport works.
"""

import pytest

from durable_tasks import DurableTasks
from tests.mcp_server.agents import IN_PROCESS, TRANSPORTS, agent

over_all = pytest.mark.parametrize("transport", TRANSPORTS)
in_process = pytest.mark.parametrize("transport", IN_PROCESS)  # a process of its own takes seconds to start


@over_all
async def test_a_task_from_creation_to_completion(tasks: DurableTasks, transport: str) -> None:
    async with agent(tasks, transport=transport) as ann:
        made = await ann("create_task", title="Read the contract", priority="high", input={"pages": 3})
        assert (made["state"], made["created_by"], made["priority"]) == ("pending", "ann", 2)

        claim = (await ann("next_task", lease="5m"))["result"]
        assert (claim["task"]["id"], claim["task"]["assigned_to"]) == (made["id"], "ann")
        assert (await ann("next_task"))["result"] is None
        held = {"task_id": made["id"], "token": claim["token"]}

        assert (await ann("start_task", **held))["state"] == "running"
        assert (await ann("heartbeat_task", **held))["cancel_requested"] is False
        assert (await ann("progress_task", percent=40, message="page 2", **held))["progress"] == 40
        done = await ann("complete_task", output={"ok": True}, **held)
        assert (done["state"], done["output"]) == ("completed", {"ok": True})

        waited = await ann("wait_task", task_id=made["id"], timeout=1)
        assert (waited["ended"], waited["task"]["output"]) == (True, {"ok": True})
        (attempt,) = (await ann("list_attempts", task_id=made["id"]))["items"]
        assert (attempt["state"], attempt["agent_id"]) == ("completed", "ann")
        events = (await ann("list_events", task_id=made["id"]))["items"]
        assert [events[0]["kind"], events[-1]["kind"]] == ["task.created", "task.completed"]
        assert (await ann("list_events", task_id=made["id"], after=events[-1]["seq"]))["items"] == []

    assert (await tasks.org().get(made["id"])).output == {"ok": True}


@in_process
async def test_failing_releasing_cancelling_and_retrying(tasks: DurableTasks, transport: str) -> None:
    async with agent(tasks, transport=transport) as ann:
        made = await ann("create_task", title="Call them", max_retries=0)
        claim = await ann("claim_task", task_id=made["id"], lease=None)
        failed = await ann("fail_task", task_id=made["id"], token=claim["token"], error="nobody answers")
        assert (failed["state"], failed["error"]["message"]) == ("failed", "nobody answers")
        assert (await ann("retry_task", task_id=made["id"]))["state"] == "pending"

        claim = await ann("claim_task", task_id=made["id"])
        assert (await ann("start_task", task_id=made["id"], token=claim["token"]))["state"] == "running"
        assert (await ann("release_task", task_id=made["id"]))["state"] == "pending"
        edited = await ann("update_task", task_id=made["id"], title="Call them again", labels=["phone"])
        assert (edited["title"], edited["labels"]) == ("Call them again", ["phone"])
        cancelled = await ann("cancel_task", task_id=made["id"], reason="not needed")
        assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "not needed")
        assert (await ann("get_task", task_id=made["id"]))["state"] == "cancelled"


@in_process
async def test_many_tasks_in_pages(tasks: DurableTasks, transport: str) -> None:
    async with agent(tasks, transport=transport) as ann:
        many = await ann("create_tasks", tasks=[{"title": f"task {number}"} for number in range(5)])
        seen, cursor = [], None
        while True:
            page = await ann("list_tasks", state=["pending"], limit=2, **({"cursor": cursor} if cursor else {}))
            seen += [task["title"] for task in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == [task["title"] for task in many["items"]] == [f"task {number}" for number in range(5)]


@over_all
async def test_a_handler_of_the_application_runs_what_the_agent_wants(tasks: DurableTasks, transport: str) -> None:
    """Over stdio the handler runs in another process than the one that the agent speaks to."""
    async with agent(tasks, transport=transport) as ann:
        made = await ann("create_task", title="double", capability="double", input=21)
        waited = await ann("wait_task", task_id=made["id"])
        assert (waited["ended"], waited["task"]["output"]) == (True, 42)


@in_process
async def test_workflows(tasks: DurableTasks, transport: str) -> None:
    members = [{"name": "draft"}, {"name": "review", "depends_on": ["draft"]}]
    async with agent(tasks, transport=transport) as ann:
        dag = await ann("create_workflow", kind="dag", name="letter", tasks=members)
        assert (dag["total"], dag["created_by"]) == (2, "ann")
        whole = await ann("get_workflow", workflow_id=dag["id"])
        assert [task["state"] for task in whole["tasks"]] == ["pending", "blocked"]
        nodes = (await ann("graph_workflow", workflow_id=dag["id"]))["nodes"]
        assert nodes[1]["depends_on"] == [nodes[0]["id"]]
        (added,) = (await ann("add_tasks", workflow_id=dag["id"], tasks=[{"name": "send"}]))["items"]
        assert added["workflow_id"] == dag["id"]
        assert (await ann("wait_workflow", workflow_id=dag["id"], timeout=0))["ended"] is False
        assert (await ann("cancel_workflow", workflow_id=dag["id"], reason="late"))["state"] == "cancelled"
        assert (await ann("wait_workflow", workflow_id=dag["id"]))["ended"] is True
        assert (await ann("retry_workflow", workflow_id=dag["id"]))["state"] in ("pending", "running")

        pipeline = await ann("create_workflow", kind="pipeline", name="steps", tasks=[{"name": "a"}, {"name": "b"}])
        fan_out = await ann(
            "create_workflow", kind="fan_out", name="twice", join="all", max_parallel=1,
            tasks=[{"name": name, "capability": "double", "input": 1} for name in "ab"],
        )  # fmt: skip
        assert (await ann("wait_workflow", workflow_id=fan_out["id"]))["workflow"]["state"] == "completed"
        listed = (await ann("list_workflows"))["items"]
        assert [one["id"] for one in listed] == [fan_out["id"], pipeline["id"], dag["id"]]


@in_process
async def test_repeated_calls_are_answered_alike(tasks: DurableTasks, transport: str) -> None:
    async with agent(tasks, transport=transport) as ann:
        first = await ann("create_task", title="once", idempotency_key="k")
        assert (await ann("create_task", title="once", idempotency_key="k"))["id"] == first["id"]
        claim = await ann("claim_task", task_id=first["id"], command_id="c")
        assert (await ann("claim_task", task_id=first["id"], command_id="c"))["token"] == claim["token"]
