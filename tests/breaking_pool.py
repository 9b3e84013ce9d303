"""A pool whose connection breaks before a chosen statement: what a killed worker or a lost server leaves behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg

from ledger.pool import Pool

_STATEMENTS = frozenset({"fetch", "fetchrow", "fetchval", "execute", "copy_to_table", "cursor"})


class BreakingPool:
    """The real pool up to the statement number `break_at`, which finds the connection gone."""

    def __init__(self, pool: Pool, break_at: int) -> None:
        self._pool = pool
        self._left = break_at

    def as_pool(self) -> Pool:
        """For what expects a real one."""
        return cast(Pool, self)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[_Connection]:
        async with self._pool.acquire() as connection:
            yield _Connection(connection, self)

    def tick(self) -> None:
        """Counts a statement.

        Raises:
            asyncpg.ConnectionDoesNotExistError: this is the one.
        """
        self._left -= 1
        if self._left == 0:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    def __getattr__(self, name: str) -> Any:
        if name in _STATEMENTS:
            self.tick()
        return getattr(self._pool, name)


class _Connection:
    def __init__(self, connection: Any, counter: BreakingPool) -> None:
        self._connection = connection
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        if name in _STATEMENTS:
            self._counter.tick()
        return getattr(self._connection, name)
