"""`token …`: making, listing and revoking the API tokens of a file, beside its application or without it.

It must not know how a token is made, kept or believed.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from durable_tasks.cli.asking import AsJson, Db, OrgId
from durable_tasks.cli.operate import ask
from durable_tasks.cli.talk import put, put_columns, put_json, say

if TYPE_CHECKING:
    from durable_tasks.console import Console
    from durable_tasks.identity.tokens import Issued
    from durable_tasks.store.tokens import ApiToken

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API tokens of a file.")


@app.command()
def create(
    subject: Annotated[str, typer.Option(help="The person or program that it stands for.")],
    role: Annotated[list[str], typer.Option(help="viewer, agent, operator or admin; may be repeated.")],
    group: Annotated[
        list[str] | None, typer.Option(help="One that it belongs to, and whose tasks it may take; may be repeated.")
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="DURATION", help="90d for instance.", show_default="until it is revoked")
    ] = None,
    db: Db = None,
    org: OrgId = None,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown this once: the file keeps only what it takes to know it again."""

    async def work(console: "Console") -> "Issued":
        from durable_tasks.identity.tokens import issue

        owner = console.settings.org if org is None else org
        return await issue(console, org=owner, subject=subject, roles=role, groups=group or (), lifetime=expires_in)

    made = ask(db, work)
    if as_json:
        put_json({**_plain(made.token), "token": made.text})
        return
    put(made.text)
    say("keep it in a safe place: it is not shown again")


@app.command("list")
def list_tokens(
    db: Db = None,
    org: Annotated[str | None, typer.Option("--org", help="Only those of this organisation.")] = None,
    as_json: AsJson = False,
) -> None:
    """All tokens, revoked and expired ones too; never their secrets."""
    found = ask(db, lambda console: console.list_tokens(org))
    if as_json:
        put_json({"items": [_plain(token) for token in found]})
    else:
        put_columns(_cells(token) for token in found)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="What stands between dt_ and the next _.")],
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a token from now on, in every process that has the file open."""
    token = ask(db, lambda console: console.revoke_token(token_id))
    if as_json:
        put_json(_plain(token))
    else:
        put_columns([_cells(token)])


def _cells(token: "ApiToken") -> list[str]:
    plain = _plain(token)
    state = (
        f"revoked {plain['revoked_at']}" if token.revoked_at is not None
        else "for ever" if token.expires_at is None
        else f"until {plain['expires_at']}"
    )  # fmt: skip
    return [
        token.id,
        plain["org_id"],
        plain["subject"],
        ",".join(plain["roles"]),
        ",".join(plain["groups"]),
        plain["created_at"],
        state,
    ]


def _plain(token: "ApiToken") -> dict[str, Any]:
    owner = token.principal
    return {
        "id": token.id,
        "org_id": owner.org,
        "subject": owner.subject,
        "roles": sorted(role.name.lower() for role in owner.roles),
        "groups": sorted(owner.groups),
        "created_at": _time(token.created_at),
        "expires_at": _time(token.expires_at),
        "revoked_at": _time(token.revoked_at),
    }


def _time(instant: float | None) -> str | None:
    return None if instant is None else datetime.fromtimestamp(instant, UTC).isoformat(timespec="seconds")
