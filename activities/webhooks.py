"""The steps of the queue `webhooks`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio import activity

from activities.faults import RaiseAlert, Step, not_yet, step
from ledger.webhooks import WebhookLedger
from webhooks.drain import Drain, DrainLimits, Tally
from webhooks.sender import Sender
from workflows.interface.codes import ErrorCode
from workflows.interface.deliveries import Endpoint
from workflows.interface.errors import RequestError
from workflows.interface.webhook import DeliveryWork, DrainResult, WebhookActivities

NO_PLACE_DELAY_S = 0.5
"""A failing endpoint that found no place asks again after this, and up to twice as long, so that they take turns."""
GAVE_UP_DELAY_S = 1.0
"""Pause after a drain that only failed, whatever is due."""


class FailingPlaces:
    """The slots that endpoints whose last attempt failed may hold: a quarter of the worker's, at least one."""

    def __init__(self, slots: int) -> None:
        self._free = max(1, slots // 4)

    @contextmanager
    def taken_by(self, endpoint: Endpoint) -> Iterator[None]:
        """Holds a place while a failing endpoint is drained; a healthy one needs none.

        Raises:
            ApplicationError: NOT_YET, all places are taken.
        """
        places = 1 if endpoint.failing else 0
        if places > self._free:
            raise not_yet("failing endpoints hold their share of the slots", NO_PLACE_DELAY_S * (1 + random.random()))  # noqa: S311
        self._free -= places
        try:
            yield
        finally:
            self._free += places


class Webhooks(Step, WebhookActivities):
    """Drains subscriptions. `slots` is how many of these steps the worker runs at once."""

    def __init__(
        self,
        ledger: WebhookLedger,
        sender: Sender,
        raise_alert: RaiseAlert,
        slots: int,
        limits: DrainLimits | None = None,
    ) -> None:
        super().__init__(raise_alert)
        self._ledger = ledger
        self._sender = sender
        self._limits = limits or DrainLimits()
        self._places = FailingPlaces(slots)

    @activity.defn(name="drain_deliveries")
    @step
    async def drain_deliveries(self, work: DeliveryWork) -> DrainResult:
        endpoint = await self._ledger.endpoint(work.subscription_id)
        if endpoint is None:
            raise RequestError(ErrorCode.NOT_FOUND, f"there is no webhook subscription {work.subscription_id}")
        if endpoint.disabled:
            return DrainResult(disabled=True)
        with self._places.taken_by(endpoint):
            drain = Drain(
                self._ledger, self._sender, endpoint, limits=self._limits, stopping=activity.is_worker_shutdown
            )
            tally = await drain.run()
        return await self._result(endpoint, tally)

    async def _result(self, endpoint: Endpoint, tally: Tally) -> DrainResult:
        due_in_s = await self._ledger.next_due_in_s(endpoint.subscription_id)
        if due_in_s is not None and tally.gave_up:
            due_in_s = max(due_in_s, GAVE_UP_DELAY_S)
        return DrainResult(
            delivered=tally.delivered,
            failed_attempts=tally.failed_attempts,
            dead=tally.dead,
            next_due_in_s=due_in_s,
            disabled=tally.disabled,
        )
