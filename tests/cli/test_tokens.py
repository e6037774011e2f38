"""`token create`, `list` and `revoke` as real processes, beside an application that has the file open.

It must not know how tokens are kept.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, Settings
from durable_tasks.errors import Unauthenticated
from durable_tasks.identity.authenticator import authenticator
from tests.cli.running import run
from tests.identity.support import bearing


@pytest.fixture
async def tasks(tmp_path: Path) -> AsyncIterator[DurableTasks]:
    async with DurableTasks(Settings(db=tmp_path / "tasks.db", auth="token")) as tasks:
        yield tasks


async def test_a_token_lives_beside_the_application(tasks: DurableTasks, tmp_path: Path) -> None:
    check = authenticator(tasks)
    made = await run("token", "create", "--subject", "ci", "--role", "agent", "--role", "viewer", cwd=tmp_path)
    assert (made.code, len(made.out.splitlines())) == (0, 1)
    assert "not shown again" in made.err
    text = made.out.strip()
    found = await check(bearing(text))
    assert (found.org, found.subject, sorted(role.name for role in found.roles)) == (
        "default",
        "ci",
        ["AGENT", "VIEWER"],
    )

    listed = (await run("token", "list", "--json", cwd=tmp_path)).data["items"]
    assert [(one["subject"], one["roles"], one["revoked_at"]) for one in listed] == [("ci", ["agent", "viewer"], None)]
    assert text.rpartition("_")[2] not in repr(listed)

    revoked = await run("token", "revoke", listed[0]["id"], cwd=tmp_path)
    assert (revoked.code, "revoked" in revoked.out) == (0, True)
    with pytest.raises(Unauthenticated):
        await check(bearing(text))


async def test_a_token_for_a_program_of_another_organisation(tasks: DurableTasks, tmp_path: Path) -> None:
    options = (
        "--org",
        "beta",
        "--subject",
        "ci",
        "--role",
        "admin",
        "--expires-in",
        "90d",
        "--group",
        "legal",
        "--json",
    )
    made = (await run("token", "create", *options, cwd=tmp_path)).data
    assert (made["org_id"], made["roles"], made["groups"]) == ("beta", ["admin"], ["legal"])
    assert made["expires_at"] > made["created_at"]
    assert (await authenticator(tasks)(bearing(made["token"]))).org == "beta"
    assert (await run("token", "list", "--org", "default", "--json", cwd=tmp_path)).data == {"items": []}
    plain = (await run("token", "list", cwd=tmp_path)).out
    assert all(part in plain for part in (made["id"], "beta", "ci", "admin", "until"))


async def test_what_is_wrong_is_one_sentence_and_an_exit_code(tasks: DurableTasks, tmp_path: Path) -> None:
    for code, arguments in (
        (3, ("revoke", "unknown")),
        (2, ("create", "--subject", "ci", "--role", "root")),
        (2, ("create", "--subject", "ci")),
        (2, ("create", "--subject", "ci", "--role", "agent", "--expires-in", "soon")),
        (2, ("create", "--subject", "ci", "--role", "agent", "--org", "a b")),
        (5, ("list", "--db", "missing.db")),
    ):
        ended = await run("token", *arguments, cwd=tmp_path)
        assert (ended.code, ended.out) == (code, ""), ended
        assert "Traceback" not in ended.err
    assert not (tmp_path / "missing.db").exists()
