"""Ranges of item numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workflows.interface.slices import ItemRange, merged, slices_from


def span(first: int, last: int) -> ItemRange:
    return ItemRange(first=first, last=last)


@given(first=st.integers(1, 50), item_count=st.integers(1, 300), slice_size=st.integers(1, 40))
def test_slices_cover_every_item_from_the_first_on_exactly_once(first: int, item_count: int, slice_size: int) -> None:
    """Slices name each item from the first on once, in order, none bigger than the size."""
    slices = list(slices_from(first, item_count, slice_size))
    numbers = [number for one in slices for number in range(one.first, one.last + 1)]
    assert numbers == list(range(first, item_count + 1))
    assert all(1 <= one.size <= slice_size for one in slices)


@given(first=st.integers(1, 1000), size=st.integers(2, 1000))
def test_halves_share_a_range_without_gap(first: int, size: int) -> None:
    """The halves of a range hold its items, and differ by one at most."""
    left, right = span(first, first + size - 1).halves()
    assert (left.first, left.last + 1, right.last) == (first, right.first, first + size - 1)
    assert abs(left.size - right.size) <= 1


@pytest.mark.parametrize(("first", "last"), [(0, 5), (-1, 1), (7, 6)])
def test_a_range_that_makes_no_sense_is_refused(first: int, last: int) -> None:
    """A range begins at item 1 or later and ends no earlier than it begins."""
    with pytest.raises(ValidationError):
        span(first, last)


def test_neighbours_with_few_due_items_become_one_range() -> None:
    """Ranges are brought together up to the number of due items, in order, across the gaps between them."""
    ranges = [(span(900, 1000), 4), (span(1, 100), 3), (span(300, 400), 3)]
    assert merged(ranges, 6) == [span(1, 400), span(900, 1000)]
    assert merged(ranges, 10) == [span(1, 1000)]


def test_a_range_that_holds_more_by_itself_stays_whole() -> None:
    """A range with more due items than wanted is kept, and takes no other in."""
    assert merged([(span(1, 100), 80), (span(101, 200), 5)], 50) == [span(1, 100), span(101, 200)]


def test_ranges_that_overlap_become_one() -> None:
    """No item is named by two ranges, or two slices would run it side by side."""
    assert merged([(span(1, 100), 40), (span(50, 70), 40), (span(90, 120), 40)], 50) == [span(1, 120)]


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 60), st.integers(1, 60)), max_size=30))
def test_merging_loses_no_item_and_keeps_ranges_apart(parts: list[tuple[int, int, int]]) -> None:
    """Whatever is due is in exactly one of the merged ranges, which are sorted."""
    ranges = [(span(first, first + more), count) for first, more, count in parts]
    result = merged(ranges, 50)
    for one, _ in ranges:
        assert sum(m.first <= one.first and one.last <= m.last for m in result) == 1
    assert all(a.last < b.first for a, b in pairwise(result))
