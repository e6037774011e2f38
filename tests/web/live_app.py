"""A server of live events in a process of its own, to be killed: `python -m tests.web.live_app DB PORT`.

It must not know who listens. It says "ready" on stdout.
"""

import asyncio
import socket
import sys
from pathlib import Path

from durable_tasks import DurableTasks, Settings, Task, TaskContext
from durable_tasks.web.live import Live
from tests.web.listening import Server, application, config


async def main(db: Path, port: int) -> None:
    tasks = DurableTasks(Settings(db=db, org="acme"))

    @tasks.handler("work")
    async def work(ctx: TaskContext, task: Task) -> None:
        ctx.progress(50)

    async with tasks:
        live = Live(tasks)
        listening = socket.create_server(("127.0.0.1", port), backlog=1024)
        print("ready", flush=True)
        await Server(config(application(tasks, live)), live).serve(sockets=[listening])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
