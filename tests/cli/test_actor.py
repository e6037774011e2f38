"""Who acts through the commands: over a server as who the token is, over a file as who is logged in.

It must not know the other commands.
"""

import pytest

from durable_tasks import Actor, DurableTasks
from durable_tasks.cli.login import logged_in
from durable_tasks.identity.tokens import issue
from tests.cli.inside import run_inside
from tests.cli.test_asking import tasks
from tests.store.support import everything

__all__ = ["tasks"]

Served = tuple[DurableTasks, str, str]


@pytest.mark.parametrize(
    "forged",
    ["task next --agent zoe", "task claim {id} --agent zoe", "task complete {id} --agent zoe"],
)
async def test_over_a_server_an_agent_acts_in_its_own_name(tasks: Served, forged: str) -> None:
    application, url, _ = tasks
    org = application.org()
    task = await org.create("task", mode="manual")
    token = (await issue(application.store, org=org.id, subject="bot", roles=["agent"])).text
    where, before = ("--url", url, "--api-token", token), everything(application.settings.db)
    refused = await run_inside(*forged.format(id=task.id).split(), *where)
    assert (refused.code != 0, refused.out) == (True, "")
    assert "acts in its own name only" in refused.err
    assert everything(application.settings.db) == before
    assert (await run_inside("task", "claim", task.id, "--agent", "bot", *where)).code == 0
    assert (await org.events(task_id=task.id))[-1].actor == Actor(name="bot", proved=True)


async def test_over_a_file_whoever_is_logged_in_is_on_record_beside_the_agent(tasks: Served) -> None:
    application, *_ = tasks
    task = await application.org().create("task", mode="manual")
    taken = await run_inside("task", "claim", task.id, "--agent", "zoe", "--db", str(application.settings.db))
    assert taken.code == 0, taken.err
    (attempt,) = await application.org().attempts(task.id)
    assert (attempt.agent_id, attempt.actor) == ("zoe", Actor(name=logged_in()))
