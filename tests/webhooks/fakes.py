"""Typed fakes of the webhook steps: they do what a test tells them and note when they were asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from temporalio import activity

from workflows.interface.batch import Alert
from workflows.interface.webhook import DeliveryWork, DrainResult, WebhookActivities


class FakeWebhooks(WebhookActivities):
    """Answers each drain by `answer(number)`, numbered from 1."""

    def __init__(self, answer: Callable[[int], Awaitable[DrainResult] | DrainResult]) -> None:
        self._answer = answer
        self.drains = 0
        self._drained = asyncio.Condition()

    @activity.defn(name="drain_deliveries")
    async def drain_deliveries(self, work: DeliveryWork) -> DrainResult:
        async with self._drained:
            self.drains += 1
            number = self.drains
            self._drained.notify_all()
        answer = self._answer(number)
        return answer if isinstance(answer, DrainResult) else await answer

    async def drained(self, times: int) -> None:
        """Returns once it was asked so often."""
        async with self._drained:
            await self._drained.wait_for(lambda: self.drains >= times)


class FakeAlerts:
    """Keeps the alerts raised on the queue `transfers`."""

    def __init__(self) -> None:
        self.raised: list[Alert] = []

    @activity.defn(name="raise_alert")
    async def raise_alert(self, alert: Alert) -> None:
        self.raised.append(alert)
