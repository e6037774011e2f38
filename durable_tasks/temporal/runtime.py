"""The SDK's native runtime: one per process, whoever connects first.
It must not know what is connected with it.
"""

import logging
from functools import cache

from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter


@cache
def runtime() -> Runtime:
    """Made on first use, for it owns a thread pool; it carries no state of ours. Its logs go to Python's logging:
    by default they would go to stdout."""
    forwarding = LogForwardingConfig(logger=logging.getLogger("durable_tasks.temporal.core"))
    logs = LoggingConfig(TelemetryFilter(core_level="ERROR", other_level="ERROR"), forwarding=forwarding)
    return Runtime(telemetry=TelemetryConfig(logging=logs))
