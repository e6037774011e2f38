"""`config show`: every setting, its value, and where that comes from.

It must not know what a setting means.
"""

from typing import Any

import typer

from durable_tasks.cli.asking import AsJson
from durable_tasks.cli.talk import failing_plainly, put_columns, put_json
from durable_tasks.wording import without_credentials

app = typer.Typer(no_args_is_help=True, help="Look at the settings.")


@app.callback()
def config() -> None:
    """Look at the settings."""


@app.command()
def show(as_json: AsJson = False) -> None:
    """Every setting as a process started here would have it. Secrets are not shown."""
    # Loaded only here: pydantic-settings is not needed for `--help`.
    from durable_tasks.environment import source_of
    from durable_tasks.settings import Settings

    with failing_plainly():
        values: dict[str, Any] = Settings().model_dump(mode="json")
    found = [
        {
            "setting": name,
            "value": _masked(value),
            "source": source_of(name, value, Settings.model_fields[name].default),
        }
        for name, value in values.items()
    ]
    if as_json:
        put_json({"settings": found})
        return
    put_columns([one["setting"], "" if one["value"] is None else str(one["value"]), one["source"]] for one in found)


def _masked(value: Any) -> Any:
    """A URL without what may be secret in it: who asks, and the query."""
    return without_credentials(value) if isinstance(value, str) and "://" in value else value
