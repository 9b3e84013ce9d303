"""Batches of gifts in Postgres: an item is done when its gift waits, and the gift goes its own way from there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from tests.books import SENDER, Books, slice_of, wallet_of
from workflows.interface.batch import BatchCounts
from workflows.interface.codes import BatchStatus, ErrorCode, ItemOrder, TransferKind
from workflows.interface.errors import RequestError
from workflows.interface.options import GIFT_LIFETIME, BatchOptions

GIFTS = BatchOptions(kind=TransferKind.GIFT)
STRANGER = "0x" + "5a" * 20


async def gifts(books: Books, *recipients: str, options: BatchOptions = GIFTS) -> UUID:
    """A world, and a batch of gifts of tickets 1, 2, … to these recipients."""
    await books.people(SENDER, "bob", "carol")
    await books.tickets(range(1, len(recipients) + 1))
    await books.lane()
    return await books.batch(list(enumerate(recipients, 1)), options=options)


async def create(books: Books, batch_id: UUID) -> None:
    await books.creation.create(slice_of(batch_id, 1, 1000))


async def transfers(books: Books, batch_id: UUID) -> Sequence[asyncpg.Record]:
    return await books.pool.fetch("SELECT * FROM ticket_transfers WHERE batch_id = $1 ORDER BY item_no", batch_id)


async def cancel(books: Books, batch_id: UUID) -> None:
    await books.runs.set_cancelled(batch_id, 1, "sold out")
    await books.runs.cancel_page(batch_id, 1, 0, 1000)


async def test_a_gift_waits_and_its_item_is_done(books: Books) -> None:
    """The gift is pending with all that accepting it needs, holds its ticket, and waits for a week."""
    batch_id = await gifts(books, "bob")
    await create(books, batch_id)
    [gift] = await transfers(books, batch_id)
    assert (gift["kind"], gift["status"], gift["live"], gift["to_user_id"]) == ("gift", "PENDING", True, "bob")
    assert (gift["token"], gift["holder"], gift["recipient"]) == (books.token, wallet_of(SENDER), wallet_of("bob"))
    assert gift["expires_at"] == gift["created_at"] + GIFT_LIFETIME
    assert await books.counts(batch_id) == BatchCounts(item_count=1, completed=1)
    assert await books.events() == {"transfer.created": 1}
    assert (await books.runs.close(batch_id, 1)).result.status is BatchStatus.COMPLETED


async def test_a_gift_waits_until_the_time_the_sender_chose(books: Books) -> None:
    """The batch's expiresAt is that of each of its gifts, to the microsecond."""
    until = datetime(2090, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)
    batch_id = await gifts(books, "bob", "carol", options=GIFTS._replace(expires_at=until))
    await create(books, batch_id)
    assert [gift["expires_at"] for gift in await transfers(books, batch_id)] == [until, until]


async def test_a_gift_needs_a_user_who_can_accept_it(books: Books) -> None:
    """An address is as good as its user's id; one of nobody known fails its item, and no other."""
    wallet = "0x" + wallet_of("carol").hex()
    batch_id = await gifts(books, "bob", wallet, STRANGER, "nobody", "0x12")
    await create(books, batch_id)
    assert list((await books.items(batch_id)).values()) == [
        ("COMPLETED", None),
        ("COMPLETED", None),
        ("FAILED", "GIFT_NEEDS_USER"),
        ("FAILED", "UNKNOWN_USER"),
        ("FAILED", "INVALID_ADDRESS"),
    ]
    rows = await transfers(books, batch_id)
    assert [(row["kind"], row["status"], row["to_user_id"]) for row in rows[:3]] == [
        ("gift", "PENDING", "bob"),
        ("gift", "PENDING", "carol"),
        ("gift", "FAILED", None),
    ]
    assert await books.counts(batch_id) == BatchCounts(item_count=5, completed=2, failed=3)
    assert await books.events() == {"transfer.created": 2, "transfer.failed": 3}


async def test_a_direct_transfer_needs_no_user(books: Books) -> None:
    """Only gifts wait for somebody: an address of nobody known may well receive."""
    batch_id = await gifts(books, STRANGER, options=BatchOptions())
    await create(books, batch_id)
    [transfer] = await transfers(books, batch_id)
    assert (transfer["kind"], transfer["status"], transfer["expires_at"]) == ("direct", "ACCEPTED", None)


async def test_nothing_of_a_batch_of_gifts_is_bound(books: Books) -> None:
    """Gifts that wait reach no chain transaction, and leave their batch nothing to try again."""
    batch_id = await gifts(books, "bob", "carol")
    await create(books, batch_id)
    whole = slice_of(batch_id, 1, 1000)
    assert await books.bind(whole) == []
    assert await books.retries.due_again(whole) is None


async def test_a_ticket_that_is_locked_is_tried_again(books: Books) -> None:
    """The item waits; once the ticket is free its gift is created and the item done."""
    first = await gifts(books, "bob")
    await create(books, first)
    second = await books.batch([(1, "carol")], options=GIFTS)
    await create(books, second)
    due = await books.retries.due_again(slice_of(second, 1, 1))
    assert due is not None
    assert due.count == 1
    assert await books.counts(second) == BatchCounts(item_count=1, processing=1)
    await books.pool.execute(
        "UPDATE ticket_transfers SET status = 'DECLINED', ended_at = now() WHERE batch_id = $1", first
    )
    await books.make_due()
    await books.creation.create(slice_of(second, 1, 1, retries_only=True))
    assert await books.counts(second) == BatchCounts(item_count=1, completed=1)


async def test_cancelling_the_batch_leaves_its_gifts_alone(books: Books) -> None:
    """What is still queued is cancelled; gifts that wait are cancelled one by one, by whoever may."""
    batch_id = await gifts(books, "bob", "carol")
    await books.creation.create(slice_of(batch_id, 1, 1))
    await cancel(books, batch_id)
    assert await books.statuses(batch_id) == "CC"
    assert await books.counts(batch_id) == BatchCounts(item_count=2, completed=1, cancelled=1)
    assert [row["status"] for row in await transfers(books, batch_id)] == ["PENDING"]
    await create(books, batch_id)
    assert await books.statuses(batch_id) == "CC"


@pytest.mark.parametrize("hours", [-24, 1])
async def test_gifts_that_failed_wait_once_they_are_retried(books: Books, hours: int) -> None:
    """Retried, an item is done as its gift waits: until the batch's time, or for a week where that is over."""
    batch_id = await gifts(books, "bob", "nobody", STRANGER)
    await create(books, batch_id)
    await books.runs.close(batch_id, 1)
    await books.people("nobody")
    until = datetime.now(UTC) + timedelta(hours=hours)
    await books.pool.execute("UPDATE batch_transfers SET expires_at = $1", until)
    await books.runs.open(batch_id, "run-2", retry_failed=True)
    assert (await books.retries.reopen_page(batch_id, 2, 0, 1000)).reopened == 1
    assert await books.counts(batch_id) == BatchCounts(item_count=3, completed=2, failed=1)
    gift = (await transfers(books, batch_id))[1]
    assert (gift["status"], gift["to_user_id"], gift["failure_code"]) == ("PENDING", "nobody", None)
    expected = until if hours > 0 else datetime.now(UTC) + GIFT_LIFETIME
    assert abs(gift["expires_at"] - expected) < timedelta(minutes=5)
    assert (await books.events())["transfer.created"] == 2
    assert await books.retries.due_ranges(batch_id, 500) == ()


async def test_gifts_that_could_never_be_accepted_are_refused(books: Books) -> None:
    """A time that is over when the batch is first written is a fault of the request; written again, it's the same."""
    await books.people(SENDER)
    with pytest.raises(RequestError, match="must lie in the future") as caught:
        await books.batch([(1, "bob")], options=GIFTS._replace(expires_at=datetime.now(UTC)))
    assert caught.value.code is ErrorCode.INVALID_INPUT
    assert await books.pool.fetchval("SELECT count(*) FROM batch_transfers") == 0
    soon = GIFTS._replace(expires_at=datetime.now(UTC) + timedelta(seconds=0.2))
    batch_id = await books.batch([(1, "bob")], options=soon)
    await books.pool.execute("SELECT pg_sleep_until($1)", soon.expires_at)
    assert await books.batch([(1, "bob")], batch_id=batch_id, options=soon) == batch_id


async def test_the_options_of_a_batch_are_kept(books: Books) -> None:
    """Whoever opens the batch learns how its sender wants it done."""
    options = BatchOptions(
        kind=TransferKind.GIFT, expires_at=datetime(2090, 1, 1, tzinfo=UTC), order=ItemOrder.SEQUENTIAL
    )
    batch_id = await gifts(books, "bob", options=options)
    assert (await books.runs.find(batch_id)).options == options


async def test_a_time_of_expiry_without_gifts_is_rejected(books: Books) -> None:
    """The schema holds that only gifts expire."""
    batch_id = await gifts(books, "bob", options=BatchOptions())
    with pytest.raises(asyncpg.CheckViolationError, match="only_gifts_expire"):
        await books.pool.execute("UPDATE batch_transfers SET expires_at = now() WHERE batch_id = $1", batch_id)


async def test_gifts_that_never_came_to_be_are_gifts_all_the_same(books: Books) -> None:
    """A duplicate, an unknown recipient and a defect leave failed transfers of the kind that was asked for."""
    await books.people(SENDER, "bob")
    await books.tickets([1, 2])
    batch_id = await books.batch([(1, "bob"), (1, "bob"), (3, "nobody"), (2, "bob")], options=GIFTS)
    await books.runs.fail_item(batch_id, 1, 4, "INTERNAL", "a defect of this service")
    await create(books, batch_id)
    rows = [(row["item_no"], row["kind"], row["status"]) for row in await transfers(books, batch_id)]
    assert rows == [(1, "gift", "PENDING"), *[(number, "gift", "FAILED") for number in (2, 3, 4)]]
