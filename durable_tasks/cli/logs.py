"""Logs of the commands that run on: how much they say on stderr, and whether as JSON.

It must not know the commands.
"""

import logging
from enum import StrEnum
from typing import Annotated

import typer

from durable_tasks.telemetry.logs import json_handler, text_handler


class Level(StrEnum):
    """What is worth a line."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogLevel = Annotated[
    Level, typer.Option(case_sensitive=False, help="What is logged on stderr; info: every request and attempt too.")
]
LogJson = Annotated[bool, typer.Option("--log-json", help="Log one JSON document a line.")]


def begin_logs(level: Level = Level.WARNING, as_json: bool = False) -> None:
    """From now on; what an earlier call chose is over."""
    handler = json_handler() if as_json else text_handler()
    logging.basicConfig(level=level.name, handlers=[handler], force=True)
