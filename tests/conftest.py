"""Fixtures and options that every test may use.

It must not know the features under test: only what is expensive or shared is made here.
"""

import os
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from durable_tasks import errors
from durable_tasks.temporal.server import EmbeddedServer, find_binary


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, help="a folder for pictures of every page of the dashboard")


# Some tests log or raise half a surrogate pair on purpose: a report of one could not be sent, and end the whole run.
@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, object], dict[str, object]]:
    report = yield
    return {name: speakable(value) for name, value in report.items()}


def speakable(value: object) -> object:
    """With each character that UTF-8 does not know spelled out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {speakable(key): speakable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(speakable(item) for item in value)
    return value


@pytest.fixture(scope="session")
def binary() -> Path:
    """Of the Temporal server, as `durable-tasks up` starts it."""
    try:
        return find_binary(os.environ)
    except errors.ConfigurationError as error:
        pytest.skip(f"needs a real Temporal server: {error}")


# The session's own loop starts and stops it; in between that loop need not run, so tests keep theirs.
@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal_server(binary: Path) -> AsyncIterator[EmbeddedServer]:
    """One Temporal server per run: see `.address` and `.binary`. Take your own task queue or namespace."""
    async with EmbeddedServer(binary=binary) as server:
        yield server
