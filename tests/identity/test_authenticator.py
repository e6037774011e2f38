"""The choice: what each setting of `auth` brings, what may listen where, and what is not loaded for it.

It must not know how each way works.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from durable_tasks import DurableTasks, Settings
from durable_tasks.access import Role
from durable_tasks.errors import ConfigurationError, Unauthenticated
from durable_tasks.identity.authenticator import authenticator
from durable_tasks.identity.binding import check_binding
from durable_tasks.identity.tokens import issue
from tests.identity.support import asking, bearing, signed, wanting_jwts

HERE = ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "[::1]", "/run/tasks.sock", "unix:/run/tasks.sock"]
ANYWHERE = ["0.0.0.0", "::", "[::]", "", "0", "10.0.0.7", "2001:db8::1", "example.com", "localhost.example.com",
            "127.0.0.1.example.com", "::ffff:10.0.0.7", "fe80::1%eth0", "*"]  # fmt: skip


def test_nothing_is_served_before_somebody_has_said_how() -> None:
    with pytest.raises(ConfigurationError, match="TASKS_AUTH"):
        authenticator(DurableTasks(Settings()))


async def test_in_development_everybody_is_admin_of_the_default_organisation() -> None:
    found = await authenticator(DurableTasks(Settings(auth="none", org="home")))(asking())
    assert (found.org, found.subject, found.roles) == ("home", "local", frozenset({Role.ADMIN}))


async def test_tokens_and_jwts_can_both_count(tmp_path: Path) -> None:
    async with DurableTasks(wanting_jwts(auth="token,jwt", db=tmp_path / "app.db")) as tasks:
        check = authenticator(tasks)
        made = await issue(tasks.store, org="beta", subject="ci", roles=["viewer"])
        assert (await check(bearing(made.text))).org == "beta"
        assert (await check(bearing(signed()))).org == "acme"
        for text in (made.text[:-1], signed()[:-2], "junk"):
            with pytest.raises(Unauthenticated):
                await check(bearing(text))


async def test_a_token_is_refused_where_only_jwts_count() -> None:
    with pytest.raises(Unauthenticated, match="not accepted here"):
        await authenticator(DurableTasks(wanting_jwts()))(bearing(f"dt_x_{'0' * 64}"))


async def test_two_instances_have_nothing_in_common(tmp_path: Path) -> None:
    async with (
        DurableTasks(Settings(db=tmp_path / "one.db", auth="token")) as one,
        DurableTasks(Settings(db=tmp_path / "two.db", auth="token")) as two,
    ):
        made = await issue(one.store, org="acme", subject="ci", roles=["viewer"])
        assert (await authenticator(one)(bearing(made.text))).org == "acme"
        with pytest.raises(Unauthenticated):
            await authenticator(two)(bearing(made.text))


# ----- listening


@pytest.mark.parametrize("host", HERE)
def test_on_this_machine_anything_may_listen(host: str) -> None:
    for settings in (Settings(), Settings(auth="none"), Settings(auth="token"), Settings(auth="gateway")):
        check_binding(settings, host)


@pytest.mark.parametrize("host", ANYWHERE)
def test_elsewhere_only_what_asks_who_calls(host: str) -> None:
    for settings in (Settings(), Settings(auth="none")):
        with pytest.raises(ConfigurationError, match="TASKS_AUTH") as caught:
            check_binding(settings, host)
        assert "\n" not in caught.value.message
    with pytest.raises(ConfigurationError, match="TASKS_GATEWAY_SECRET"):
        check_binding(Settings(auth="gateway"), host)
    for settings in (Settings(auth="token"), wanting_jwts(), Settings(auth="gateway", gateway_secret="s" * 16)):
        check_binding(settings, host)


# ----- weight


@pytest.mark.parametrize(
    ("statement", "light"),
    [
        ("from durable_tasks.identity.authenticator import authenticator", ["jwt", "cryptography", "urllib.request"]),
        ("import durable_tasks", ["jwt", "cryptography", "durable_tasks.identity"]),
    ],
)
def test_the_library_of_jwts_is_loaded_only_for_jwts(statement: str, light: list[str]) -> None:
    code = f"import sys\n{statement}\nprint([name for name in {light} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
