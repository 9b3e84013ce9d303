"""Webhooks: the messages of the `WebhookDelivery` workflow and the steps it may ask for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated
from uuid import UUID

from pydantic import Field
from temporalio import activity

from workflows.interface.message import Message


class DeliveryWork(Message):
    """Input of `WebhookDelivery` and of its one step: whose due deliveries to drain."""

    subscription_id: UUID


class DeliveryRun(DeliveryWork):
    """The same as the workflow reads it, with what it hands on when it continues as new; callers leave these out."""

    linger_s: Annotated[float, Field(ge=0)] = 5.0
    """A batch that runs wakes its subscriptions every second: staying a little is cheaper than starting each time."""
    drains_per_run: Annotated[int, Field(ge=1)] = 500
    """Continue-as-new by then, at about ten history events each, even if the server doesn't suggest it."""
    delivered: int = 0
    """Deliveries made by earlier runs; only for the current details."""
    failed_attempts: int = 0
    """Failed attempts of earlier runs; only for the current details."""


class DrainResult(Message):
    """What one go at a subscription's due deliveries did."""

    delivered: int = 0
    failed_attempts: int = 0
    dead: int = 0
    """Deliveries whose last attempt was used up."""
    next_due_in_s: float | None = None
    """Seconds until the next delivery is due (0: now; None: none is left). Relative, so that clocks may differ."""
    disabled: bool = False


class WebhookActivities(ABC):
    """Steps of the queue `webhooks`."""

    @activity.defn(name="drain_deliveries")
    @abstractmethod
    async def drain_deliveries(self, work: DeliveryWork) -> DrainResult:
        """Sends due deliveries for about two seconds and records every attempt."""
