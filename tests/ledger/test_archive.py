"""The webhook archive: what moves, that nothing is lost or doubled, and that what is pending stays."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from ledger.archive import NOTHING, WebhookArchive
from ledger.pool import Pool, transaction
from ledger.queries import load

RETENTION = timedelta(days=30)
_SUBSCRIBE = (
    "INSERT INTO webhook_subscriptions (url, secret, event_types)"
    " VALUES ('http://localhost/', decode(repeat('ab', 32), 'hex'), '{*}') RETURNING subscription_id"
)
# Deliveries that ended so many days ago, each with two attempts.
_DELIVER = """
WITH made AS (
  INSERT INTO webhook_deliveries (subscription_id, event_id, status, attempts, next_attempt_at, created_at, ended_at)
  SELECT $1, uuidv7(-$4::interval - interval '1 hour'), $3::text::delivery_status, 2,
    CASE WHEN $3 = 'PENDING' THEN now() END, now() - $4::interval - interval '1 hour',
    CASE WHEN $3 <> 'PENDING' THEN now() - $4::interval END
  FROM generate_series(1, $2) RETURNING *
), tried AS (
  INSERT INTO webhook_attempts (subscription_id, event_id, attempt_no, started_at, duration_ms, http_status)
  SELECT subscription_id, event_id, n, created_at, 3, 500 FROM made, generate_series(1, 2) n
)
SELECT event_id FROM made
"""


@pytest.fixture
async def subscription_id(pool: Pool) -> UUID:
    made: UUID = await pool.fetchval(_SUBSCRIBE)
    return made


async def deliver(pool: Pool, subscription_id: UUID, count: int, status: str, days: int) -> list[UUID]:
    """Deliveries of events of so many days ago."""
    rows = await pool.fetch(_DELIVER, subscription_id, count, status, timedelta(days=days))
    return [row[0] for row in rows]


async def archive(pool: Pool, subscription_id: UUID, page_size: int = 1_000) -> tuple[int, int]:
    """One whole run; how many deliveries and attempts moved."""
    archived, mark, deliveries, attempts = WebhookArchive(pool), NOTHING, 0, 0
    while page := await archived.archive_page(subscription_id, mark, RETENTION, page_size):
        mark, deliveries, attempts = page.end, deliveries + page.deliveries, attempts + page.attempts
    return deliveries, attempts


async def counts(pool: Pool) -> dict[str, int]:
    tables = ("webhook_deliveries", "webhook_attempts", "webhook_deliveries_archive", "webhook_attempts_archive")
    return {table: await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


async def test_only_finished_and_old_deliveries_move(pool: Pool, subscription_id: UUID) -> None:
    """What ended past the retention moves with its attempts; what is pending or younger stays, old as its event is."""
    old = await deliver(pool, subscription_id, 2, "DELIVERED", 31)
    old += await deliver(pool, subscription_id, 1, "FAILED", 90)
    await deliver(pool, subscription_id, 2, "PENDING", 400)
    await deliver(pool, subscription_id, 1, "DELIVERED", 29)
    [late] = await deliver(pool, subscription_id, 1, "DELIVERED", 100)
    await pool.execute("UPDATE webhook_deliveries SET ended_at = now() WHERE event_id = $1", late)
    assert await archive(pool, subscription_id) == (3, 6)
    moved = await pool.fetch("SELECT event_id FROM webhook_deliveries_archive")
    assert {row[0] for row in moved} == set(old)
    assert await pool.fetchval("SELECT count(*) FROM webhook_deliveries WHERE status = 'PENDING'") == 2
    assert await counts(pool) == {
        "webhook_deliveries": 4,
        "webhook_attempts": 8,
        "webhook_deliveries_archive": 3,
        "webhook_attempts_archive": 6,
    }


async def test_a_delivery_with_an_open_dead_letter_stays(pool: Pool, subscription_id: UUID) -> None:
    """As long as a person may replay it, a failed delivery isn't archived."""
    ids = await deliver(pool, subscription_id, 2, "FAILED", 40)
    await pool.execute(
        "INSERT INTO dead_letters (kind, subscription_id, event_id, code, reason, attempts, first_failed_at,"
        " payload_ref) VALUES ('delivery', $1, $2, 'TIMEOUT', 'no answer', 5, now(), 'webhook_deliveries')",
        subscription_id,
        ids[0],
    )
    assert await archive(pool, subscription_id) == (1, 2)
    await pool.execute("UPDATE dead_letters SET status = 'DISCARDED', closed_at = now(), closed_by = 'ann'")
    assert await archive(pool, subscription_id) == (1, 2)


async def test_two_runs_in_pages_move_each_once(pool: Pool, subscription_id: UUID) -> None:
    """Two runs at once, over months that have no partition yet: nothing is lost, nothing is doubled."""
    for days in (31, 62, 93, 124):
        await deliver(pool, subscription_id, 25, "DELIVERED", days)
    moved = await asyncio.gather(*(archive(pool, subscription_id, 7) for _ in range(2)))
    rest = await archive(pool, subscription_id, 7)
    assert sum(deliveries for deliveries, _ in [*moved, rest]) == 100
    assert await counts(pool) == {
        "webhook_deliveries": 0,
        "webhook_attempts": 0,
        "webhook_deliveries_archive": 100,
        "webhook_attempts_archive": 200,
    }


async def test_a_run_that_dies_between_pages_is_gone_on_with(pool: Pool, subscription_id: UUID) -> None:
    """A page that isn't committed leaves its deliveries where they were, and the next run moves them."""
    await deliver(pool, subscription_id, 10, "DELIVERED", 31)
    await WebhookArchive(pool).archive_page(subscription_id, NOTHING, RETENTION, 4)
    await pool.execute("ALTER TABLE webhook_attempts_archive ADD CONSTRAINT broken CHECK (attempt_no < 2) NOT VALID")
    before = await counts(pool)
    with pytest.raises(asyncpg.CheckViolationError):
        await archive(pool, subscription_id, 4)
    assert await counts(pool) == before
    await pool.execute("ALTER TABLE webhook_attempts_archive DROP CONSTRAINT broken")
    assert await archive(pool, subscription_id, 4) == (6, 12)


async def test_a_month_can_be_dropped_whole(pool: Pool, subscription_id: UUID) -> None:
    """An operator drops the two partitions of a month; the others stay, and the month can come back."""
    await deliver(pool, subscription_id, 2, "DELIVERED", 100)
    await archive(pool, subscription_id)
    month = await pool.fetchval("SELECT to_char((now() - interval '100 days') AT TIME ZONE 'UTC', '_YYYY_MM')")
    for table in ("webhook_deliveries_archive", "webhook_attempts_archive"):
        await pool.execute(f"DROP TABLE {table}{month}")
    assert await pool.fetchval("SELECT count(*) FROM webhook_deliveries_archive") == 0
    await deliver(pool, subscription_id, 1, "DELIVERED", 100)
    assert await archive(pool, subscription_id) == (1, 2)


async def test_readers_of_the_archive_dont_stop_a_new_month(pool: Pool, subscription_id: UUID) -> None:
    """A long query over the archive doesn't hold up the job."""
    await deliver(pool, subscription_id, 1, "DELIVERED", 31)
    async with transaction(pool) as reader:
        await reader.fetch("SELECT count(*) FROM webhook_deliveries_archive")
        async with asyncio.timeout(5):
            assert await archive(pool, subscription_id) == (1, 2)


async def test_pages_use_the_primary_key(pool: Pool, subscription_id: UUID) -> None:
    """The bound of old event ids is a condition of the index, not looked at row by row."""
    statement = load("maintenance")["page_to_archive"]
    async with pool.acquire() as connection:
        plan = await connection.fetch(f"EXPLAIN {statement}", subscription_id, NOTHING, RETENTION, 10)
    conditions = [row[0] for row in plan if "Index Cond" in row[0] and "d.event_id" not in row[0]]
    assert any(line.count("event_id") == 2 for line in conditions), plan
