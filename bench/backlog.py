"""A backlog of webhook deliveries, drained by one worker process."""

from __future__ import annotations

import json
import time
from uuid import UUID, uuid4

from activities.waking import signal_delivery
from bench.figures import BacklogRun
from bench.stage import SENDER
from bench.system import Progress, Target, await_arrivals, connect, meter_of, subscribe
from devstack.seed import open_pool
from devstack.stack import Stack
from ledger.pool import Pool, transaction
from workflows.interface.codes import EventType


async def measure_backlog(stack: Stack, deliveries: int, progress: Progress) -> BacklogRun:
    """Writes the deliveries, wakes the drain once, and waits for the last arrival."""
    async with open_pool(stack.state) as pool:
        target = await subscribe(stack, pool)
        await _write(pool, target, deliveries)
        client = await connect(stack.state.temporal_address)
        meter = meter_of(stack, with_receiver=True)
        meter.start()
        started = time.time()
        await signal_delivery(client, target.subscription_id)
        last_at = await await_arrivals(target.url, deliveries, progress)
        return BacklogRun(deliveries=deliveries, duration_s=last_at - started, usage=meter.stop())


async def _write(pool: Pool, target: Target, deliveries: int) -> None:
    """Events as `transfer.completed` writes them, and a due delivery for each."""
    ids = [uuid4() for _ in range(deliveries)]
    kind = EventType.TRANSFER_COMPLETED
    events = [(event_id, kind.value, uuid4(), body_of(kind, number)) for number, event_id in enumerate(ids, start=1)]
    async with transaction(pool) as connection:
        columns = ("event_id", "type", "transfer_id", "body")
        await connection.copy_records_to_table("events", records=events, columns=columns)
        await connection.copy_records_to_table(
            "webhook_deliveries",
            records=[(target.subscription_id, event_id) for event_id in ids],
            columns=("subscription_id", "event_id"),
        )


def body_of(kind: EventType, item_no: int) -> str:
    """A body as the database writes it."""
    data = {
        "transferId": str(uuid4()),
        "batchId": str(UUID(int=1)),
        "itemNo": item_no,
        "ticketId": str(item_no),
        "fromUserId": SENDER,
        "toAddress": "0x" + uuid4().hex + "00000000",
        "status": "COMPLETED",
        "transactionHash": "0x" + uuid4().hex + uuid4().hex,
        "blockNumber": 12345,
    }
    return json.dumps({"type": kind.value, "timestamp": "2030-01-01T00:00:00.000000Z", "data": data})
