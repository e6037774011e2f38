"""Peers: which other processes have stalled, by what this one has seen of their beats and for how long.

It must not know files or the wall clock: beats are values that change, and time is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from durable_tasks.ports import Peer


@dataclass(slots=True)
class _Sight:
    beat: tuple[int, float] | None
    since: float


class PeerSight:
    """A process has stalled when its beat has stood still for its whole lease, as seen by an observer that looked
    in time all the while. One that was late itself was held up by what may hold up everybody (the application kept
    the write lock, the machine was suspended), and begins to watch anew."""

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._looked_at = float("-inf")
        self._seen: dict[str, _Sight] = {}

    def stalled(self, peers: Sequence[Peer], now: float) -> set[str]:
        """The instances among `peers` that have stalled at `now` (steady seconds)."""
        late = now - self._looked_at > self._lease / 2
        self._looked_at = now
        before, self._seen = self._seen, {}
        found = set()
        for peer in peers:
            sight = before.get(peer.instance)
            if sight is None or sight.beat != peer.beat or late:
                sight = _Sight(peer.beat, now)
            self._seen[peer.instance] = sight
            if now - sight.since >= (self._lease if peer.lease is None else peer.lease):
                found.add(peer.instance)
        return found
