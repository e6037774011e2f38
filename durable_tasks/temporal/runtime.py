"""The SDK's native runtime: one per process, whoever connects first.
It must not know what is connected with it.
"""

import atexit
import logging
import threading
from functools import cache

from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

_LAST_ANSWERS = 0.3
"""Seconds; see github.com/temporalio/sdk-python/issues/300."""


@cache
def runtime() -> Runtime:
    """Made on first use, for it owns a thread pool; it carries no state of ours. Its logs go to Python's logging:
    by default they would go to stdout."""
    forwarding = LogForwardingConfig(logger=logging.getLogger("durable_tasks.temporal.core"))
    logs = LoggingConfig(TelemetryFilter(core_level="ERROR", other_level="ERROR"), forwarding=forwarding)
    # Its threads answer into a dying interpreter: a process that forgot stop() gives them a moment first.
    atexit.register(threading.Event().wait, _LAST_ANSWERS)
    return Runtime(telemetry=TelemetryConfig(logging=logs))
