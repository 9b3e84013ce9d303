"""The order in which a batch's items are begun, without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from workflows.interface.batch import BatchCounts, BatchPlan, DueAgain, Slice
from workflows.interface.codes import BatchStatus, ItemOrder, Settlement
from workflows.interface.slices import ItemRange
from workflows.work_list import WorkList

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=2)


def work_list(order: ItemOrder, *, items: int = 5, slice_size: int = 1, next_item: int = 1) -> WorkList:
    plan = BatchPlan(
        batch_id=uuid4(),
        from_user_id="alice",
        item_count=items,
        settlement=Settlement.BATCHED,
        order=order,
        run_no=1,
        status=BatchStatus.PROCESSING,
        counts=BatchCounts(item_count=items),
        request_sha256="ab" * 32,
        slice_size=slice_size,
        window=1,
        slices_per_run=10,
    )
    return WorkList(plan, next_item)


def due(first: int, last: int, at: datetime = NOW, count: int = 1) -> DueAgain:
    return DueAgain(range=ItemRange(first=first, last=last), count=count, due_at=at)


def said(work: Slice | None) -> tuple[Any, ...] | None:
    return None if work is None else (work.range.first, work.range.last, work.retries_only)


def test_a_sequential_batch_goes_item_by_item() -> None:
    """Items come alone, in their order, until none is left."""
    work = work_list(ItemOrder.SEQUENTIAL, items=3)
    assert [said(work.take(NOW)) for _ in range(4)] == [(1, 1, False), (2, 2, False), (3, 3, False), None]
    assert not work.more


def test_the_next_item_waits_for_the_tries_of_the_one_before() -> None:
    """Nothing is begun while an item waits for its next try; once due, that try comes first."""
    work = work_list(ItemOrder.SEQUENTIAL)
    work.take(NOW)
    work.ask_again([due(1, 1, LATER)])
    assert work.take(NOW) is None
    assert (work.next_due_at, work.more, work.waiting) == (LATER, True, 1)
    assert said(work.take(LATER)) == (1, 1, True)
    assert said(work.take(LATER)) == (2, 2, False)


def test_reopened_items_go_in_order_too() -> None:
    """Of many that are due, the lowest goes first, and the others wait while it waits for another try."""
    work = work_list(ItemOrder.SEQUENTIAL, items=9)
    work.skip_new()
    work.ask_again([due(7, 7), due(2, 2), due(5, 5)])
    assert said(work.take(NOW)) == (2, 2, True)
    work.ask_again([due(2, 2, LATER)])
    assert work.take(NOW) is None
    assert work.next_due_at == LATER
    assert [said(work.take(LATER)) for _ in range(4)] == [(2, 2, True), (5, 5, True), (7, 7, True), None]


def test_a_range_of_a_sequential_batch_is_taken_item_by_item() -> None:
    """Ranges that hold more than one item are never begun as a whole."""
    work = work_list(ItemOrder.SEQUENTIAL, items=9)
    work.skip_new()
    work.ask_again([due(3, 5, count=2)])
    assert [said(work.take(NOW)) for _ in range(4)] == [(3, 3, True), (4, 4, True), (5, 5, True), None]


def test_what_waits_is_carried_to_the_next_run_in_order() -> None:
    """A run that goes on from a cursor begins nothing before the try that was waiting."""
    work = work_list(ItemOrder.SEQUENTIAL)
    work.take(NOW)
    work.ask_again([due(1, 1, LATER)])
    following = work_list(ItemOrder.SEQUENTIAL, next_item=work.next_item)
    following.ask_again(work.left_waiting(NOW))
    assert following.take(NOW) is None
    assert [said(following.take(LATER)) for _ in range(2)] == [(1, 1, True), (2, 2, False)]


def test_a_parallel_batch_begins_new_items_while_others_wait() -> None:
    """Retries don't hold up the rest, and those due together run as one range."""
    work = work_list(ItemOrder.PARALLEL, items=40, slice_size=10)
    assert said(work.take(NOW)) == (1, 10, False)
    work.ask_again([due(3, 3, LATER), due(8, 8, LATER)])
    assert said(work.take(NOW)) == (11, 20, False)
    assert said(work.take(LATER)) == (3, 8, True)
