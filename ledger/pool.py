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


# The driver looks up how to encode an array when it first meets one, on each connection anew: about 10 ms of the
# server's time, four times per connection, unless it's told of all of them at once.
_ARRAYS = (
    "SELECT $1::uuid[], $2::int2[], $3::int4[], $4::int8[], $5::bool[], $6::bytea[], $7::float8[],"
    " $8::timestamptz[], $9::interval[]"
)


async def create_pool(database_url: str, *, most_connections: int, name: str, ready_connections: int = 1) -> Pool:
    """A pool; `name` is what pg_stat_activity shows. `ready_connections` are opened now and kept.

    Raises:
        OSError, asyncpg.PostgresError: the server can't be reached or refuses.
    """
    return await asyncpg.create_pool(
        database_url,
        min_size=ready_connections,
        max_size=most_connections,
        init=_learn_arrays,
        # Nothing here outlives its transaction, so there's nothing to reset: a round trip saved for each use.
        reset=_keep,
        # A log-in (SCRAM) costs 20 ms of this process's time: idle connections are kept for a while.
        max_inactive_connection_lifetime=1800.0,
        max_cached_statement_lifetime=60,
        command_timeout=COMMAND_TIMEOUT_S,
        timeout=5.0,
        # JIT compiles short statements for longer than they run.
        server_settings={
            "application_name": name,
            "jit": "off",
            "lock_timeout": "10s",
            # Plans are kept: forced to plan anew, Postgres does so for every foreign key of every row as well. Against
            # plans from when a table was empty: indexes whatever its size, and statements prepared anew each minute.
            "enable_seqscan": "off",
        },
    )


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection inside a transaction: committed at the end, rolled back by any exception."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection


async def _learn_arrays(connection: asyncpg.Connection[asyncpg.Record], /) -> None:
    await connection.prepare(_ARRAYS)


async def _keep(_: object) -> None:
    return
