"""The connection pool and the one way to open a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from asyncpg.connection import LoggedQuery
from opentelemetry import trace

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.pool.PoolConnectionProxy
    Pool = asyncpg.Pool

OnStatement: TypeAlias = Callable[[LoggedQuery], None]
"""Called after a statement, in the context of who ran it."""

COMMAND_TIMEOUT_S = 20.0
"""Longer than any statement needs; a hung server must not hold an activity's slot."""


# The driver looks up how to encode an array when it first meets one, on each connection anew: about 10 ms of the
# server's time, four times per connection, unless it's told of all of them at once.
_ARRAYS = (
    "SELECT $1::uuid[], $2::int2[], $3::int4[], $4::int8[], $5::bool[], $6::bytea[], $7::float8[],"
    " $8::timestamptz[], $9::interval[]"
)


async def create_pool(
    database_url: str,
    *,
    most_connections: int,
    name: str,
    ready_connections: int = 1,
    on_statement: OnStatement | None = None,
) -> Pool:
    """A pool; `name` is what pg_stat_activity shows. `ready_connections` are opened now and kept.

    Raises:
        OSError, asyncpg.PostgresError: the server can't be reached or refuses.
    """
    return await asyncpg.create_pool(
        database_url,
        min_size=ready_connections,
        max_size=most_connections,
        init=partial(_made_ready, on_statement),
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
        await _carry_trace(connection)
        yield connection


async def _carry_trace(connection: Connection) -> None:
    """Events that are written in a traced step know of it (default of `events.trace`): deliveries come much later."""
    span = trace.get_current_span().get_span_context()
    if span.trace_flags.sampled:
        traceparent = f"00-{trace.format_trace_id(span.trace_id)}-{trace.format_span_id(span.span_id)}-01"
        await connection.execute("SELECT set_config('transfers.traceparent', $1, true)", traceparent)


async def _made_ready(on_statement: OnStatement | None, connection: asyncpg.Connection[asyncpg.Record], /) -> None:
    await connection.prepare(_ARRAYS)
    if on_statement is not None:
        connection.add_query_logger(on_statement)


async def _keep(_: object) -> None:
    return
