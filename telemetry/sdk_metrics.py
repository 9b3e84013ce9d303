"""Passes the Temporal SDK's own metrics on to our meter provider.

`temporalio.contrib.opentelemetry.MetricsExporter` (1.35) does this by the identity of the attribute objects, which the
core makes anew for each task: identities come again with other contents, so its figures get wrong labels, and its
caches grow for ever. Here contents are compared.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeAlias

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from temporalio.runtime import (
    BUFFERED_METRIC_KIND_COUNTER,
    BUFFERED_METRIC_KIND_HISTOGRAM,
    BufferedMetric,
    BufferedMetricUpdate,
    MetricBuffer,
)

FETCH_INTERVAL_S = 1.0
Labels: TypeAlias = frozenset[tuple[str, str | int | float | bool]]


class SdkMetrics:
    """The instruments that the SDK's updates go to, made as they first come."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._counters: dict[str, metrics.Counter] = {}
        self._histograms: dict[str, metrics.Histogram] = {}
        self._gauges: dict[str, dict[Labels, float]] = {}

    def apply(self, updates: Iterable[BufferedMetricUpdate]) -> None:
        """Takes what came since the last time: a counter's steps are added up first, of a gauge the last one counts."""
        sums: defaultdict[str, Counter[Labels]] = defaultdict(Counter)
        for update in updates:
            metric, labels = update.metric, frozenset(update.attributes.items())
            if metric.kind == BUFFERED_METRIC_KIND_COUNTER:
                self._counter(metric)
                sums[metric.name][labels] += update.value  # type: ignore[assignment]  # a counter of floats as well
            elif metric.kind == BUFFERED_METRIC_KIND_HISTOGRAM:
                self._histogram(metric).record(update.value, dict(labels))
            else:
                # A new dict each time: exporters read the old one meanwhile, in their own thread.
                self._gauges[metric.name] = self._gauge(metric) | {labels: update.value}
        for name, by_labels in sums.items():
            for labels, value in by_labels.items():
                self._counters[name].add(value, dict(labels))

    def _counter(self, metric: BufferedMetric) -> None:
        if metric.name not in self._counters:
            self._counters[metric.name] = self._meter.create_counter(*_described(metric))

    def _histogram(self, metric: BufferedMetric) -> metrics.Histogram:
        if metric.name not in self._histograms:
            self._histograms[metric.name] = self._meter.create_histogram(*_described(metric))
        return self._histograms[metric.name]

    def _gauge(self, metric: BufferedMetric) -> dict[Labels, float]:
        if metric.name not in self._gauges:
            self._gauges[metric.name] = {}
            name, unit, description = _described(metric)
            self._meter.create_observable_gauge(name, [self._reader(name)], unit, description)
        return self._gauges[metric.name]

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(value, dict(labels)) for labels, value in self._gauges[name].items()]


@asynccontextmanager
async def passed_on(buffer: MetricBuffer, meter: Meter) -> AsyncIterator[None]:
    """While the block runs, the buffer is emptied each second, and once more at the end."""
    sdk = SdkMetrics(meter)

    async def pass_on() -> None:
        while True:
            await asyncio.sleep(FETCH_INTERVAL_S)
            sdk.apply(buffer.retrieve_updates())

    task = asyncio.create_task(pass_on(), name="metrics of the SDK")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        sdk.apply(buffer.retrieve_updates())


def _described(metric: BufferedMetric) -> tuple[str, str, str]:
    return metric.name, metric.unit or "", metric.description or ""
