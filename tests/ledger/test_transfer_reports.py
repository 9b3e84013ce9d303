"""What people read of transfers: events found by their times, and lists that their indexes answer."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from ledger.pool import Pool, transaction
from ledger.queries import load
from ledger.transfer_reports import TransferReports

_ANY: tuple[Any, ...] = (None, None, None, None, None, None, 20)


async def gift(pool: Pool) -> UUID:
    """A gift that was offered three days ago and accepted a day ago, with events as of then, and as many of others."""
    transfer_id = uuid4()
    await pool.execute(
        "INSERT INTO ticket_transfers (transfer_id, kind, ticket_id, from_user_id, to_user_id, token, holder,"
        " recipient, settlement, status, expires_at, created_at, accepted_at)"
        " SELECT $1, 'gift', '1', 'alice', 'bob', a, a, a, 'batched', 'ACCEPTED',"
        " now(), now() - interval '3 days', now() - interval '1 day'"
        " FROM decode(repeat('a1', 20), 'hex') a",
        transfer_id,
    )
    for subject in (transfer_id, uuid4()):
        await pool.execute(
            "INSERT INTO events (event_id, type, transfer_id, occurred_at) VALUES"
            " (uuidv7(interval '-3 days'), 'transfer.created', $1, now() - interval '3 days'),"
            " (uuidv7(interval '-1 day'), 'transfer.accepted', $1, now() - interval '1 day')",
            subject,
        )
    return transfer_id


async def test_events_are_found_however_far_apart(pool: Pool) -> None:
    """A gift's offer and its acceptance days later are told in order, and nobody else's events are."""
    transfer_id = await gift(pool)
    found = await TransferReports(pool).events(transfer_id)
    assert [event.type.value for event in found] == ["transfer.created", "transfer.accepted"]


async def test_events_are_looked_for_by_time_alone(pool: Pool) -> None:
    """Only the events of the moments in question are read, by their ids, however many others there are."""
    transfer_id = await gift(pool)
    plan = await planned(pool, load("transfer_reports")["transfer_events"], transfer_id)
    assert '"Index Cond": "((event_id >= m.earliest) AND (event_id <= m.latest))"' in plan


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (_ANY, "ticket_transfers_recent"),
        ((None, None, "alice", None, None, None, 20), "ticket_transfers_sent"),
        (("PENDING", "gift", None, "bob", None, None, 20), "ticket_transfers_received"),
    ],
)
async def test_a_list_is_read_in_the_order_of_its_index(pool: Pool, filters: tuple[Any, ...], index: str) -> None:
    """The newest, a sender's and a recipient's come from an index each, without sorting all that there are."""
    plan = await planned(pool, load("transfer_reports")["transfer_reports"], *filters)
    assert index in plan
    assert '"Sort"' not in plan


async def planned(pool: Pool, statement: str, *arguments: object) -> str:
    """How Postgres runs a statement with these values."""
    async with transaction(pool) as connection:
        return json.dumps(json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)))
