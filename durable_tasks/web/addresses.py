"""Addresses: where people and programs find each surface of a server.

It must not know what is there, beyond whether MCP is.
"""

from durable_tasks.web import agents

_PATHS = {
    "api": "/v1",
    "dashboard": "/dashboard/",
    "docs": "/docs",
    "openapi": "/openapi.json",
    "events": "/v1/events/stream",
    "metrics": "/metrics",
}


def addresses(url: str) -> dict[str, str | None]:
    """By name, of a server that runs at `url`; None: not served here."""
    found: dict[str, str | None] = {name: f"{url}{path}" for name, path in _PATHS.items()}
    return {"url": url, **found, "mcp": f"{url}{agents.PATH}" if agents.available() else None}
