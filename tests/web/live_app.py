"""A server of live events in a process of its own, to be killed: `python -m tests.web.live_app DB PORT`.

It must not know who listens. It says "ready" on stdout.
"""

import asyncio
import sys
from pathlib import Path

from durable_tasks import DurableTasks, Settings, Task, TaskContext
from durable_tasks.web.app import create_app
from tests.web.asking import authenticate
from tests.web.listening import served


async def main(db: Path, port: int) -> None:
    tasks = DurableTasks(Settings(db=db, org="acme"))

    @tasks.handler("work")
    async def work(ctx: TaskContext, task: Task) -> None:
        ctx.progress(50)

    app = create_app(tasks, authenticate=authenticate)
    async with tasks.lifespan(), served(app, port=port):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
