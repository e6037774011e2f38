"""API tokens on a real file: made, believed, expired, revoked from elsewhere, forged; and what the file holds of them.

It must not know the command line.
"""

import hmac
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable_tasks import DurableTasks, Settings
from durable_tasks.access import Authenticate, Principal, Role
from durable_tasks.console import Console
from durable_tasks.errors import Closed, InvalidInput, NotFound, QuotaExceeded, Unauthenticated
from durable_tasks.identity.authenticator import authenticator
from durable_tasks.identity.tokens import Issued, Tokens, issue
from durable_tasks.operations.operation import Caller
from durable_tasks.operations.requests import OfTask
from durable_tasks.operations.table import get_task
from durable_tasks.store.tokens import ApiToken
from durable_tasks.testing import ManualClock
from tests.identity.support import bearing

DAY = 86_400


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def tasks(tmp_path: Path, clock: ManualClock) -> AsyncIterator[DurableTasks]:
    async with DurableTasks(Settings(db=tmp_path / "app.db", auth="token"), clock=clock) as tasks:
        yield tasks


@pytest.fixture
async def console(tasks: DurableTasks, clock: ManualClock) -> AsyncIterator[Console]:
    """Another connection to the file: what a command in another process has."""
    async with Console(tasks.settings, clock) as console:
        yield console


async def made(console: Console, **given: Any) -> Issued:
    return await issue(console, **{"org": "acme", "subject": "ci", "roles": ["agent"], **given})


async def refuses(check: Authenticate, text: str) -> bool:
    try:
        await check(bearing(text))
    except Unauthenticated:
        return True
    return False


# ----- life


async def test_a_token_stands_for_whom_it_was_made(tasks: DurableTasks, console: Console) -> None:
    check = authenticator(tasks)
    one, two = await made(console), await made(console, org="beta", subject="bob", roles=["viewer", "operator"])
    assert await check(bearing(one.text)) == Principal(org="acme", subject="ci", roles=frozenset({Role.AGENT}))
    assert (await check(bearing(two.text))).roles == {Role.VIEWER, Role.OPERATOR}
    assert one.text.startswith(f"dt_{one.token.id}_")


async def test_a_token_has_groups(tasks: DurableTasks, console: Console) -> None:
    text = (await made(console, groups=["legal", "the board"])).text
    assert (await authenticator(tasks)(bearing(text))).groups == {"legal", "the board"}
    assert (await authenticator(tasks)(bearing((await made(console)).text))).groups == frozenset()


async def test_the_running_application_can_make_one_too(tasks: DurableTasks) -> None:
    text = (await issue(tasks.store, org="acme", subject="ci", roles=["agent"])).text
    assert (await authenticator(tasks)(bearing(text))).subject == "ci"


async def test_a_revoked_token_is_refused_by_the_next_request(tasks: DurableTasks, console: Console) -> None:
    check = authenticator(tasks)
    one, two = await made(console), await made(console)
    assert not await refuses(check, one.text)
    await console.revoke_token(one.token.id)
    assert await refuses(check, one.text)
    assert not await refuses(check, two.text)


async def test_a_token_expires_when_it_was_said(tasks: DurableTasks, console: Console, clock: ManualClock) -> None:
    check = authenticator(tasks)
    brief, lasting = await made(console, lifetime="1d"), await made(console)
    await clock.advance(DAY - 1)
    assert not await refuses(check, brief.text)
    await clock.advance(1)
    assert await refuses(check, brief.text)
    await clock.advance(DAY * 365)
    assert not await refuses(check, lasting.text)


async def test_revoking_is_remembered_once(console: Console, clock: ManualClock) -> None:
    token = (await made(console)).token
    first = await console.revoke_token(token.id)
    await clock.advance(60)
    assert await console.revoke_token(token.id) == first
    with pytest.raises(NotFound):
        await console.revoke_token("no such token")


async def test_tokens_are_listed_of_one_organisation_or_of_all(console: Console) -> None:
    ours, theirs = (await made(console)).token, (await made(console, org="beta")).token
    await console.revoke_token(theirs.id)
    assert await console.list_tokens("acme") == [ours]
    assert {token.id for token in await console.list_tokens()} == {ours.id, theirs.id}
    assert await console.list_tokens("gamma") == []


# ----- nobody else


async def test_a_token_sees_its_own_organisation_only(tasks: DurableTasks, console: Console) -> None:
    theirs = await tasks.org("beta").create("Read the contract")
    principal = await authenticator(tasks)(bearing((await made(console, roles=["admin"])).text))
    with pytest.raises(NotFound):
        await get_task(Caller(tasks, principal), OfTask(task_id=theirs.id))


async def test_a_forged_token_is_refused(tasks: DurableTasks, console: Console) -> None:
    check = authenticator(tasks)
    one, two = await made(console), await made(console)
    mine, other = one.text.rpartition("_")[2], two.text.rpartition("_")[2]
    forged = [
        f"dt_{one.token.id}_{other}",
        f"dt_{two.token.id}_{mine}",
        f"dt_unknown_{mine}",
        f"dt_{one.token.id}_{mine[:-1]}{'0' if mine[-1] != '0' else '1'}",
        f"dt_{one.token.id}_{mine[:-1]}",
        f"dt_{one.token.id}_{mine}0",
        f"dt_{one.token.id}_{mine.upper()}",
        f"dt_{one.token.id}_",
        f"dt_{one.token.id}_{one.token.digest.hex()}",
        f"dt_{'%' * len(one.token.id)}_{mine}",
        f"DT_{one.token.id}_{mine}",
        "dt_",
        "dt__",
        mine,
    ]
    assert [text for text in forged if not await refuses(check, text)] == []
    assert not await refuses(check, one.text)


async def test_a_jwt_is_refused_where_only_tokens_count(tasks: DurableTasks) -> None:
    with pytest.raises(Unauthenticated, match="not accepted here"):
        await authenticator(tasks)(bearing("eyJhbGciOiJIUzI1NiJ9.e30.AAAA"))


async def test_the_file_does_not_hold_the_secret(tasks: DurableTasks, console: Console) -> None:
    text = (await made(console)).text
    files = [path for path in tasks.settings.db.parent.iterdir() if path.is_file()]
    held = b"".join(path.read_bytes() for path in files)
    token_id, secret = text.split("_")[1:]
    assert token_id.encode() in held
    assert secret.encode() not in held
    assert bytes.fromhex(secret) not in held
    assert secret not in repr(await console.list_tokens())


async def test_secrets_are_compared_in_constant_time(
    tasks: DurableTasks, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours to show is only that nothing else compares: without `compare_digest`, every token is refused."""
    text = (await made(console)).text
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: False)
    assert await refuses(authenticator(tasks), text)


async def test_it_says_closed_while_the_file_is_not_open(tmp_path: Path) -> None:
    check = authenticator(DurableTasks(Settings(db=tmp_path / "app.db", auth="token")))
    with pytest.raises(Closed):
        await check(bearing(f"dt_x_{'0' * 64}"))


async def nobody(token_id: str) -> ApiToken | None:
    return None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(exclude_categories=())).map(lambda text: "dt_" + text))
async def test_junk_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        await Tokens(nobody, ManualClock())(text)


# ----- making one


@pytest.mark.parametrize(
    "wrong",
    [
        {"roles": []}, {"roles": ["root"]}, {"roles": ["agent", "Admin"]}, {"roles": "agent"}, {"subject": ""},
        {"subject": "a\nb"}, {"subject": "a" * 257}, {"org": ""}, {"org": "a b"}, {"org": "temporal-system"},
        {"groups": [""]}, {"groups": ["a\nb"]}, {"groups": ["a" * 251]}, {"groups": [f"g{n}" for n in range(501)]},
        {"lifetime": "soon"}, {"lifetime": -1}, {"lifetime": "101w2000d100000000h"},
    ],
)  # fmt: skip
async def test_a_token_for_nobody_is_not_made(console: Console, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await made(console, **wrong)
    assert await console.list_tokens() == []


async def test_one_that_was_made_for_a_group_is_listed_and_refused(tasks: DurableTasks, console: Console) -> None:
    """As an earlier version made them: whoever had it passed for every member."""
    with pytest.raises(InvalidInput, match="group"):
        await made(console, subject="group:legal")
    with pytest.raises(ValueError, match="group"):
        Principal(org="acme", subject="group:legal", roles=frozenset())
    issued = await made(console)
    with sqlite3.connect(tasks.settings.db) as file:
        file.execute("UPDATE dt_tokens SET subject = 'group:legal'")
    (listed,) = await console.list_tokens("acme")
    assert listed.principal.subject == "group:legal"
    assert await refuses(authenticator(tasks), issued.text)


# ----- how many


async def test_an_organisation_has_so_many_tokens_that_count(tmp_path: Path, clock: ManualClock) -> None:
    given = Settings(db=tmp_path / "app.db", auth="token", org_tokens=2)
    async with DurableTasks(given, clock=clock) as tasks, Console(given, clock) as console:
        kept = await made(console)
        await made(console, lifetime=DAY)
        for keeper in (console, tasks.store):
            with pytest.raises(QuotaExceeded, match=r"'acme' has 2 of at most 2 API tokens.* revoke some") as full:
                await issue(keeper, org="acme", subject="ci", roles=["agent"])
        assert full.value.facts == {
            "quota": "org_tokens", "limit": 2, "used": 2, "wanted": 1, "retry_after": None
        }  # fmt: skip
        await made(console, org="beta")
        await console.revoke_token(kept.token.id)
        await made(console)
        await clock.advance(DAY)
        await made(console)
        assert len(await console.list_tokens("acme")) == 4


async def test_without_limits_it_has_any_number_of_tokens(tmp_path: Path) -> None:
    async with DurableTasks(Settings(db=tmp_path / "app.db", org_tokens=1, limits=False)) as tasks:
        for _ in range(2):
            await issue(tasks.store, org="acme", subject="ci", roles=["agent"])
