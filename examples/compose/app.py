"""The application: owns the SQLite file, has the queue `gpu` measure a text, and reports the result itself.

It must not know where the worker of that queue runs. Everything else is set by TASKS_* variables.
"""

import asyncio
import logging
import signal
from typing import Any

from durable_tasks import DurableTasks, NewTask, Settings, Task, TaskContext
from durable_tasks.telemetry.logs import text_handler
from examples.compose.handlers import measure

TEXT = "SQLite keeps the truth and Temporal drives the work"
GPU = "gpu"


def build(settings: Settings) -> DurableTasks:
    tasks = DurableTasks(settings)

    @tasks.handler("text.report")
    def report(ctx: TaskContext, task: Task) -> str:
        measured = ctx.prior["measure"]
        return f"{measured['words']} words, the longest is {measured['longest']!r}"

    if not settings.enabled:  # without Temporal there is no other machine: the same work is done here
        tasks.handler("text.measure")(measure)
    return tasks


async def ask(tasks: DurableTasks) -> Any:
    """The report, made once however often the application is started: the key finds it again."""
    queue = GPU if tasks.settings.enabled else None
    steps = [
        NewTask(name="measure", capability="text.measure", queue=queue, input={"text": TEXT}, max_retries=3),
        NewTask(name="report", capability="text.report"),
    ]
    org = tasks.org()
    run = await org.pipeline("measure a text", steps, idempotency_key="example-report")
    await org.wait_workflow(run.id)
    report = next(task for task in await org.workflow_tasks(run.id) if task.name == "report")
    return report.output


async def main() -> None:
    logging.basicConfig(level=logging.INFO, handlers=[text_handler()])
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with build(Settings()) as tasks:
        asking = asyncio.create_task(ask(tasks))
        asking.add_done_callback(lambda done: None if done.cancelled() else print(done.result(), flush=True))
        await stop.wait()  # a real application serves requests here
        asking.cancel()


if __name__ == "__main__":
    asyncio.run(main())
