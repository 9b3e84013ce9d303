"""What checks and reports cost: a look at the last minutes doesn't read all items, and writing items stays cheap."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from ledger.pool import Pool
from ledger.queries import load

ITEMS = 20_000
ENDED = (
    "UPDATE batch_transfer_items SET status = 'COMPLETED',"
    " ended_at = now() - interval '10 days' * (1 - item_no / 20000.0) WHERE item_no % $1 = 0 AND ended_at IS NULL"
)


async def write(pool: Pool) -> None:
    """Items as a batch stages them."""
    await pool.execute(
        "INSERT INTO batch_transfer_items (batch_id, item_no, ticket_id, recipient, transfer_id)"
        " SELECT md5('b')::uuid, n, n::text, 'bob', md5(n::text)::uuid FROM generate_series(1, $1) n",
        ITEMS,
    )


async def test_what_finds_ended_items_stays_small(pool: Pool) -> None:
    """Ended items take no entry each in the index by time: it has a page or two for thousands of them."""
    await write(pool)
    await pool.execute(ENDED, 1)
    assert await pool.fetchval("SELECT pg_relation_size('batch_transfer_items_ended')") <= 4 * 8192


async def test_a_check_reads_the_last_minutes_alone(pool: Pool) -> None:
    """Of many items the statement reads the few blocks that hold what ended within the window."""
    await write(pool)
    await pool.execute(ENDED, 1)
    await pool.execute("VACUUM ANALYZE batch_transfer_items")
    since = datetime.now(UTC) - timedelta(minutes=15)
    text = load("reports")["ended_jobs"].replace("$1", f"'{since.isoformat()}'::timestamptz")
    [plan] = json.loads(await pool.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}"))
    pages = await pool.fetchval("SELECT relpages FROM pg_class WHERE relname = 'batch_transfer_items'")
    read = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    assert read < pages / 4, (read, pages)
