"""A host application for several worker processes: `uvicorn --factory tests.web.host_app:create`.

It must not know the test: TASKS_DB says where the file is, and every execution is noted beside it.
"""

import os

from fastapi import FastAPI

from durable_tasks import DurableTasks, TaskContext
from tests.web.asking import authenticate


def create() -> FastAPI:
    tasks = DurableTasks()
    notes = tasks.settings.db.with_name("executions")

    @tasks.handler("note")
    def note(ctx: TaskContext, said: str) -> int:
        with notes.open("a", encoding="utf-8") as file:
            file.write(f"{said}\n")
        return os.getpid()

    app = FastAPI()

    @app.get("/pid")
    async def pid() -> int:
        return os.getpid()

    tasks.install(app, authenticate=authenticate)
    return app
