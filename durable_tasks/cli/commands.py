"""The commands of `durable-tasks` and their options.

It must not do the work: each command loads what it needs when it runs, so that `--help` stays quick.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from durable_tasks.cli import config, doctor, events, file, mcp, operate, serve, task, tokens, worker, workflow
from durable_tasks.cli.asking import AsJson, Db
from durable_tasks.cli.logs import Level, LogJson, LogLevel, begin_logs
from durable_tasks.cli.talk import failing_plainly, say

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Durable tasks on SQLite and Temporal. Data goes to stdout, everything else to stderr.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict, 5 unreachable, 124 a wait was over first.",
)
app.add_typer(task.app, name="task")
app.add_typer(workflow.app, name="workflow")
events.add_to(app)
app.add_typer(tokens.app, name="token")
app.add_typer(config.app, name="config")
for command in (
    serve.serve,
    worker.worker,
    mcp.mcp,
    file.backup,
    file.audit,
    file.migrate,
    doctor.doctor,
    operate.engine,
    operate.adopt,
    operate.redrive,
):
    app.command()(command)

Port = Annotated[
    int | None,
    typer.Option(
        min=0, max=65535, show_default="8000, or any free one while that is taken", help="Of API, MCP and live events."
    ),
]
TemporalPort = Annotated[
    int | None,
    typer.Option(min=1, max=65535, show_default="any free one", help="Of the embedded Temporal server."),
]
TemporalUiPort = Annotated[
    int | None, typer.Option(min=0, max=65535, show_default="no web UI", help="Serve its web UI; 0: at any free one.")
]


@app.callback()
def setup() -> None:
    begin_logs()


@app.command()
def up(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", exists=True, file_okay=False, resolve_path=True, help="The folder that the demo surveys."
        ),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Survey DIR, or this package's own source.")] = False,
    db: Db = None,
    port: Port = None,
    temporal_port: TemporalPort = None,
    temporal_ui_port: TemporalUiPort = None,
    persist: Annotated[
        bool, typer.Option("--persist", help="Keep Temporal's own data beside the SQLite file.")
    ] = False,
    leave: Annotated[bool, typer.Option("--exit", help="Approve the demo's report, then stop.")] = False,
    as_json: AsJson = False,
    log_level: LogLevel = Level.WARNING,
    log_json: LogJson = False,
) -> None:
    """Start an embedded Temporal server, the engine and the HTTP API; Ctrl-C drains and stops everything."""
    if folder is not None and not demo:
        raise typer.BadParameter("DIR belongs to --demo", param_hint="DIR")
    begin_logs(log_level, log_json)
    from durable_tasks.cli.up import Options, supervise
    from durable_tasks.demo.survey import DemoFailed

    surveyed = (folder or Path(__file__).resolve().parent.parent) if demo else None
    options = Options(
        db=db,
        port=port,
        temporal_port=temporal_port,
        temporal_ui_port=temporal_ui_port,
        persist=persist,
        demo=surveyed,
        exit=leave,
        json=as_json,
    )
    with failing_plainly():
        try:
            code = asyncio.run(supervise(options))
        except DemoFailed as error:
            say(f"error: {error}")
            code = 1
    raise typer.Exit(code)
