"""`task`, `workflow` and `events` over a file and over a server: the same commands, output and exit codes.

It must not know how either is reached.
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from durable_tasks import DurableTasks, NewTask, Settings, Task
from durable_tasks.identity.tokens import issue
from durable_tasks.store import schema
from durable_tasks.store.connection import connect
from durable_tasks.web.server import serving
from tests.cli.inside import run_inside
from tests.cli.running import Ended, run, started

NOBODY = "00000000-0000-7000-8000-000000000000"
Durable = Callable[..., Awaitable[Ended]]


@pytest_asyncio.fixture
async def tasks(tmp_path: Path) -> AsyncIterator[tuple[DurableTasks, str, str]]:
    """A running application, the address of its API, and the token of ann, who may act for others of the default
    organisation: as whoever has the file may."""
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db", auth="token"))

    @tasks.handler("double")
    def double(ctx: Any, task: Task) -> int:
        return int(task.input) * 2

    async with serving(tasks, port=0) as url:
        token = (await issue(tasks.store, org="default", subject="ann", roles=["operator"])).text
        yield tasks, url, token


@pytest.fixture(params=["file", "server"])
def where(request: pytest.FixtureRequest, tasks: tuple[DurableTasks, str, str]) -> tuple[str, ...]:
    """The options that say where the tasks are."""
    application, url, token = tasks
    if request.param == "file":
        return ("--db", str(application.settings.db))
    return ("--url", url, "--api-token", token)


@pytest.fixture
def durable(where: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Durable:
    monkeypatch.chdir(tmp_path)

    async def durable(*arguments: str) -> Ended:
        return await run_inside(*arguments, *where)

    return durable


async def test_a_day_of_an_agent(durable: Durable) -> None:
    made = await durable(
        "task", "create", "Read it", "--priority", "high", "--label", "legal", "--input", '{"page": 1}',
        "--deadline", "2d", "--max-retries", "1", "--key", "k-1", "--mode", "manual", "--json",
    )  # fmt: skip
    task_id = made.data["id"]
    assert (made.data["priority"], made.data["labels"], made.data["input"]) == (2, ["legal"], {"page": 1})
    again = await durable("task", "create", "Read it", "--key", "k-1", "--json")
    assert (again.code, "other content" in again.err) == (4, True)
    listed = await durable("task", "list", "--label", "legal", "--priority", "high", "--state", "pending")
    assert (listed.code, listed.out) == (0, f"{task_id}  pending  Read it\n")
    claimed = (await durable("task", "next", "--agent", "bob", "--lease", "5m", "--json")).data
    assert (claimed["task"]["id"], claimed["task"]["assigned_to"]) == (task_id, "bob")
    token = claimed["token"]
    assert (await durable("task", "start", task_id, "--token", token)).out == f"{task_id}  running  Read it (bob)\n"
    assert (await durable("task", "heartbeat", task_id, "--token", token)).out.startswith("held until 20")
    half = await durable("task", "progress", task_id, "50", "--message", "half", "--token", token, "--json")
    assert (half.data["progress"], half.data["progress_message"]) == (50, "half")
    failed = await durable("task", "fail", task_id, "out of ink", "--final", "--token", token)
    assert failed.out.splitlines() == [f"{task_id}  failed  Read it (bob)", "error failed: out of ink"]
    assert (await durable("task", "watch", task_id)).code == 1
    assert (await durable("task", "retry", task_id, "--json")).data["state"] == "pending"
    done = await durable("task", "complete", task_id, "--agent", "bob", "--output", '{"fine": "ü"}')
    assert done.out.splitlines()[-1] == 'output {"fine": "ü"}'
    assert (await durable("task", "wait", task_id, "--json")).data["state"] == "completed"
    attempts = (await durable("task", "attempts", task_id, "--json")).data
    assert [one["state"] for one in attempts] == ["failed", "completed"]
    watched = await durable("task", "watch", task_id, "--json")
    assert watched.code == 0
    kinds = [json.loads(line)["kind"] for line in watched.out.splitlines()]
    assert (kinds[0], kinds[-1], kinds.count("task.failed")) == ("task.created", "task.completed", 1)
    nothing = await durable("task", "next", "--agent", "bob")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "nothing is ready\n")


async def test_editing_releasing_cancelling(durable: Durable) -> None:
    made = (await durable("task", "create", "x", "--mode", "manual", "--timeout", "5m", "--json")).data
    claim = (await durable("task", "claim", made["id"], "--agent", "bob", "--json")).data
    assert (await durable("task", "release", made["id"], "--token", claim["token"], "--json")).data[
        "state"
    ] == "pending"
    edited = await durable(
        "task", "update", made["id"], "--title", "y", "--assigned-to", "eve", "--timeout", "", "--json"
    )
    assert [edited.data[name] for name in ("title", "assigned_to", "timeout")] == ["y", "eve", None]
    stale = await durable("task", "update", made["id"], "--title", "z", "--version", "1")
    assert (stale.code, stale.out) == (4, "")
    gone = await durable("task", "cancel", made["id"], "--reason", "not needed", "--json")
    assert (gone.data["state"], gone.data["reason"]) == ("cancelled", "not needed")


async def test_a_workflow_from_a_file(durable: Durable, tmp_path: Path) -> None:
    steps = [{"name": f"m{n}", "capability": "double", "input": n} for n in range(3)]
    (tmp_path / "steps.json").write_text(json.dumps(steps), encoding="utf-8")
    made = await durable(
        "workflow", "create", "fan_out", "Doubling", "--tasks", "steps.json", "--max-parallel", "2", "--join", "2",
        "--failure-policy", "continue", "--json",
    )  # fmt: skip
    workflow_id = made.data["id"]
    ended = await durable("workflow", "wait", workflow_id, "--timeout", "30s")
    assert (ended.code, ended.out.split()[:2]) == (0, [workflow_id, "completed"])
    watched = await durable("workflow", "watch", workflow_id)
    assert (watched.code, watched.out.splitlines()[-1].split()[2]) == (0, "workflow.completed")
    assert (await durable("workflow", "get", workflow_id, "--json")).data["join"] == 2
    assert (await durable("workflow", "list", "--state", "completed")).out.split()[0] == workflow_id

    dag = [{"name": "read", "mode": "manual"}, {"name": "sign", "mode": "manual", "depends_on": ["read"]}]
    (tmp_path / "dag.json").write_text(json.dumps(dag), encoding="utf-8")
    made = await durable("workflow", "create", "dag", "A contract", "--tasks", "dag.json", "--json")
    drawn = await durable("workflow", "graph", made.data["id"])
    assert drawn.out.splitlines()[0] == "flowchart LR"
    assert "  t0 --> t1" in drawn.out.splitlines()
    assert [node["name"] for node in (await durable("workflow", "graph", made.data["id"], "--json")).data["nodes"]] == [
        "read", "sign",
    ]  # fmt: skip
    assert (await durable("workflow", "wait", made.data["id"], "--timeout", "100ms")).code == 124
    assert (await durable("workflow", "cancel", made.data["id"], "--json")).data["state"] == "cancelled"
    assert (await durable("workflow", "watch", made.data["id"])).code == 1
    assert (await durable("workflow", "retry", made.data["id"], "--json")).data["state"] == "running"


async def test_events_and_following_them(
    durable: Durable, where: tuple[str, ...], tasks: tuple[DurableTasks, str, str], tmp_path: Path
) -> None:
    org = tasks[0].org()
    first, second = await org.create_many([NewTask(title="one"), NewTask(title="two")])
    page = await durable("events", "--after", "1", "--json")
    assert [(json.loads(line)["seq"], json.loads(line)["task_id"]) for line in page.out.splitlines()] == [
        (2, second.id)
    ]
    assert len((await durable("events", "--task", first.id)).out.splitlines()) == 1
    async with started("events", "--follow", "--after", "0", "--json", *where, cwd=tmp_path) as following:
        assert following.process.stdout is not None
        async with asyncio.timeout(30):
            seen = [json.loads(await following.process.stdout.readline())["seq"] for _ in range(2)]
            await org.create("three")
            seen.append(json.loads(await following.process.stdout.readline())["seq"])
        assert seen == [1, 2, 3]
        following.send(signal.SIGTERM)  # whoever started the tests may have had SIGINT ignored
        assert (await following.ended()).err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("task get {nobody}", 3, "there is no task"),
        ("task watch {nobody}", 3, "there is no task"),
        ("workflow wait {nobody}", 3, "there is no workflow"),
        ("task complete {id} --token wrong", 4, "pending"),
        ("task complete {id}", 2, "--token or --agent"),
        ("task create x --input {{", 2, "not JSON"),
        ("task create x --deadline soon", 2, "deadline"),
        ("task list --state odd", 2, "odd"),
        ("workflow create heap x --tasks empty.json", 2, "heap"),
        ("workflow create dag x --tasks nowhere.json", 2, "nowhere.json"),
        ("workflow create dag x --tasks odd.json", 2, "JSON list"),
        ("workflow create dag x --tasks latin.json", 2, "not text in utf-8"),
        ("workflow create dag x --tasks deep.json", 2, "nested too deeply"),
        ("task wait {id} --timeout 50ms", 124, "had not ended"),
        ("events --task a --workflow b --follow", 2, "not both"),
    ],
)
async def test_failures_are_a_sentence_and_a_code(
    arguments: str, code: int, said: str, durable: Durable, tasks: tuple[DurableTasks, str, str], tmp_path: Path
) -> None:
    task = await tasks[0].org().create("x", mode="manual")
    (tmp_path / "empty.json").write_text('[{"name": "x"}]', encoding="utf-8")
    (tmp_path / "odd.json").write_text("{}", encoding="utf-8")
    (tmp_path / "latin.json").write_bytes(b'[{"name": "\xff"}]')
    (tmp_path / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    ended = await durable(*arguments.format(id=task.id, nobody=NOBODY).split())
    assert (ended.code, ended.out) == (code, ""), ended
    assert said in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "refused",
    ["fail {id} why --agent zed --retry-after zzz", f'complete {{id}} --agent zed --output "{"x" * 2_000_000}"'],
    ids=["fail", "complete"],
)
async def test_what_was_claimed_for_a_refused_act_is_given_back(
    refused: str, durable: Durable, tasks: tuple[DurableTasks, str, str]
) -> None:
    task = await tasks[0].org().create("x", mode="manual")
    ended = await durable("task", *refused.format(id=task.id).split())
    assert (ended.code, ended.out) == (2, ""), ended
    assert (await durable("task", "claim", task.id, "--agent", "bob")).code == 0


FORGED = "boom\x1b[2J\x9b2J\x7f\u202e\u2028\nFAKE LINE"


async def test_a_strangers_text_commands_no_terminal(durable: Durable, tasks: tuple[DurableTasks, str, str]) -> None:
    org = tasks[0].org()
    task = await org.create(FORGED, mode="manual", input=FORGED)
    claim = await org.claim(task.id, agent_id=FORGED)
    failed = await durable("task", "fail", task.id, FORGED, "--final", "--token", claim.token)
    seen = [failed, await durable("task", "list"), await durable("task", "attempts", task.id)]
    assert [len(one.out.splitlines()) for one in seen] == [2, 1, 1]
    seen += [await durable("task", "claim", task.id, "--agent", "a"), await durable("task", "get", FORGED)]
    shown = await durable("task", "get", task.id, "--json")
    assert shown.data["error"]["message"] == FORGED
    for one in (*seen, shown):
        assert not set("\x1b\x9b\x7f\u202e\u2028") & set(one.out + one.err), one


async def test_a_terminal_without_unicode_gets_escapes(
    tasks: tuple[DurableTasks, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cli import running

    made = await tasks[0].org().create("grün \N{PARTY POPPER}", mode="manual")
    plain = running.environment()
    monkeypatch.setattr(running, "environment", lambda: {**plain, "PYTHONIOENCODING": "ascii"})
    people = await run("task", "get", made.id, cwd=tmp_path)
    assert (people.code, people.out) == (0, f"{made.id}  pending  gr\\xfcn \\U0001f389\n")
    assert (await run("task", "get", made.id, "--json", cwd=tmp_path)).data["title"] == made.title


async def test_the_environment_names_the_server(
    tasks: tuple[DurableTasks, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    application, url, token = tasks
    await application.org().create("seen")
    from tests.cli import running

    plain = running.environment()
    monkeypatch.setattr(running, "environment", lambda: {**plain, "TASKS_URL": url, "TASKS_API_TOKEN": token})
    listed = await run("task", "list", "--json", cwd=tmp_path)
    assert [task["title"] for task in listed.data["items"]] == ["seen"]
    own = await run("task", "list", "--org", "other", "--db", "tasks.db", "--json", cwd=tmp_path)
    assert (own.code, own.data["items"]) == (0, [])
    for contradiction in (("--org", "other"), ("--url", url, "--db", "tasks.db")):
        both = await run("task", "list", *contradiction, cwd=tmp_path)
        assert (both.code, "TASKS_URL" in both.err) == (2, True)
    monkeypatch.setattr(running, "environment", lambda: {**plain, "TASKS_URL": url, "TASKS_API_TOKEN": "dt_x_y"})
    refused = await run("task", "list", cwd=tmp_path)
    assert (refused.code, refused.out) == (1, "")


async def test_a_server_that_is_away_is_unreachable(tmp_path: Path) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db"))
    async with serving(tasks, port=0) as url:
        pass
    ended = await run("task", "list", "--url", url, "--patience", "0s", cwd=tmp_path)
    assert (ended.code, ended.out) == (5, "")
    assert url in ended.err


# ----- the file, the settings, the shell


async def test_a_backup_is_a_whole_file(tasks: tuple[DurableTasks, str, str], tmp_path: Path) -> None:
    application, *_ = tasks
    made = await application.org().create("kept")
    saved = await run("backup", "saved.db", "--json", cwd=tmp_path)
    assert (saved.code, saved.data["bytes"]) == (0, (tmp_path / "saved.db").stat().st_size)
    assert (tmp_path / "saved.db").stat().st_mode & 0o777 == 0o600
    await application.org().cancel(made.id)
    assert (await run("task", "get", made.id, "--db", "saved.db", "--json", cwd=tmp_path)).data["state"] == "pending"
    again = await run("backup", "saved.db", cwd=tmp_path)
    assert (again.code, "exists" in again.err) == (2, True)
    nowhere = await run("backup", "no/such/folder/x.db", cwd=tmp_path)
    assert (nowhere.code, nowhere.out) == (5, "")
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".partial"]


async def test_a_backup_comes_before_an_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, *later = schema.migrations()
    (tmp_path / "tasks.db").touch()
    with closing(connect(tmp_path / "tasks.db")) as conn, monkeypatch.context() as earlier_release:
        conn.execute("PRAGMA journal_mode=WAL")
        earlier_release.setattr(schema, "migrations", lambda: [first])
        schema.migrate(conn, tmp_path / "tasks.db", now=0)
    assert (await run_inside("backup", "saved.db")).code == 0
    for file in ("tasks.db", "saved.db"):
        lacking = await run_inside("migrate", "--check", "--db", file, "--json")
        assert lacking.data["pending"] == [name for _, name, _ in later]


async def test_migrating_is_said_and_done(tmp_path: Path) -> None:
    todo = await run("migrate", "--check", "--json", cwd=tmp_path)
    assert (todo.code, todo.data["applied"], len(todo.data["pending"]) > 3) == (1, [], True)
    assert not (tmp_path / "tasks.db").exists()
    done = await run("migrate", cwd=tmp_path)
    assert (done.code, done.out.splitlines()) == (0, todo.data["pending"])
    again = await run("migrate", "--check", cwd=tmp_path)
    assert (again.code, again.out, again.err) == (0, "", "nothing to do\n")
    (tmp_path / "tasks.db").write_bytes(b"garbage" * 1000)
    broken = await run("migrate", "--check", cwd=tmp_path)
    assert (broken.code, "tasks.db" in broken.err) == (5, True)


async def test_every_setting_and_its_source_but_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.cli import running

    plain = running.environment()
    told = {"TASKS_API_KEY": "s3cret-s3cret", "TASKS_MAX_LOST": "7", "HANZO_TASKS_NAMESPACE": "other"}
    monkeypatch.setattr(running, "environment", lambda: {**plain, **told})
    shown = await run("config", "show", "--json", cwd=tmp_path)
    found = {one["setting"]: (one["value"], one["source"]) for one in shown.data["settings"]}
    assert set(found) == set(Settings.model_fields)
    assert found["max_lost"] == (7, "TASKS_MAX_LOST")
    assert found["namespace"] == ("other", "HANZO_TASKS_NAMESPACE")
    assert found["db"] == ("tasks.db", "default")
    assert found["api_key"][1] == "TASKS_API_KEY"
    people = await run("config", "show", cwd=tmp_path)
    assert "max_lost" in people.out
    assert "s3cret" not in shown.out + people.out


async def test_secrets_in_a_url_are_not_shown_and_a_profile_is_mentioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = {
        "TASKS_AUTH": "jwt",
        "TASKS_JWT_ISSUER": "https://idp.example/",
        "TASKS_JWT_AUDIENCE": "tasks",
        "TASKS_JWT_JWKS_URL": "https://u:pw@idp.example:8443/keys?sig=SECRET",
        "TEMPORAL_CONFIG_FILE": "temporal.toml",
    }
    before = await run_inside("config", "show", "--json", **told)
    (tmp_path / "temporal.toml").write_text('[profile.default]\napi_key = "s3cret"\n', encoding="utf-8")
    after = await run_inside("config", "show", "--json", **told)
    first, second = (
        {one["setting"]: (one["value"], one["source"]) for one in shown.data["settings"]} for shown in (before, after)
    )
    assert first["jwt_jwks_url"] == ("https://***@idp.example:8443/keys?***", "TASKS_JWT_JWKS_URL")
    assert first["jwt_issuer"] == ("https://idp.example/", "TASKS_JWT_ISSUER")
    assert (first["api_key"], first["tls_ca"]) == ((None, "default"), (None, "default"))
    said = "default, unless Temporal's profile says it"
    assert (second["api_key"], second["tls_ca"], second["jwt_key"]) == ((None, said), (None, said), (None, "default"))


async def test_the_shell_completes_commands(tmp_path: Path) -> None:
    asked = {"_DURABLE_TASKS_COMPLETE": "complete_bash", "COMP_WORDS": "durable-tasks task c", "COMP_CWORD": "2"}
    from tests.cli import running

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "durable_tasks"),
        env={**running.environment(), **asked},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert {"cancel", "claim", "complete", "create"} <= set(out.decode().split())
