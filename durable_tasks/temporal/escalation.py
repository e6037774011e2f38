"""Escalation: what to send next to a Temporal workflow that runs on though SQLite is through with it.
It must not know how that was found out, nor send anything.
"""

from durable_tasks.ports import Clock, OutboxKind, Submission

_FIRST_WAIT = 300.0
"""Seconds to hear it. What is terminated says so for ever, whatever SQLite says; on a busy machine, or where Temporal
works off what came together during an outage, a workflow waits minutes for its turn."""
_LONGEST_WAIT = 3600.0
_LADDER = (OutboxKind.SYNC, OutboxKind.CANCEL, OutboxKind.TERMINATE)


class Escalation:
    """Tell it, then cancel it, then terminate it: each only when the step before has had its time, and ever more
    slowly, for a deaf one must not fill its history."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steps: dict[str, tuple[int, float]] = {}
        """By workflow id: how many steps were taken, and when the next may be."""

    def next(self, submission: Submission) -> OutboxKind | None:
        """The step to take now; None while the last one still has time."""
        now = self._clock.steady()
        steps, not_before = self._steps.get(submission.workflow_id, (0, now))
        if now < not_before:
            return None
        ladder = _LADDER[1:] if submission.status.state == "cancelled" else _LADDER
        wait = min(_FIRST_WAIT * 2**steps, _LONGEST_WAIT)
        self._steps[submission.workflow_id] = (min(steps + 1, 30), now + wait)
        return ladder[min(steps, len(ladder) - 1)]

    def forget(self, submission: Submission) -> None:
        """It has ended."""
        self._steps.pop(submission.workflow_id, None)

    def forget_old(self) -> None:
        """Drop what has not come up again for long."""
        horizon = self._clock.steady() - 2 * _LONGEST_WAIT
        self._steps = {name: step for name, step in self._steps.items() if step[1] > horizon}
