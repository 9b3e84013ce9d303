"""The steps of the queue `maintenance`: what schedules look after."""

from __future__ import annotations

import asyncio
from uuid import UUID

from temporalio import activity
from temporalio.client import Client

from activities.faults import RaiseAlert, Step, step
from activities.waking import MOST_SIGNALS_AT_ONCE, signal_delivery
from ledger.webhooks import WebhookLedger
from workflows.interface.webhook import MaintenanceActivities, SweepResult


class Maintenance(Step, MaintenanceActivities):
    """Finds what was missed and starts it."""

    def __init__(self, ledger: WebhookLedger, client: Client, raise_alert: RaiseAlert) -> None:
        super().__init__(raise_alert)
        self._ledger = ledger
        self._client = client

    @activity.defn(name="sweep_webhook_deliveries")
    @step
    async def sweep_webhook_deliveries(self) -> SweepResult:
        due = await self._ledger.due_subscriptions()
        for first in range(0, len(due), MOST_SIGNALS_AT_ONCE):
            await self._wake(due[first : first + MOST_SIGNALS_AT_ONCE])
        return SweepResult(due_subscriptions=len(due))

    async def _wake(self, subscription_ids: list[UUID]) -> None:
        # A failed signal fails the step, which does them all again: waking twice is harmless.
        await asyncio.gather(*(signal_delivery(self._client, one) for one in subscription_ids))
