"""Two organisations on one file: with the other's ids a command says what it says of ids that nobody has.

It must not know how they are kept apart.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from durable_tasks import DurableTasks, NewTask, Settings
from durable_tasks.cli.task import app as task_app
from durable_tasks.cli.workflow import app as workflow_app
from durable_tasks.identity.tokens import issue
from durable_tasks.web.server import serving
from tests.cli.inside import run_inside
from tests.cli.running import Ended
from tests.store.support import everything

NOBODY = "01900000-0000-7000-8000-000000000000"
COMMANDS = {
    "task create": "x --depends-on {task}",
    "task list": "--workflow {workflow}",
    "task count": "--workflow {workflow}",
    "task cancel-many": "--workflow {workflow}",
    "task retry-many": "--workflow {workflow}",
    "task get": "{task}",
    "task update": "{task} --title x",
    "task next": "--agent ann",
    "task claim": "{task} --agent ann",
    "task start": "{task} --token {token}",
    "task heartbeat": "{task} --token {token}",
    "task progress": "{task} 50 --token {token}",
    "task complete": "{task} --token {token}",
    "task fail": "{task} why --token {token}",
    "task release": "{task} --token {token}",
    "task cancel": "{task}",
    "task retry": "{task}",
    "task comment": "{task} x",
    "task wait": "{task} --timeout 0s",
    "task watch": "{task}",
    "task attempts": "{task}",
    "task explain": "{task}",
    "workflow create": "dag x --tasks {foreign}",
    "workflow list": "",
    "workflow get": "{workflow}",
    "workflow graph": "{workflow}",
    "workflow attempts": "{workflow}",
    "workflow cancel": "{workflow}",
    "workflow retry": "{workflow}",
    "workflow wait": "{workflow} --timeout 0s",
    "workflow watch": "{workflow}",
    "events": "--task {task}",
    "events ": "--workflow {workflow}",
    "events  ": "--task {task} --follow",
    "events   ": "",
}


class Ids(NamedTuple):
    task: str
    workflow: str
    token: str


class World(NamedTuple):
    """A file with the secrets of `rival`, how to ask it as somebody of acme, and the ids that are asked for."""

    db: Path
    where: tuple[str, ...]
    theirs: Ids


def test_every_command_is_tried() -> None:
    names = {
        f"{group} {command.name or command.callback.__name__}"
        for group, app in (("task", task_app), ("workflow", workflow_app))
        for command in app.registered_commands
        if command.callback is not None
    }
    assert {name for name in COMMANDS if not name.startswith("events")} == names


@pytest_asyncio.fixture(params=["file", "server"], scope="module", loop_scope="module")
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One for all: no command may change it."""
    db = tmp_path_factory.mktemp("world") / "tasks.db"
    tasks = DurableTasks(Settings(db=db, auth="token", worker=False))
    async with serving(tasks, port=0) as url:
        rival = tasks.org("rival")
        claim = await rival.claim((await rival.create("secret", mode="manual")).id, agent_id="eve")
        workflow = await rival.pipeline("secret", [NewTask(name="secret", mode="manual")])  # type: ignore[arg-type]
        token = (await issue(tasks.store, org="acme", subject="ann", roles=["admin"])).text
        where = ("--db", str(tasks.settings.db), "--org", "acme")
        if request.param == "server":
            where = ("--url", url, "--api-token", token)
        yield World(tasks.settings.db, where, Ids(claim.task.id, workflow.id, claim.token))


async def ask(world: World, command: str, ids: Ids) -> Ended:
    """What is said, with the ids that were asked for left out."""
    foreign = world.db.with_name("foreign.json")
    foreign.write_text(f'[{{"name": "x", "depends_on": ["{ids.task}"]}}]', encoding="utf-8")
    arguments = COMMANDS[command].format(**ids._asdict(), foreign=foreign).split()
    ended = await run_inside(*command.split(), *arguments, *world.where)
    out, err = ended.out, ended.err
    for number, one in enumerate(ids):
        out, err = out.replace(one, f"<{number}>"), err.replace(one, f"<{number}>")
    return Ended(ended.code, out, err)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("command", COMMANDS)
async def test_the_others_ids_are_as_if_nobody_had_them(command: str, world: World) -> None:
    before = everything(world.db)
    unknown = Ids(NOBODY, NOBODY[:-1] + "1", "x" * len(world.theirs.token))
    said = await ask(world, command, world.theirs)
    assert said == await ask(world, command, unknown)
    assert "secret" not in said.out + said.err
    if "{" in COMMANDS[command] and "--workflow" not in COMMANDS[command] and command.strip() != "events":
        assert said.code != 0
        assert said.out == ""
    assert everything(world.db) == before
