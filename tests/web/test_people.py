"""What people do over HTTP: outputs that a form refuses, tasks of groups, comments, and acting without a token.

It must not test what the facade decides.
"""

from pathlib import Path
from typing import Any

from tests.web.asking import api

FORM = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "amount": {"type": "number", "minimum": 1}},
    "required": ["approved"],
}


async def test_an_output_that_does_not_fit_is_refused_field_by_field(tmp_path: Path) -> None:
    async with api(tmp_path) as (_, client):
        made = (await client.post("/v1/tasks", json={"title": "Approve it", "form": FORM})).json()
        assert made["form"] == FORM
        path = f"/v1/tasks/{made['id']}"
        token = (await client.post(f"{path}/claim")).json()["token"]
        refused = await client.post(f"{path}/complete", json={"token": token, "output": {"amount": 0}})
        said: dict[str, Any] = refused.json()
        assert (refused.status_code, said["code"]) == (422, "invalid_output")
        errors = {one["pointer"]: (one["place"], one["field"], one["code"]) for one in said["errors"]}
        assert errors == {
            "/approved": ("body", "output.approved", "required"),
            "/amount": ("body", "output.amount", "minimum"),
        }
        done = await client.post(f"{path}/complete", json={"token": token, "output": {"approved": True}})
        assert done.json()["state"] == "completed"
        other = await client.post("/v1/tasks", json={"title": "x", "form": {"$ref": "https://example.com"}})
        assert (other.status_code, other.json()["code"], other.json()["errors"]) == (422, "invalid_input", [])
