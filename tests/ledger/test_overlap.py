"""Batches over the same tickets, worked on by many steps at once: no deadlock, and the results are right."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from ledger.proof import LoggedMove
from tests.books import Books, failed, final, moved, skipped, slice_of
from workflows.interface.batch import Slice
from workflows.interface.chain import ChainTransfer, TransferResult
from workflows.interface.codes import FailureCode, Outcome

TICKETS = 240
BATCHES = (UUID(int=1), UUID(int=2), UUID(int=3))
SLICE = 60
# Rows that others hold are left for the next round: this must not add locks of its own.
DUE_NOW = """UPDATE batch_transfer_items SET next_try_at = now() WHERE (batch_id, item_no) IN
  (SELECT batch_id, item_no FROM batch_transfer_items WHERE next_try_at > now() FOR UPDATE SKIP LOCKED)"""


class FakeChain:
    """Decides each binding once, at random, and keeps the log of moves; asked again, it says the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # chance for a test
        self._said: dict[tuple[UUID, int], TransferResult] = {}
        self.moves: list[LoggedMove] = []

    def say(self, transfer: ChainTransfer) -> TransferResult:
        """A binding's outcome."""
        key = (transfer.transfer_id, transfer.binding_no)
        if key not in self._said:
            self._said[key] = self._decide(transfer)
        return self._said[key]

    def _decide(self, transfer: ChainTransfer) -> TransferResult:
        fates = (moved, moved, failed(FailureCode.REVERTED), failed(FailureCode.RECIPIENT_REFUSED), skipped)
        result = self._random.choice(fates)(transfer)
        if result.outcome is Outcome.MOVED:
            self.moves.append(LoggedMove(transfer.ticket_id, transfer.holder, transfer.to))
        return result


async def three_batches(books: Books) -> None:
    """All over the same tickets, each in an order of its own."""
    await books.people("alice", "bob")
    await books.tickets(range(1, TICKETS + 1))
    for signer in range(2):
        await books.lane(signer=bytes([signer + 1]) * 20)
    for number, batch_id in enumerate(BATCHES):
        order = list(range(1, TICKETS + 1))
        random.Random(number).shuffle(order)  # noqa: S311  # chance for a test
        await books.batch([(ticket, "bob") for ticket in order], batch_id=batch_id)


def slices(batch_id: UUID) -> list[Slice]:
    return [slice_of(batch_id, first, first + SLICE - 1) for first in range(1, TICKETS + 1, SLICE)]


async def settle_open(books: Books, chain: FakeChain, work: Slice) -> None:
    found = await books.attempts.bound(await books.attempts.open_of_items(work), with_raw=False)
    await books.settling.settle([final(one, chain.say) for one in found])


async def work_off(books: Books, chain: FakeChain, work: Slice) -> None:
    """What the workflow does with a slice, in a loop, until nothing of it is open."""
    while True:
        await books.creation.create(work)
        await books.bind(work, per_transaction=7)
        await settle_open(books, chain, work)
        await books.pool.execute(DUE_NOW)
        row = await books.pool.fetchval(
            "SELECT count(*) FROM batch_transfer_items WHERE batch_id = $1 AND item_no BETWEEN $2 AND $3"
            " AND status IN ('QUEUED', 'PROCESSING')",
            work.batch_id,
            work.range.first,
            work.range.last,
        )
        if not row:
            return


async def keep_lanes(books: Books, chain: FakeChain, done: asyncio.Event) -> None:
    """A keeper that settles whatever is open, whoever's it is."""
    while not done.is_set():
        rows = await books.pool.fetch("SELECT transaction_id FROM chain_transactions WHERE settled_at IS NULL")
        found = await books.attempts.bound([row[0] for row in rows], with_raw=False)
        await books.settling.settle([final(one, chain.say) for one in found])


async def cancel(books: Books, batch_id: UUID) -> None:
    await books.runs.set_cancelled(batch_id, 1, "storm")
    for _ in range(2):
        after: int | None = 0
        while after is not None:
            after = (await books.runs.cancel_page(batch_id, 1, after, 13)).next_after


async def fail_some(books: Books, batch_id: UUID) -> None:
    for item_no in range(1, TICKETS + 1, 11):
        await books.runs.fail_item(batch_id, 1, item_no, "INTERNAL", "a defect")


async def pause_and_resume(books: Books, batch_id: UUID, done: asyncio.Event) -> None:
    while not done.is_set():
        await books.runs.set_paused(batch_id, 1, paused=True)
        await books.runs.set_paused(batch_id, 1, paused=False)


async def reopen(books: Books, batch_id: UUID) -> None:
    batch = await books.runs.find(batch_id)
    after: int | None = 0
    while after is not None:
        after = (await books.retries.reopen_page(batch_id, batch.run_no, after, 17)).next_after


async def all_at_once(*steps: Awaitable[None]) -> None:
    """Runs to the end of all; the first error, a deadlock among them (SQLSTATE 40P01), fails the test."""
    async with asyncio.TaskGroup() as group:
        for step in steps:
            group.create_task(_awaited(step))


async def _awaited(step: Awaitable[None]) -> None:
    await step


async def check(books: Books, chain: FakeChain) -> None:
    """Counters match items, no ticket moved twice, and all agree with the chain."""
    for batch_id in BATCHES:
        counts = await books.counts(batch_id)
        assert counts.queued + counts.processing == 0
    assert await books.differences(chain.moves) == []
    moves = [move.ticket_id for move in chain.moves]
    assert len(moves) == len(set(moves))
    settled = "SELECT count(*) FROM chain_transactions WHERE settled_at IS NULL"
    assert await books.pool.fetchval(settled) == 0


@pytest.fixture
async def crowded(books: Books) -> Books:
    """Three overlapping batches, two lanes, and connections that are open already."""
    crowd = Books(books.pool, signers=(b"\1" * 20, b"\2" * 20))
    await three_batches(crowd)
    async with AsyncExitStack() as stack:
        for _ in range(12):
            await stack.enter_async_context(crowd.pool.acquire())
    return crowd


Storm = Callable[[Books, FakeChain, asyncio.Event], list[Awaitable[None]]]


def whole_lives(books: Books, chain: FakeChain, done: asyncio.Event) -> list[Awaitable[None]]:
    """Each slice of each batch twice at once, while batches are cancelled and paused and items fail."""
    works = [work_off(books, chain, work) for batch_id in BATCHES for work in slices(batch_id) * 2]
    disturbers = [cancel(books, BATCHES[1]), fail_some(books, BATCHES[2]), fail_some(books, BATCHES[2])]
    return [*works, *disturbers]


@pytest.mark.parametrize("seed", [1, 2])
async def test_overlapping_batches_neither_deadlock_nor_differ_from_the_chain(crowded: Books, seed: int) -> None:
    """Creating, binding, settling, cancelling, pausing and failing side by side end with every item decided once."""
    chain, done = FakeChain(seed), asyncio.Event()

    async def storm() -> None:
        await all_at_once(*whole_lives(crowded, chain, done))
        done.set()

    await all_at_once(storm(), keep_lanes(crowded, chain, done), pause_and_resume(crowded, BATCHES[0], done))
    await check(crowded, chain)
    tickets = await crowded.pool.fetch("SELECT owner_user_id FROM tickets")
    assert sum(row[0] == "bob" for row in tickets) == len(chain.moves)


async def test_reopening_beside_other_batches_moves_no_ticket_twice(crowded: Books) -> None:
    """Failed items of finished batches, reopened by copies while another batch runs over the same tickets."""
    chain, done = FakeChain(3), asyncio.Event()
    first, second, third = BATCHES
    await all_at_once(*(work_off(crowded, chain, work) for one in (first, second) for work in slices(one)))
    for batch_id in (first, second):
        await crowded.runs.close(batch_id, 1)
        await crowded.runs.open(batch_id, "run-2", retry_failed=True)

    async def reopen_and_work(batch_id: UUID) -> None:
        await reopen(crowded, batch_id)
        await all_at_once(*(work_off(crowded, chain, work) for work in slices(batch_id)))

    async def storm() -> None:
        others = (work_off(crowded, chain, work) for work in slices(third) * 2)
        await all_at_once(*others, *(reopen_and_work(one) for one in (first, second) * 2))
        done.set()

    await all_at_once(storm(), keep_lanes(crowded, chain, done))
    await check(crowded, chain)
