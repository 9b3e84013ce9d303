"""Ranges of item numbers: slicing, halving, and bringing together what is due again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field, model_validator

from workflows.interface.message import Message


class ItemRange(Message):
    """Item numbers `first` to `last`, both included; the first item of a batch is 1."""

    first: Annotated[int, Field(ge=1)]
    last: int

    @model_validator(mode="after")
    def _ordered(self) -> ItemRange:
        if self.last < self.first:
            raise ValueError(f"range ends ({self.last}) before it begins ({self.first})")
        return self

    @property
    def size(self) -> int:
        """How many item numbers the range spans."""
        return self.last - self.first + 1

    def halves(self) -> tuple[ItemRange, ItemRange]:
        """The range cut in two; only for a size of at least 2."""
        middle = (self.first + self.last) // 2
        return ItemRange(first=self.first, last=middle), ItemRange(first=middle + 1, last=self.last)


def slices_from(first: int, item_count: int, slice_size: int) -> Iterator[ItemRange]:
    """The slices of a batch from item `first` on."""
    for start in range(first, item_count + 1, slice_size):
        yield ItemRange(first=start, last=min(start + slice_size - 1, item_count))


MOST_SPAN = 50_000
"""Items that a range of retries spans at most: its steps look through all of them for the few that are due."""


def merged(ranges: Iterable[tuple[ItemRange, int]], most_items: int) -> list[ItemRange]:
    """Neighbouring (range, items due in it) brought together into ranges of at most `most_items` due items.

    A range that holds or spans more by itself stays whole.
    """
    result: list[ItemRange] = []
    filled = 0
    for span, count in sorted(ranges, key=lambda pair: (pair[0].first, pair[0].last)):
        near = result and span.last - result[-1].first < MOST_SPAN
        if result and ((near and filled + count <= most_items) or span.first <= result[-1].last):
            result[-1] = ItemRange(first=result[-1].first, last=max(result[-1].last, span.last))
            filled += count
        else:
            result.append(span)
            filled = count
    return result
