"""The connection pool and the one way to open a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.pool.PoolConnectionProxy
    Pool = asyncpg.Pool

COMMAND_TIMEOUT_S = 20.0
"""Longer than any statement needs; a hung server must not hold an activity's slot."""


async def create_pool(database_url: str, *, most_connections: int, name: str) -> Pool:
    """A pool; `name` is what pg_stat_activity shows.

    Raises:
        OSError, asyncpg.PostgresError: the server can't be reached or refuses.
    """
    return await asyncpg.create_pool(
        database_url,
        min_size=1,
        max_size=most_connections,
        command_timeout=COMMAND_TIMEOUT_S,
        timeout=5.0,
        # JIT compiles short statements for longer than they run.
        server_settings={
            "application_name": name,
            "jit": "off",
            "lock_timeout": "10s",
            # A plan made while a table was empty would stay for a batch of a million; planning anew costs 0.2 ms.
            "plan_cache_mode": "force_custom_plan",
        },
    )


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection inside a transaction: committed at the end, rolled back by any exception."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection
