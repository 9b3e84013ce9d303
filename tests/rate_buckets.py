"""Token buckets as tests set and read them."""

from __future__ import annotations

from ledger.pool import Pool


async def fill(pool: Pool, bucket: str, tokens: float) -> None:
    """Sets the bucket's level, as of now."""
    await pool.execute(
        "INSERT INTO rate_buckets VALUES ($1, $2, clock_timestamp())"
        " ON CONFLICT (name) DO UPDATE SET tokens = excluded.tokens, refilled_at = excluded.refilled_at",
        bucket,
        tokens,
    )


async def level(pool: Pool, bucket: str) -> float:
    """As of when it was last taken from."""
    tokens: float = await pool.fetchval("SELECT tokens FROM rate_buckets WHERE name = $1", bucket)
    return tokens
