"""`doctor --url`: what a server says of the caller's organisation, its exit codes, and what does not go together.

It must not test what is found: tests/web/test_diagnosis.py does. `doctor` on a file is in test_operate.py.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from durable_tasks import DurableTasks, Settings
from durable_tasks.identity.tokens import issue
from durable_tasks.web.server import serving
from tests.cli.inside import run_inside
from tests.cli.running import free_port
from tests.earlier import Earlier

Server = tuple[DurableTasks, str]


@pytest_asyncio.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """An application with something old in it, and the address of its API."""
    monkeypatch.chdir(tmp_path)
    settings = Settings(db=tmp_path / "tasks.db", auth="token", worker=False)
    async with DurableTasks(settings, clock=Earlier()) as earlier:
        await earlier.org("acme").create("Read it")
        await earlier.org("rival").create("secret")
    tasks = DurableTasks(settings)
    async with serving(tasks, port=0) as url:
        yield tasks, url


async def options(server: Server, role: str = "operator") -> tuple[str, ...]:
    tasks, url = server
    return ("--url", url, "--api-token", (await issue(tasks.store, org="acme", subject="olga", roles=[role])).text)


async def test_an_operator_sees_the_own_organisation(server: Server) -> None:
    where = await options(server)
    shown = await run_inside("doctor", *where)
    assert shown.code == 0, shown
    lines = [line.split() for line in shown.out.splitlines() if line]
    assert ["organisation", "acme"] in lines
    assert ["open", "tasks", "1", "pending"] in lines
    assert lines[-1] == ["healthy"]
    assert "Read it" in shown.out
    assert "for a claim" in shown.out
    assert "secret" not in shown.out
    found = (await run_inside("doctor", "--json", *where)).data
    assert (found["org_id"], found["healthy"], found["tasks"]) == ("acme", True, {"pending": 1})


async def test_it_is_for_operators(server: Server) -> None:
    ended = await run_inside("doctor", *await options(server, "agent"))
    assert (ended.code, ended.out) == (1, "")
    assert "needs the role operator" in ended.err


async def test_temporal_that_does_not_answer_is_code_5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(db=tmp_path / "tasks.db", auth="none", enabled=True, address=f"127.0.0.1:{free_port()}")
    async with serving(DurableTasks(settings), port=0) as url:
        ended = await run_inside("doctor", "--url", url)
    assert ended.code == 5, ended
    assert "does not answer" in ended.out
    assert ended.out.splitlines()[-1] == "NOT healthy"


@pytest.mark.parametrize(("more", "said"), [(("--fix",), "--fix"), (("--db", "tasks.db"), "leave out --db")])
async def test_what_is_a_files_does_not_go_with_a_server(more: tuple[str, ...], said: str, server: Server) -> None:
    ended = await run_inside("doctor", *await options(server), *more)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


async def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = await run_inside("doctor", "--url", f"http://127.0.0.1:{free_port()}", "--patience", "0s")
    assert ended.code == 5, ended
    assert "did not answer" in ended.err
