"""A clock for applications that ran a minute ago: what they left has settled, and what they could not send is stuck.

It must not know what they did.
"""

from durable_tasks.clock import SystemClock

AGO = 60.0
"""Seconds."""


class Earlier(SystemClock):
    """The system's clock, a minute slow."""

    def now(self) -> float:
        return super().now() - AGO

    def steady(self) -> float:
        return super().steady() - AGO
