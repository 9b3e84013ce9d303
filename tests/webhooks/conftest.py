"""The sender, the ledger, and subscriptions with deliveries that are due."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from temporalio.client import Client

from ledger.pool import Pool
from ledger.webhooks import NewSubscription, WebhookLedger
from tests.servers import Temporal
from webhooks.sender import Sender, open_sender
from workflows.interface.deliveries import Endpoint, RetryPolicy

SECRET = bytes(range(32))
QUICK = RetryPolicy(max_attempts=5, first_delay_s=0.01, delay_coefficient=1, max_delay_s=0.01)


@pytest.fixture(scope="package")
async def temporal_client(temporal: Temporal) -> Client:
    """A client of a namespace of these tests' own."""
    return await temporal.add_namespace("webhooks")


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with open_sender() as opened:
        yield opened


@pytest.fixture
def ledger(pool: Pool) -> WebhookLedger:
    return WebhookLedger(pool)


class Subscriptions:
    """Makes subscriptions and due deliveries."""

    def __init__(self, pool: Pool, ledger: WebhookLedger) -> None:
        self._pool = pool
        self._ledger = ledger

    async def create(
        self,
        url: str,
        due: int = 0,
        retry: RetryPolicy = QUICK,
        user_id: str | None = None,
        event_types: tuple[str, ...] = ("*",),
    ) -> Endpoint:
        """A subscription with `due` due deliveries."""
        new = NewSubscription(url, SECRET, user_id, event_types, retry)
        created = await self._ledger.create_subscription(new)
        await self.add_due(created.subscription_id, due)
        return await self.endpoint(created.subscription_id)

    async def add_due(self, subscription_id: UUID, count: int) -> None:
        """More due deliveries."""
        await self._pool.execute(
            "WITH written AS (INSERT INTO events (type, transfer_id, body)"
            " SELECT 'transfer.completed', gen_random_uuid(), '{\"no\": ' || i || ', \"name\": \"é\"}'"
            " FROM generate_series(1, $2) i RETURNING event_id)"
            " INSERT INTO webhook_deliveries (subscription_id, event_id) SELECT $1, event_id FROM written",
            subscription_id,
            count,
        )

    async def endpoint(self, subscription_id: UUID) -> Endpoint:
        """As a drain reads it."""
        endpoint = await self._ledger.endpoint(subscription_id)
        assert endpoint
        return endpoint


@pytest.fixture
def subscriptions(pool: Pool, ledger: WebhookLedger) -> Subscriptions:
    return Subscriptions(pool, ledger)
