"""The entry point of `durable-tasks`: loads the command line, or says how to install it.

It must not know the commands, nor import anything that a bare installation lacks.
"""

import io
import os
import sys


def main() -> None:
    """Run the command line. Exit codes: see durable_tasks.cli.talk."""
    _open_what_is_closed()
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


def _open_what_is_closed() -> None:
    """A standard stream that whoever started this has closed leads nowhere: its number must not become a file's."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # until the process ends
