"""Running `durable-tasks` inside this process: a second faster than a process of its own, for tests of many commands.

It must not know the commands; signals, streams and what is loaded need tests/cli/running.py.
"""

import asyncio
import os

from typer.testing import CliRunner

from durable_tasks.cli.commands import app
from tests.cli.running import Ended


async def run_inside(*arguments: str, **variables: str) -> Ended:
    """`durable-tasks …` in the working directory, with no settings of ours in its environment but `variables`."""
    unset = {name: None for name in os.environ if name.startswith(("TASKS_", "HANZO_", "TEMPORAL_"))}

    def invoke() -> Ended:
        result = CliRunner(env={**unset, **variables}).invoke(app, [*arguments], prog_name="durable-tasks")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    # In a thread: a command has an event loop of its own.
    return await asyncio.to_thread(invoke)
