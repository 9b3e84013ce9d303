"""Rate limits in Postgres: what is set, and the token buckets that all processes take from."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from ledger.pool import Pool, transaction
from ledger.queries import load

_SQL = load("rate_limits")


class RateLimit(NamedTuple):
    """A limit that is set."""

    name: str
    rate_per_s: float
    changed_at: datetime
    changed_by: str


class Grant(NamedTuple):
    """Answer to a wish for tokens."""

    tokens: int
    wait_s: float
    """Until it's worth asking again."""


class RateLimits:
    """The tables `rate_limits` and `rate_buckets`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def set_limit(self, name: str, rate_per_s: float, changed_by: str) -> RateLimit:
        """Sets or changes a limit; its bucket starts empty.

        Raises:
            asyncpg.CheckViolationError: a name or rate that can't be.
        """
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(_SQL["set_rate_limit"], name, rate_per_s, changed_by)
            await connection.execute(_SQL["empty_buckets"], name)
        return RateLimit(*(row or ()))

    async def clear_limit(self, name: str) -> bool:
        """Takes a limit away; False if none was set."""
        async with transaction(self._pool) as connection:
            cleared = await connection.fetchval(_SQL["clear_rate_limit"], name) is not None
            await connection.execute(_SQL["empty_buckets"], name)
        return cleared

    async def limits(self) -> list[RateLimit]:
        """All limits that are set, by name."""
        return [RateLimit(*row) for row in await self._pool.fetch(_SQL["rate_limits"])]

    async def has_endpoint(self, subscription_id: UUID) -> bool:
        """Whether there is such a webhook subscription."""
        found: bool = await self._pool.fetchval(_SQL["has_endpoint"], subscription_id)
        return found

    async def take(
        self,
        bucket: str,
        wanted: int,
        *,
        default_limit: str | None = None,
        charge: float = 0.0,
        least_s: float = 0.0,
        urgent: bool = False,
    ) -> Grant:
        """Up to `wanted` tokens, at most one second's worth; all of them where nothing limits the bucket.

        `charge` is taken off without asking (below 0: given back). Less than `least_s` seconds' worth isn't granted,
        unless less is wanted. What is `urgent` may take on debt, up to one second's worth.
        """
        arguments = (bucket, default_limit, wanted, charge, least_s, urgent)
        row = await self._pool.fetchrow(_SQL["take_tokens"], *arguments)
        return Grant(*(row or ()))
