"""When the chain is looked at again."""

from __future__ import annotations

import pytest

from chain.block_clock import FEWEST, BlockClock

POLL_S = 0.3


class Rhythm:
    """A chain with a block every `interval_s`, looked at whenever the clock says so."""

    def __init__(self, interval_s: float, *, longest_s: float = 15.0) -> None:
        self.now = 0.0
        self._interval_s = interval_s
        self.clock = BlockClock(POLL_S, longest_s, lambda: self.now)

    def look(self) -> int:
        """The head, as a step would see it."""
        number = int(self.now / self._interval_s)
        self.clock.saw(number)
        return number

    def looks_until(self, end_s: float) -> list[float]:
        """Times of the looks until then."""
        times = []
        while self.now < end_s:
            self.look()
            times.append(self.now)
            self.now += self.clock.next_look_s()
        return times


def test_without_a_rhythm_it_polls() -> None:
    """While fewer blocks have been seen than make a rhythm the chain is polled."""
    rhythm = Rhythm(1.0)
    assert rhythm.clock.next_look_s() == POLL_S
    assert rhythm.looks_until(FEWEST - 2.1) == pytest.approx([POLL_S * n for n in range(10)])


@pytest.mark.parametrize("interval_s", [1.0, 2.0, 12.0])
def test_it_looks_about_once_a_block_and_soon_after_it(interval_s: float) -> None:
    """In a steady rhythm it takes two looks a block at most, and sees each within a seventh of an interval."""
    rhythm = Rhythm(interval_s)
    rhythm.looks_until(10 * interval_s)
    begin, end = rhythm.now, rhythm.now + 40 * interval_s
    times = rhythm.looks_until(end)
    blocks = range(int(begin / interval_s) + 1, int(end / interval_s))
    late = [min(t for t in times if t >= number * interval_s) - number * interval_s for number in blocks]
    assert len(times) <= 2 * 40 + 2
    assert max(late) <= interval_s / 7


def test_a_late_block_is_polled_for() -> None:
    """When the next block doesn't come as expected the chain is polled, and the rhythm found again."""
    rhythm = Rhythm(1.0)
    rhythm.looks_until(10.0)
    rhythm.now += 30.0
    assert rhythm.clock.next_look_s() == POLL_S
    rhythm.looks_until(rhythm.now + 20.0)
    rhythm.look()
    assert 0 < rhythm.clock.next_look_s() <= 1.0


def test_a_node_behind_changes_nothing() -> None:
    """A head below the highest seen, from a node that lags, leaves the rhythm as it was."""
    rhythm = Rhythm(1.0)
    rhythm.looks_until(10.0)
    before = rhythm.clock.next_look_s()
    rhythm.clock.saw(3)
    assert rhythm.clock.next_look_s() == before


def test_a_slow_chain_is_still_looked_at() -> None:
    """However far apart its blocks, a chain is looked at within the longest wait."""
    rhythm = Rhythm(600.0, longest_s=15.0)
    rhythm.looks_until(2_000.0)
    rhythm.look()
    assert rhythm.clock.next_look_s() <= 15.0
