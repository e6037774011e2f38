"""What users' tests need: a clock to move by hand, and a conformance suite for stores. Loaded when first used.

It must not be imported by the package itself.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable_tasks.testing.clock import ManualClock
    from durable_tasks.testing.conformance import StoreConformance

__all__ = ["ManualClock", "StoreConformance"]


def __getattr__(name: str) -> Any:
    if name == "ManualClock":
        from durable_tasks.testing.clock import ManualClock

        return ManualClock
    if name == "StoreConformance":
        import pytest

        pytest.register_assert_rewrite("durable_tasks.testing.conformance")
        from durable_tasks.testing.conformance import StoreConformance

        return StoreConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
