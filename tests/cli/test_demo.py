"""`durable-tasks up --demo DIR` with a real Temporal server: its figures, its end, and what a kill leaves.

It must not know how the demo is built.
"""

import asyncio
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from durable_tasks.demo.files import count_file, text_files
from tests.cli.running import Up, all_gone, environment, free_port, processes, run, started

TEXTS = {
    "a.txt": "one two\nthree\n",
    "no newline.md": "four five six",
    "empty.txt": "",
    "deep/er/ä.txt": "zwölf Wörter\r\n\tund —  ein Strich\n\n",
    "deep/long.txt": "word " * 1000 + "\n",
}
SKIPPED = {
    ".hidden": b"not counted\n",
    ".git/config": b"not counted\n",
    "deep/__pycache__/x.txt": b"not counted\n",
    "data.bin": b"\x00not text\n",
}
OTHERS = 4  # scan, expand, report, approval


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "texts"
    for name, content in {**{name: text.encode() for name, text in TEXTS.items()}, **SKIPPED}.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (top / "link.txt").symlink_to("a.txt")
    return top


def wc(folder: Path) -> dict[str, int]:
    """What `wc` says of the files that count."""
    env = {**environment(), "LC_ALL": "C.UTF-8"}
    printed = subprocess.run(
        ["wc", "-lw", *TEXTS], cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=60
    )
    lines, words, _ = printed.stdout.splitlines()[-1].split()
    return {"files": len(TEXTS), "lines": int(lines), "words": int(words)}


def figures(summary: dict[str, Any]) -> dict[str, int]:
    return {name: summary[name] for name in ("files", "lines", "words")}


async def temporal_workflows(binary: Path, port: int) -> list[str]:
    """Type and status of every Temporal workflow, as the server's own client lists them."""
    command = [str(binary), "workflow", "list", "--address", f"127.0.0.1:{port}", "--output", "json", "--limit", "100"]
    listing = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    out, _ = await asyncio.wait_for(listing.communicate(), 60)
    found = json.loads(out)
    statuses = ((one["type"]["name"], one["status"].removeprefix("WORKFLOW_EXECUTION_STATUS_")) for one in found)
    return sorted(f"{kind} {status}" for kind, status in statuses)


async def see(binary: Path, port: int, *wanted: str) -> None:
    """Temporal closes its workflows some time after their tasks. Raises AssertionError when it never does."""
    seen: list[str] = []
    try:
        async with asyncio.timeout(60):
            while seen != list(wanted):
                seen = await temporal_workflows(binary, port)
    except TimeoutError:
        raise AssertionError(f"Temporal still has {seen}") from None


async def approval_of(up: Up) -> str:
    """The id of the task that waits for a person, from the hint that tells how to complete it."""
    found = re.search(r"task complete (\S+)", await up.hear("task complete"))
    assert found is not None
    return found.group(1)


async def test_exit_prints_one_object_and_it_is_right(folder: Path, tmp_path: Path, binary: Path) -> None:
    ended = await run("up", "--demo", folder, "--exit", "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert figures(ended.data) == wc(folder)
    assert ended.data["tasks"] == {"completed": len(TEXTS) + OTHERS}
    assert (ended.data["workflows"], ended.data["engine"], ended.data["drift"]) == (3, "temporal", 0)
    assert ended.data["seconds"] > 0

    again = await run("up", "--demo", folder, "--exit", cwd=tmp_path)
    assert again.code == 0, again.err
    assert "run 2" in again.err
    # The new server knows nothing of the first run; what had ended there is no disagreement.
    assert "disagree on 0 tasks" in again.out


async def test_temporal_drives_it_a_person_approves_and_ctrl_c_stops_it(
    folder: Path, tmp_path: Path, binary: Path
) -> None:
    port = free_port()
    async with started("up", "--demo", folder, "--json", "--temporal-port", str(port), cwd=tmp_path) as up:
        approval = await approval_of(up)
        await see(
            *(binary, port),
            "AgentTaskWorkflow RUNNING",
            "FanOutWorkflow COMPLETED",
            "PipelineWorkflow COMPLETED",
            "PipelineWorkflow RUNNING",
        )
        servers = processes("start-dev", str(port))
        assert servers

        done = await run(
            "task", "complete", approval, "--agent", "ann", "--output", '{"approved": true}', "--json", cwd=tmp_path
        )
        assert (done.code, done.data["state"], done.data["output"]) == (0, "completed", {"approved": True}), done.err
        assert up.process.stdout is not None
        summary = json.loads(await asyncio.wait_for(up.process.stdout.readline(), 60))
        assert (figures(summary), summary["drift"]) == (wc(folder), 0)
        closed = ("AgentTaskWorkflow", "FanOutWorkflow", "PipelineWorkflow", "PipelineWorkflow")
        await see(binary, port, *(f"{kind} COMPLETED" for kind in closed))

        up.send(signal.SIGINT)
        ended = await up.ended()
    assert (ended.code, ended.out) == (0, ""), ended.err
    await all_gone(servers)
    assert processes("start-dev", str(port)) == []


async def test_after_kill_9_no_server_is_left_and_the_next_start_goes_on(
    folder: Path, tmp_path: Path, binary: Path
) -> None:
    port = free_port()
    async with started("up", "--demo", folder, "--temporal-port", str(port), cwd=tmp_path) as up:
        await approval_of(up)
        servers = processes("start-dev", str(port))
        up.send(signal.SIGKILL)
        await up.ended()
    assert servers
    await all_gone(servers)

    ended = await run("up", "--demo", folder, "--exit", "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "run 1" in ended.err
    assert (figures(ended.data), ended.data["drift"]) == (wc(folder), 0)
    listed = await run("task", "list", "--json", cwd=tmp_path)
    assert [task["state"] for task in listed.data["items"]] == ["completed"] * (len(TEXTS) + OTHERS)


async def test_a_server_that_dies_is_started_again_at_its_address(folder: Path, tmp_path: Path, binary: Path) -> None:
    port = free_port()
    async with started("up", "--demo", folder, "--json", "--temporal-port", str(port), cwd=tmp_path) as up:
        approval = await approval_of(up)
        (server,) = processes(str(binary), "start-dev", str(port))[-1:]
        os.kill(server, signal.SIGKILL)
        await up.hear("runs again")
        done = await run("task", "complete", approval, "--agent", "ann", "--output", '{"approved": true}', cwd=tmp_path)
        assert done.code == 0, done.err
        assert up.process.stdout is not None
        summary = json.loads(await asyncio.wait_for(up.process.stdout.readline(), 60))
        assert (summary["drift"], summary["tasks"]) == (0, {"completed": len(TEXTS) + OTHERS})
        up.send(signal.SIGTERM)
        assert (await up.ended()).code == 0


async def test_an_empty_folder_and_a_second_signal(tmp_path: Path, binary: Path) -> None:
    empty, port = tmp_path / "empty", free_port()
    empty.mkdir()
    async with started("up", "--demo", empty, "--temporal-port", str(port), cwd=tmp_path) as up:
        await up.hear("counted 0 files")
        servers = processes("start-dev", str(port))
        up.send(signal.SIGINT)
        await up.hear("stopping")
        up.send(signal.SIGINT)
        ended = await up.ended()
    assert ended.code == 130, ended.err  # a server alone takes a second to stop
    await all_gone(servers)


async def test_a_taken_port_is_named(tmp_path: Path, binary: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ended = await run("up", "--exit", "--temporal-port", str(port), cwd=tmp_path)
    assert ended.code == 5
    assert "address already in use" in ended.err


@pytest.mark.parametrize("chunk", [1, 2, 3, 1 << 20])
def test_counting_does_not_depend_on_where_chunks_end(
    chunk: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable_tasks.demo.files._CHUNK", chunk)
    assert text_files(folder) == sorted(TEXTS)
    counted = [count_file(folder, name) for name in TEXTS]
    total = {
        "files": len(counted),
        "lines": sum(c["lines"] for c in counted),
        "words": sum(c["words"] for c in counted),
    }
    assert total == wc(folder)
    assert [one["sha256"] for one in counted] == [hashlib.sha256(text.encode()).hexdigest() for text in TEXTS.values()]
