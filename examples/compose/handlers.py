"""What a worker of the queue `gpu` does. It has no SQLite file: inputs and outputs travel through Temporal.

It must not know the application that creates the tasks.
"""

from typing import Any

from durable_tasks import Handlers, Task, TaskContext

handlers = Handlers()


@handlers.handler("text.measure")
def measure(ctx: TaskContext, task: Task) -> dict[str, Any]:
    """Stands for work that needs another machine."""
    words = task.input["text"].split()
    ctx.progress(50, "counted the words")
    return {"words": len(words), "longest": max(words, key=len, default="")}
