"""The dashboard's files over HTTP: which are sent, how, and what is said when nobody has built them.

It must not know what the page does: the folder here holds a small one, made for these tests.
"""

import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from durable_tasks import DurableTasks, Settings
from durable_tasks.web.app import Api
from tests.web.asking import as_caller, authenticate

PAGE = b'<!doctype html><script type="module" src="app.js"></script>'
SCRIPT = b"document.title = 'Durable tasks';" * 100
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built = tmp_path / "built"
    built.mkdir()
    (tmp_path / "outside.js").write_text("secret")
    for name, content in {"index.html": PAGE, "app.js": SCRIPT}.items():
        (built / name).write_bytes(content)
        (built / f"{name}.gz").write_bytes(gzip.compress(content))
    (built / "icon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (built / "app.ts").write_text("not for browsers")
    (built / "inner.js").mkdir()
    return built


@asynccontextmanager
async def served(folder: Path, app: Any = None, **transport: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client that shows no proof of who it is."""
    api = Api(DurableTasks(Settings.model_construct()), authenticate, dashboard=folder)
    if app is not None:
        app.mount("/tasks", api)
    through = httpx.ASGITransport(app or api, **transport)
    async with httpx.AsyncClient(transport=through, base_url="http://host") as client:
        yield client


def policy(headers: Mapping[str, str]) -> dict[str, str]:
    directives = (one.strip().partition(" ") for one in headers["content-security-policy"].split(";"))
    return {name: values for name, _, values in directives}


async def test_the_page_is_for_everybody_and_lets_nothing_else_in(folder: Path) -> None:
    async with served(folder) as client:
        answer = await client.get("/dashboard/")
        assert (answer.status_code, answer.content) == (200, PAGE)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        for path in ("/dashboard/", "/dashboard/app.js", "/dashboard"):
            headers = (await client.get(path)).headers
            said = policy(headers)
            assert said["default-src"] == said["frame-ancestors"] == said["base-uri"] == "'none'"
            assert said["script-src"] == said["style-src"] == said["connect-src"] == "'self'"
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-opener-policy"] == "same-origin"
        # What the page asks is another matter.
        assert (await client.get("/v1/me")).status_code == 401


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("index.html", "text/html"), ("app.js", "text/javascript"), ("icon.svg", "image/svg+xml")],
)
async def test_each_file_says_what_it_is(folder: Path, name: str, media_type: str) -> None:
    async with served(folder) as client:
        answer = await client.get(f"/dashboard/{name}")
        assert answer.content == (folder / name).read_bytes()
        assert answer.headers["content-type"].startswith(media_type)
        head = await client.head(f"/dashboard/{name}", headers=PLAIN)
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(answer.content)))


async def test_what_was_zipped_beforehand_is_sent_zipped_to_who_takes_it(folder: Path) -> None:
    async with served(folder) as client:
        for accepts in ("gzip, br", "br;q=1.0, GZIP ; q=0.5", "*"):
            async with client.stream("GET", "/dashboard/app.js", headers={"Accept-Encoding": accepts}) as answer:
                raw = b"".join([part async for part in answer.aiter_raw()])
            assert answer.headers["content-encoding"] == "gzip"
            assert raw == (folder / "app.js.gz").read_bytes()
        for accepts in ("identity", "br", "gzip;q=0", "gzip; q=0.0"):
            plain = await client.get("/dashboard/app.js", headers={"Accept-Encoding": accepts})
            assert "content-encoding" not in plain.headers
            assert plain.content == SCRIPT
        assert plain.headers["vary"] == "Accept-Encoding"
        assert "content-encoding" not in (await client.get("/dashboard/icon.svg")).headers


async def test_a_file_is_sent_again_only_when_it_changed(folder: Path) -> None:
    async with served(folder) as client:
        for encoding in ({}, PLAIN):
            tag = (await client.get("/dashboard/app.js", headers=encoding)).headers["etag"]
            again = await client.get("/dashboard/app.js", headers={"If-None-Match": tag, **encoding})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["cache-control"] == "no-cache"
        (folder / "app.js").write_bytes(b"2")
        (folder / "app.js.gz").write_bytes(gzip.compress(b"2"))
        changed = await client.get("/dashboard/app.js", headers={"If-None-Match": tag})
        assert (changed.status_code, changed.content) == (200, b"2")


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js", "app.ts", "app.js.gz", "inner.js", "..%2Foutside.js", "%2e%2e/outside.js", "..%5Coutside.js",
        "app.js%00.js", "%2Fetc%2Fhosts.txt", ".js", "a" * 300 + ".js",
    ],
)  # fmt: skip
async def test_nothing_else_of_the_machine_is_sent(folder: Path, name: str) -> None:
    async with served(folder) as client:
        answer = await client.get(f"/dashboard/{name}", headers=as_caller())
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_path")


@pytest.mark.parametrize("prefix", ["", "/proxy"])
async def test_it_is_found_wherever_the_api_is_mounted(folder: Path, prefix: str) -> None:
    """The page names its files, and the API, relative to itself: so must the way to it."""
    async with served(folder, Starlette(), root_path=prefix) as client:
        answer = await client.get(f"{prefix}/tasks/dashboard", follow_redirects=True)
        assert (answer.url.path, answer.content) == (f"{prefix}/tasks/dashboard/", PAGE)
        assert (await client.get(answer.url.join("app.js"))).content == SCRIPT
        assert (await client.get(answer.url.join("../v1/me"))).json()["code"] == "unauthenticated"


async def test_until_it_is_built_it_says_how(tmp_path: Path) -> None:
    folder = tmp_path / "dashboard"
    async with served(folder) as client:
        answer = await client.get("/dashboard/")
        assert answer.status_code == 503
        assert "make dashboard" in answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert policy(answer.headers)["default-src"] == "'none'"
        assert (await client.get("/dashboard/app.js")).status_code == 404
        assert (await client.get("/healthz")).status_code == 200
        folder.mkdir()
        (folder / "index.html").write_bytes(PAGE)
        assert (await client.get("/dashboard/")).content == PAGE
