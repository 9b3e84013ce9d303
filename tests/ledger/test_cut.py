"""The cut of pause and cancel against steps that are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from ledger.pool import transaction
from ledger.queries import load
from tests.books import Books, failed, planned, skipped, slice_of
from workflows.interface.chain import ChainTransfer, TransferResult
from workflows.interface.codes import FailureCode

BATCH = UUID(int=1)
WHOLE = slice_of(BATCH, 1, 100)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def until_waiting(books: Books, task: asyncio.Future[Any]) -> None:
    """Returns once the task waits for a lock."""
    while not await books.pool.fetchval(WAITING):
        assert not task.done()


@pytest.mark.parametrize("say", [failed(FailureCode.REVERTED), skipped])
async def test_a_cancel_that_meets_a_failure_being_judged_cancels_its_item(
    books: Books, say: Callable[[ChainTransfer], TransferResult]
) -> None:
    """Settling judged before the cut and would leave the item to be tried again: it judges anew."""
    await books.plain_batch(2, batch_id=BATCH)
    await books.creation.create(WHOLE)
    bound = await books.bind(WHOLE)
    async with transaction(books.pool) as holder:
        # Settling has judged and written the item by the time it wants this row.
        await holder.execute("SELECT FROM chain_transactions FOR UPDATE")
        settling = asyncio.ensure_future(books.settle(bound, say))
        await until_waiting(books, settling)
        await books.runs.set_cancelled(BATCH, 1, "sold out")
    await settling
    assert [status for status, _ in (await books.items(BATCH)).values()] == ["CANCELLED", "CANCELLED"]
    assert (await books.counts(BATCH)).cancelled == 2


@pytest.mark.parametrize("name", ["pause", "cancel"])
async def test_the_cut_waits_for_steps_under_way(books: Books, name: str) -> None:
    """When pause or cancel has returned, no creating or binding of before is still to be committed."""
    await books.plain_batch(2, batch_id=BATCH)
    async with transaction(books.pool) as step:
        await step.execute(load("transfers")["hold_control"], BATCH)
        cut = asyncio.ensure_future(
            books.runs.set_paused(BATCH, 1, paused=True)
            if name == "pause"
            else books.runs.set_cancelled(BATCH, 1, None)
        )
        await until_waiting(books, cut)
        assert not await books.runs.is_stopped(BATCH)
    await cut
    assert await books.runs.is_stopped(BATCH)


async def test_steps_of_one_batch_dont_wait_for_each_other_at_the_cut(books: Books) -> None:
    """They share the row: only pause and cancel have it alone."""
    await books.plain_batch(4, batch_id=BATCH)
    async with transaction(books.pool) as step:
        await step.execute(load("transfers")["hold_control"], BATCH)
        await books.creation.create(WHOLE)
        assert len(await books.bind(WHOLE)) == 2


async def test_a_plan_that_was_overtaken_binds_nothing(books: Books) -> None:
    """Another copy has bound, and the chain has refused, since the plan was made: it must be made anew."""
    await books.plain_batch(2, batch_id=BATCH)
    await books.creation.create(WHOLE)
    settlement, ready = await books.binding.ready(WHOLE)
    await books.settle(await books.bind(WHOLE), failed(FailureCode.REVERTED))
    before = await books.snapshot()
    [room] = await books.binding.rooms(1, single=False)
    result = await books.binding.bind(WHOLE, room.lane, planned(settlement, ready, 2))
    assert result.overtaken
    assert await books.snapshot() == before
