"""Sites: requests that a page of another site has a browser send, with whatever proves by itself who sits there.

It must not know who is believed, nor what is asked.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from durable_tasks.web.heads import head_of
from durable_tasks.web.problems import from_another_site, refused_as

_SAFE = ("GET", "HEAD", "OPTIONS")
_UNASKED = ("basic", "digest", "negotiate", "ntlm")
"""Proofs in the header Authorization that browsers send without being asked. Any other only a page of ours writes."""
_PORTS = {"http": 80, "https": 443}


class Sites:
    """ASGI middleware: what changes something comes from our own page, from no page, or with a proof of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE and _is_foreign(scope):
            await refused_as(from_another_site())(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_foreign(scope: Scope) -> bool:
    scheme = head_of(scope).get(b"authorization", b"").partition(b" ")[0].decode("latin-1").lower()
    if scheme and scheme not in _UNASKED:
        return False
    headers = Headers(scope=scope)
    # Only the browser writes these two. It says the first where it can, and knows better than who compares names: a
    # proxy may have changed the Host.
    said = headers.get("sec-fetch-site")
    if said is not None:
        return said not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and not _is_this_host(origin, headers.get("host", ""))


def _is_this_host(origin: str, host: str) -> bool:
    """Whether the page at `origin` is of the server that the request calls `host`."""
    try:
        page = urlsplit(origin)
        ours = urlsplit(f"//{host}")
        usual = _PORTS.get(page.scheme)
        return bool(page.hostname) and (page.hostname, page.port or usual) == (ours.hostname, ours.port or usual)
    except ValueError:
        return False
