"""`durable-tasks up` with a real Temporal server: what it serves on its one port, says of it, and how that ends.

It must not know the demo.
"""

import asyncio
import json
import signal
import socket
from pathlib import Path

import httpx

from tests.cli.running import run, run_without, started
from tests.cli.visiting import visit


async def test_every_address_that_it_prints_answers_until_ctrl_c(binary: Path, tmp_path: Path) -> None:
    async with started("up", "--port", "0", "--temporal-ui-port", "0", "--json", cwd=tmp_path) as up:
        await up.hear("Ctrl-C stops everything")
        assert up.process.stdout is not None
        found = json.loads(await up.process.stdout.readline())
        assert found["db"] == str(tmp_path / "tasks.db")
        said = ("db", "api", "dashboard", "docs", "mcp", "events", "metrics", "address", "ui")
        assert [name for name in said if found[name] not in up.heard] == []

        await visit(found)
        async with httpx.AsyncClient(timeout=30) as client:
            ready = (await client.get(f"{found['url']}/readyz")).json()
            assert (ready["ready"], ready["temporal"]) == (True, "connected")
            assert (await client.get(found["ui"])).status_code == 200
            async with client.stream("GET", found["events"]) as stream:
                lines = stream.aiter_lines()
                assert await anext(lines)
                up.send(signal.SIGINT)
                async with asyncio.timeout(30):
                    rest = [line async for line in lines]  # to an end, and not cut off
        assert rest
        ended = await up.ended()
    assert (ended.code, ended.out, ended.err.splitlines()[-1]) == (0, "", "stopped"), ended.err
    assert "Traceback" not in ended.err


async def test_a_script_that_says_a_port_has_it_served(binary: Path, tmp_path: Path) -> None:
    ended = await run("up", "--exit", "--port", "0", "--json", cwd=tmp_path)
    assert (ended.code, ended.data["mcp"]) == (0, f"{ended.data['url']}/mcp"), ended.err


async def test_a_script_that_says_none_has_not(binary: Path, tmp_path: Path) -> None:
    ended = await run("up", "--exit", "--json", cwd=tmp_path)
    assert (ended.code, set(ended.data)) == (0, {"db", "address", "namespace", "ui"}), ended.err


async def test_a_port_that_is_taken_is_named(binary: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await run("up", "--exit", "--port", str(port), cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert f"cannot listen at http://127.0.0.1:{port}" in ended.err


async def test_without_the_web_framework_the_rest_runs(binary: Path, tmp_path: Path) -> None:
    ended = await run_without("fastapi", "up", "--exit", "--port", "0", "--json", cwd=tmp_path)
    assert (ended.code, set(ended.data)) == (0, {"db", "address", "namespace", "ui"}), ended.err
    assert "no API:   fastapi is missing; install it with: pip install 'durable-tasks[web]'\n" in ended.err


async def test_without_mcp_the_rest_is_served(binary: Path, tmp_path: Path) -> None:
    ended = await run_without("mcp", "up", "--exit", "--port", "0", "--json", cwd=tmp_path)
    assert (ended.code, ended.data["mcp"]) == (0, None), ended.err
    assert "MCP       needs durable-tasks[mcp]\n" in ended.err
