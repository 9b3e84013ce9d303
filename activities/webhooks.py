"""The steps of the queue `webhooks`."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio import activity

from activities.faults import RaiseAlert, Step, not_yet, step
from activities.rate_gate import RateGate
from ledger.rate_limits import Grant
from ledger.webhooks import WebhookLedger
from webhooks.drain import Drain, DrainLimits, Tally
from webhooks.sender import Sender
from workflows.interface.codes import ErrorCode
from workflows.interface.deliveries import DeliveryWatch, Endpoint
from workflows.interface.errors import RequestError
from workflows.interface.webhook import DeliveryWork, DrainResult, WebhookActivities

NO_PLACE_DELAY_S = 0.5
"""A failing endpoint that found no place asks again after this, and up to twice as long, so that they take turns."""
GAVE_UP_DELAY_S = 1.0
"""Pause after a drain that only failed, whatever is due."""
MOST_REQUESTS = 100_000
"""More than a drain can send: how many are due isn't counted, what isn't used is given back."""
LONGEST_LIMITED_S = 5.0
"""An endpoint under a slow limit sleeps no longer than this: the limit may have been lifted meanwhile."""


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
        *,
        gate: RateGate,
        limits: DrainLimits | None = None,
        watch: DeliveryWatch | None = None,
    ) -> None:
        super().__init__(raise_alert)
        self._watch = watch
        self._ledger = ledger
        self._sender = sender
        self._gate = gate
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
            tally, pause_s = await self._drain(endpoint)
        return await self._result(endpoint, tally, pause_s)

    async def _drain(self, endpoint: Endpoint) -> tuple[Tally, float]:
        """Sends what the endpoint's rate limit allows; also for how long it allows no more."""
        grant = await self._gate.take_for_endpoint(endpoint.subscription_id, MOST_REQUESTS)
        if grant is None:
            return await self._run(endpoint, self._limits), 0.0
        if not grant.tokens:
            return Tally(), min(grant.wait_s, LONGEST_LIMITED_S)
        granted_at = time.monotonic()
        tally = await self._run(endpoint, self._limits._replace(most_requests=grant.tokens))
        return tally, await self._settled(endpoint, grant, tally.requests, time.monotonic() - granted_at)

    async def _run(self, endpoint: Endpoint, limits: DrainLimits) -> Tally:
        stopping = activity.is_worker_shutdown
        drain = Drain(self._ledger, self._sender, endpoint, limits=limits, stopping=stopping, watch=self._watch)
        return await drain.run()

    async def _settled(self, endpoint: Endpoint, grant: Grant, requests: int, took_s: float) -> float:
        """Gives back what wasn't used; where all was, seconds until the next grant."""
        if requests < grant.tokens:
            await self._gate.give_back_of_endpoint(endpoint.subscription_id, grant.tokens - requests)
            return 0.0
        return min(max(grant.wait_s - took_s, 0.0), LONGEST_LIMITED_S)

    async def _result(self, endpoint: Endpoint, tally: Tally, pause_s: float) -> DrainResult:
        due_in_s = await self._ledger.next_due_in_s(endpoint.subscription_id)
        if due_in_s is not None:
            due_in_s = max(due_in_s, GAVE_UP_DELAY_S if tally.gave_up else 0.0, pause_s)
        return DrainResult(
            delivered=tally.delivered,
            failed_attempts=tally.failed_attempts,
            dead=tally.dead,
            next_due_in_s=due_in_s,
            disabled=tally.disabled,
        )
