"""Keys: those that settings give, and those of an issuer that changes them, goes away, comes back and answers junk.

It must not know which claims count.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from durable_tasks import DurableTasks
from durable_tasks.access import Authenticate
from durable_tasks.errors import ConfigurationError, Unauthenticated
from durable_tasks.identity import jwks, keys
from durable_tasks.identity.authenticator import authenticator
from durable_tasks.identity.keys import FLOOR, FRESH, RETRY, STALE
from durable_tasks.testing import ManualClock
from tests.identity.support import (
    DEADLINE,
    SECRET,
    Issuer,
    bearing,
    ec_key,
    jwk,
    pem,
    rsa_key,
    signed,
    wanting_jwts,
)


@pytest.fixture
def issuer() -> Issuer:
    issuer = Issuer()
    issuer.publish(jwk("first", ec_key("first")))
    return issuer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(time.time())


@pytest.fixture
def check(issuer: Issuer, clock: ManualClock) -> Authenticate:
    return checking(issuer, clock)


def checking(issuer: Issuer, clock: ManualClock, algorithms: str = "ES256,RS256,PS256") -> Authenticate:
    settings = wanting_jwts(jwt_jwks_url=issuer.url, jwt_algorithms=algorithms)
    return authenticator(DurableTasks(settings, clock=clock))


def token(name: str, *, kid: str | None = "", key: Any = None, algorithm: str = "ES256") -> str:
    """Signed with the key of that name, under that name or another key id; None: without one."""
    kid = name if kid == "" else kid
    return signed(key or ec_key(name), algorithm, headers=None if kid is None else {"kid": kid})


async def counts(check: Authenticate, text: str) -> bool:
    try:
        async with asyncio.timeout(DEADLINE):
            return (await check(bearing(text))).org == "acme"
    except Unauthenticated:
        return False


async def refused_at_last(check: Authenticate, text: str) -> None:
    """Once the look that is under way has ended."""
    async with asyncio.timeout(DEADLINE):
        while await counts(check, text):  # noqa: ASYNC110 (a look ends without telling anybody)
            await asyncio.sleep(0)


# ----- published keys


async def test_published_keys_are_asked_for_once(issuer: Issuer, check: Authenticate) -> None:
    async with issuer.up():
        assert all([await counts(check, token("first")) for _ in range(5)])
        assert not await counts(check, token("second", kid="first"))
    assert issuer.requests == 1


async def test_nothing_is_asked_for_a_token_that_no_key_could_help(issuer: Issuer, check: Authenticate) -> None:
    async with issuer.up():
        assert not await counts(check, signed())
        assert not await counts(check, "junk")
    assert issuer.requests == 0


async def test_a_new_key_counts_at_once_and_the_old_one_until_the_next_look(
    issuer: Issuer, check: Authenticate, clock: ManualClock
) -> None:
    async with issuer.up():
        assert await counts(check, token("first"))
        issuer.publish(jwk("second", ec_key("second")), jwk("first", ec_key("first")))
        await clock.advance(FLOOR)
        assert await counts(check, token("second"))
        issuer.publish(jwk("second", ec_key("second")))
        assert await counts(check, token("first"))
        await clock.advance(FRESH)
        await refused_at_last(check, token("first"))
        assert await counts(check, token("second"))
    assert issuer.requests == 3


async def test_unknown_keys_do_not_make_us_ask_again_and_again(
    issuer: Issuer, check: Authenticate, clock: ManualClock
) -> None:
    async with issuer.up():
        assert await counts(check, token("first"))
        for number in range(50):
            assert not await counts(check, token("first", kid=f"unknown {number}"))
        assert issuer.requests == 1
        await clock.advance(FLOOR)
        for number in range(50):
            assert not await counts(check, token("first", kid=f"unknown {number}"))
        assert issuer.requests == 2
        assert await counts(check, token("first"))


async def test_known_keys_outlive_an_outage_for_a_while(
    issuer: Issuer, check: Authenticate, clock: ManualClock
) -> None:
    async with issuer.up():
        assert await counts(check, token("first"))
    await clock.advance(STALE - 1)
    assert await counts(check, token("first"))
    await clock.advance(1)
    assert not await counts(check, token("first"))
    await clock.advance(FLOOR)
    async with issuer.up():
        assert await counts(check, token("first"))


async def test_an_issuer_that_is_not_there_at_the_start_is_asked_again(
    issuer: Issuer, check: Authenticate, clock: ManualClock
) -> None:
    assert not await counts(check, token("first"))
    async with issuer.up():
        assert not await counts(check, token("first"))
        await clock.advance(RETRY)
        assert await counts(check, token("first"))
    assert issuer.requests == 1


async def test_nobody_waits_for_a_look_while_the_key_is_known(
    issuer: Issuer, check: Authenticate, clock: ManualClock
) -> None:
    async with issuer.up():
        assert await counts(check, token("first"))
        issuer.open.clear()
        await clock.advance(FRESH)
        assert await counts(check, token("first"))  # and the issuer still keeps its answer
        assert issuer.requests <= 2


async def test_those_who_wait_share_one_look_and_who_leaves_does_not_end_it(
    issuer: Issuer, check: Authenticate
) -> None:
    issuer.open.clear()
    async with issuer.up(), asyncio.timeout(DEADLINE):
        first, second = (asyncio.create_task(counts(check, token("first"))) for _ in range(2))
        await issuer.asked.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        issuer.open.set()
        assert await second
    assert issuer.requests == 1


@pytest.mark.parametrize(
    "document",
    [b"no JSON", b"\xff", b"[]", b"3", b"{}", b'{"keys": {}}', b"[" * 100_000, b""],
    ids=lambda document: repr(document[:12]),
)
async def test_a_junk_answer_costs_nothing_that_was_known(
    issuer: Issuer, check: Authenticate, clock: ManualClock, document: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with issuer.up():
        assert await counts(check, token("first"))
        issuer.document = document
        await clock.advance(FLOOR)
        assert not await counts(check, token("second"))
        assert issuer.requests == 2
        assert await counts(check, token("first"))
    assert "keys cannot be had" in caplog.text


async def test_an_answer_that_is_too_large_is_not_read(issuer: Issuer, check: Authenticate, clock: ManualClock) -> None:
    padding = "x" * jwks.LARGEST
    issuer.document = {**issuer.document, "padding": padding}
    async with issuer.up():
        assert not await counts(check, token("first"))
        issuer.document["padding"] = padding[:-1000]
        await clock.advance(RETRY)
        assert await counts(check, token("first"))


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500])
async def test_an_answer_that_is_no_success_gives_no_keys(issuer: Issuer, check: Authenticate, status: int) -> None:
    issuer.status = status
    issuer.headers = [(b"location", issuer.url.encode() + b"?elsewhere")]
    async with issuer.up():
        assert not await counts(check, token("first"))
    assert issuer.requests == 1


async def test_an_answer_that_drips_is_given_up(
    issuer: Issuer, check: Authenticate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT", 0.2)
    ended = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            ended.set()
        finally:
            writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", issuer.port), asyncio.timeout(DEADLINE):
        assert not await counts(check, token("first"))
        await ended.wait()
    assert "takes longer" in vars(caplog.records[-1])["said"]


async def test_a_caller_waits_only_so_long_for_a_look_that_hangs(
    issuer: Issuer, check: Authenticate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PATIENCE", 0.1)
    monkeypatch.setattr(jwks, "TIMEOUT", 3 * DEADLINE)
    issuer.open.clear()
    async with issuer.up():
        assert not await counts(check, token("first"))
        assert not issuer.open.is_set()


async def test_keys_for_something_else_are_left_out_and_cost_the_others_nothing(
    issuer: Issuer, check: Authenticate
) -> None:
    issuer.publish(
        jwk("encrypts", ec_key("a"), use="enc"),
        {"kty": "oct", "kid": "shared", "k": "AAAA"},
        {"kty": "AKP", "kid": "of the future", "pub": "AAAA"},
        {"kty": "EC", "kid": "broken", "crv": "P-256", "x": 3},
        {"kty": "RSA", "kid": "broken too"},
        jwk("unwanted", ec_key("b"), alg="ES512"),
        jwk("none", ec_key("c"), alg="none"),
        "no key at all",  # type: ignore[arg-type]
        {"kid": ["first"]},
        jwk("first", ec_key("first"), use="sig", alg="ES256"),
    )
    async with issuer.up():
        assert await counts(check, token("first"))
        for kid, name in (("encrypts", "a"), ("unwanted", "b"), ("none", "c")):
            assert not await counts(check, token(name, kid=kid))
        assert not await counts(check, token("first", kid="broken"))


async def test_a_key_is_used_with_its_own_algorithm_only(issuer: Issuer, check: Authenticate) -> None:
    key = rsa_key("ours")
    issuer.publish(jwk("says", key, alg="RS256"), jwk("is silent", key), jwk("curve", ec_key("first")))
    async with issuer.up():
        assert await counts(check, token("says", key=key, algorithm="RS256"))
        assert not await counts(check, token("says", key=key, algorithm="PS256"))
        assert await counts(check, token("is silent", key=key, algorithm="PS256"))
        assert not await counts(check, token("curve", key=key, algorithm="RS256"))
        assert not await counts(check, token("first", kid="says"))


async def test_a_token_may_leave_out_the_key_id_where_there_is_one_key(
    issuer: Issuer, check: Authenticate, clock: ManualClock
) -> None:
    async with issuer.up():
        assert await counts(check, token("first", kid=None))
        issuer.publish(jwk("first", ec_key("first")), jwk("second", ec_key("second")))
        await clock.advance(FLOOR)
        assert await counts(check, token("second"))
        assert not await counts(check, token("first", kid=None))


async def test_a_key_that_no_wanted_algorithm_is_for_does_not_count_as_one(issuer: Issuer, clock: ManualClock) -> None:
    issuer.publish(jwk("curve", ec_key("first")), jwk("ours", rsa_key("ours")))
    async with issuer.up():
        text = token("ours", kid=None, key=rsa_key("ours"), algorithm="RS256")
        assert await counts(checking(issuer, clock, "RS256"), text)


async def test_a_single_key_needs_no_id(issuer: Issuer, check: Authenticate) -> None:
    issuer.publish(jwk(None, ec_key("first")))
    async with issuer.up():
        assert await counts(check, token("first", kid=None))
        assert not await counts(check, token("first", kid="first"))


# ----- given keys


@pytest.mark.parametrize("text", [SECRET + "\n", pem(ec_key("first")) + "\n"], ids=["secret", "public key"])
async def test_a_key_from_a_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text, encoding="utf-8")
    algorithm = "ES256" if "PUBLIC" in text else "HS256"
    check = authenticator(DurableTasks(wanting_jwts(jwt_key_file=path, jwt_algorithms=algorithm)))
    assert await counts(check, token("first") if "PUBLIC" in text else signed())


@pytest.mark.parametrize(
    ("key", "algorithms", "said"),
    [
        ("short", "HS256", "at least 32 bytes"),
        ("k" * 32, "HS512", "at least 64 bytes"),
        ("k" * 32, "HS256,HS384", "at least 48 bytes"),
        (pem(rsa_key("ours")), "HS256", "known to everybody"),
        ("k" * 64, "RS256", "no public key in PEM"),
        (pem(rsa_key("ours"))[:80], "RS256", "no public key in PEM"),
        (pem(rsa_key("ours")), "ES256", "is not for ES256"),
        (pem(ec_key("first")), "RS256", "is not for RS256"),
        (pem(ec_key("first")), "ES256,RS256", "is not for RS256"),
        (pem(ec_key("first")), "EdDSA", "is not for EdDSA"),
        (
            rsa_key("ours").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            "RS256",
            "no public key in PEM",
        ),
    ],
    ids=range(11),  # keys are new in every process
)
def test_a_key_that_cannot_be_right_stops_the_start(key: str, algorithms: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        authenticator(DurableTasks(wanting_jwts(jwt_key=key, jwt_algorithms=algorithms)))
    assert key not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    path.write_bytes(content or b"x")
    settings = wanting_jwts(jwt_key_file=path, jwt_algorithms="HS256")
    if content is None:
        path.unlink()
    with pytest.raises(ConfigurationError, match="TASKS_JWT_KEY_FILE"):
        authenticator(DurableTasks(settings))
