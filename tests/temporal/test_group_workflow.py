"""PipelineWorkflow, FanOutWorkflow and DagWorkflow on a real server, inside the sandbox: every path of a group.
It must not know SQLite: the scripted bridge answers in its place.
"""

import pytest
from temporalio.client import Client

from tests.temporal.paths import GROUP_PATHS, Path, Scene


@pytest.mark.parametrize("path", GROUP_PATHS, ids=lambda path: path.__name__)
async def test_path(client: Client, path: Path) -> None:
    async with Scene(client).staged() as scene:
        await path(scene)
