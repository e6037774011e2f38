"""What the tests of this folder share: requests, keys, JWTs as an issuer makes them, and an issuer with its keys.

It must not assert what a test is about.
"""

import asyncio
import base64
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, NamedTuple

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from durable_tasks import Settings

ISSUER = "https://id.example/"
AUDIENCE = "durable-tasks"
SECRET = "a secret of 32 bytes and of more"
DEADLINE = 20.0


def asking(*headers: tuple[str, str]) -> Request:
    """A request with these headers, as Starlette gives it."""
    return Request({"type": "http", "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers]})


def bearing(text: str) -> Request:
    return asking(("authorization", f"Bearer {text}"))


# ----- keys and tokens


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class In(NamedTuple):
    """So many seconds from the moment in which a token is made: a test may begin long after it was collected."""

    seconds: int


def claims(**given: Any) -> dict[str, Any]:
    """Those of a good token, for a day; a claim given as None is left out."""
    now = int(time.time())
    who = {"sub": "ana", "org": "acme", "roles": ["agent"]}
    wanted = {"iss": ISSUER, "aud": AUDIENCE, **who, "iat": now, "exp": now + 86_400, **given}
    return {name: _at(now, value) for name, value in wanted.items() if value is not None}


def _at(now: int, value: Any) -> Any:
    return now + value.seconds if isinstance(value, In) else value


def signed(key: Any = SECRET, algorithm: str = "HS256", *, headers: dict[str, Any] | None = None, **given: Any) -> str:
    return jwt.encode(claims(**given), key, algorithm=algorithm, headers=headers)


def part(value: Any) -> str:
    """A part of a JWT, made by hand: libraries refuse to make what attackers make."""
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def wanting_jwts(**given: Any) -> Settings:
    key = {} if {"jwt_jwks_url", "jwt_key_file"} & {*given} else {"jwt_key": SECRET, "jwt_algorithms": "HS256"}
    return Settings(**{"auth": "jwt", "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, **key, **given})


# ----- an issuer


def jwk(kid: str | None, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, **given: Any) -> dict[str, Any]:
    kind = jwt.get_algorithm_by_name("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
    return {**json.loads(kind.to_jwk(key.public_key())), **({} if kid is None else {"kid": kid}), **given}


class Issuer:
    """Serves its keys on one port, over real sockets, whenever it is `up`."""

    def __init__(self) -> None:
        self.document: Any = {"keys": []}
        self.requests = 0
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []
        self.open = asyncio.Event()
        """Clear: answers wait."""
        self.open.set()
        self.asked = asyncio.Event()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    def publish(self, *keys: dict[str, Any]) -> None:
        self.document = {"keys": list(keys)}

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        server = _Server(uvicorn.Config(self, "127.0.0.1", self.port, lifespan="off", ws="none", log_config=None))
        serving = asyncio.create_task(server.serve())
        try:
            async with asyncio.timeout(DEADLINE):
                await server.ready.wait()
            yield
        finally:
            self.open.set()
            server.should_exit = True
            async with asyncio.timeout(DEADLINE):
                await serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        self.asked.set()
        await self.open.wait()
        body = self.document if isinstance(self.document, bytes) else json.dumps(self.document).encode()
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": body})


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()
