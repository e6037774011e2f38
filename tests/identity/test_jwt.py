"""JWTs: the one that counts, every way in which one must not, and that nothing but a refusal ever comes of junk.

It must not know where keys come from.
"""

import hashlib
import hmac
import json
from contextlib import suppress
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable_tasks import DurableTasks
from durable_tasks.access import Authenticate, Principal, Role
from durable_tasks.errors import Unauthenticated
from durable_tasks.identity.authenticator import authenticator
from tests.identity.support import (
    AUDIENCE,
    SECRET,
    In,
    asking,
    bearing,
    claims,
    ec_key,
    part,
    pem,
    rsa_key,
    signed,
    wanting_jwts,
)

ANA = Principal(org="acme", subject="ana", roles=frozenset({Role.AGENT}))


def accepting(**given: Any) -> Authenticate:
    return authenticator(DurableTasks(wanting_jwts(**given)))


async def caller(text: str, **given: Any) -> Principal:
    return await accepting(**given)(bearing(text))


# ----- what counts


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256"])
async def test_a_token_signed_with_a_private_key(algorithm: str) -> None:
    text = signed(rsa_key("ours"), algorithm)
    assert await caller(text, jwt_key=pem(rsa_key("ours")), jwt_algorithms="RS256,RS512,PS256") == ANA


async def test_a_token_signed_on_an_elliptic_curve_or_with_a_shared_secret() -> None:
    assert await caller(signed(ec_key("ours"), "ES256"), jwt_key=pem(ec_key("ours")), jwt_algorithms="ES256") == ANA
    assert await caller(signed()) == ANA


@pytest.mark.parametrize(
    "fine",
    [
        {"aud": ["other", AUDIENCE]}, {"exp": In(-5)}, {"nbf": In(5), "iat": In(5)}, {"iat": None},
        {"unknown": {"deep": [1]}}, {"roles": ["agent", "superuser", 7, None, ["admin"], {"admin": 1}]},
    ],
)  # fmt: skip
async def test_what_does_not_matter(fine: dict[str, Any]) -> None:
    assert await caller(signed(**fine)) == ANA


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["legal", "the board", "", 7, None, "a" * 251, "a\nb"], {"legal", "the board"}),
        ("legal, the board", {"legal", "the board"}),
        (None, set()), ({"legal": 1}, set()), ([], set()),
    ],
)  # fmt: skip
async def test_groups_are_in_a_claim(said: Any, expected: set[str]) -> None:
    assert (await caller(signed(groups=said))).groups == expected
    assert (await caller(signed(realm={"teams": said}), jwt_group_claim="realm.teams")).groups == expected


async def test_of_too_many_groups_none_is_left_out_in_silence() -> None:
    with pytest.raises(Unauthenticated, match="more than 500 groups"):
        await caller(signed(groups=[f"g{n}" for n in range(501)]))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_may_be_written_in_any_case(scheme: str) -> None:
    assert await accepting()(asking(("AUTHORIZATION", f"{scheme}  {signed()}"))) == ANA


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("agent viewer", {Role.AGENT, Role.VIEWER}), ("agent,operator", {Role.AGENT, Role.OPERATOR}),
        (["admin"], {Role.ADMIN}), ([], set()), ("", set()), ("Admin", set()), (["root"], set()), (None, set()),
        (3, set()), ({"admin": True}, set()), (True, set()), ("administrator", set()), (["agent admin"], set()),
    ],
)  # fmt: skip
async def test_roles_are_those_that_are_named_and_known(said: Any, expected: set[Role]) -> None:
    found = await caller(signed(roles=said))
    assert found.roles == expected
    assert found.may(Role.VIEWER) == bool(expected)


@pytest.mark.parametrize(
    "name", ["realm_access.org", "https://example.com/org", "a.b.c", "plain", "realm_access"],
)  # fmt: skip
async def test_claims_are_found_by_their_name_or_by_a_path(name: str) -> None:
    nested: dict[str, dict[str, Any]] = {
        "realm_access.org": {"realm_access": {"org": "beta"}},
        "a.b.c": {"a": {"b": {"c": "beta"}}},
    }
    text = signed(org=None, **nested.get(name, {name: "beta"}))
    assert (await caller(text, jwt_org_claim=name)).org == "beta"
    with pytest.raises(Unauthenticated):
        await caller(text)
    with pytest.raises(Unauthenticated):
        await caller(text, jwt_org_claim=f"{name}.x")


# ----- what must not


def with_hmac(key: bytes, header: dict[str, Any]) -> str:
    """What a library refuses to make: an HMAC whose key is a public key that everybody knows."""
    text = f"{part(header)}.{part(claims())}"
    mac = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return f"{text}.{jwt.utils.base64url_encode(mac).decode()}"


def tampered(text: str, **given: Any) -> str:
    head, _, signature = text.split(".")
    return f"{head}.{part(claims(**given))}.{signature}"


OURS, THEIRS = rsa_key("ours"), rsa_key("theirs")
GOOD = signed(OURS, "RS256")
HEAD, BODY, SIGNATURE = GOOD.split(".")
DEEP = "[" * 5000
FORGED = {
    "no signature, and says so": f"{part({'alg': 'none'})}.{BODY}.",
    "no signature, in other letters": f"{part({'alg': 'nOnE'})}.{BODY}.",
    "says none, signed": f"{part({'alg': 'none'})}.{BODY}.{SIGNATURE}",
    "algorithm missing": f"{part({'typ': 'JWT'})}.{BODY}.{SIGNATURE}",
    "algorithm is a list": f"{part({'alg': ['RS256']})}.{BODY}.{SIGNATURE}",
    "algorithm is an object": f"{part({'alg': {}})}.{BODY}.{SIGNATURE}",
    "HMAC with the public key": with_hmac(pem(OURS).encode(), {"alg": "HS256"}),
    "HMAC with the stripped public key": with_hmac(pem(OURS).strip().encode(), {"alg": "HS256"}),
    "HMAC that says RS256": with_hmac(pem(OURS).encode(), {"alg": "RS256"}),
    "another algorithm of that key": signed(OURS, "RS512"),
    "another kind of key": signed(ec_key("theirs"), "ES256"),
    "another key": signed(THEIRS, "RS256"),
    "another key, brought along": signed(
        THEIRS, "RS256", headers={"jwk": json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(THEIRS.public_key()))}
    ),
    "another key, to be fetched": signed(THEIRS, "RS256", headers={"jku": "https://evil.example/", "x5u": "file:/"}),
    "signature empty": f"{HEAD}.{BODY}.",
    "signature missing": f"{HEAD}.{BODY}",
    "signature cut": GOOD[:-4],
    "signature of another": f"{HEAD}.{BODY}.{signed(OURS, 'RS256', sub='bob').split('.')[2]}",
    "other claims": tampered(GOOD, sub="bob"),
    "more parts": f"{GOOD}.{SIGNATURE}",
    "critical extension": signed(OURS, "RS256", headers={"crit": ["exp"], "exp": 1}),
    "detached": f"{part({'alg': 'RS256', 'b64': False, 'crit': ['b64']})}..{SIGNATURE}",
    "key name is a number": f"{part({'alg': 'RS256', 'kid': 7})}.{BODY}.{SIGNATURE}",
    "header too deep": f"{part(DEEP)}.{BODY}.{SIGNATURE}",
    "header is a list": f"{part(['RS256'])}.{BODY}.{SIGNATURE}",
    "claims too deep": f"{HEAD}.{part(DEEP)}.{SIGNATURE}",
    "claims are text": jwt.api_jws.encode(b'"ana"', OURS, "RS256"),
    "claims are no JSON": jwt.api_jws.encode(b"\xff\x00", OURS, "RS256"),
    "claims too deep, signed": jwt.api_jws.encode(DEEP.encode(), OURS, "RS256"),
    "huge": signed(OURS, "RS256", padding="x" * 64_000),
    "nothing": "",
    "dots": "..",
}
WRONG = {
    "issuer": {"iss": "https://evil.example/"}, "issuer in part": {"iss": "https://id.example"},
    "issuer missing": {"iss": None}, "issuer listed": {"iss": ["https://id.example/"]},
    "audience": {"aud": "others"}, "audiences": {"aud": ["a", "b"]}, "audience missing": {"aud": None},
    "audience empty": {"aud": []}, "audience in part": {"aud": AUDIENCE[:-1]}, "audience a number": {"aud": 3},
    "expired": {"exp": In(-60)}, "expired long ago": {"exp": 0}, "never expires": {"exp": None},
    "expires as text": {"exp": "never"}, "expires in eternity": {"exp": float("inf")},
    "expires at no number": {"exp": float("nan")}, "expires as a list": {"exp": [4_000_000_000]},
    "not yet": {"nbf": In(120)}, "not before eternity": {"nbf": float("inf")}, "from the future": {"iat": In(120)},
    "subject missing": {"sub": None}, "subject empty": {"sub": ""}, "subject a number": {"sub": 7},
    "subject of several lines": {"sub": "ana\nadmin"}, "subject that hides": {"sub": "ana\u202e"},
    "subject with a surrogate": {"sub": "\ud800"}, "subject with NUL": {"sub": "ana\x00"},
    "subject padded": {"sub": " ana"}, "subject too long": {"sub": "a" * 257},
    "organisation missing": {"org": None}, "organisation empty": {"org": ""}, "organisation listed": {"org": ["acme"]},
    "organisation a number": {"org": 3}, "organisation a path": {"org": "acme/../beta"},
    "organisation a look-alike": {"org": "аcme"}, "organisation of two lines": {"org": "acme\n"},
    "organisation with a blank": {"org": "acme beta"}, "organisation reserved": {"org": "temporal-system"},
}  # fmt: skip


@pytest.fixture(scope="module")
def public() -> Authenticate:
    return accepting(jwt_key=pem(OURS), jwt_algorithms="RS256")


async def test_the_token_that_the_forged_ones_are_made_of_counts(public: Authenticate) -> None:
    assert await public(bearing(GOOD)) == ANA


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED.keys())
async def test_a_forged_token_is_refused(public: Authenticate, text: str) -> None:
    with pytest.raises(Unauthenticated):
        await public(bearing(text))


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_a_token_with_a_wrong_claim_is_refused(wrong: dict[str, Any]) -> None:
    payload = json.dumps(claims(**wrong)).encode()
    with pytest.raises(Unauthenticated) as caught:
        await caller(jwt.api_jws.encode(payload, SECRET, "HS256"))
    assert not any(str(value) in caught.value.message for value in wrong.values() if value)


@pytest.mark.parametrize(
    "headers",
    [
        [], ["Bearer"], ["Bearer "], [GOOD], [f"Basic {GOOD}"], [f"Bearer {GOOD}, Bearer {GOOD}"],
        [f"Bearer {GOOD} {GOOD}"], [f"Bearer\t{GOOD}"], [f"Bearer {GOOD}", f"Bearer {GOOD}"], [f"Bearer: {GOOD}"],
        ["Bearer \xff"], [""], ["Bearer " + "x" * 100_000],
    ],
)  # fmt: skip
async def test_a_header_that_is_not_one_bearer_token_is_refused(public: Authenticate, headers: list[str]) -> None:
    with pytest.raises(Unauthenticated):
        await public(asking(*(("authorization", value) for value in headers)))


# ----- junk


class Strange:
    """A request whose headers may hold what no server would let pass."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.just("HS256") | JSON}, optional=dict.fromkeys(["kid", "typ", "crit", "b64", "jwk", "jku"], JSON)
)
CLAIMS = st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "org", "roles"]), JSON)
REFUSING = accepting()
fuzzed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no finding


async def refused_or_somebody(headers: dict[str, str]) -> None:
    with suppress(Unauthenticated):
        assert isinstance(await REFUSING(Strange(headers)), Principal)


@fuzzed
@given(st.dictionaries(st.sampled_from(["Authorization", "X-Org-Id"]), TEXT | TEXT.map(lambda text: f"Bearer {text}")))
async def test_junk_in_the_header_is_refused(headers: dict[str, str]) -> None:
    await refused_or_somebody(headers)


@fuzzed
@given(HEADERS, CLAIMS, st.binary(max_size=40))
async def test_junk_in_a_tokens_header_is_refused(
    header: dict[str, Any], said: dict[str, Any], signature: bytes
) -> None:
    tail = jwt.utils.base64url_encode(signature).decode()
    await refused_or_somebody({"Authorization": f"Bearer {part(header)}.{part(said)}.{tail}"})


@fuzzed
@given(CLAIMS)
async def test_junk_that_the_issuer_has_signed_is_refused(said: dict[str, Any]) -> None:
    text = jwt.api_jws.encode(json.dumps({**claims(), **said}).encode(), SECRET, "HS256")
    await refused_or_somebody({"Authorization": f"Bearer {text}"})


@fuzzed
@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
async def test_no_single_changed_character_passes(place: int, character: str) -> None:
    text = GOOD[:place] + character + GOOD[place + 1 :]
    if text != GOOD:
        with pytest.raises(Unauthenticated):
            await accepting(jwt_key=pem(OURS), jwt_algorithms="RS256")(Strange({"authorization": f"Bearer {text}"}))


# ----- how long one lives

DAY, LEEWAY = 86_400, 30


@pytest.mark.parametrize(
    "lives", [{"exp": In(10 * 365 * DAY)}, {"exp": In(10 * 365 * DAY), "iat": None}, {"iat": In(-30 * DAY)}],
    ids=["ten years", "ten years from who knows when", "a month of which a day is left"],
)  # fmt: skip
async def test_one_that_lives_too_long_is_refused(lives: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated, match="lives longer"):
        await caller(signed(**lives))


async def test_how_long_one_may_live_is_a_setting() -> None:
    assert await caller(signed(iat=In(-30 * DAY)), jwt_max_lifetime="60d") == ANA
    with pytest.raises(Unauthenticated, match="lives longer"):
        await caller(signed(exp=In(600 + 2 * LEEWAY)), jwt_max_lifetime="10m")
