"""Which failed transfers the scheduled retry claims, in which order, and that no two runs claim the same."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from ledger.maintenance import DueRetry, RetryClaims, RetryRule, TimeMark
from ledger.pool import Pool, transaction
from tests.books import Books, failed
from workflows.interface.codes import FailureCode

RULE = RetryRule([code for code in FailureCode if code.retryable], 5, timedelta(minutes=5))
BATCH = UUID(int=1)


async def failed_batch(books: Books, size: int) -> None:
    """A batch whose items all failed on the chain, with their retries used up; item 1 failed first."""
    await books.plain_batch(size, batch_id=BATCH)
    for retry in range(3):
        await books.run(BATCH, failed(FailureCode.REVERTED), retries_only=retry > 0)
        await books.make_due()
    await books.runs.close(BATCH, 1)
    await books.pool.execute(
        "UPDATE failed_blockchain_transfers f SET failed_at = now() - interval '1 hour' + t.item_no * interval '1 s'"
        " FROM ticket_transfers t WHERE t.transfer_id = f.transfer_id"
    )


async def claim(pool: Pool, page_size: int = 10) -> list[DueRetry]:
    """One whole run."""
    claims, mark, claimed = RetryClaims(pool), TimeMark(), list[DueRetry]()
    while page := await claims.claim_page(RULE, mark, page_size):
        mark, claimed = TimeMark(page[-1].failed_at, page[-1].transfer_id), claimed + page
    return claimed


async def item_numbers(pool: Pool, claimed: list[DueRetry]) -> list[int]:
    rows = await pool.fetch("SELECT transfer_id, item_no FROM ticket_transfers")
    numbers = {row["transfer_id"]: row["item_no"] for row in rows}
    return [numbers[one.transfer_id] for one in claimed]


async def test_the_oldest_come_first_in_pages(books: Books) -> None:
    """All failed transfers are claimed, oldest first, over as many pages as it takes; their sender is told."""
    await failed_batch(books, 25)
    claimed = await claim(books.pool)
    assert await item_numbers(books.pool, claimed) == list(range(1, 26))
    assert {one.from_user_id for one in claimed} == {"alice"}


async def test_a_claim_holds_for_its_time(books: Books) -> None:
    """What was claimed is due again only after the least age."""
    await failed_batch(books, 3)
    assert len(await claim(books.pool)) == 3
    assert await claim(books.pool) == []
    await books.pool.execute("UPDATE failed_blockchain_transfers SET last_retry_at = now() - interval '301 seconds'")
    assert len(await claim(books.pool)) == 3


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE failed_blockchain_transfers SET retry_count = 5",
        "UPDATE failed_blockchain_transfers SET last_retry_at = now() - interval '299 seconds'",
        "UPDATE ticket_transfers SET failure_code = 'RECIPIENT_REFUSED'",
        "UPDATE ticket_transfers SET status = 'COMPLETED', failure_code = NULL",
        "UPDATE batch_transfers SET status = 'PROCESSING', ended_at = NULL",
        "UPDATE batch_controls SET cancelled = true",
    ],
)
async def test_what_is_not_due_is_left_out(books: Books, change: str) -> None:
    """Retries used up, tried lately, a permanent reason, mended meanwhile, its batch at work or cancelled."""
    await failed_batch(books, 1)
    await books.pool.execute(change)
    assert await claim(books.pool) == []


async def test_two_runs_claim_each_once(books: Books) -> None:
    """Of two runs at once, none waits for the other, and none gets the other's."""
    await failed_batch(books, 30)
    one, other = await asyncio.gather(claim(books.pool, 3), claim(books.pool, 3))
    ids = [due.transfer_id for due in one + other]
    assert len(ids) == len(set(ids))
    assert len(ids) + len(await claim(books.pool)) == 30


async def test_a_transfer_that_is_being_settled_is_left_out(books: Books) -> None:
    """The claim waits for no lock."""
    await failed_batch(books, 2)
    async with transaction(books.pool) as holder:
        await holder.execute("SELECT FROM failed_blockchain_transfers ORDER BY failed_at LIMIT 1 FOR NO KEY UPDATE")
        async with asyncio.timeout(5):
            assert await item_numbers(books.pool, await claim(books.pool)) == [2]
