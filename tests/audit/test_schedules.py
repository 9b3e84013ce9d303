"""Scheduled clean-up of webhook deliveries, through its schedule and the worker."""

from __future__ import annotations

import asyncio

from tests.audit.conftest import subscribe
from tests.e2e.conftest import System
from tests.ledger.test_archive import counts, deliver
from workflows.interface.names import ScheduleId


async def test_old_deliveries_are_archived_by_their_schedule(system: System) -> None:
    """What ended more than the retention ago moves with its attempts; what is younger stays where it is."""
    subscription_id = await subscribe(system, "http://127.0.0.1:1/", "*")
    await deliver(system.pool, subscription_id, 5, "DELIVERED", 40)
    await deliver(system.pool, subscription_id, 3, "DELIVERED", 20)
    await system.worker.start()
    await system.client.get_schedule_handle(ScheduleId.ARCHIVE_WEBHOOK_DELIVERIES).trigger()
    async with asyncio.timeout(30):
        await system.until("count(*) = 5 FROM webhook_deliveries_archive")
    assert await counts(system.pool) == {
        "webhook_deliveries": 3,
        "webhook_attempts": 6,
        "webhook_deliveries_archive": 5,
        "webhook_attempts_archive": 10,
    }
