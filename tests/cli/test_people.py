"""`task` for people, over a file and over a server: forms from files, comments, and tasks of groups.

It must not know how either is reached.
"""

import json
from pathlib import Path

from durable_tasks.cli.login import logged_in
from tests.cli.test_asking import Durable, durable, tasks, where

__all__ = ["durable", "tasks", "where"]


async def test_an_output_that_does_not_fit_the_form_of_a_file(durable: Durable, tmp_path: Path) -> None:
    form = {"properties": {"a\u001bb": {"type": "integer"}, "amount": {"minimum": 1}}, "required": ["approved"]}
    (tmp_path / "form.json").write_text(json.dumps(form), encoding="utf-8")
    made = (await durable("task", "create", "Approve it", "--form", "form.json", "--json")).data
    assert made["form"] == form
    refused = await durable(
        "task", "complete", made["id"], "--agent", "bob", "--output", '{"amount": 0, "a\\u001bb": "x"}'
    )
    assert (refused.code, refused.out) == (2, "")
    assert "  /approved: is required" in refused.err.splitlines()
    assert "  /amount: the value is less than the minimum of 1" in refused.err.splitlines()
    assert "\u001b" not in refused.err
    assert (await durable("task", "get", made["id"], "--json")).data["state"] == "pending"
    done = await durable("task", "complete", made["id"], "--agent", "bob", "--output", '{"approved": true}')
    assert done.code == 0, done.err
    for wrong in ("missing.json", "."):
        ended = await durable("task", "create", "x", "--form", wrong)
        assert (ended.code, ended.out, "cannot be read" in ended.err) == (2, "", True)


async def test_a_comment_is_shown_among_the_events(durable: Durable, where: tuple[str, ...]) -> None:
    made = (await durable("task", "create", "Sign it", "--json")).data
    author = ("--author", "bob") if where[0] == "--db" else ()
    said = await durable("task", "comment", made["id"], "which \u001bone?", *author)
    who = f"said to be by {logged_in()}  bob" if author else "ann"
    assert said.code == 0, said.err
    assert f"task.commented  {made['id']}  {who}: which \\u001bone?" in said.out
    assert said.out in (await durable("events", "--task", made["id"])).out


async def test_a_member_takes_what_is_the_groups(durable: Durable, where: tuple[str, ...]) -> None:
    made = (await durable("task", "create", "Sign it", "--assigned-to", "group:legal", "--json")).data
    assert (await durable("task", "claim", made["id"], "--agent", "bob")).code == 4
    claimed = await durable("task", "claim", made["id"], "--agent", "bob", "--group", "legal")
    if where[0] == "--db":
        assert claimed.code == 0, claimed.err
    else:
        assert (claimed.code, "groups of its token" in claimed.err) == (2, True)
