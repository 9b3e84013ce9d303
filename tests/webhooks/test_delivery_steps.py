"""Steps and workflows together, on the real servers: dead endpoints beside healthy ones, the sweep, its schedule."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.faults import RaiseAlert
from activities.rate_gate import RateGate
from activities.waking import Waker
from activities.webhooks import FailingPlaces, Webhooks
from ledger.pool import Pool
from ledger.rate_limits import RateLimits
from ledger.runs import BatchRuns
from ledger.webhooks import WebhookLedger
from starter.webhooks import secret_text
from tests.fake_jobs import nothing_gone
from tests.webhooks.conftest import SECRET, Subscriptions
from tests.webhooks.receiver import Receiver
from webhooks.sender import Sender
from worker_steps import maintenance_steps
from workflows.interface.deliveries import Endpoint, RetryPolicy
from workflows.interface.maintenance import SweepResult
from workflows.interface.names import Queue, WorkflowType, webhook_workflow_id
from workflows.maintenance import SweepWebhookDeliveries
from workflows.sandbox import sandboxed
from workflows.webhook_delivery import WebhookDelivery

SLOTS = 8
DUE = 60


class Service(NamedTuple):
    """What the two queues need."""

    client: Client
    ledger: WebhookLedger
    sender: Sender
    raise_alert: RaiseAlert
    gate: RateGate
    pool: Pool

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Client]:
        """Works on both queues, as worker.py does."""
        webhooks = Worker(
            self.client,
            task_queue=Queue.WEBHOOKS,
            workflows=[WebhookDelivery],
            activities=[Webhooks(self.ledger, self.sender, self.raise_alert, SLOTS, gate=self.gate).drain_deliveries],
            max_concurrent_activities=SLOTS,
            workflow_runner=sandboxed(),
            build_id="test",
        )
        sweeper = maintenance_steps(self.pool, self.client, Waker(self.client), nothing_gone)
        maintenance = Worker(
            self.client,
            task_queue=Queue.MAINTENANCE,
            workflows=[SweepWebhookDeliveries],
            activities=[sweeper.sweep_webhook_deliveries],
            workflow_runner=sandboxed(),
            build_id="test",
        )
        async with webhooks, maintenance:
            yield self.client


@pytest.fixture
def service(temporal_client: Client, pool: Pool, ledger: WebhookLedger, sender: Sender) -> Service:
    return Service(temporal_client, ledger, sender, BatchRuns(pool).raise_alert, RateGate(RateLimits(pool)), pool)


async def left(pool: Pool, endpoints: list[Endpoint]) -> int:
    """Deliveries of these endpoints that aren't made."""
    ids = [endpoint.subscription_id for endpoint in endpoints]
    count: int = await pool.fetchval(
        "SELECT count(*) FROM webhook_deliveries WHERE subscription_id = ANY($1) AND status <> 'DELIVERED'", ids
    )
    return count


async def until_delivered(pool: Pool, endpoints: list[Endpoint]) -> None:
    async with asyncio.timeout(40):
        while await left(pool, endpoints):
            await asyncio.sleep(0.05)


async def end(client: Client, endpoints: list[Endpoint]) -> None:
    """Ends what still sleeps for a dead endpoint."""
    for endpoint in endpoints:
        await client.get_workflow_handle(webhook_workflow_id(endpoint.subscription_id)).terminate()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_dead_endpoints_delay_no_others(
    service: Service, pool: Pool, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """With five dead endpoints among ten (silent, refusing, failing) the five others get everything meanwhile."""
    receiver.answer = lambda request: web.Response(status=500 if request.path == "/broken" else 204)
    lasting = RetryPolicy(max_attempts=100, first_delay_s=1, delay_coefficient=1, max_delay_s=1)
    urls = [receiver.slow_url, receiver.slow_url, f"http://127.0.0.1:{closed_port()}/"]
    urls += [f"http://127.0.0.1:{closed_port()}/", receiver.url.replace("/hooks", "/broken")]
    dead = [await subscriptions.create(url, due=DUE, retry=lasting) for url in urls]
    healthy = [await subscriptions.create(receiver.url, due=DUE) for _ in range(5)]
    async with service.running() as client, Waker(client) as waker:
        await waker.wake(endpoint.subscription_id for endpoint in [*dead, *healthy])
        await until_delivered(pool, healthy)
        # While they're still dead: more comes, and the known-dead ones don't hold it up either.
        for endpoint in healthy:
            await subscriptions.add_due(endpoint.subscription_id, DUE)
        await waker.wake(endpoint.subscription_id for endpoint in [*dead, *healthy])
        await until_delivered(pool, healthy)
        assert await left(pool, dead) == 5 * DUE
        await end(client, dead)
        receiver.release.set()


async def test_backlog_is_delivered_through_the_workflow(
    service: Service, pool: Pool, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """A wake-up brings every due delivery to the receiver once, signed."""
    endpoint = await subscriptions.create(receiver.url, due=700)
    async with service.running() as client, Waker(client) as waker:
        await waker.wake([endpoint.subscription_id])
        await until_delivered(pool, [endpoint])
        await end(client, [endpoint])
    assert len(receiver.ids) == len(receiver.requests) == 700
    receiver.verify_all(secret_text(SECRET))


async def test_unknown_subscription_ends_with_not_found(service: Service) -> None:
    """The drain of a subscription that doesn't exist ends the workflow with NOT_FOUND."""
    unknown = uuid4()
    async with service.running() as client:
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(
                WorkflowType.WEBHOOK_DELIVERY,
                {"subscriptionId": str(unknown)},
                id=webhook_workflow_id(unknown),
                task_queue=Queue.WEBHOOKS,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            )
    cause = caught.value.cause.__cause__
    assert isinstance(cause, ApplicationError)
    assert cause.type == "NOT_FOUND"


async def test_sweep_starts_what_was_missed(
    service: Service, pool: Pool, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """Deliveries whose wake-up got lost are found by the sweep."""
    endpoint = await subscriptions.create(receiver.url, due=5)
    async with service.running() as client:
        swept = await client.execute_workflow(
            WorkflowType.SWEEP_WEBHOOK_DELIVERIES,
            id=f"sweep-{uuid4()}",
            task_queue=Queue.MAINTENANCE,
            result_type=SweepResult,
        )
        assert swept.due_subscriptions == 1
        await until_delivered(pool, [endpoint])
        await end(client, [endpoint])


def test_failing_endpoints_share_a_quarter() -> None:
    """Of eight slots two are for failing endpoints; a third is told to ask again later; healthy ones always fit."""
    places = FailingPlaces(8)
    one, other, third = (_endpoint(failing=True) for _ in range(3))
    with places.taken_by(one):
        with places.taken_by(other), places.taken_by(_endpoint(failing=False)):
            with pytest.raises(ApplicationError, match="share") as caught, places.taken_by(third):
                pass
            assert caught.value.type == "NOT_YET"
            assert caught.value.next_retry_delay
        with places.taken_by(third):
            pass


def _endpoint(*, failing: bool) -> Endpoint:
    return Endpoint(UUID(int=1), "http://x/", SECRET, RetryPolicy(), failing=failing, disabled=False)
