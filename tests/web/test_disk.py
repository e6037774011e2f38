"""A full or failing disk under a running server: what callers are told, and what readiness says.

It must not know how SQLite writes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import disk
from tests.disk import Disk

SERVE = """
import asyncio, json, sys
import httpx
from durable_tasks import DurableTasks, Settings
from durable_tasks.errors import StoreError
async def main():
    tasks = DurableTasks(Settings(db=sys.argv[1], enabled=False))
    async with tasks:
        transport = httpx.ASGITransport(tasks.asgi_app(authenticate="none"))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            print("up", flush=True)
            while line := await asyncio.to_thread(sys.stdin.readline):
                method, path, body = json.loads(line)
                answer = await client.request(method, path, json=body)
                said = {"status": answer.status_code, "headers": dict(answer.headers), "body": answer.json()}
                print(json.dumps(said), flush=True)
try:
    asyncio.run(main())
except StoreError as error:
    print(json.dumps({"code": error.code, "said": error.message}), flush=True)
"""


class Served:
    """A server in a process of its own, on a disk of its own."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.db = disk.folder / "app.db"
        self._process = disk.run(SERVE, self.db)

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, path, body]) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.hear())
        return answer

    def until(self, state: str) -> dict[str, Any]:
        """Ask for readiness until it says this: a success is believed for a second."""
        while (answer := self.ask("GET", "/readyz"))["body"]["store"] != state:
            pass
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(disk.build(tmp_path))
    assert server.hear() == "up"
    yield server
    server.end()


def create(served: Served, title: str) -> dict[str, Any]:
    return served.ask("POST", "/v1/tasks", {"title": title, "mode": "manual"})


def titles(served: Served) -> list[str]:
    return [one["title"] for one in served.ask("GET", "/v1/tasks")["body"]["items"]]


def test_a_full_disk_is_said_as_such_and_passes_with_room(served: Served) -> None:
    assert create(served, "before")["status"] == 201
    assert served.ask("GET", "/readyz")["status"] == 200
    served.disk.say("full")
    refused = create(served, "refused")
    assert (refused["status"], refused["body"]["code"]) == (507, "store_full")
    assert refused["headers"]["retry-after"]
    assert str(served.db) not in json.dumps(refused["body"])
    assert served.until("full")["status"] == 503
    assert titles(served) == ["before"]
    served.disk.recover()
    assert create(served, "after")["status"] == 201
    assert served.until("writable")["status"] == 200
    assert titles(served) == ["before", "after"]


@pytest.mark.parametrize("fault", ["broken", "unreadable"])
def test_a_failing_disk_is_not_ready(served: Served, fault: str) -> None:
    assert create(served, "before")["status"] == 201
    served.disk.say(fault)
    assert served.until("unusable")["status"] == 503
    served.disk.recover()
    assert served.until("writable")["status"] == 200
    assert create(served, "after")["status"] == 201


def test_a_start_on_a_full_disk_says_so(tmp_path: Path) -> None:
    full = disk.build(tmp_path)
    full.say("full")
    server = Served(full)
    try:
        said = json.loads(server.hear())
        assert said["code"] == "store_full"
        assert str(server.db) in said["said"]
        assert "make room" in said["said"]
    finally:
        server.end()
