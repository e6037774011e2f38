"""The page about MCP: the configuration that it shows starts a server, and its options are those of the command.

It must not test the program on the page: tests/test_docs.py runs it.
"""

import json
import re
import sys
from pathlib import Path

from mcp import Client, StdioServerParameters
from typer.main import get_command

from durable_tasks.cli.commands import app
from tests.cli.running import ROOT, environment
from tests.mcp_server.agents import Agent

PAGE = (ROOT / "docs" / "how-to" / "mcp.md").read_text(encoding="utf-8")


async def test_the_configuration_starts_a_server(tmp_path: Path) -> None:
    found = re.search(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    (entry,) = json.loads(found[1].replace("/path/to", str(tmp_path)))["mcpServers"].values()
    assert entry["command"] == "durable-tasks"
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "durable_tasks", *entry["args"]], env=environment(), cwd=tmp_path
    )
    async with Client(server) as client:
        assert (await Agent(client)("create_task", title="x"))["created_by"] == "desktop"
    assert (tmp_path / "tasks.db").exists()


def test_the_options_are_those_of_the_command() -> None:
    shown = set(re.findall(r"^\| `(--\w+)", PAGE, re.MULTILINE))
    command = get_command(app).commands["mcp"]  # type: ignore[attr-defined]
    assert shown == {option for parameter in command.params for option in parameter.opts} - {"--help"}
