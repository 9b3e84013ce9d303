"""The Temporal SDK's metrics arrive with the labels they were told with."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import (
    BUFFERED_METRIC_KIND_COUNTER,
    BUFFERED_METRIC_KIND_GAUGE,
    BUFFERED_METRIC_KIND_HISTOGRAM,
    BufferedMetricKind,
    MetricBuffer,
    MetricBufferDurationFormat,
    Runtime,
    TelemetryConfig,
)
from temporalio.worker import Worker

from telemetry.catalogue import Kind, Metric
from telemetry.sdk_metrics import SdkMetrics, passed_on
from tests.servers import Temporal
from tests.telemetry.conftest import Meters
from tests.telemetry.job_workflow import Job
from tests.telemetry.test_jobs import job_step
from workflows.sandbox import sandboxed


class Told(NamedTuple):
    """A metric as the SDK names it."""

    name: str
    kind: BufferedMetricKind
    unit: str | None = None
    description: str | None = None


class Update(NamedTuple):
    """A step of it."""

    metric: Told
    value: float
    attributes: dict[str, Any]


COUNTER = Told("counter", BUFFERED_METRIC_KIND_COUNTER)
GAUGE = Told("gauge", BUFFERED_METRIC_KIND_GAUGE)
HISTOGRAM = Told("histogram", BUFFERED_METRIC_KIND_HISTOGRAM)


def of(told: Told) -> Metric:
    """What to look for."""
    return Metric(told.name, Kind.GAUGE, "", (), "")


def test_labels_are_told_apart_by_what_they_say(meters: Meters) -> None:
    """One object whose contents change is two series; equal contents in two objects are one."""
    sdk, attributes = SdkMetrics(meters.meter), {"queue": "a"}
    for metric in (COUNTER, GAUGE, HISTOGRAM):
        sdk.apply([Update(metric, 1, attributes), Update(metric, 2, {"queue": "a"})])
    attributes["queue"] = "b"
    for metric in (COUNTER, GAUGE, HISTOGRAM):
        sdk.apply([Update(metric, 5, attributes)])
    assert [meters.value(of(metric), queue="a") for metric in (COUNTER, GAUGE, HISTOGRAM)] == [3, 2, 2]
    assert [meters.value(of(metric), queue="b") for metric in (COUNTER, GAUGE, HISTOGRAM)] == [5, 5, 1]
    assert [len(meters.points(of(metric))) for metric in (COUNTER, GAUGE, HISTOGRAM)] == [2, 2, 2]


async def test_the_sdk_s_own_counts_are_right(temporal: Temporal, telemetry_client: Client, meters: Meters) -> None:
    """After twenty jobs its counters and histograms say twenty, under the job's own type."""
    buffer = MetricBuffer(100_000, MetricBufferDurationFormat.SECONDS)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer, attach_service_name=False))
    client = await Client.connect(
        temporal.address,
        namespace=telemetry_client.namespace,
        data_converter=pydantic_data_converter,
        runtime=runtime,
    )
    queue = f"jobs-{uuid4()}"
    async with (
        passed_on(buffer, meters.meter),
        Worker(client, task_queue=queue, workflows=[Job], activities=[job_step], workflow_runner=sandboxed()),
    ):
        for _ in range(20):
            await client.execute_workflow(Job.run, ["well"], id=f"job/{uuid4()}", task_queue=queue)
    completed = of(Told("temporal_workflow_completed", COUNTER.kind))
    latency = of(Told("temporal_activity_execution_latency", HISTOGRAM.kind))
    assert meters.value(completed, workflow_type="Job", task_queue=queue) == 20
    assert meters.value(latency, activity_type="job_step") == 20
    [point] = meters.points(latency)
    assert 0 < point.sum < 20, "seconds"


@pytest.mark.parametrize("labels", [{}, {"a": True, "b": 1.5}])
def test_any_labels_can_be_told(meters: Meters, labels: dict[str, Any]) -> None:
    """None, or other values than text."""
    SdkMetrics(meters.meter).apply([Update(GAUGE, 1, labels)])
    assert meters.value(of(GAUGE)) == 1
