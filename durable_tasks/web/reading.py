"""The API's own document, /openapi.json for programs and /docs to read: no script, no other host, made once.

It must not know any operation.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from durable_tasks.web.assets import Asset

PATH = "/docs"
DOCUMENT = "/openapi.json"
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_STYLE = (
    "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}code{font:14px monospace}"
    "summary{cursor:pointer}table{border-collapse:collapse}td{padding:.2rem 1rem .2rem 0;vertical-align:top}"
    ":root{color-scheme:light dark}"
)


def document_routes(document: Callable[[], Mapping[str, Any]]) -> list[Route]:
    """`document`: the OpenAPI document. Anybody may ask, as often as he likes: it is put into words once."""

    @cache
    def page() -> Asset:
        return Asset.made(_page(document()), "text/html; charset=utf-8")

    @lru_cache(maxsize=8)
    def whole(mounted_at: str) -> Asset:
        servers = {"servers": [{"url": mounted_at}]} if mounted_at else {}
        said = {**document(), **servers}
        return Asset.made(json.dumps(said, ensure_ascii=False, separators=(",", ":")), "application/json")

    async def read(request: Request) -> Response:
        return page().answer(request, _HEADERS)

    async def fetch(request: Request) -> Response:
        return whole(request.scope.get("root_path", "").rstrip("/")).answer(request, {"Cache-Control": "no-cache"})

    return [Route(PATH, read, methods=["GET"]), Route(DOCUMENT, fetch, methods=["GET"])]


def _page(document: Mapping[str, Any]) -> str:
    title = escape(document["info"]["title"])
    operations = "\n".join(_operations(document))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{title}</h1><p>{escape(document['info']['description'])}</p>"
        f'<p>For programs: <a href="openapi.json">openapi.json</a> has every field.</p>{operations}</body></html>'
    )


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            inputs = "".join(_inputs(said, document))
            answers = ", ".join(escape(status) for status in said["responses"])
            summary, more = escape(said.get("summary", "")), escape(said.get("description", ""))
            yield (
                f"<details><summary><code>{method.upper()} {escape(path)}</code> {summary}</summary>"
                f"<p>{more}</p><table>{inputs}</table><p>Answers: {answers}</p></details>"
            )


def _inputs(said: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    for one in said.get("parameters", ()):
        yield _row(one["name"], one["in"], one.get("description") or one["schema"].get("description"))
    for content in said.get("requestBody", {}).get("content", {}).values():
        for schema in (content["schema"], *content["schema"].get("anyOf", ())):
            name = schema.get("$ref", "").rpartition("/")[2]
            for field, described in document["components"]["schemas"].get(name, {}).get("properties", {}).items():
                yield _row(field, "body", described.get("description"))


def _row(name: str, place: str, meaning: str | None) -> str:
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(place)}</td><td>{escape(meaning or '')}</td></tr>"
