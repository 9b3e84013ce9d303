"""Faults of the database that are retried and alert: a server that only reads, a lock that nobody gives back."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from ledger.pool import Pool, create_pool
from tests.crew import Crew, fault_of, slice_from
from workflows.interface.batch import Slice
from workflows.interface.codes import ErrorCode

SIZE = 3
QUERY = "SELECT kind, subject, seen, message FROM alerts"


async def set_read_only(pool: Pool, value: str) -> None:
    """The server reads only, or writes again, for every connection from now on."""
    async with pool.acquire() as connection:
        await connection.execute("SET default_transaction_read_only = off")
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}")
    await pool.expire_connections()


async def uncreated(crew: Crew) -> Slice:
    """A batch that is staged, with nothing created."""
    await crew.world()
    numbers = await crew.world_tickets(SIZE)
    return slice_from(await crew.books.batch([(n, "bob") for n in numbers]), SIZE)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_database_that_only_reads_is_logged_at_once_and_alerts_when_it_writes_again(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps are retried, one line of the log tells it, and the alert follows once a step can write it."""
    work, pool = await uncreated(crew), crew.books.pool
    beyond = work.model_copy(update={"range": work.range.model_copy(update={"first": SIZE + 1, "last": SIZE + 1})})
    await set_read_only(pool, "on")
    for _ in range(2):
        assert await fault_of(crew.do(crew.transfers.create_transfers, work)) == ErrorCode.INFRASTRUCTURE
        # Nothing to write: it goes through all the same, and can't leave the alert.
        await crew.do(crew.transfers.create_transfers, beyond)
    [line] = errors(caplog)
    assert "SQLSTATE 25006" in line
    assert await pool.fetch(QUERY) == []
    await set_read_only(pool, "off")
    for _ in range(2):
        await crew.do(crew.transfers.create_transfers, work)
    [alert] = await pool.fetch(QUERY)
    assert tuple(alert)[:3] == ("DATABASE_CONDITION", "SQLSTATE 25006", 1)
    assert alert["message"].startswith("first met 2")
    assert "ReadOnlySQLTransactionError" in alert["message"]
    assert await crew.books.statuses(work.batch_id) == "P" * SIZE


@pytest.fixture
async def hasty(crew: Crew, database_url: str) -> AsyncIterator[Crew]:
    """The same lane's steps of a worker whose one connection waits for locks a moment only."""
    async with await create_pool(database_url, most_connections=1, name="tests") as pool:
        await pool.execute("SET lock_timeout = '20ms'")
        hasty = crew.on(pool)
        yield hasty
        await hasty.waker.close()


async def test_a_lock_that_nobody_gives_back_alerts_when_it_is_gone(
    crew: Crew, hasty: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    """No item is charged a try; the alert says what was waited for."""
    work = await uncreated(crew)
    async with crew.books.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE ticket_transfers IN SHARE MODE")
        for _ in range(2):
            assert await fault_of(hasty.do(hasty.transfers.create_transfers, work)) == ErrorCode.INFRASTRUCTURE
    assert ["SQLSTATE 55P03" in line for line in errors(caplog)] == [True]
    await hasty.do(hasty.transfers.create_transfers, work)
    [alert] = await crew.books.pool.fetch(QUERY)
    assert tuple(alert)[:3] == ("DATABASE_CONDITION", "SQLSTATE 55P03", 1)
    assert "lock timeout" in alert["message"]
    assert await crew.books.pool.fetchval("SELECT max(tries) FROM batch_transfer_items") == 0
