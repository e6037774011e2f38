"""A client to the run's Temporal server, for tests of this folder.
It must not know how the server is started: tests/conftest.py does.
"""

import pytest_asyncio
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from durable_tasks.temporal.server import EmbeddedServer


@pytest_asyncio.fixture
async def client(temporal_server: EmbeddedServer) -> Client:
    return await Client.connect(temporal_server.address, data_converter=pydantic_data_converter)
