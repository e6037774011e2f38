"""`get_me`: who the caller is, what they may do, and what serves them.

It must not know how somebody proves who they are.
"""

from importlib.metadata import version
from pathlib import Path

from durable_tasks.access import Role
from tests.web.asking import api, as_caller

UI = "http://127.0.0.1:8233"


async def test_who_asks_is_told_who_they_are_and_what_serves_them(tmp_path: Path) -> None:
    async with api(tmp_path, temporal_ui=UI) as (_, client):
        me = (await client.get("/v1/me", headers=as_caller("acme", "bob", Role.OPERATOR))).json()
        assert me == {
            "org": "acme", "subject": "bob", "roles": ["operator"], "groups": [], "engine": "local",
            "temporal_ui": None, "namespace": None, "version": version("durable-tasks"),
        }  # fmt: skip
        assert (await client.get("/v1/me", headers=as_caller(role=None))).status_code == 403


async def test_with_durable_mode_it_says_where_temporal_has_it(tmp_path: Path) -> None:
    settings = {"enabled": True, "address": "127.0.0.1:1", "namespace_template": "tasks-{org}", "temporal_ui": UI}
    async with api(tmp_path, **settings) as (_, client):
        me = (await client.get("/v1/me")).json()
        assert (me["engine"], me["namespace"], me["temporal_ui"]) == ("temporal", "tasks-acme", UI)
