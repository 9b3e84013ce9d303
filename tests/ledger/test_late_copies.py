"""A late copy of a run's step, from a worker that hung meanwhile, against a later run of the same batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import UUID

import pytest

from ledger.pool import transaction
from ledger.queries import load
from tests.books import Books, failed
from workflows.interface.codes import BatchStatus, FailureCode

BATCH = UUID(int=1)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

Prepare = Callable[[Books], Awaitable[object]]
Step = Callable[[Books, int], Awaitable[object]]


class Late(NamedTuple):
    """A step of `run_no - 1` that comes while `run_no` goes on."""

    prepare: Prepare
    run_no: int
    step: Step


async def failed_once(books: Books) -> None:
    await books.plain_batch(2, batch_id=BATCH)
    await books.run(BATCH, failed(FailureCode.RECIPIENT_REFUSED))
    await books.runs.close(BATCH, 1)


async def working(books: Books) -> None:
    """The second run has taken up what failed in the first."""
    await failed_once(books)
    await books.runs.open(BATCH, "run-2", retry_failed=True)
    assert (await books.retries.reopen_page(BATCH, 2, 0, 100)).reopened == 2


async def paused(books: Books) -> None:
    await working(books)
    await books.runs.set_paused(BATCH, 2, paused=True)


async def finished(books: Books) -> None:
    """The second run has only to be closed."""
    await working(books)
    await books.run(BATCH, retries_only=True)


async def failed_twice(books: Books) -> None:
    """The second run could reopen nothing; the third has just begun."""
    await failed_once(books)
    await books.runs.open(BATCH, "run-2", retry_failed=True)
    await books.runs.close(BATCH, 2)
    await books.runs.open(BATCH, "run-3", retry_failed=True)


STEPS = {
    "pausing": Late(working, 2, lambda books, run_no: books.runs.set_paused(BATCH, run_no, paused=True)),
    "resuming": Late(paused, 2, lambda books, run_no: books.runs.set_paused(BATCH, run_no, paused=False)),
    "the cut": Late(working, 2, lambda books, run_no: books.runs.set_cancelled(BATCH, run_no, "sold out")),
    "cancelling": Late(working, 2, lambda books, run_no: books.runs.cancel_page(BATCH, run_no, 0, 100)),
    "failing an item": Late(working, 2, lambda books, run_no: books.runs.fail_item(BATCH, run_no, 1, "INTERNAL", "x")),
    "closing": Late(finished, 2, lambda books, run_no: books.runs.close(BATCH, run_no)),
    "reopening": Late(failed_twice, 3, lambda books, run_no: books.retries.reopen_page(BATCH, run_no, 0, 100)),
}


@pytest.mark.parametrize("name", STEPS)
async def test_a_late_copy_of_a_step_leaves_a_later_run_untouched(books: Books, name: str) -> None:
    """The same step changes the run it belongs to, and no other."""
    late = STEPS[name]
    await late.prepare(books)
    before = await books.snapshot()
    await late.step(books, late.run_no - 1)
    assert await books.snapshot() == before
    await late.step(books, late.run_no)
    assert await books.snapshot() != before


@pytest.mark.parametrize("name", STEPS)
async def test_a_step_that_waits_while_a_later_run_begins_leaves_that_untouched(books: Books, name: str) -> None:
    """Whose run it is, is decided once the step holds the batch, not when it asked for it."""
    late = STEPS[name]
    await late.prepare(books)
    before, batch = await books.snapshot(), await books.runs.find(BATCH)
    async with transaction(books.pool) as beginning:
        await beginning.execute("UPDATE batch_transfers SET closed_run = run_no WHERE batch_id = $1", BATCH)
        waiting = asyncio.ensure_future(late.step(books, late.run_no))
        while not await books.pool.fetchval(WAITING):
            assert not waiting.done()
        await beginning.execute(load("runs")["open_run"], BATCH, "the next")
    await waiting
    begun = batch._replace(run_no=late.run_no + 1, closed_run=late.run_no, opened_by="the next")
    assert await books.runs.find(BATCH) == begun
    after = await books.snapshot()
    assert [name for name in after if after[name] != before[name]] == ["batches"]


async def test_a_late_close_answers_how_the_batch_stands(books: Books) -> None:
    """It tells nobody of an end, and returns what is stored."""
    await working(books)
    closed = await books.runs.close(BATCH, 1)
    assert (closed.result.status, closed.subscription_ids) == (BatchStatus.PROCESSING, frozenset())


async def test_steps_of_a_run_that_has_ended_change_nothing(books: Books) -> None:
    """A late pause or cancel doesn't wait in an ended batch for the run after it."""
    await failed_once(books)
    before = await books.snapshot()
    await books.runs.set_paused(BATCH, 1, paused=True)
    await books.runs.set_cancelled(BATCH, 1, "too late")
    assert await books.snapshot() == before
