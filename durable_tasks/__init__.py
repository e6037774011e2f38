"""The public names of durable_tasks, loaded when first used.

It must not import anything at once: this module runs inside Temporal's sandbox for every workflow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable_tasks import errors
    from durable_tasks.app import DurableTasks
    from durable_tasks.errors import NonRetryable, RetryAfter
    from durable_tasks.handlers import Handlers, TaskContext
    from durable_tasks.lifecycle import can_transition
    from durable_tasks.models import (
        Actor,
        Attempt,
        AttemptState,
        Claim,
        Event,
        Heartbeat,
        Mode,
        NewTask,
        Page,
        Priority,
        RetryPolicy,
        Task,
        TaskError,
        TaskState,
        Workflow,
        WorkflowState,
    )
    from durable_tasks.org import Org
    from durable_tasks.settings import Settings
    from durable_tasks.temporal.plugin import DurableTasksPlugin

__all__ = [
    "Actor",
    "Attempt",
    "AttemptState",
    "Claim",
    "DurableTasks",
    "DurableTasksPlugin",
    "Event",
    "Handlers",
    "Heartbeat",
    "Mode",
    "NewTask",
    "NonRetryable",
    "Org",
    "Page",
    "Priority",
    "RetryAfter",
    "RetryPolicy",
    "Settings",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskState",
    "Workflow",
    "WorkflowState",
    "can_transition",
    "errors",
]

_HOME = {
    "DurableTasks": "app",
    "DurableTasksPlugin": "temporal.plugin",
    "Handlers": "handlers",
    "NonRetryable": "errors",
    "Org": "org",
    "RetryAfter": "errors",
    "Settings": "settings",
    "TaskContext": "handlers",
    "can_transition": "lifecycle",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("durable_tasks.errors")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"durable_tasks.{_HOME.get(name, 'models')}"), name)


def __dir__() -> list[str]:
    return __all__
