"""What the telemetry tests share: a namespace, and a meter whose figures can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from temporalio.client import Client

from telemetry.catalogue import Metric
from tests.servers import Temporal


class Meters:
    """A meter provider of its own."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.meter: Meter = self.provider.get_meter("tests")

    def points(self, metric: Metric, **labels: str) -> list[Any]:
        """The series of a metric that have these labels."""
        data = self._reader.get_metrics_data()
        found: list[Any] = [
            point
            for group in (data.resource_metrics if data else ())
            for scope in group.scope_metrics
            for one in scope.metrics
            if one.name == metric.name
            for point in one.data.data_points
        ]
        return [point for point in found if set(labels.items()) <= set(dict(point.attributes).items())]

    def value(self, metric: Metric, **labels: str) -> float:
        """The sum over the series; of a histogram, how many values there were."""
        points = self.points(metric, **labels)
        values: list[float] = [point.count if hasattr(point, "count") else point.value for point in points]
        return sum(values)


@pytest.fixture
def meters() -> Iterator[Meters]:
    """Fresh for each test."""
    fresh = Meters()
    yield fresh
    fresh.provider.shutdown()


@pytest.fixture(scope="package")
async def telemetry_client(temporal: Temporal) -> Client:
    """A client of a namespace of these tests' own."""
    return await temporal.add_namespace("telemetry")
