"""Batches that nobody works on: which are found, how one is given up, and counters that drifted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from ledger.archive import NOTHING
from ledger.pool import transaction
from ledger.stale_batches import OpenBatch, StaleBatches
from tests.books import Books
from workflows.interface.codes import EventType

HOUR, WEEK = timedelta(hours=1), timedelta(days=7)
BATCH = UUID(int=7)


async def staged(books: Books, size: int, age: str, batch_id: UUID = BATCH) -> None:
    """A batch that was staged so long ago and never begun."""
    await books.people("alice", "bob")
    await books.batch([(n, "bob") for n in range(1, size + 1)], batch_id=batch_id, opened_by=None)
    await books.pool.execute(
        "UPDATE batch_transfers SET created_at = now() - $2::text::interval WHERE batch_id = $1", batch_id, age
    )


async def found(books: Books, page_size: int = 100) -> list[OpenBatch]:
    """All that the clean-up looks at, over as many pages as it takes."""
    after, batches = NOTHING, list[OpenBatch]()
    while page := await StaleBatches(books.pool).open_page(after, HOUR, WEEK, page_size):
        after, batches = page[-1].batch_id, batches + page
    return batches


async def finish(books: Books, page_size: int = 1_000) -> frozenset[UUID]:
    """Cancels what is left of the failed batches; whom to wake."""
    stale, woken = StaleBatches(books.pool), frozenset[UUID]()
    for batch_id in await stale.failed_with_queued(10):
        after: int | None = 0
        while after is not None:
            after, more = await stale.cancel_queued_page(batch_id, after, page_size)
            woken |= more
    return woken


@pytest.mark.parametrize(
    ("age", "count", "too_old"), [("59 minutes", 0, False), ("61 minutes", 1, False), ("8 days", 1, True)]
)
async def test_a_staged_batch_is_found_after_its_time(books: Books, age: str, count: int, too_old: bool) -> None:
    """One that was staged just now may be about to be started; an old one is found, a very old one as such."""
    await staged(books, 2, age)
    batches = await found(books)
    assert [(one.batch_id, one.begun, one.too_old) for one in batches] == [(BATCH, False, too_old)] * count


async def test_begun_batches_are_found_until_they_end(books: Books) -> None:
    """A batch in work or paused is found at once, over pages; one that has ended isn't."""
    await books.plain_batch(1, batch_id=UUID(int=1))
    for number in (2, 3):
        await books.batch([(number, "bob")], batch_id=UUID(int=number))
    await books.runs.set_paused(UUID(int=2), 1, paused=True)
    await books.run(UUID(int=1))
    await books.runs.close(UUID(int=1), 1)
    batches = await found(books, page_size=1)
    assert [(one.batch_id.int, one.status, one.begun) for one in batches] == [
        (2, "PAUSED", True),
        (3, "PROCESSING", True),
    ]


async def test_giving_up_ends_the_batch_with_its_event(books: Books) -> None:
    """The batch is FAILED with its reason, all its items are CANCELLED in pages, and `batch.failed` comes once."""
    await staged(books, 25, "8 days")
    stale = StaleBatches(books.pool)
    assert await stale.fail_staged(BATCH, "too late") is not None
    assert await books.events() == {}
    await finish(books, page_size=4)
    row = await books.pool.fetchrow("SELECT status, reason, ended_at IS NOT NULL FROM batch_transfers")
    assert tuple(row or ()) == ("FAILED", "too late", True)
    assert {status for status, _ in (await books.items(BATCH)).values()} == {"CANCELLED"}
    assert (await books.counts(BATCH)).cancelled == 25
    assert await books.events() == {EventType.BATCH_FAILED: 1}
    assert await stale.fail_staged(BATCH, "again") is None
    await finish(books)
    assert await books.events() == {EventType.BATCH_FAILED: 1}


async def test_giving_up_is_gone_on_with_after_a_crash(books: Books) -> None:
    """A run that dies between two pages leaves the rest to the next one."""
    await staged(books, 10, "8 days")
    stale = StaleBatches(books.pool)
    await stale.fail_staged(BATCH, "too late")
    await stale.cancel_queued_page(BATCH, 0, 4)
    assert await stale.failed_with_queued(10) == [BATCH]
    await finish(books, page_size=4)
    assert (await books.counts(BATCH)).cancelled == 10
    assert await books.events() == {EventType.BATCH_FAILED: 1}


async def test_a_batch_without_items_to_cancel_has_its_event_too(books: Books) -> None:
    """Where every item had failed at once, nothing is left to cancel, and the event is written with the end."""
    await staged(books, 1, "8 days")
    await books.pool.execute(
        "UPDATE batch_transfer_items SET status = 'FAILED', failed_run = 1, failure_code = 'DUPLICATE_IN_BATCH',"
        " ended_at = now()"
    )
    await books.pool.execute("UPDATE batch_counters SET queued = 0, failed = 1")
    await StaleBatches(books.pool).fail_staged(BATCH, "too late")
    assert await books.events() == {EventType.BATCH_FAILED: 1}


async def test_of_giving_up_and_beginning_at_once_one_wins(books: Books) -> None:
    """A batch that is begun is never given up, and one that was given up never begins."""
    for number in range(1, 21):
        await staged(books, 1, "8 days", UUID(int=number))
    stale = StaleBatches(books.pool)
    for number in range(1, 21):
        batch_id = UUID(int=number)
        given_up, opened = await asyncio.gather(
            stale.fail_staged(batch_id, "too late"), books.runs.open(batch_id, "run-1", retry_failed=False)
        )
        assert opened.status == ("PROCESSING" if given_up is None else "FAILED")


async def test_counters_are_set_right_by_the_items(books: Books) -> None:
    """Counters that differ from the items are repaired, and the difference is told; the same again finds nothing."""
    await books.plain_batch(4, batch_id=BATCH)
    await books.run(BATCH)
    await books.runs.close(BATCH, 1)
    right = await books.counts(BATCH)
    stale = StaleBatches(books.pool)
    assert await stale.repair_counters(BATCH) is None
    await books.pool.execute("UPDATE batch_counters SET completed = 1, failed = 3")
    difference = await stale.repair_counters(BATCH)
    assert difference is not None
    assert (difference.counters.failed, difference.items) == (3, right)
    assert await books.counts(BATCH) == right
    assert await stale.repair_counters(BATCH) is None


async def test_counters_wait_for_whoever_changes_items(books: Books) -> None:
    """The items are counted while the counters are held: a step that commits at the same time isn't half counted."""
    await books.plain_batch(2, batch_id=BATCH)
    async with transaction(books.pool) as step:
        await step.execute("UPDATE batch_transfer_items SET status = 'PROCESSING' WHERE item_no = 1")
        await step.execute("UPDATE batch_counters SET queued = 1, processing = 1")
        comparing = asyncio.ensure_future(StaleBatches(books.pool).repair_counters(BATCH))
        while not await step.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not comparing.done()
    assert await comparing is None
    assert (await books.counts(BATCH)).processing == 1


async def test_batches_in_work_arent_compared(books: Books) -> None:
    """Compared are staged, paused and lately ended batches, over pages."""
    await books.plain_batch(1, batch_id=UUID(int=1))
    for number in (2, 3, 4, 5):
        await books.batch([(number, "bob")], batch_id=UUID(int=number), opened_by=None if number == 4 else "run")
    await books.runs.set_paused(UUID(int=2), 1, paused=True)
    for number in (1, 5):
        await books.runs.set_cancelled(UUID(int=number), 1, None)
        await books.runs.cancel_page(UUID(int=number), 1, 0, 10)
        await books.runs.close(UUID(int=number), 1)
    await books.pool.execute(
        "UPDATE batch_transfers SET ended_at = now() - interval '2 days' WHERE batch_id = $1", UUID(int=5)
    )
    stale, after, compared = StaleBatches(books.pool), NOTHING, list[int]()
    while page := await stale.page_to_compare(after, timedelta(days=1), 1):
        after, compared = page[-1], [*compared, page[-1].int]
    assert compared == [1, 2, 4]
