"""`audit` and `doctor --deep`: damage is said, with an exit code that a script can heed.

It must not know how it is found.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from durable_tasks import DurableTasks, Settings
from tests.cli.running import run


async def test_damage_is_said_and_is_code_1(tmp_path: Path) -> None:
    db = tmp_path / "tasks.db"
    async with DurableTasks(Settings(db=db, enabled=False)) as tasks:
        task = await tasks.org().create("pay", mode="manual", input={"amount": 900})
    well = await run("audit", "--json", cwd=tmp_path)
    assert (well.code, well.data) == (0, {"damage": []})
    deep = await run("doctor", "--deep", "--json", cwd=tmp_path)
    assert (deep.code, deep.data["healthy"], deep.data["damage"]) == (0, True, [])
    assert (await run("doctor", "--json", cwd=tmp_path)).data["damage"] is None
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute("UPDATE dt_tasks SET input = replace(input, '900', '800')")
    said = await run("audit", cwd=tmp_path)
    assert (said.code, task.id in said.out, "input" in said.out) == (1, True, True)
    deep = await run("doctor", "--deep", "--json", cwd=tmp_path)
    assert (deep.code, deep.data["healthy"], len(deep.data["damage"])) == (1, False, 1)
    elsewhere = await run("doctor", "--deep", "--url", "http://127.0.0.1:1", cwd=tmp_path)
    assert elsewhere.code == 2
