"""What the commands need of this machine.

It must not know the commands.
"""

import os
from pathlib import Path

import pytest

from durable_tasks import errors
from durable_tasks.temporal.server import find_binary


@pytest.fixture(scope="session")
def binary() -> Path:
    """Of the Temporal server that `up` starts."""
    try:
        return find_binary(os.environ)
    except errors.ConfigurationError as error:
        pytest.skip(f"needs a real Temporal server: {error}")
