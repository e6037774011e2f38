"""The trusted gateway: its headers where it is trusted, and that they mean nothing anywhere else.

It must not know what else proves who somebody is.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable_tasks import DurableTasks, Settings
from durable_tasks.access import Authenticate, Principal, Role
from durable_tasks.errors import Unauthenticated
from durable_tasks.identity.authenticator import authenticator
from tests.identity.support import asking, bearing, signed, wanting_jwts

SECRET = "only the gateway knows".replace(" ", "-")
ORG, SUBJECT, ROLES = ("X-Org-Id", "acme"), ("X-User-Id", "ana"), ("X-User-Roles", "agent, viewer")
ANA = Principal(org="acme", subject="ana", roles=frozenset({Role.AGENT, Role.VIEWER}))


def trusting(**given: Any) -> Authenticate:
    return authenticator(DurableTasks(Settings(**{"auth": "gateway", **given})))


async def test_the_gateway_says_who_calls() -> None:
    assert await trusting()(asking(ORG, SUBJECT, ROLES)) == ANA
    assert await trusting()(asking(*((name.lower(), value) for name, value in (ORG, SUBJECT, ROLES)))) == ANA


async def test_its_headers_may_have_other_names() -> None:
    named = {
        "gateway_org_header": "X-Team", "gateway_subject_header": "X-Mail", "gateway_roles_header": "X-Groups",
        "gateway_secret_header": "X-Proof", "gateway_secret": SECRET,
    }  # fmt: skip
    check = trusting(**named)
    proof, groups = ("X-Proof", SECRET), ("X-Groups", "agent viewer staff")
    assert await check(asking(("X-Team", "acme"), ("X-Mail", "ana"), groups, proof)) == ANA
    with pytest.raises(Unauthenticated):
        await check(asking(ORG, SUBJECT, ROLES, proof))


async def test_it_says_the_groups_too() -> None:
    groups, more = ("X-User-Groups", "legal, the board,,"), ("X-User-Groups", "sales")
    named = trusting(gateway_groups_header="X-User-Groups")
    assert (await named(asking(ORG, SUBJECT, groups))).groups == {"legal", "the board"}
    with pytest.raises(Unauthenticated):
        await named(asking(ORG, SUBJECT, groups, more))
    assert (await trusting()(asking(ORG, SUBJECT, groups))).groups == frozenset()


@pytest.mark.parametrize(
    ("sent", "read"),
    [("änn", "änn"), ("änn".encode().decode("latin-1"), "änn"), ("山田".encode().decode("latin-1"), "山田")],
    ids=["latin-1", "utf-8", "utf-8, far away"],
)
async def test_names_are_utf_8_where_they_can_be(sent: str, read: str) -> None:
    assert (await trusting()(asking(ORG, ("X-User-Id", sent), ROLES))).subject == read


async def test_nobody_is_called_like_a_group() -> None:
    with pytest.raises(Unauthenticated):
        await trusting()(asking(ORG, ("X-User-Id", "group:legal"), ROLES))


async def test_without_roles_the_caller_is_known_and_may_nothing() -> None:
    found = await trusting()(asking(ORG, SUBJECT))
    assert (found.subject, found.may(Role.VIEWER)) == ("ana", False)


@pytest.mark.parametrize(
    "headers",
    [
        [], [ORG], [SUBJECT], [("X-Org-Id", ""), SUBJECT], [ORG, ("X-User-Id", "")], [("X-Org-Id", "a, b"), SUBJECT],
        [("X-Org-Id", "../beta"), SUBJECT], [("X-Org-Id", "beta"), ORG, SUBJECT], [ORG, SUBJECT, ("x-user-id", "bob")],
        [ORG, SUBJECT, ROLES, ("X-User-Roles", "admin")], [ORG, ("X-User-Id", "a" * 257)], [ORG, ("X-User-Id", "\x85")],
    ],
)  # fmt: skip
async def test_headers_that_name_nobody_or_two_are_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Unauthenticated):
        await trusting()(asking(*headers))


@pytest.mark.parametrize("site", [("Host", "evil.example"), ("Host", "evil.example:8000"), ("Origin", "null")])
async def test_without_a_secret_pages_of_other_sites_are_refused(site: tuple[str, str]) -> None:
    here = ("Host", "127.0.0.1:8000")
    assert await trusting()(asking(here, ORG, SUBJECT, ROLES)) == ANA
    with pytest.raises(Unauthenticated, match="TASKS_GATEWAY_SECRET"):
        await trusting()(asking(site, ORG, SUBJECT, ROLES))
    proof = ("X-Gateway-Secret", SECRET)
    assert await trusting(gateway_secret=SECRET)(asking(site, ORG, SUBJECT, ROLES, proof)) == ANA


@pytest.mark.parametrize(
    "shown",
    [
        [], [""], [SECRET[:-1]], [SECRET + "x"], [SECRET.upper()], ["ä" * len(SECRET)], [SECRET, SECRET],
        [f"{SECRET}, {SECRET}"],
    ],
)  # fmt: skip
async def test_whoever_does_not_know_the_secret_is_not_the_gateway(shown: list[str]) -> None:
    check = trusting(gateway_secret=SECRET)
    assert await check(asking(ORG, SUBJECT, ROLES, ("X-Gateway-Secret", SECRET))) == ANA
    with pytest.raises(Unauthenticated) as caught:
        await check(asking(ORG, SUBJECT, ROLES, *(("X-Gateway-Secret", text) for text in shown)))
    assert SECRET not in caught.value.message


async def test_the_secret_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours to show is only that nothing else compares: with a `compare_digest` that says no, it is refused."""
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: False)
    with pytest.raises(Unauthenticated):
        await trusting(gateway_secret=SECRET)(asking(ORG, SUBJECT, ("X-Gateway-Secret", SECRET)))


@pytest.mark.parametrize("auth", ["jwt", "token,jwt"])
async def test_where_no_gateway_is_trusted_its_headers_change_nothing(auth: str) -> None:
    check = authenticator(DurableTasks(wanting_jwts(auth=auth)))
    forged = [("X-Org-Id", "beta"), ("X-User-Id", "root"), ("X-User-Roles", "admin"), ("X-Gateway-Secret", SECRET)]
    with pytest.raises(Unauthenticated):
        await check(asking(*forged))
    alone = await check(bearing(signed()))
    assert await check(asking(("Authorization", f"Bearer {signed()}"), *forged)) == alone
    assert (alone.org, alone.subject) == ("acme", "ana")


async def test_they_change_nothing_in_development_either() -> None:
    found = await authenticator(DurableTasks(Settings(auth="none", org="home")))(asking(ORG, SUBJECT, ROLES))
    assert (found.org, found.subject, found.roles) == ("home", "local", frozenset({Role.ADMIN}))


class Strange:
    """A request whose headers may hold what no server would let pass."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


async def test_a_secret_that_no_text_could_be_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        await trusting(gateway_secret=SECRET)(Strange({"X-Gateway-Secret": "\ud800"}))


NAMES = st.sampled_from(["X-Org-Id", "x-user-id", "X-User-Roles", "X-Gateway-Secret", "x-org-id"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, st.text(st.characters(exclude_categories=()))), st.none() | st.just(SECRET))
async def test_junk_is_refused_or_somebody(headers: dict[str, str], secret: str | None) -> None:
    try:
        found = await trusting(gateway_secret=secret)(Strange(headers))
    except Unauthenticated:
        return
    assert secret is None
    assert found.org in headers.values()
