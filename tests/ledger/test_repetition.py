"""Every change of the ledger, run twice, broken off at every statement, or by copies at once, gives the same result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import pytest

from tests.books import Books, failed, final, moved, skipped, slice_of, wallet_of
from tests.breaking_pool import BreakingPool
from tests.servers import Postgres, open_pool
from workflows.interface.chain import BoundTransaction, ChainTransfer, TransferResult
from workflows.interface.codes import FailureCode, TransferKind
from workflows.interface.options import BatchOptions

BATCH, OTHER, GIFTS = UUID(int=1), UUID(int=2), UUID(int=3)
WHOLE, ALL_GIFTS = slice_of(BATCH, 1, 1000), slice_of(GIFTS, 1, 1000)
COPIES = 4
REASON = "a defect of this service"

Step = Callable[[Books], Awaitable[object]]


class Scenario(NamedTuple):
    """What stands before, and the change that is repeated."""

    prepare: Step
    change: Step


async def people_and_tickets(books: Books) -> None:
    await books.people("alice", "bob", "carol")
    await books.tickets(range(1, 13))
    await books.tickets([50], owner="carol")
    await books.lane()


async def stage(books: Books) -> None:
    lines = [(1, "bob"), (2, "bob"), (1, "carol"), (3, "0x12"), (2, "bob")]
    await books.batch(lines, batch_id=BATCH, opened_by=None)


async def staged(books: Books) -> None:
    await people_and_tickets(books)
    await stage(books)


async def one_of_each_kind(books: Books) -> None:
    """A batch with good items, a locked ticket, and items that can't be accepted."""
    await people_and_tickets(books)
    await books.batch([(9, "carol")], batch_id=OTHER)
    await books.creation.create(slice_of(OTHER, 1, 1))
    to = "0x" + wallet_of("bob").hex()
    lines = [(1, "bob"), (2, to), (9, "bob"), (50, "bob"), (77, "bob"), (3, "nobody"), (4, "0x12"), (5, "alice")]
    await books.batch(lines, batch_id=BATCH)


async def one_gift_of_each_kind(books: Books) -> None:
    """The same as gifts, with one for an address of nobody known, and an item whose last try meets a locked ticket."""
    await one_of_each_kind(books)
    to = "0x" + wallet_of("bob").hex()
    lines = [(6, "bob"), (7, to), (9, "bob"), (50, "bob"), (8, "nobody"), (10, "0x" + "5a" * 20), (11, "alice")]
    await books.batch([*lines, (9, "carol")], batch_id=GIFTS, options=BatchOptions(kind=TransferKind.GIFT))
    await books.pool.execute("UPDATE batch_transfer_items SET tries = 2 WHERE batch_id = $1 AND item_no = 3", GIFTS)


async def created(books: Books) -> None:
    await people_and_tickets(books)
    await books.batch([(n, "bob") for n in range(1, 13)], batch_id=BATCH)
    await books.creation.create(WHOLE)


async def bound(books: Books) -> None:
    await created(books)
    await books.bind(WHOLE, per_transaction=4)


async def half_bound(books: Books) -> None:
    """Items 1 to 4 bound, 5 to 8 created, 9 to 12 queued."""
    await people_and_tickets(books)
    await books.batch([(n, "bob") for n in range(1, 13)], batch_id=BATCH)
    await books.creation.create(slice_of(BATCH, 1, 8))
    await books.bind(slice_of(BATCH, 1, 4))


async def cancelled_while_bound(books: Books) -> None:
    await bound(books)
    await books.runs.set_cancelled(BATCH, 1, "no more")


async def all_transactions(books: Books) -> list[BoundTransaction]:
    rows = await books.pool.fetch("SELECT transaction_id FROM chain_transactions ORDER BY nonce")
    return await books.attempts.bound([row[0] for row in rows], with_raw=False)


def one_of_each_fate(transfer: ChainTransfer) -> TransferResult:
    fates = (moved, failed(FailureCode.REVERTED), failed(FailureCode.RECIPIENT_REFUSED), skipped)
    return fates[transfer.ticket_id % 4](transfer)


async def settle(books: Books) -> None:
    await books.settle(await all_transactions(books), one_of_each_fate)


async def settle_in_parts(books: Books) -> None:
    for transaction in await all_transactions(books):
        await books.settling.settle([final(transaction, one_of_each_fate)])


async def cancel(books: Books) -> None:
    await books.runs.set_cancelled(BATCH, 1, "no more")
    after: int | None = 0
    while after is not None:
        after = (await books.runs.cancel_page(BATCH, 1, after, 3)).next_after


async def closed_with_failures(books: Books) -> None:
    """A closed run with failures of every kind; three of them can be mended now."""
    await one_of_each_kind(books)
    await books.creation.create(WHOLE)
    await books.settle(await books.bind(WHOLE), failed(FailureCode.RECIPIENT_REFUSED))
    await books.runs.fail_item(BATCH, 1, 3, "TICKET_LOCKED", "another transfer was under way")
    await books.runs.close(BATCH, 1)
    await books.run(OTHER, failed(FailureCode.RECIPIENT_REFUSED))
    await books.people("nobody")


async def retried(books: Books) -> None:
    await closed_with_failures(books)
    await books.runs.open(BATCH, "run-2", retry_failed=True)


async def reopen(books: Books) -> None:
    after: int | None = 0
    while after is not None:
        after = (await books.retries.reopen_page(BATCH, 2, after, 2)).next_after


async def gifts_retried(books: Books) -> None:
    """Failures of every kind; the unknown user is known now, and the locked ticket free."""
    await one_gift_of_each_kind(books)
    await books.creation.create(ALL_GIFTS)
    await books.runs.close(GIFTS, 1)
    await books.run(OTHER, failed(FailureCode.RECIPIENT_REFUSED))
    await books.people("nobody")
    await books.runs.open(GIFTS, "run-2", retry_failed=True)


async def reopen_gifts(books: Books) -> None:
    after: int | None = 0
    while after is not None:
        after = (await books.retries.reopen_page(GIFTS, 2, after, 2)).next_after


async def settled(books: Books) -> None:
    await bound(books)
    await books.settle(await all_transactions(books))


SCENARIOS = {
    "staging": Scenario(people_and_tickets, stage),
    "opening": Scenario(staged, lambda books: books.runs.open(BATCH, "run-1", retry_failed=False)),
    "creating": Scenario(one_of_each_kind, lambda books: books.creation.create(WHOLE)),
    "creating gifts": Scenario(one_gift_of_each_kind, lambda books: books.creation.create(ALL_GIFTS)),
    "reopening gifts": Scenario(gifts_retried, reopen_gifts),
    "binding": Scenario(created, lambda books: books.bind(WHOLE, per_transaction=12)),
    "settling": Scenario(bound, settle),
    "settling in parts": Scenario(bound, settle_in_parts),
    "settling what was cancelled": Scenario(cancelled_while_bound, settle),
    "pausing": Scenario(created, lambda books: books.runs.set_paused(BATCH, 1, paused=True)),
    "cancelling": Scenario(half_bound, cancel),
    "failing a queued item": Scenario(half_bound, lambda books: books.runs.fail_item(BATCH, 1, 9, "INTERNAL", REASON)),
    "failing a live item": Scenario(half_bound, lambda books: books.runs.fail_item(BATCH, 1, 5, "INTERNAL", REASON)),
    "reopening": Scenario(retried, reopen),
    "closing": Scenario(settled, lambda books: books.runs.close(BATCH, 1)),
    "retrying a closed batch": Scenario(
        closed_with_failures, lambda books: books.runs.open(BATCH, "run-2", retry_failed=True)
    ),
}


async def twice(books: Books, change: Step) -> None:
    await change(books)
    await change(books)


async def by_copies_at_once(books: Books, change: Step) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(COPIES):
            # Connections that are open already: else each copy would be done before the next one has connected.
            await stack.enter_async_context(books.pool.acquire())
    results = await asyncio.gather(*(change(books) for _ in range(COPIES)))
    # What a copy reports mustn't depend on whether it came first, where it decides what happens next.
    assert len({result is None for result in results}) == 1


async def broken_off_at_every_statement(books: Books, change: Step) -> None:
    for statement in range(1, 1000):
        try:
            await change(Books(BreakingPool(books.pool, statement).as_pool()))
        except asyncpg.ConnectionDoesNotExistError:
            continue
        assert statement > 1
        return


@asynccontextmanager
async def fresh_books(postgres: Postgres) -> AsyncIterator[Books]:
    async with postgres.fresh_database() as url, await open_pool(url) as pool:
        yield Books(pool)


@pytest.fixture(scope="module")
async def after_once(postgres: Postgres) -> dict[str, dict[str, Any]]:
    """What each change leaves when it's made once."""
    snapshots = {}
    for name, scenario in SCENARIOS.items():
        async with fresh_books(postgres) as books:
            await scenario.prepare(books)
            before = await books.snapshot()
            await scenario.change(books)
            snapshots[name] = await books.snapshot()
            assert snapshots[name] != before, f"{name} changes nothing"
    return snapshots


@pytest.mark.parametrize("way", [twice, by_copies_at_once, broken_off_at_every_statement])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_repeated_change_is_made_once(
    books: Books,
    after_once: dict[str, dict[str, Any]],
    name: str,
    way: Callable[[Books, Step], Awaitable[None]],
) -> None:
    """However often, however far, and by however many: the database ends as after one undisturbed go."""
    scenario = SCENARIOS[name]
    await scenario.prepare(books)
    await way(books, scenario.change)
    assert await books.snapshot() == after_once[name]
