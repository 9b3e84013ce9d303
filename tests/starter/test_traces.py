"""The command line's traces: begun with the start call where a collector is named, and never in its way."""

from __future__ import annotations

import time
from uuid import UUID

from devstack.ports import free_ports
from tests.starter.commands import Transfers
from tests.starter.conftest import SENDER, Service
from tests.telemetry.collector import running_collector
from workflows.interface.names import batch_workflow_id

START = ("batch", "start", "-", "--from", SENDER)
CSV = b"ticket_id,to\n17,bob\n"


async def test_a_trace_begins_with_the_start_call(transfers: Transfers, service: Service) -> None:
    """The collector gets the call's span, and the workflow is started as a part of its trace."""
    async with running_collector() as collector:
        ended = await transfers(
            *START, stdin=CSV, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_TRACES_SAMPLER="always_on"
        )
    assert ended.code == 0
    [span] = collector.named("StartWorkflow:BatchTransfer")
    handle = service.temporal.get_workflow_handle(batch_workflow_id(UUID(ended.json["batchId"])))
    first = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
    assert span.trace_id in first.header.fields["_tracer-data"].data.decode()


async def test_a_collector_that_is_away_is_no_fault(transfers: Transfers, service: Service) -> None:
    """The batch is started all the same, within seconds."""
    began = time.monotonic()
    away = f"http://127.0.0.1:{free_ports().metrics}"
    ended = await transfers(*START, stdin=CSV, OTEL_EXPORTER_OTLP_ENDPOINT=away, OTEL_TRACES_SAMPLER="always_on")
    assert ended.code == 0
    assert ended.json["status"] == "QUEUED"
    assert time.monotonic() - began < 15


async def test_without_a_collector_nothing_is_traced(transfers: Transfers, service: Service) -> None:
    """The workflow's header stays empty."""
    ended = await transfers(*START, stdin=CSV)
    handle = service.temporal.get_workflow_handle(batch_workflow_id(UUID(ended.json["batchId"])))
    first = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
    assert dict(first.header.fields) == {}
