"""The two ways to run everything here: on the SQLite file alone, and with Temporal.
It must not know the tests.
"""

from typing import Any

import pytest

from durable_tasks.temporal.server import EmbeddedServer


@pytest.fixture(params=["local", "temporal"])
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings of the processes, as JSON."""
    if request.param == "local":
        return {}
    server: EmbeddedServer = request.getfixturevalue("temporal_server")
    return {"enabled": True, "address": server.address}
