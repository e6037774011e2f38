"""Parts: which of what runs for as long as a process does keeps failing.

It must not know what a part does, nor how it is run again.
"""

from durable_tasks.ports import Clock

OFTEN = 3
"""Failures in a row after which a part counts as failing."""
WITHIN = 60.0
"""Seconds that a part has to last for its next failure to be the first again, and for it to be well."""


class Parts:
    """Failures by the part's name."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}

    def note_failure(self, name: str) -> None:
        count, at = self._failures.get(name, (0, 0.0))
        now = self._clock.steady()
        self._failures[name] = (count + 1 if now - at <= WITHIN else 1, now)

    @property
    def failing(self) -> tuple[str, ...]:
        """Those that have failed three times or more, with no minute between, and the last time within the minute."""
        now = self._clock.steady()
        return tuple(name for name, (count, at) in self._failures.items() if count >= OFTEN and now - at <= WITHIN)
