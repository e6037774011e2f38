"""The small commands against a file: what they print, where, and how they end.

It must not know Temporal: the file's engine is the local one.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, Settings, Task
from tests.cli.running import Ended, environment, run, run_without

NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def manual(tmp_path: Path) -> Task:
    """A task that waits for a person, in tmp_path/tasks.db."""
    async with DurableTasks(Settings(db=tmp_path / "tasks.db")) as tasks:
        return await tasks.org().create("Read the contract", labels=["legal"])


async def test_a_person_lists_claims_and_completes(manual: Task, tmp_path: Path) -> None:
    listed = await run("task", "list", cwd=tmp_path)
    assert (listed.code, listed.out) == (0, f"{manual.id}  pending  Read the contract\n")

    claimed = await run("task", "claim", manual.id, "--agent", "ann", "--json", cwd=tmp_path)
    assert (claimed.code, claimed.data["task"]["assigned_to"]) == (0, "ann")

    token = claimed.data["token"]
    done = await run("task", "complete", manual.id, "--token", token, "--output", '["fine"]', cwd=tmp_path)
    assert (done.code, done.out.splitlines()[-1]) == (0, 'output ["fine"]')

    seen = await run("task", "get", manual.id, "--json", cwd=tmp_path)
    assert Task.model_validate(seen.data).output == ["fine"]


async def test_the_file_stays_as_its_application_left_it(manual: Task, tmp_path: Path) -> None:
    """A tool must not switch the engine, begin work or leave a process's lock behind."""
    before = (await run("task", "get", manual.id, "--json", cwd=tmp_path)).data
    assert (before["generation"], before["version"], before["engine"]) == (1, 1, "local")
    assert [path.name for path in (tmp_path / "tasks.db-processes").iterdir()] == ["epoch"]


async def test_pages(tmp_path: Path) -> None:
    async with DurableTasks(Settings(db=tmp_path / "tasks.db")) as tasks:
        for number in range(3):
            await tasks.org("acme").create(f"task {number}")
    first = await run("task", "list", "--limit", "2", "--org", "acme", "--json", cwd=tmp_path)
    assert [task["title"] for task in first.data["items"]] == ["task 0", "task 1"]
    second = await run(
        "task", "list", "--limit", "2", "--org", "acme", "--cursor", first.data["next_cursor"], "--json", cwd=tmp_path
    )
    assert ([task["title"] for task in second.data["items"]], second.data["next_cursor"]) == (["task 2"], None)
    assert (await run("task", "list", "--json", cwd=tmp_path)).data["items"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("task get {nobody}", 3, "there is no task"),
        ("task get {id} --org other", 3, "there is no task"),
        ("task get {id} --org .bad.", 2, "not an organisation id"),
        ("task list --state odd", 2, "odd"),
        ("task complete {id} --token wrong", 4, "pending"),
        ("task complete {id}", 2, "--token or --agent"),
        ("task complete {id} --agent ann --output {{", 2, "not JSON"),
        ("task claim {id}", 2, "--agent"),
        ("task claim {id} --agent ann --lease soon", 2, "not a duration"),
        ("task list --db nowhere.db", 5, "there is no file nowhere.db"),
        ("task list --db garbage.db", 5, "garbage.db"),
        ("up --demo nowhere", 2, "nowhere"),
        ("up .", 2, "--demo"),
        ("up --port 65536", 2, "--port"),
        ("up --temporal-port 0", 2, "--temporal-port"),
        ("nonsense", 2, "nonsense"),
    ],
)
async def test_failures_are_a_sentence_and_a_code(
    arguments: str, code: int, said: str, manual: Task, tmp_path: Path
) -> None:
    (tmp_path / "garbage.db").write_bytes(b"garbage" * 1000)
    ended = await run(*arguments.format(id=manual.id, nobody=NOBODY).split(), cwd=tmp_path)
    assert (ended.code, ended.out) == (code, ""), ended
    assert said in ended.err
    assert "Traceback" not in ended.err
    async with DurableTasks(Settings(db=tmp_path / "tasks.db", worker=False)) as tasks:
        assert await tasks.org().get(manual.id) == manual


async def test_a_task_of_somebody_else_is_a_conflict_and_a_cancelled_one_stays(manual: Task, tmp_path: Path) -> None:
    await run("task", "claim", manual.id, "--agent", "ann", cwd=tmp_path)
    refused = await run("task", "complete", manual.id, "--agent", "bob", cwd=tmp_path)
    assert refused.code == 4
    assert "belongs to 'ann'" in refused.err
    cancelled = await run("task", "cancel", manual.id, "--reason", "not needed", "--json", cwd=tmp_path)
    assert (cancelled.data["state"], cancelled.data["reason"]) == ("cancelled", "not needed")
    assert (await run("task", "complete", manual.id, "--agent", "ann", cwd=tmp_path)).code == 4


async def test_many_are_counted_cancelled_and_retried(manual: Task, tmp_path: Path) -> None:
    title = ("--text", manual.title, "--id", manual.id)
    assert (await run("task", "count", *title, cwd=tmp_path)).out == "pending  1\n"
    assert (await run("task", "cancel-many", "--dry-run", *title, cwd=tmp_path)).out == "1 tasks\n"
    assert (await run("task", "cancel-many", "--reason", "no", *title, cwd=tmp_path)).out == "1 of 1 tasks\n"
    retried = await run("task", "retry-many", "--state", "cancelled", "--not-overdue", "--json", cwd=tmp_path)
    assert (retried.data["changed"], retried.data["more"]) == (1, False)
    assert (await run("task", "cancel-many", cwd=tmp_path)).code == 2


async def test_a_wrong_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**environment(), "TASKS_MAX_CONCURRENT": "many"}
    monkeypatch.setattr("tests.cli.running.environment", lambda: wrong)
    ended = await run("up", "--exit", cwd=tmp_path)
    assert ended.code == 2
    assert "TASKS_MAX_CONCURRENT" in ended.err


async def test_help_names_the_exit_codes(tmp_path: Path) -> None:
    ended = await run("--help", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "3 not found" in ended.out


@pytest.mark.parametrize(
    ("command", "module", "extra"), [("serve", "fastapi", "web"), ("serve", "uvicorn", "web"), ("mcp", "mcp", "mcp")]
)
async def test_a_command_says_which_extra_it_needs(command: str, module: str, extra: str, tmp_path: Path) -> None:
    ended = await run_without(module, command, cwd=tmp_path)
    said = f"error: {module} is missing; install it with: pip install 'durable-tasks[{extra}]'\n"
    assert ended == Ended(2, "", said)
    assert not (tmp_path / "tasks.db").exists()


def test_without_typer_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['typer'] = None; sys.argv = ['durable-tasks'];"
        " from durable_tasks.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert Ended(done.returncode, done.stdout, done.stderr) == Ended(
        1, "", "durable-tasks needs typer; install it with: pip install 'durable-tasks[cli]'\n"
    )


def test_help_loads_neither_the_engine_nor_the_server(tmp_path: Path) -> None:
    code = (
        "import sys, json\nfrom durable_tasks.cli.commands import app\n"
        "print(json.dumps([n for n in sys.modules if n.startswith('temporalio') or n == 'durable_tasks.app']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert json.loads(done.stdout) == [], done.stderr
