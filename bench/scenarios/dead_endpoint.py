"""A webhook endpoint that never answers among others: what it does to the deliveries of the healthy ones."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

from activities.waking import Waker
from bench.backlog import body_of
from bench.figures import Figures
from bench.scenarios.latencies import Latencies, latencies
from bench.stage import SENDER
from bench.system import EVENT_TYPES, Progress, connect
from devstack.demo_ledger import secret_text
from devstack.ports import HOST
from devstack.seed import open_pool
from devstack.stack import Stack
from ledger.pool import Pool, transaction
from ledger.webhooks import NewSubscription, WebhookLedger
from workflows.interface.codes import EventType
from workflows.interface.deliveries import RetryPolicy

ENDPOINTS = 20
EVENTS, EVENTS_PER_ROUND, ROUND_S = 400, 2, 0.1
_TIMEOUT_S = 120.0


class DeadEndpointRun(Figures):
    """From event to answer, over the healthy endpoints."""

    all_healthy: Latencies
    one_dead: Latencies

    def lines(self) -> list[str]:
        """For people."""
        ratio = self.one_dead.p95_s / self.all_healthy.p95_s
        return [
            f"{ENDPOINTS - 1} endpoints, no dead one: {self.all_healthy}",
            f"{ENDPOINTS - 1} endpoints beside a dead one: {self.one_dead}; p95 {ratio:.2f} times (to reach: 1.2)",
        ]


async def measure_dead_endpoint(stack: Stack, progress: Progress) -> DeadEndpointRun:
    """The same load twice: with all endpoints healthy, and with one that never answers."""
    secret = secrets.token_bytes(32)
    base_url = await asyncio.to_thread(stack.start_receiver, secret_text(secret))
    client = await connect(stack.state.temporal_address)
    async with open_pool(stack.state) as pool, Waker(client) as waker:
        healthy = [await _subscribe(pool, f"{base_url}/hooks/{n}", secret) for n in range(ENDPOINTS - 1)]
        last = await _subscribe(pool, f"{base_url}/hooks/{ENDPOINTS - 1}", secret)
        without = await _load(pool, waker, [*healthy, last], healthy)
        progress(EVENTS)
        with _silent() as dead_url:
            dead = await _subscribe(pool, dead_url, secret)
            beside = await _load(pool, waker, [*healthy, dead], healthy)
        progress(2 * EVENTS)
    return DeadEndpointRun(all_healthy=without, one_dead=beside)


async def _subscribe(pool: Pool, url: str, secret: bytes) -> UUID:
    new = NewSubscription(url, secret, SENDER, EVENT_TYPES, RetryPolicy())
    return (await WebhookLedger(pool).create_subscription(new)).subscription_id


async def _load(pool: Pool, waker: Waker, to: list[UUID], measured: list[UUID]) -> Latencies:
    """Events at a steady rate to all of `to`; the latencies of `measured`."""
    ids = []
    for _ in range(EVENTS // EVENTS_PER_ROUND):
        ids += await _write(pool, to)
        await waker.wake(to)
        await asyncio.sleep(ROUND_S)
    async with asyncio.timeout(_TIMEOUT_S):
        while len(took := await _answered(pool, ids, measured)) < len(ids) * len(measured):
            await asyncio.sleep(0.2)
    return latencies(took)


async def _write(pool: Pool, to: list[UUID]) -> list[UUID]:
    kind = EventType.TRANSFER_COMPLETED
    ids = [uuid4() for _ in range(EVENTS_PER_ROUND)]
    async with transaction(pool) as connection:
        await connection.executemany(
            "INSERT INTO events (event_id, type, transfer_id, body) VALUES ($1, $2, $3, $4)",
            [(event_id, kind.value, uuid4(), body_of(kind, 1)) for event_id in ids],
        )
        await connection.copy_records_to_table(
            "webhook_deliveries",
            records=[(endpoint, event_id) for endpoint in to for event_id in ids],
            columns=("subscription_id", "event_id"),
        )
    return ids


async def _answered(pool: Pool, ids: list[UUID], measured: list[UUID]) -> list[float]:
    rows = await pool.fetch(
        "SELECT extract(epoch FROM a.started_at - e.occurred_at)::float8 + a.duration_ms / 1000.0"
        " FROM webhook_attempts a JOIN events e USING (event_id)"
        " WHERE a.event_id = ANY ($1::uuid[]) AND a.subscription_id = ANY ($2::uuid[]) AND a.http_status = 204",
        ids,
        measured,
    )
    return [row[0] for row in rows]


@contextmanager
def _silent() -> Iterator[str]:
    """An address that takes connections and never answers: every attempt runs into its timeout."""
    with socket.create_server((HOST, 0), backlog=512) as server:
        yield f"http://{HOST}:{server.getsockname()[1]}/hooks"
