"""Puts the worker's telemetry together: providers, what listens in on Temporal, Postgres and node, and observers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import Tracer
from temporalio.client import Client
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    MetricBuffer,
    MetricBufferDurationFormat,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.worker import Interceptor

from chain.node_figures import read_node_figures
from chain.rpc import JsonRpc
from ledger.figures import Figures
from ledger.pool import OnStatement, Pool
from ledger.queries import statement_names
from telemetry import catalogue
from telemetry.board import Board
from telemetry.catalogue import METRICS, Kind
from telemetry.chain_observer import LaneObserver, NodeObserver
from telemetry.deliveries import DeliveryMetrics
from telemetry.jobs import JobMetrics
from telemetry.ledger_observers import DeadLetterObserver, GiftObserver, LedgerObserver
from telemetry.logs import LogFormat, set_up_logging
from telemetry.observing import Observer, observed
from telemetry.providers import Providers, open_providers
from telemetry.sdk_metrics import passed_on
from telemetry.spans import StatementSpans
from telemetry.temporal_observers import QueueObserver, ScheduleObserver
from worker_settings import WorkerSettings

SERVICE = "ticket-transfers-worker"
SCOPE = "transfers"
# Some ten updates for each task: minutes of them at full speed, while they're fetched each second.
SHORTEST_KEY = 16
"""A path of an address that is shorter is no key: striking it out would garble the log."""
_BUFFERED_UPDATES = 100_000


class WorkerTelemetry(NamedTuple):
    """What the parts of a worker are given."""

    measures: bool
    """Whether anybody gets the metrics."""
    runtime: Runtime
    """For the Temporal client: its metrics go the same way as ours."""
    interceptors: list[Interceptor]
    """For the workers alone: what the worker itself starts (drains, keepers) begins traces of its own."""
    meter: Meter
    tracer: Tracer
    on_statement: OnStatement | None
    deliveries: DeliveryMetrics


async def open_telemetry(settings: WorkerSettings, stack: AsyncExitStack) -> WorkerTelemetry:
    """Metrics and traces for whoever is to get them; `stack` sends the last ones and closes.

    Raises:
        OSError: METRICS_ADDRESS can't be used.
    """
    try:
        providers = await open_providers(SERVICE, settings.metrics_endpoint, os.environ, stack)
    except OSError as error:
        raise OSError(f"METRICS_ADDRESS: can't listen at {settings.metrics_address}: {error.strerror}") from error
    meter, tracer = providers.meters.get_meter(SCOPE), providers.tracers.get_tracer(SCOPE)
    return WorkerTelemetry(
        measures=providers.measures,
        runtime=await _runtime(providers, settings.log_format, stack),
        interceptors=_interceptors(providers, meter, tracer),
        meter=meter,
        tracer=tracer,
        on_statement=StatementSpans(tracer, statement_names()) if providers.traces else None,
        deliveries=DeliveryMetrics(meter, tracer),
    )


async def observe(telemetry: WorkerTelemetry, pool: Pool, observers: Iterable[Observer], stack: AsyncExitStack) -> None:
    """Tells of the pool, and of what the observers see, until `stack` ends. They look only where somebody listens."""
    if not telemetry.measures:
        return
    _observe_pool(telemetry.meter, pool)
    cluster = [metric for metric in METRICS if metric.kind in (Kind.GAUGE, Kind.OBSERVED_COUNTER)]
    apart = (catalogue.POOL_COUNT, catalogue.POOL_MAX, catalogue.OBSERVER_LAST_SUCCESS_AGE)
    board = Board(telemetry.meter, [metric for metric in cluster if metric not in apart])
    await stack.enter_async_context(observed(board, observers))


def cluster_observers(client: Client, pool: Pool, rpc: JsonRpc, chain_id: int) -> list[Observer]:
    """Those that see the whole service. Each worker on the queue `maintenance` has them; they see the same."""
    figures = Figures(pool)
    return [
        QueueObserver(client),
        ScheduleObserver(client),
        LedgerObserver(figures),
        GiftObserver(figures),
        DeadLetterObserver(figures),
        LaneObserver(figures, chain_id),
        NodeObserver(figures, chain_id, partial(read_node_figures, rpc)),
    ]


def set_up_worker_logging(settings: WorkerSettings) -> None:
    """The log in the format wanted, without the secrets of the settings."""
    addresses = (settings.database_url.get_secret_value(), settings.chain_rpc_url)
    passwords = [password for address in addresses for password in passwords_of(address)]
    secrets = [settings.lane_keystore_password.get_secret_value(), *passwords, *map(unquote, passwords)]
    # Hosted nodes take their key in the path.
    secrets += [path for path in [urlsplit(settings.chain_rpc_url).path.strip("/")] if len(path) >= SHORTEST_KEY]
    secrets += settings.alert_secrets
    set_up_logging(settings.log_format, secrets)


def passwords_of(url: str) -> list[str]:
    """The password in an address, as it's written there."""
    credentials = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
    return [password for password in [credentials.partition(":")[2]] if password]


async def _runtime(providers: Providers, log_format: LogFormat, stack: AsyncExitStack) -> Runtime:
    logs = LoggingConfig.default
    if log_format is LogFormat.JSON:
        # The core would write lines of its own making past our formatter.
        forwarding = LogForwardingConfig(logging.getLogger("temporalio.core"))
        logs = LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding)
    if not providers.measures:
        return Runtime(telemetry=TelemetryConfig(logging=logs))
    buffer = MetricBuffer(_BUFFERED_UPDATES, MetricBufferDurationFormat.SECONDS)
    runtime = Runtime(telemetry=TelemetryConfig(logging=logs, metrics=buffer, attach_service_name=False))
    await stack.enter_async_context(passed_on(buffer, providers.meters.get_meter("temporalio")))
    return runtime


def _interceptors(providers: Providers, meter: Meter, tracer: Tracer) -> list[Interceptor]:
    found: list[Interceptor] = []
    if providers.traces:
        # Always: a batch that was started without a trace gets one as well, if it's sampled.
        found.append(TracingInterceptor(tracer, always_create_workflow_spans=True))
    if providers.measures:
        found.append(JobMetrics(meter))
    return found


def _observe_pool(meter: Meter, pool: Pool) -> None:
    name = {"db_client_connection_pool_name": "transfers-worker"}

    def count(_: CallbackOptions) -> list[Observation]:
        idle = pool.get_idle_size()
        states = {"idle": idle, "used": pool.get_size() - idle}
        return [Observation(connections, name | {"state": state}) for state, connections in states.items()]

    def most(_: CallbackOptions) -> list[Observation]:
        return [Observation(pool.get_max_size(), name)]

    for metric, read in ((catalogue.POOL_COUNT, count), (catalogue.POOL_MAX, most)):
        meter.create_observable_gauge(metric.name, [read], metric.unit, metric.meaning)
