"""Organisations and their Temporal namespaces: given on first use, and never to two of them.

It must not know what is handed over there.
"""

import sqlite3

from durable_tasks.errors import Conflict
from durable_tasks.ports import Tenant
from durable_tasks.store.transaction import Transaction


def namespace_of(tx: Transaction, org_id: str) -> str:
    """The organisation's namespace by this process's rules. Raises Conflict when another organisation has it."""
    namespace = tx.rules.namespace_of(org_id)
    found = tx.one("SELECT org_id FROM dt_orgs WHERE namespace = ?", (namespace,))
    if found is None:
        tx.run("INSERT INTO dt_orgs (namespace, org_id) VALUES (?, ?)", (namespace, org_id))
    elif found[0] != org_id:
        raise Conflict(
            f"the namespace {namespace!r} of organisation {org_id!r} belongs to another organisation;"
            " change TASKS_NAMESPACE or TASKS_NAMESPACE_TEMPLATE so that each has its own",
            org=org_id,
            namespace=namespace,
        )
    return namespace


def tenants(conn: sqlite3.Connection) -> list[Tenant]:
    """Every organisation and namespace ever used; busy while something there is handed over and has not ended."""
    orgs: dict[str, str] = dict(conn.execute("SELECT namespace, org_id FROM dt_orgs"))
    busy = dict(_busy(conn))
    return [
        Tenant(org_id=org_id, namespace=namespace, busy=namespace in busy)
        for namespace, org_id in sorted({**busy, **orgs}.items())
    ]


def _busy(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    """One index descent per namespace, however much is open there."""
    sql = (
        "SELECT namespace, org_id FROM dt_submissions INDEXED BY dt_submissions_busy WHERE state <> 'closed'"
        " AND namespace > ? ORDER BY namespace LIMIT 1"
    )
    found: list[tuple[str, str]] = []
    one = conn.execute(sql, ("",)).fetchone()
    while one is not None:
        found.append(one)
        one = conn.execute(sql, (one[0],)).fetchone()
    return found
