"""Rate limits of webhook endpoints: a drain sends at most its grant, and the workflow sleeps until the next."""

from __future__ import annotations

import asyncio
import time

import pytest
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Worker

from activities.rate_gate import RateGate
from activities.waking import Waker
from activities.webhooks import LONGEST_LIMITED_S, Webhooks
from ledger.pool import Pool
from ledger.rate_limits import RateLimits
from ledger.runs import BatchRuns
from ledger.webhooks import WebhookLedger
from tests.rate_buckets import fill, level
from tests.webhooks.conftest import Subscriptions
from tests.webhooks.receiver import Receiver
from webhooks.sender import Sender
from workflows.interface.deliveries import Endpoint
from workflows.interface.names import Queue, webhook_workflow_id
from workflows.interface.rates import RateName, endpoint_rate_name
from workflows.interface.webhook import DeliveryWork, DrainResult
from workflows.sandbox import sandboxed
from workflows.webhook_delivery import WebhookDelivery

SLOTS = 4


@pytest.fixture
def limits(pool: Pool) -> RateLimits:
    return RateLimits(pool)


@pytest.fixture
def steps(pool: Pool, ledger: WebhookLedger, sender: Sender, limits: RateLimits) -> Webhooks:
    return Webhooks(ledger, sender, BatchRuns(pool).raise_alert, SLOTS, gate=RateGate(limits))


async def drained(steps: Webhooks, endpoint: Endpoint) -> DrainResult:
    work = DeliveryWork(subscription_id=endpoint.subscription_id)
    return await ActivityEnvironment().run(steps.drain_deliveries, work)


def bucket_of(endpoint: Endpoint) -> str:
    return endpoint_rate_name(endpoint.subscription_id)


async def test_a_drain_sends_at_most_its_grant(
    steps: Webhooks, limits: RateLimits, pool: Pool, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """Of fifty due deliveries twenty are sent, and the drain says when the next can be; no attempt is spent."""
    endpoint = await subscriptions.create(receiver.url, due=50)
    await limits.set_limit(RateName.WEBHOOKS, 20, "test")
    await fill(pool, bucket_of(endpoint), 20)
    first = await drained(steps, endpoint)
    assert (first.delivered, len(receiver.requests)) == (20, 20)
    assert first.next_due_in_s is not None
    assert 0 < first.next_due_in_s <= 0.25
    await fill(pool, bucket_of(endpoint), 0)
    second = await drained(steps, endpoint)
    assert (second.delivered, len(receiver.requests)) == (0, 20)
    assert second.next_due_in_s == pytest.approx(0.25, abs=0.1)
    assert await pool.fetchval("SELECT count(*) FROM webhook_deliveries WHERE attempts = 0") == 30


async def test_what_a_drain_leaves_of_its_grant_is_given_back(
    steps: Webhooks, limits: RateLimits, pool: Pool, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """Three deliveries cost three tokens, and with nothing left there's nothing to wait for."""
    endpoint = await subscriptions.create(receiver.url, due=3)
    await limits.set_limit(RateName.WEBHOOKS, 20, "test")
    await fill(pool, bucket_of(endpoint), 10)
    assert await drained(steps, endpoint) == DrainResult(delivered=3, next_due_in_s=None)
    assert await level(pool, bucket_of(endpoint)) >= 7


async def test_endpoints_under_the_default_have_buckets_of_their_own(
    steps: Webhooks, limits: RateLimits, pool: Pool, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """What one endpoint used up another still has, and one with a limit of its own goes by that."""
    busy, idle, fast = [await subscriptions.create(receiver.url, due=30) for _ in range(3)]
    await limits.set_limit(RateName.WEBHOOKS, 2, "test")
    await limits.set_limit(bucket_of(fast), 1000, "test")
    for endpoint, tokens in ((busy, 0), (idle, 2), (fast, 1000)):
        await fill(pool, bucket_of(endpoint), tokens)
    assert [(await drained(steps, endpoint)).delivered for endpoint in (busy, idle, fast)] == [0, 2, 30]


async def test_a_slow_limit_is_looked_at_again_soon(
    steps: Webhooks, limits: RateLimits, pool: Pool, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """Where the next request is minutes away the endpoint sleeps for seconds only: the limit may be lifted."""
    endpoint = await subscriptions.create(receiver.url, due=1)
    await limits.set_limit(RateName.WEBHOOKS, 0.001, "test")
    await fill(pool, bucket_of(endpoint), 0)
    assert (await drained(steps, endpoint)).next_due_in_s == LONGEST_LIMITED_S


async def test_the_workflow_holds_the_rate_and_a_changed_one(
    temporal_client: Client, steps: Webhooks, limits: RateLimits, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """Over eight seconds an endpoint gets its rate within 5%; lifted, the backlog comes at once."""
    endpoint = await subscriptions.create(receiver.url, due=1500)
    rate, window_s = 50.0, 8.0
    await limits.set_limit(RateName.WEBHOOKS, rate, "test")
    worker = Worker(
        temporal_client,
        task_queue=Queue.WEBHOOKS,
        workflows=[WebhookDelivery],
        activities=[steps.drain_deliveries],
        max_concurrent_activities=SLOTS,
        workflow_runner=sandboxed(),
        build_id="test",
    )
    async with worker, Waker(temporal_client) as waker:
        await waker.wake([endpoint.subscription_id])
        await until(receiver, 2 * int(rate))
        begins, before = time.monotonic(), len(receiver.requests)
        await asyncio.sleep(window_s)
        held = (len(receiver.requests) - before) / (time.monotonic() - begins)
        await limits.set_limit(RateName.WEBHOOKS, 100_000, "test")
        await until(receiver, 1500)
        await temporal_client.get_workflow_handle(webhook_workflow_id(endpoint.subscription_id)).terminate()
    assert held == pytest.approx(rate, rel=0.05)


async def until(receiver: Receiver, requests: int) -> None:
    async with asyncio.timeout(15):
        while len(receiver.requests) < requests:
            await asyncio.sleep(0.01)
