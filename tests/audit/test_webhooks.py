"""Webhooks: they hold nothing up, and a delivery's attempts outlive the worker that made the first one."""

from __future__ import annotations

import asyncio
import base64

import pytest
from aiohttp import web

from tests.audit.conftest import SECRET, subscribe
from tests.e2e.conftest import System
from tests.starter.commands import Transfers
from tests.webhooks.receiver import Receiver
from workflows.interface.deliveries import RetryPolicy

pytestmark = pytest.mark.usefixtures("blocks")
STEP_S = 30.0


async def test_a_batch_does_not_wait_for_its_webhooks(system: System, receiver: Receiver) -> None:
    """An endpoint that never answers has open requests when the batch is done; then it gets the rest."""
    await subscribe(system, receiver.slow_url, "transfer.completed", "batch.*")
    await system.worker.start()
    tickets = await system.crew.world_tickets(30)
    handle = await system.start_batch([(ticket, "bob") for ticket in tickets])
    async with asyncio.timeout(STEP_S):
        assert (await handle.result())["completed"] == 30
        await receiver.came(1)
    assert await system.pool.fetchval("SELECT count(*) FROM webhook_deliveries WHERE status = 'DELIVERED'") == 0
    assert await system.pool.fetchval("SELECT count(*) FROM webhook_deliveries WHERE status = 'PENDING'") >= 31
    receiver.release.set()
    async with asyncio.timeout(STEP_S):
        await system.until("NOT EXISTS (SELECT FROM webhook_deliveries WHERE status = 'PENDING')")


async def test_a_delivery_is_tried_again_by_the_next_worker(system: System, receiver: Receiver) -> None:
    """Answered 503, then its worker is killed: another one sends it again, same id, and each attempt is logged."""
    receiver.answer = lambda _: web.Response(status=503, text="later")
    await subscribe(system, receiver.url, "transfer.completed")
    await system.worker.start()
    [ticket] = await system.crew.world_tickets(1)
    await (await system.start_batch([(ticket, "bob")])).result()
    async with asyncio.timeout(STEP_S):
        await system.until("EXISTS (SELECT FROM webhook_attempts)")
    await system.worker.kill()
    before = len(receiver.requests)
    receiver.answer = lambda _: web.Response(status=204)
    await system.worker.start()
    async with asyncio.timeout(STEP_S):
        await system.until("EXISTS (SELECT FROM webhook_deliveries WHERE status = 'DELIVERED')")
    assert len(receiver.requests) > before
    assert len(receiver.ids) == 1
    receiver.verify_all("whsec_" + base64.b64encode(SECRET).decode())
    rows = await system.pool.fetch(
        "SELECT attempt_no, http_status, response, started_at FROM webhook_attempts ORDER BY started_at"
    )
    assert [row["attempt_no"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["http_status"] for row in rows] == [503] * before + [204]
    assert rows[0]["response"] == "later"
    assert (rows[1]["started_at"] - rows[0]["started_at"]).total_seconds() >= 1


async def test_a_delivery_without_attempts_left_is_buried_and_replayed(
    system: System, receiver: Receiver, command: Transfers
) -> None:
    """Refused five times, it's a dead letter that names endpoint and answer; replayed, it's delivered, same id."""
    receiver.answer = lambda _: web.Response(status=500)
    quick = RetryPolicy(max_attempts=5, first_delay_s=0.05, delay_coefficient=1, max_delay_s=0.05)
    endpoint = await subscribe(system, receiver.url, "transfer.completed", retry=quick)
    await system.worker.start()
    [ticket] = await system.crew.world_tickets(1)
    await (await system.start_batch([(ticket, "bob")])).result()
    async with asyncio.timeout(STEP_S):
        await system.until("EXISTS (SELECT FROM dead_letters)")
    [letter] = (await command("dead-letters", "list", "--endpoint", str(endpoint), "--json")).json
    assert (letter["kind"], letter["attempts"], letter["reason"]) == ("delivery", 5, "HTTP 500")
    assert len(receiver.requests) == 5
    receiver.answer = lambda _: web.Response(status=204)
    replayed = await command("dead-letters", "replay", "--all", "--yes", "--wait", "--by", "olga", "--json")
    assert (replayed.code, replayed.json["replayed"]) == (0, 1)
    async with asyncio.timeout(STEP_S):
        await system.until("EXISTS (SELECT FROM webhook_deliveries WHERE status = 'DELIVERED')")
    assert list(receiver.ids.values()) == [6]
