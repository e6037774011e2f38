"""The entry point of `durable-tasks`: loads the command line, or says how to install it.

It must not know the commands, nor import anything that a bare installation lacks.
"""

import io
import sys


def main() -> None:
    """Run the command line. Exit codes: see durable_tasks.cli.talk."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that a terminal lacks must not end the command
            stream.reconfigure(errors="backslashreplace")
    try:
        from durable_tasks.cli.commands import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "click", "rich"):
            raise
        sys.exit(f"durable-tasks needs {error.name}; install it with: pip install 'durable-tasks[cli]'")
    app(prog_name="durable-tasks")
