"""Watches webhook requests: their times, how their deliveries ended, and a span for events that were traced."""

from __future__ import annotations

from contextlib import AbstractContextManager

from opentelemetry.metrics import Meter
from opentelemetry.trace import Tracer

from telemetry import catalogue
from telemetry.spans import delivery_span
from workflows.interface.codes import DeliveryStatus
from workflows.interface.deliveries import Attempt, DueDelivery, Endpoint

REQUEST_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)


class DeliveryMetrics:
    """Implements the webhooks room's `DeliveryWatch`. A request costs 10 µs of it, a traced one a span more."""

    def __init__(self, meter: Meter, tracer: Tracer) -> None:
        self._tracer = tracer
        request, deliveries = catalogue.WEBHOOK_REQUEST_DURATION, catalogue.WEBHOOK_DELIVERIES
        self._request_s = meter.create_histogram(
            request.name, request.unit, request.meaning, explicit_bucket_boundaries_advisory=REQUEST_BOUNDS_S
        )
        self._deliveries = meter.create_counter(deliveries.name, deliveries.unit, deliveries.meaning)

    def sending(self, endpoint: Endpoint, delivery: DueDelivery) -> AbstractContextManager[None]:
        """Around a request."""
        attributes = {
            "transfers.event.id": str(delivery.event_id),
            "transfers.webhook.subscription.id": str(endpoint.subscription_id),
        }
        return delivery_span(self._tracer, delivery.trace, attributes)

    def ended(self, attempt: Attempt) -> None:
        """After a request."""
        outcome = "delivered" if attempt.error is None else "failed"
        labels = {"outcome": outcome, "error": attempt.error.value if attempt.error else ""}
        self._request_s.record(attempt.duration_ms / 1000, labels)
        if attempt.status is not DeliveryStatus.PENDING:
            self._deliveries.add(1, {"status": attempt.status.value, "attempts": str(attempt.attempt_no)})
