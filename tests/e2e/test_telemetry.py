"""What a worker process tells of a batch: metrics at its endpoint, one trace from the start call on, and its log."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.contrib.pydantic import pydantic_data_converter

from devstack.ports import free_ports
from ledger.webhooks import NewSubscription, WebhookLedger
from telemetry.catalogue import METRICS, Kind
from tests.e2e.conftest import NAMESPACE, PASSWORD, System, batch_id_of
from tests.e2e.worker_process import WorkerProcess
from tests.telemetry.collector import Collector, running_collector
from tests.webhooks.receiver import Receiver
from workflows.interface.deliveries import RetryPolicy

pytestmark = pytest.mark.usefixtures("blocks")
SECRET = b"a webhook secret of 32 bytes ..."
# Told only where something was: a failure, a cancel, a poll that came too early.
_NOT_EACH_TIME = {"transfers.job.failed", "transfers.job.retried", "transfers.job.cancelled", "transfers.job.postponed"}


class Scrape:
    """The figures at a worker's Prometheus endpoint."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)
        self._samples = [sample for family in families for sample in family.samples]
        self.names = {sample.name for sample in self._samples}

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series that have these labels."""
        found = [s.value for s in self._samples if s.name == name and labels.items() <= s.labels.items()]
        assert found, f"no series {name} {labels}"
        return sum(found)


async def scrape(address: str) -> Scrape:
    """Asks as Prometheus does."""
    async with httpx.AsyncClient(trust_env=False) as http:
        return Scrape((await http.get(f"http://{address}/metrics")).raise_for_status().text)


async def subscribe(system: System, receiver: Receiver) -> None:
    """Somebody wants to hear of completed transfers."""
    await WebhookLedger(system.pool).create_subscription(
        NewSubscription(receiver.url, SECRET, "alice", ("transfer.completed",), RetryPolicy())
    )


async def test_the_endpoint_tells_of_a_batch_in_all_its_parts(system: System, receiver: Receiver) -> None:
    """Every metric of the catalogue stands at the endpoint, and its figures are those of the batch."""
    address = f"127.0.0.1:{free_ports().metrics}"
    system.worker.environment["METRICS_ADDRESS"] = address
    await subscribe(system, receiver)
    await system.worker.start()
    handle = await system.start_batch([(ticket, "bob") for ticket in await system.crew.world_tickets(30)])
    await handle.result()
    await receiver.came(30)
    await system.until("NOT EXISTS (SELECT FROM webhook_deliveries WHERE status = 'PENDING')")
    found = await scrape(address)
    while (
        found.total("transfers_batch_open", status="PROCESSING") or "transfers_chain_gas_per_ticket" not in found.names
    ):
        await asyncio.sleep(0.2)
        found = await scrape(address)
    expected = {
        m.prometheus_name + ("_count" if m.kind is Kind.HISTOGRAM else "")
        for m in METRICS
        if m.name not in _NOT_EACH_TIME
    }
    assert expected - found.names == set()
    slices = {"job_kind": "activity", "job_type": "create_transfers", "queue": "transfers"}
    assert found.total("transfers_job_succeeded_total", **slices) == 3
    assert found.total("transfers_job_run_duration_seconds_count", outcome="succeeded", **slices) == 3
    assert found.total("transfers_job_succeeded_total", job_kind="workflow", job_type="BatchTransfer") == 1
    assert found.total("transfers_webhook_request_duration_seconds_count", outcome="delivered") == 30
    assert found.total("transfers_webhook_deliveries_total", status="DELIVERED", attempts="1") == 30
    # Other tests' workers, killed a moment ago in this namespace, are still told.
    assert found.total("transfers_workers", queue="transfers", task_kind="activity") >= 1
    assert found.total("transfers_lane_balance_gwei") > 0
    spent = "SELECT (sum({}) / 30)::float8 FROM chain_transactions"
    assert found.total("transfers_chain_gas_per_ticket") == await system.pool.fetchval(spent.format("gas_used"))
    fee_gwei = await system.pool.fetchval(spent.format("fee_wei / 1000000000"))
    assert found.total("transfers_chain_fee_per_ticket_gwei") == pytest.approx(fee_gwei)
    assert found.total("transfers_webhook_endpoints", state="active") == 1
    assert found.total("db_client_connection_count") >= 8
    assert found.total("transfers_schedule_last_success_age_seconds", schedule="sweep-webhook-deliveries") >= 0
    # Temporal's own, through the same provider.
    assert found.total("temporal_num_pollers") > 0
    assert await system.worker.stop() == 0


async def test_an_address_that_is_taken_is_told(system: System, receiver: Receiver) -> None:
    """The worker ends with a line that names the variable."""
    system.worker.environment["METRICS_ADDRESS"] = f"127.0.0.1:{receiver.port}"
    process = await system.worker.spawn()
    assert await process.wait() == 1
    assert f"METRICS_ADDRESS: can't listen at 127.0.0.1:{receiver.port}" in system.worker.log


@pytest.fixture
async def traced(system: System) -> tuple[Client, InMemorySpanExporter]:
    """A client whose calls are traced, and its spans."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = await Client.connect(
        system.environment["TEMPORAL_ADDRESS"],
        namespace=NAMESPACE,
        data_converter=pydantic_data_converter,
        interceptors=[TracingInterceptor(provider.get_tracer("tests"))],
    )
    return client, exporter


async def test_one_trace_leads_from_the_start_call_to_the_chain(
    system: System, traced: tuple[Client, InMemorySpanExporter], receiver: Receiver
) -> None:
    """Start, workflow, steps, SQL and JSON-RPC are one trace; a delivery is another one, linked with it."""
    client, started = traced
    async with running_collector() as collector:
        trace_into(system.worker, collector)
        await subscribe(system, receiver)
        await system.worker.start()
        handle = await system._replace(client=client).start_batch(
            [(ticket, "bob") for ticket in await system.crew.world_tickets(20)]
        )
        await handle.result()
        await receiver.came(20)
        [start] = [span for span in started.get_finished_spans() if span.name == "StartWorkflow:BatchTransfer"]
        begun = start.context
        assert begun is not None
        trace_id = f"{begun.trace_id:032x}"
        await collector.until(lambda: len(collector.named("webhook delivery")) == 20)
        await system.worker.stop()
    names = collector.names(trace_id)
    steps = {"RunWorkflow:BatchTransfer", "StartActivity:create_transfers", "RunActivity:create_transfers"}
    assert steps | {"sql transfers.insert_accepted", "sql chain.take_nonces", "rpc batch"} <= names
    by_id = {span.span_id: span for span in collector.spans}
    [run] = collector.named("RunWorkflow:BatchTransfer")
    assert run.parent_id == f"{begun.span_id:016x}"
    statements = collector.named("sql transfers.insert_accepted")
    deliveries = collector.named("webhook delivery")
    assert {by_id[span.parent_id].name for span in statements} == {"RunActivity:create_transfers"}
    assert {span.links for span in deliveries} == {(trace_id,)}
    assert trace_id not in {span.trace_id for span in deliveries}
    # Spans are per slice: two slices, and none that grow with the items.
    assert len(statements) == 2


async def test_what_nobody_traced_is_sampled_by_the_settings(system: System, receiver: Receiver) -> None:
    """With the sampler off, a batch that was started without a trace leaves no span, and its events no trace."""
    async with running_collector() as collector:
        trace_into(system.worker, collector)
        system.worker.environment["OTEL_METRIC_EXPORT_INTERVAL"] = "200"
        await subscribe(system, receiver)
        await system.worker.start()
        handle = await system.start_batch([(ticket, "bob") for ticket in await system.crew.world_tickets(10)])
        await handle.result()
        await receiver.came(10)
        await collector.until(lambda: {"transfers.job.succeeded", "temporal_num_pollers"} <= collector.metric_names)
        await system.worker.stop()
    assert collector.spans == []
    assert await system.pool.fetchval("SELECT count(*) FROM events WHERE trace IS NOT NULL") == 0


async def test_json_logs_name_the_work_and_no_secret(system: System, receiver: Receiver) -> None:
    """Each line is a JSON object; a step's own lines have the batch's ids; neither passwords nor keys show up."""
    system.worker.environment |= {"LOG_FORMAT": "json", "CHAIN_POLL_S": "0.1"}
    await subscribe(system, receiver)
    await system.worker.start()
    handle = await system.start_batch([(ticket, "bob") for ticket in await system.crew.world_tickets(10)])
    await handle.result()
    await receiver.came(10)
    # Faults are what brings addresses and statements into a log.
    await system.pool.execute("ALTER TABLE batch_counters ADD CONSTRAINT broken CHECK (completed = 0) NOT VALID")
    failing = await system.start_batch([(ticket, "carol") for ticket in await system.crew.world_tickets(5)])
    await system.until("EXISTS (SELECT FROM alerts)")
    await failing.terminate()
    await system.worker.stop()
    lines = [json.loads(line) for line in system.worker.log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    of_batch = [line for line in lines if line.get("batch_id") == str(batch_id_of(failing))]
    assert {"workflow_id", "run_id", "activity_type", "queue"} <= set().union(*of_batch)
    database_password = system.environment["DATABASE_URL"].partition("//")[2].partition("@")[0].partition(":")[2]
    for secret in (database_password, PASSWORD, SECRET.decode(), SECRET.hex()):
        assert secret not in system.worker.log


def trace_into(worker: WorkerProcess, collector: Collector) -> None:
    """The worker sends its spans to the collector; of its own accord it samples nothing."""
    worker.environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
