"""Signals and updates that people send to the workflow of a task, on a real server, inside the sandbox.
It must not know SQLite: the scripted bridge answers in its place.
"""

import pytest
from temporalio.client import Client

from tests.temporal.paths import COMMAND_PATHS, Path, Scene


@pytest.mark.parametrize("path", COMMAND_PATHS, ids=lambda path: path.__name__)
async def test_path(client: Client, path: Path) -> None:
    async with Scene(client).staged() as scene:
        await path(scene)
