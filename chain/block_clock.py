"""When to ask the chain again: just about its next block, judged by when the last ones were seen."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

FEWEST, MOST = 5, 9
"""Blocks that the rhythm is judged by: with fewer, being late for one would look like a slower chain."""
LOOKS = (-0.05, 0.05, 0.15, 0.35)
"""When the next block is looked for, in intervals after it's due. First early, or what was seen late once would stay
late for ever."""
SOONEST_S = 0.05


class BlockClock:
    """Knows the rhythm of one chain's blocks from the heads that the steps of this process see.

    `poll_s` seconds lie between two looks while the rhythm is unknown or a block is late, and never more than
    `longest_s` however slow the chain: a node may be switched for one that is further.
    """

    def __init__(self, poll_s: float, longest_s: float = 15.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._poll_s = poll_s
        self._longest_s = longest_s
        self._clock = clock
        self._seen: deque[tuple[int, float]] = deque(maxlen=MOST)

    def saw(self, number: int) -> None:
        """Notes the number of a head that a node has just named. One behind the highest is no news."""
        if not self._seen or number > self._seen[-1][0]:
            self._seen.append((number, self._clock()))

    def next_look_s(self) -> float:
        """Seconds until another look is worth it."""
        if len(self._seen) < FEWEST:
            return self._poll_s
        (first, first_at), (last, last_at) = self._seen[0], self._seen[-1]
        interval_s = (last_at - first_at) / (last - first)
        # A block was there before it was seen: of what the sightings foretell, the earliest is nearest to the truth.
        due_at = min(at + (last + 1 - number) * interval_s for number, at in self._seen)
        now = self._clock()
        for share in LOOKS:
            look_at = due_at + share * interval_s
            if look_at > now:
                return min(max(look_at - now, SOONEST_S), self._longest_s)
        return self._poll_s
