"""Rows are locked in one order everywhere: whoever waits for the first one holds none of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest

from ledger.pool import transaction
from tests.books import Books, slice_of

BATCH = UUID(int=1)
SIZE = 6
WHOLE = slice_of(BATCH, 1, SIZE)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

Step = Callable[[Books], Awaitable[object]]


class Rows(NamedTuple):
    """Rows that many steps lock, with the first of them in the order of locks."""

    table: str
    first: str


ITEMS = Rows("batch_transfer_items", "item_no = 1")
TICKETS = Rows("tickets", "ticket_id = '1'")
TRANSFERS = Rows("ticket_transfers", "transfer_id = (SELECT min(transfer_id::text)::uuid FROM ticket_transfers)")


async def staged(books: Books) -> None:
    await books.plain_batch(SIZE, batch_id=BATCH)


async def created(books: Books) -> None:
    await staged(books)
    await books.creation.create(WHOLE)


async def bound(books: Books) -> None:
    await created(books)
    await books.bind(WHOLE)


async def settle(books: Books) -> None:
    ids = await books.attempts.open_of_items(WHOLE)
    await books.settle(await books.attempts.bound(ids, with_raw=False))


STEPS: dict[str, tuple[Step, Step, Rows]] = {
    "creating holds items": (staged, lambda books: books.creation.create(WHOLE), ITEMS),
    "creating holds tickets": (staged, lambda books: books.creation.create(WHOLE), TICKETS),
    "binding holds transfers": (created, lambda books: books.bind(WHOLE), TRANSFERS),
    "settling holds tickets": (bound, settle, TICKETS),
    "cancelling holds items": (created, lambda books: books.runs.cancel_page(BATCH, 1, 0, 100), ITEMS),
    "cancelling holds transfers": (created, lambda books: books.runs.cancel_page(BATCH, 1, 0, 100), TRANSFERS),
}


@pytest.fixture
async def scanning(books: Books, database_url: str) -> AsyncIterator[Books]:
    """Tables are read as a whole, in the order of the heap: an index could hide that a statement has no order."""
    database = database_url.rpartition("/")[2]
    for scan in ("indexscan", "indexonlyscan", "bitmapscan"):
        await books.pool.execute(f"ALTER DATABASE {database} SET enable_{scan} = off")
    # Not the service's own pool, which asks for index scans.
    async with asyncpg.create_pool(database_url, min_size=1) as pool:
        yield Books(pool)


@pytest.mark.parametrize("name", STEPS)
async def test_rows_are_locked_in_order(scanning: Books, name: str) -> None:
    """A step that waits for the first row leaves the others to whoever wants them: nobody waits in turn."""
    books = scanning
    prepare, step, rows = STEPS[name]
    await prepare(books)
    # The first row comes last in the heap now: a scan would meet the others before it.
    for column in await books.pool.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = $1 AND column_name IN"
        " ('tries', 'owner_user_id', 'pack_limit')",
        rows.table,
    ):
        await books.pool.execute(f"UPDATE {rows.table} SET {column[0]} = {column[0]} WHERE {rows.first}")
    async with transaction(books.pool) as holder:
        await holder.execute(f"SELECT FROM {rows.table} WHERE {rows.first} FOR UPDATE")
        waiting = asyncio.ensure_future(step(books))
        while not await books.pool.fetchval(WAITING):
            assert not waiting.done()
        others = await holder.fetch(f"SELECT FROM {rows.table} WHERE NOT {rows.first} FOR UPDATE NOWAIT")
        assert len(others) == SIZE - 1
    await waiting
