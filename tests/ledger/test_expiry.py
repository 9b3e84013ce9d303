"""Gifts whose time is over: which end, what their end does, and the race with their acceptance."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from ledger.gifts import Gifts
from ledger.maintenance import Expiry, TimeMark
from ledger.pool import Pool, transaction
from tests.books import Books
from workflows.interface.codes import EventType
from workflows.interface.errors import RequestError
from workflows.interface.transfer import GiftDecision, GiftWord

EXPIRE = (
    "UPDATE ticket_transfers SET created_at = now() - interval '8 days', expires_at = now() - interval '1 second'"
    " WHERE ticket_id = ANY ($1::text[])"
)


async def gifts(books: Books, count: int) -> list[UUID]:
    """So many gifts of alice to bob, tickets 1 to `count`, as another program may have written them."""
    await books.people("alice", "bob")
    await books.tickets(range(1, count + 1))
    rows = await books.pool.fetch(
        "INSERT INTO ticket_transfers (transfer_id, kind, ticket_id, from_user_id, to_user_id, token, holder,"
        " recipient, settlement, status, expires_at)"
        " SELECT gen_random_uuid(), 'gift', ticket_id, 'alice', 'bob', token, holder, holder, 'batched', 'PENDING',"
        " now() + interval '1 hour' FROM tickets ORDER BY ticket_id::int RETURNING transfer_id"
    )
    return [row[0] for row in rows]


async def expire(pool: Pool, page_size: int = 1_000) -> int:
    """One whole run; how many ended."""
    expiry, mark, ended = Expiry(pool), TimeMark(), 0
    while page := await expiry.expire_page(mark, page_size):
        mark, ended = page.end, ended + len(page.transfer_ids)
        if len(page.transfer_ids) < page_size:
            break
    return ended


async def statuses(pool: Pool) -> dict[str, str]:
    rows = await pool.fetch("SELECT ticket_id, status FROM ticket_transfers ORDER BY ticket_id::int")
    return {row["ticket_id"]: row["status"] for row in rows}


async def test_only_what_is_past_ends_with_its_event(books: Books) -> None:
    """A gift past its time ends EXPIRED with one event and frees its ticket; one that has time left still waits."""
    await gifts(books, 3)
    await books.pool.execute(EXPIRE, ["1", "3"])
    assert await expire(books.pool) == 2
    assert await statuses(books.pool) == {"1": "EXPIRED", "2": "PENDING", "3": "EXPIRED"}
    assert await books.events() == {EventType.TRANSFER_EXPIRED: 2}
    assert await books.pool.fetchval("SELECT count(*) FROM ticket_transfers WHERE live") == 1
    assert await expire(books.pool) == 0
    assert await books.events() == {EventType.TRANSFER_EXPIRED: 2}


async def test_a_transfer_of_another_kind_ends_as_well(books: Books) -> None:
    """Whatever program wrote it: a row that is PENDING and past its time ends."""
    await gifts(books, 1)
    await books.pool.execute("UPDATE ticket_transfers SET kind = 'direct'")
    await books.pool.execute(EXPIRE, ["1"])
    assert await expire(books.pool) == 1


async def test_an_accepted_gift_never_ends(books: Books) -> None:
    """A gift that was accepted in time goes on, however late it is."""
    await gifts(books, 1)
    await books.pool.execute("UPDATE ticket_transfers SET status = 'ACCEPTED'")
    await books.pool.execute(EXPIRE, ["1"])
    assert await expire(books.pool) == 0


async def test_its_delivery_is_written_with_it(books: Books) -> None:
    """The subscription that wants the event gets a delivery in the same transaction, and is to be woken."""
    await gifts(books, 1)
    await books.pool.execute(EXPIRE, ["1"])
    subscription_id = await books.pool.fetchval(
        "INSERT INTO webhook_subscriptions (url, secret, event_types)"
        " VALUES ('http://localhost/', decode(repeat('ab', 32), 'hex'), '{transfer.expired}') RETURNING subscription_id"
    )
    page = await Expiry(books.pool).expire_page(TimeMark(), 10)
    assert page.subscription_ids == {subscription_id}
    assert await books.pool.fetchval("SELECT count(*) FROM webhook_deliveries WHERE status = 'PENDING'") == 1


async def test_pages_end_all_once_also_with_two_runs(books: Books) -> None:
    """Two runs at once, in many pages, end each gift once."""
    await gifts(books, 100)
    await books.pool.execute(EXPIRE, [str(n) for n in range(1, 101)])
    ended = await asyncio.gather(*(expire(books.pool, 7) for _ in range(2)))
    left = await expire(books.pool, 7)
    assert sum(ended) + left == 100
    assert await books.events() == {EventType.TRANSFER_EXPIRED: 100}


async def test_a_gift_that_is_being_accepted_is_left_alone(books: Books) -> None:
    """The job doesn't wait for a row that somebody holds, and the acceptance stands."""
    await gifts(books, 2)
    await books.pool.execute(EXPIRE, ["1", "2"])
    async with transaction(books.pool) as acceptance:
        # Decided just before its time was over, and not committed yet.
        await acceptance.execute("UPDATE ticket_transfers SET status = 'ACCEPTED' WHERE ticket_id = '1'")
        async with asyncio.timeout(5):
            assert await expire(books.pool) == 1
    assert await statuses(books.pool) == {"1": "ACCEPTED", "2": "EXPIRED"}


async def test_of_acceptance_and_expiry_at_once_one_wins(books: Books) -> None:
    """Accepting while the job runs: each gift has one outcome, and whoever lost is told so."""
    ids = await gifts(books, 40)
    deciding = Gifts(books.pool)
    # Each ends a moment after the other, while acceptances come in.
    await books.pool.execute(
        "UPDATE ticket_transfers SET expires_at = clock_timestamp() + ticket_id::int * interval '5 ms'"
    )

    async def accept(transfer_id: UUID) -> bool:
        decision = GiftDecision(transfer_id=transfer_id, word=GiftWord.ACCEPT, user_id="bob", said="yes")
        try:
            await deciding.decide(decision)
        except RequestError:
            return False
        return True

    async def keep_expiring() -> int:
        ended = 0
        while await books.pool.fetchval("SELECT EXISTS (SELECT FROM ticket_transfers WHERE status = 'PENDING')"):
            ended += await expire(books.pool, 3)
        return ended

    expiring = asyncio.ensure_future(keep_expiring())
    accepted = [await accept(transfer_id) for transfer_id in ids]
    expired = await expiring
    assert sum(accepted) + expired == 40
    found = await statuses(books.pool)
    assert [found[str(n)] for n in range(1, 41)] == ["ACCEPTED" if won else "EXPIRED" for won in accepted]
    events = await books.events()
    assert (events.get(EventType.TRANSFER_EXPIRED, 0), events.get(EventType.TRANSFER_ACCEPTED, 0)) == (
        expired,
        sum(accepted),
    )


@pytest.mark.parametrize("column", ["status", "tries", "next_try_at"])
async def test_the_index_of_what_expires_leaves_updates_heap_only(pool: Pool, column: str) -> None:
    """What changes between live states is in no index: binding a transfer stays a HOT update."""
    definition = await pool.fetchval("SELECT indexdef FROM pg_indexes WHERE indexname = 'ticket_transfers_expiring'")
    assert "live" in definition
    assert column not in definition
