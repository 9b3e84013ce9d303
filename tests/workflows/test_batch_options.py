"""What options make of a batch workflow's course: gifts end with their creation, a sequential batch keeps its order."""

from __future__ import annotations

from typing import Any

from temporalio.client import WorkflowHandle

from tests.fake_batch import FakeBatch
from tests.workflows.conftest import Fakes, until_status
from workflows.interface.codes import ItemOrder, TransferKind


def in_order(item_count: int, *, slices_per_run: int = 200) -> FakeBatch:
    """A sequential batch, with the pace that its first step gives it."""
    batch = FakeBatch(item_count, slice_size=1, window=1, slices_per_run=slices_per_run)
    batch.order = ItemOrder.SEQUENTIAL
    return batch


def numbers(batch: FakeBatch, step: str) -> list[int]:
    """The items a step was called for, in the order of the calls."""
    return [int(call.rpartition("-")[2]) for call in batch.calls if call.startswith(f"{step} ")]


async def ended(handle: WorkflowHandle[Any, Any]) -> tuple[int, int, int]:
    result = await handle.result()
    return result["completed"], result["failed"], result["cancelled"]


async def test_each_item_ends_before_the_next_begins(fakes: Fakes) -> None:
    """Creation, submission and confirmation of an item come before those of the next one, whatever it waits for."""
    batch = in_order(4)
    batch.polls = 3
    assert await ended(await fakes.start(batch)) == (4, 0, 0)
    steps = list(dict.fromkeys(batch.calls))
    expected = [f"{step} {n}-{n}" for n in range(1, 5) for step in ("create", "submit", "confirm")]
    assert steps == ["open", *expected, "close"]


async def test_an_item_s_tries_come_before_the_next_item(fakes: Fakes) -> None:
    """Item 2 fails its three tries and item 4 needs a second one: nothing overtakes them, and nothing is held up."""
    batch = in_order(5)
    batch.failing = {2: 99, 4: 1}
    assert await ended(await fakes.start(batch)) == (4, 1, 0)
    assert numbers(batch, "submit") == [1, 2, 2, 2, 3, 4, 4, 5]


async def test_a_defect_of_one_item_does_not_stop_the_next(fakes: Fakes) -> None:
    """An item that no step can work on fails alone, in its place."""
    batch = in_order(3)
    batch.poison["submit"] = {2}
    assert await ended(await fakes.start(batch)) == (2, 1, 0)
    assert [call for call in batch.calls if call.startswith(("fail", "create"))] == [
        "create 1-1",
        "create 2-2",
        "fail 2-2",
        "create 3-3",
    ]


async def test_a_sequential_batch_goes_on_in_order_in_a_new_run(fakes: Fakes) -> None:
    """Continuing as new in the middle of an item's tries neither skips an item nor lets one overtake."""
    batch = in_order(7, slices_per_run=2)
    batch.failing = {2: 2, 5: 99}
    assert await ended(await fakes.start(batch)) == (6, 1, 0)
    assert numbers(batch, "submit") == [1, 2, 2, 2, 3, 4, 5, 5, 5, 6, 7]


async def test_a_paused_sequential_batch_begins_nothing(fakes: Fakes) -> None:
    """The item under way ends, the next begins after the pause, and a cancel ends the rest."""
    batch = in_order(5)
    hold = batch.hold("confirm")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    await handle.signal("pause-batch")
    await until_status(handle, "PAUSED")
    batch.let_go("confirm")
    while (await handle.query("progress"))["completed"] < 1:
        pass
    assert numbers(batch, "create") == [1]
    hold = batch.hold("submit")
    await handle.signal("resume-batch")
    await hold.reached.wait()
    assert numbers(batch, "create") == [1, 2]
    await handle.signal("cancel-batch")
    while not batch.cancelled:
        await until_status(handle, "PROCESSING")
    batch.let_go("submit")
    assert await ended(handle) == (1, 0, 4)
    assert max(numbers(batch, "create")) == 2


async def test_failed_items_are_retried_in_their_order(fakes: Fakes) -> None:
    """A new run of what failed keeps the order of the items, and none overtakes another's tries."""
    batch = in_order(6)
    batch.failing = {2: 99, 4: 99, 6: 99}
    await ended(await fakes.start(batch))
    calls = len(batch.calls)
    batch.failing = {2: 2}
    assert await ended(await fakes.start(batch, retryFailed=True)) == (6, 0, 0)
    assert [call for call in batch.calls[calls:] if call.startswith("submit")] == [
        "submit 2-2",
        "submit 2-2",
        "submit 4-4",
        "submit 6-6",
    ]


async def test_a_parallel_batch_waits_for_nobody(fakes: Fakes) -> None:
    """Without the option other slices are begun while one is held, so the order above is the option's doing."""
    batch = FakeBatch(3, slice_size=1, window=3)
    hold = batch.hold("confirm")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    while len(numbers(batch, "create")) < 3:
        await handle.query("progress")
    batch.let_go("confirm")
    assert await ended(handle) == (3, 0, 0)


async def test_gifts_go_no_further_than_their_creation(fakes: Fakes) -> None:
    """A batch of gifts asks nothing of the chain's queue."""
    batch = FakeBatch(25)
    batch.kind = TransferKind.GIFT
    assert await ended(await fakes.start(batch)) == (25, 0, 0)
    assert sorted(batch.calls) == ["close", "create 1-10", "create 11-20", "create 21-25", "open"]


async def test_a_gift_whose_ticket_is_locked_is_created_later(fakes: Fakes) -> None:
    """Creating tells itself which items wait for another try."""
    batch = FakeBatch(3)
    batch.kind, batch.locked = TransferKind.GIFT, {2: 2}
    assert await ended(await fakes.start(batch)) == (3, 0, 0)
    assert [call for call in batch.calls if call.startswith("create")] == ["create 1-3", "create 2-2", "create 2-2"]
