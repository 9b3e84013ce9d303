"""Deliveries as sender, drain and ledger know them: rows, the retry rule, and what a drain asks of a store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from workflows.interface.codes import DeliveryStatus


class AttemptError(StrEnum):
    """Why a delivery attempt failed."""

    HTTP_STATUS = "HTTP_STATUS"
    """The answer isn't 2xx; redirects are never followed."""
    TIMEOUT = "TIMEOUT"
    DNS = "DNS"
    CONNECTION_REFUSED = "CONNECTION_REFUSED"
    CONNECTION_LOST = "CONNECTION_LOST"
    TLS = "TLS"
    INVALID_TARGET = "INVALID_TARGET"
    INVALID_RESPONSE = "INVALID_RESPONSE"
    NO_BODY = "NO_BODY"
    """The event has no stored body: a defect of this service."""
    INTERNAL = "INTERNAL"


class RetryPolicy(NamedTuple):
    """How often and how far apart a subscription's deliveries are tried."""

    max_attempts: int = 5
    first_delay_s: float = 1.0
    delay_coefficient: float = 2.0
    max_delay_s: float = 3600.0

    def delay_s(self, attempts: int) -> float:
        """Seconds to wait after `attempts` (at least 1) failed attempts."""
        return min(self.first_delay_s * self.delay_coefficient ** (attempts - 1), self.max_delay_s)


class Endpoint(NamedTuple):
    """What a drain needs to know of a subscription. The secret stays out of its repr."""

    subscription_id: UUID
    url: str
    secret: bytes
    retry: RetryPolicy
    failing: bool
    """Its last attempt failed."""
    disabled: bool

    def __repr__(self) -> str:
        return f"Endpoint({self.subscription_id}, {self.url!r}, failing={self.failing}, disabled={self.disabled})"


class DueDelivery(NamedTuple):
    """A delivery that is due."""

    event_id: UUID
    attempts: int
    """Attempts so far."""
    due_at: datetime
    body: str | None
    trace: str | None = None
    """W3C traceparent of the step that wrote the event, where that was traced."""


class Attempt(NamedTuple):
    """One HTTP request as it's logged, and what became of its delivery by it."""

    event_id: UUID
    attempt_no: int
    status: DeliveryStatus
    delay_s: float
    """Seconds until the next attempt; only if the delivery stays PENDING."""
    started_at: datetime
    duration_ms: int
    http_status: int | None
    error: AttemptError | None
    response: str | None


class PageMark(NamedTuple):
    """Where a page of due deliveries ended."""

    due_at: datetime
    event_id: UUID


class DeliveryWatch(Protocol):
    """Who is told of each request, for metrics and traces."""

    def sending(self, endpoint: Endpoint, delivery: DueDelivery) -> AbstractContextManager[None]:
        """Around the request of a delivery whose event was traced."""

    def ended(self, attempt: Attempt) -> None:
        """After each request."""


class DeliveryStore(Protocol):
    """What a drain asks of the ledger."""

    async def due_page(self, subscription_id: UUID, after: PageMark | None, limit: int) -> list[DueDelivery]:
        """Due deliveries in order of their due time, from behind the mark."""

    async def record_attempts(self, subscription_id: UUID, attempts: Sequence[Attempt]) -> None:
        """Logs attempts, given in the order they ended, and moves their deliveries on."""

    async def disable_subscription(self, subscription_id: UUID, reason: str) -> bool:
        """Disables it; False if it was already, or doesn't exist."""
