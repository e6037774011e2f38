"""The plugin that lets a Temporal worker of the user's execute tasks: it adds the one activity, and nothing else.
It must not know the SQLite file, nor which queue or namespace the worker serves.
"""

from datetime import timedelta
from typing import Protocol

from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkerConfig

from durable_tasks.activities.execute import ExecuteActivity
from durable_tasks.clock import SystemClock
from durable_tasks.errors import ConfigurationError
from durable_tasks.executor.remote import RemoteRunner
from durable_tasks.handlers import Handlers

_THROTTLE = timedelta(seconds=1)
"""The SDK holds heartbeats back for most of their timeout; so long a cancellation would wait, and progress too."""


class HasHandlers(Protocol):
    """What a DurableTasks offers, started or not."""

    @property
    def handlers(self) -> Handlers: ...


class DurableTasksPlugin(SimplePlugin):
    """For `Worker(…, plugins=[DurableTasksPlugin(handlers)])`, on any client: no payload converter is asked for."""

    def __init__(self, source: Handlers | HasHandlers, *, cancel_grace: float = 30.0) -> None:
        """`source`: the handlers, or a DurableTasks that has them. A cancelled handler is given up after
        `cancel_grace` seconds. Raises ConfigurationError when there are no handlers."""
        self.handlers = handlers_of(source)
        runner = RemoteRunner(self.handlers, SystemClock(), cancel_grace=cancel_grace)
        super().__init__("durable_tasks.DurableTasksPlugin", activities=[ExecuteActivity(runner).execute])

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        config = super().configure_worker(config)
        config["max_heartbeat_throttle_interval"] = min(
            _THROTTLE, config.get("max_heartbeat_throttle_interval", _THROTTLE)
        )
        return config


def handlers_of(source: object) -> Handlers:
    """The handlers that `source` is or has. Raises ConfigurationError."""
    handlers = source if isinstance(source, Handlers) else getattr(source, "handlers", None)
    if not isinstance(handlers, Handlers):
        raise ConfigurationError(f"a Handlers or a DurableTasks is needed, not {source!r}")
    if not handlers.capabilities and not handlers.has_default:
        raise ConfigurationError("no handler is registered, so there is nothing to execute")
    return handlers
