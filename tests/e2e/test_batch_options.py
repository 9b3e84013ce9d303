"""Batches of gifts and sequential batches through all real parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import asyncpg
import pytest

from tests.books import wallet_of
from tests.e2e.conftest import System, batch_id_of

pytestmark = pytest.mark.usefixtures("blocks")


async def test_a_batch_of_gifts_runs_through_all_real_parts(system: System) -> None:
    """Gifts to users wait and lock their tickets, the others fail with their codes, and nothing reaches the chain."""
    await system.worker.start()
    tickets = await system.crew.world_tickets(30)
    wallet, stranger = "0x" + wallet_of("carol").hex(), "0x" + "5a" * 20
    lines: list[tuple[int | str, str]] = [(ticket, "bob") for ticket in tickets[:24]]
    lines += [(tickets[24], wallet), (tickets[25], stranger), (tickets[26], "nobody"), (99_999_999, "bob")]
    lines += [(tickets[0], "carol"), (tickets[27], "alice")]
    until = datetime.now(UTC) + timedelta(hours=36)
    handle = await system.start_batch(lines, kind="gift", expiresAt=until.isoformat())
    result = await handle.result()
    assert (result["status"], result["completed"], result["failed"]) == ("COMPLETED_WITH_FAILURES", 25, 5)
    items = await system.crew.books.items(batch_id_of(handle))
    assert [items[number][1] for number in range(26, 31)] == [
        "GIFT_NEEDS_USER",
        "UNKNOWN_USER",
        "UNKNOWN_TICKET",
        "DUPLICATE_IN_BATCH",
        "RECIPIENT_IS_SENDER",
    ]
    rows = await system.pool.fetch("SELECT DISTINCT kind, status, expires_at FROM ticket_transfers WHERE live")
    assert [tuple(row) for row in rows] == [("gift", "PENDING", until)]
    assert await system.pool.fetchval("SELECT count(*) FROM chain_transactions") == 0
    other = await system.start_batch([(tickets[1], "carol")])
    assert (await other.result())["failed"] == 1
    assert await system.crew.differences() == []


async def bindings(system: System, batch_id: UUID) -> list[asyncpg.Record]:
    """Every go of every item at the chain, in the order of the items and their goes."""
    return await system.pool.fetch(
        "SELECT t.item_no, b.binding_no, o.outcome::text, x.final_block_number, x.bound_at, x.settled_at"
        " FROM ticket_transfers t JOIN chain_bindings b USING (transfer_id)"
        " JOIN chain_outcomes o USING (transaction_id, position) JOIN chain_transactions x USING (transaction_id)"
        " WHERE t.batch_id = $1 ORDER BY 1, 2",
        batch_id,
    )


@pytest.mark.parametrize("settlement", ["batched", "single"])
async def test_a_sequential_batch_keeps_its_order_on_the_chain(system: System, settlement: str) -> None:
    """Item 2 fails all its tries; items 1, 3 and 4 move, each bound only when all before it had its last outcome."""
    await system.worker.start()
    refusing = "0x" + (await system.crew.chain.deploy("test/RefusingReceiver")).hex()
    tickets = await system.crew.world_tickets(5)
    recipients = ("bob", refusing, "bob", "nobody", "bob")
    lines: list[tuple[int | str, str]] = list(zip(tickets, recipients, strict=True))
    handle = await system.start_batch(lines, order="sequential", settlement=settlement)
    result = await handle.result()
    assert (result["status"], result["completed"], result["failed"]) == ("COMPLETED_WITH_FAILURES", 3, 2)
    rows = await bindings(system, batch_id_of(handle))
    assert [(row["item_no"], row["outcome"]) for row in rows] == [
        (1, "moved"),
        *[(2, "failed")] * 3,
        (3, "moved"),
        (5, "moved"),
    ]
    for before, after in pairwise(rows):
        assert before["final_block_number"] < after["final_block_number"]
        assert before["settled_at"] < after["bound_at"]
    assert await system.crew.differences() == []
