"""API tokens: rows that say whom a token stands for, and how it is told from a forged one.

It must not know the secrets, nor whether a token is accepted.
"""

import sqlite3
from dataclasses import dataclass, field
from typing import Any

from durable_tasks.access import Principal, Role
from durable_tasks.errors import NotFound
from durable_tasks.quotas import Limit
from durable_tasks.store.rows import dump, load
from durable_tasks.store.transaction import Transaction

_COLUMNS = "id, org_id, subject, roles, groups, digest, created_at, expires_at, revoked_at"


@dataclass(frozen=True, slots=True)
class ApiToken:
    """Times are unix seconds."""

    id: str
    principal: Principal
    digest: bytes = field(repr=False)
    """SHA-256 of the secret."""
    created_at: float
    expires_at: float | None
    """None: never."""
    revoked_at: float | None

    def is_valid(self, now: float) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def create(tx: Transaction, principal: Principal, digest: bytes, lifetime: float | None) -> ApiToken:
    """Keep what it stands for. Raises QuotaExceeded."""
    _make_room(tx, principal.org)
    token = ApiToken(
        id=tx.ids.token(),
        principal=principal,
        digest=digest,
        created_at=tx.now,
        expires_at=None if lifetime is None else tx.now + lifetime,
        revoked_at=None,
    )
    roles = dump(sorted(role.name.lower() for role in principal.roles))
    groups = dump(sorted(principal.groups))
    tx.run(
        f"INSERT INTO dt_tokens ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (token.id, principal.org, principal.subject, roles, groups, digest, token.created_at, token.expires_at, None),
    )
    return token


def _make_room(tx: Transaction, org_id: str) -> None:
    limit = Limit("org_tokens", tx.rules.most_tokens, "organisation {!r} has {} API tokens", "revoke some")
    if not limit.most:
        return
    sql = "SELECT COUNT(*) FROM dt_tokens WHERE org_id = ? AND revoked_at IS NULL AND COALESCE(expires_at > ?, 1)"
    (used,) = tx.all(sql, (org_id, tx.now))[0]
    if used >= limit.most:
        raise limit.refusal((org_id,), used)


def find(conn: sqlite3.Connection, token_id: str) -> ApiToken | None:
    row = conn.execute(f"SELECT {_COLUMNS} FROM dt_tokens WHERE id = ?", (token_id,)).fetchone()
    return None if row is None else _token(row)


def every(conn: sqlite3.Connection, org_id: str | None) -> list[ApiToken]:
    """Of one organisation or (None) of all, revoked and expired ones too; the oldest first."""
    sql = f"SELECT {_COLUMNS} FROM dt_tokens WHERE org_id = COALESCE(?, org_id) ORDER BY created_at, id"
    return [_token(row) for row in conn.execute(sql, (org_id,))]


def revoke(tx: Transaction, token_id: str) -> ApiToken:
    """From this commit on it is refused. Repeating it changes nothing. Raises NotFound."""
    tx.run("UPDATE dt_tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (tx.now, token_id))
    found = find(tx.conn, token_id)
    if found is None:
        raise NotFound(f"there is no API token {token_id}", id=token_id)
    return found


def _token(row: tuple[Any, ...]) -> ApiToken:
    token_id, org_id, subject, roles, groups, *rest = row
    known = frozenset(Role[name.upper()] for name in load(roles))
    # As it was accepted once: a name that nobody may have today is listed, and refused by whoever is shown the token.
    owner = Principal.model_construct(org=org_id, subject=subject, roles=known, groups=frozenset(load(groups)))
    return ApiToken(token_id, owner, *rest)
