"""Alerts in the whole system: the worker as a process that is killed while it tells, the schedule, the real chain."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.alerts.conftest import SECRET
from tests.e2e.conftest import System
from tests.webhooks.receiver import Receiver
from workflows.interface.names import ScheduleId

DUE_NOW = "UPDATE alert_notices SET next_attempt_at = now() WHERE sent_at IS NULL"


@pytest.fixture
def environment(environment: dict[str, str], receiver: Receiver) -> dict[str, str]:
    """Lanes count as poor, and a receiver that doesn't answer is told."""
    return environment | {
        "ALERT_WEBHOOK_URL": receiver.slow_url,
        "ALERT_WEBHOOK_SECRET": SECRET,
        "ALERT_SIGNER_BALANCE_ETH": "5000",
    }


async def check(system: System) -> None:
    """A run of the schedule now."""
    await system.client.get_schedule_handle(ScheduleId.CHECK_ALERTS).trigger()


def told(receiver: Receiver) -> list[tuple[str, str, str]]:
    """Id, type and subject of each request."""
    events = [(headers["webhook-id"], json.loads(body)) for headers, body in receiver.requests]
    return [(notice_id, event["type"], event["data"]["subject"]) for notice_id, event in events]


async def test_a_worker_killed_while_it_tells_tells_again_and_tells_the_end(system: System, receiver: Receiver) -> None:
    """Both lanes' alerts reach the receiver with one webhook-id each; once the lanes are funded, their end does too."""
    await system.worker.start()
    await check(system)
    async with asyncio.timeout(60):
        await receiver.came(2)
    first = set(told(receiver))
    await system.worker.kill()
    assert (
        await system.pool.fetchval("SELECT count(*) FROM alert_notices WHERE channel = 'webhook' AND sent_at IS NULL")
        == 2
    )
    receiver.release.set()
    await system.pool.execute(DUE_NOW)
    await system.worker.start()
    async with asyncio.timeout(60):
        while await system.pool.fetchval("SELECT count(*) FROM alert_notices WHERE sent_at IS NULL"):
            await check(system)
            await asyncio.sleep(0.5)
    assert set(told(receiver)) == first
    assert {kind for _, kind, _ in first} == {"alert.opened"}
    for row in await system.pool.fetch("SELECT signer FROM chain_lanes"):
        await system.crew.chain.fund(row["signer"], 10**22)
    await check(system)
    await system.until("NOT EXISTS (SELECT FROM alerts WHERE closed_at IS NULL AND kind = 'SIGNER_BALANCE')")
    await system.until("NOT EXISTS (SELECT FROM alert_notices WHERE sent_at IS NULL)")
    ended = [(kind, subject) for notice_id, kind, subject in told(receiver) if kind == "alert.closed"]
    assert sorted(ended) == sorted(("alert.closed", subject) for _, _, subject in first)
    receiver.verify_all(SECRET)
    assert "alert [critical] SIGNER_BALANCE" in system.worker.log
    assert "alert closed [critical] SIGNER_BALANCE" in system.worker.log
    assert SECRET not in system.worker.log
