"""What a batch has yet to do: the ranges never begun, and those that are due again. Pure; the clock is passed in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from workflows.interface.batch import BatchPlan, DueAgain, Slice
from workflows.interface.codes import ItemOrder
from workflows.interface.slices import ItemRange, merged


class WorkList:
    """Ranges in the order they are to be worked on. What is due again goes first: its items have waited longest.

    Of a sequential batch it's one item at a time, in their order: none is begun while one before it waits for a try.
    """

    def __init__(self, plan: BatchPlan, next_item: int = 1) -> None:
        self._batch_id = plan.batch_id
        self._settlement = plan.settlement
        self._item_count = plan.item_count
        self._slice_size = plan.slice_size
        self._one_by_one = plan.order is ItemOrder.SEQUENTIAL
        self.next_item = next_item
        self._due: list[DueAgain] = []
        self._ready: list[ItemRange] = []

    @property
    def more(self) -> bool:
        """Whether anything is left, now or later."""
        return self.next_item <= self._item_count or bool(self._due or self._ready)

    @property
    def waiting(self) -> int:
        """Ranges that wait for another try."""
        return len(self._due) + len(self._ready)

    @property
    def next_due_at(self) -> datetime | None:
        """When the first waiting range is due; None where none waits."""
        if self._one_by_one:
            return self._foremost.due_at if self._due else None
        return min((again.due_at for again in self._due), default=None)

    def ask_again(self, due: Iterable[DueAgain]) -> None:
        """Notes items that wait for another try."""
        self._due.extend(due)

    def skip_new(self) -> None:
        """Leaves only what was noted to be asked again."""
        self.next_item = self._item_count + 1

    def from_the_start(self) -> None:
        """All items are looked at again; those that ended are passed over by the steps."""
        self.next_item = 1

    def take(self, now: datetime) -> Slice | None:
        """The next slice; None where nothing can be begun now."""
        if self._one_by_one:
            return self._take_foremost(now) if self._due else self._take_new()
        due = [again for again in self._due if again.due_at <= now]
        self._due = [again for again in self._due if again.due_at > now]
        self._ready += merged(((again.range, again.count) for again in due), self._slice_size)
        if self._ready:
            return self._slice(self._ready.pop(0), retries_only=True)
        return self._take_new()

    def _take_new(self) -> Slice | None:
        if self.next_item > self._item_count:
            return None
        first, last = self.next_item, min(self.next_item + self._slice_size - 1, self._item_count)
        self.next_item = last + 1
        return self._slice(ItemRange(first=first, last=last))

    @property
    def _foremost(self) -> DueAgain:
        """Of the ranges that wait, the one with the lowest items: all others have to let it go first."""
        return min(self._due, key=lambda again: again.range.first)

    def _take_foremost(self, now: datetime) -> Slice | None:
        """Its first item, once that is due."""
        again = self._foremost
        if again.due_at > now:
            return None
        self._due.remove(again)
        first, last = again.range.first, again.range.last
        if first < last:
            rest = ItemRange(first=first + 1, last=last)
            self._due.append(again.model_copy(update={"range": rest, "count": max(1, again.count - 1)}))
        return self._slice(ItemRange(first=first, last=first), retries_only=True)

    def _slice(self, span: ItemRange, *, retries_only: bool = False) -> Slice:
        return Slice(batch_id=self._batch_id, range=span, retries_only=retries_only, settlement=self._settlement)

    def left_waiting(self, now: datetime) -> tuple[DueAgain, ...]:
        """Everything that waits for another try, to be carried over to the next run."""
        ready = (DueAgain(range=span, count=1, due_at=now) for span in self._ready)
        return (*ready, *self._due)
