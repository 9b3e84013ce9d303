"""Events: written in the transaction of the change they tell of, with a delivery per interested subscription."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from ledger.pool import Connection
from ledger.queries import load
from workflows.interface.codes import EventType

_TRANSFERS, _RUNS = load("transfers"), load("runs")


async def emit_transfer_events(connection: Connection, ids: Iterable[UUID], kind: EventType) -> frozenset[UUID]:
    """One event per transfer; returns the subscriptions that got deliveries, to be woken after the commit."""
    wanted = list(ids)
    if not wanted:
        return frozenset()
    rows = await connection.fetch(_TRANSFERS["emit_transfer_events"], wanted, kind.value)
    return frozenset(row[0] for row in rows)


async def emit_batch_event(connection: Connection, batch_id: UUID, kind: EventType) -> frozenset[UUID]:
    """The event of a batch's end; returns the subscriptions that got deliveries."""
    rows = await connection.fetch(_RUNS["emit_batch_event"], batch_id, kind.value)
    return frozenset(row[0] for row in rows)
