"""Fixtures that every test may use.

It must not know the features under test: only what is expensive or shared is made here.
"""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from durable_tasks import errors
from durable_tasks.temporal.server import EmbeddedServer, find_binary


# The session's own loop starts and stops it; in between that loop need not run, so tests keep theirs.
@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal_server() -> AsyncIterator[EmbeddedServer]:
    """One Temporal server per run: see `.address` and `.binary`. Take your own task queue or namespace."""
    try:
        binary = find_binary(os.environ)
    except errors.ConfigurationError as error:
        pytest.skip(f"needs a real Temporal server: {error}")
    async with EmbeddedServer(binary=binary) as server:
        yield server
