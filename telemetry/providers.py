"""Builds the one meter provider and the one tracer provider of a process; where nobody takes them, they do nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.sdk import metrics, trace
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import NoOpTracerProvider, Tracer, TracerProvider
from prometheus_client import CollectorRegistry, start_http_server

from telemetry.otel_settings import exports
from telemetry.spans import Linked

SAMPLED_SHARE = 0.01
"""Of the traces that nobody began before us, where OTEL_TRACES_SAMPLER doesn't say otherwise."""
FLUSH_TIMEOUT_S = 5.0
"""A collector that is away must not keep a worker from ending."""
SHORT_TIMEOUT_S = 1.0
_UNNAMED = "unknown_service"


class Address(NamedTuple):
    """Where the Prometheus endpoint listens."""

    host: str
    port: int


class Providers(NamedTuple):
    """Handed to whoever measures or traces; there is no global one."""

    meters: MeterProvider
    tracers: TracerProvider

    @property
    def measures(self) -> bool:
        """Whether anybody gets the metrics."""
        return not isinstance(self.meters, NoOpMeterProvider)

    @property
    def traces(self) -> bool:
        """Whether anybody gets the traces."""
        return not isinstance(self.tracers, NoOpTracerProvider)


async def open_providers(
    service: str, metrics_address: Address | None, environment: Mapping[str, str], stack: AsyncExitStack
) -> Providers:
    """The providers that the settings ask for; `stack` flushes and closes them.

    Raises:
        OSError: the address of the Prometheus endpoint can't be used.
    """
    resource = _resource(service)
    readers: list[MetricReader] = []
    if metrics_address:
        readers.append(_prometheus(metrics_address, stack))
    if exports("METRICS", environment):
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    exporter = OTLPSpanExporter() if exports("TRACES", environment) else None
    return Providers(_meters(readers, resource, stack), _tracers(exporter, resource, environment, stack))


def _meters(readers: list[MetricReader], resource: Resource, stack: AsyncExitStack) -> MeterProvider:
    if not readers:
        return NoOpMeterProvider()
    provider = metrics.MeterProvider(readers, resource, shutdown_on_exit=False)
    stack.push_async_callback(_closed, provider)
    return provider


def _tracers(
    exporter: SpanExporter | None, resource: Resource, environment: Mapping[str, str], stack: AsyncExitStack
) -> TracerProvider:
    if exporter is None:
        return NoOpTracerProvider()
    provider = sampling_provider(resource, environment)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    stack.push_async_callback(_closed, provider)
    return provider


def sampling_provider(resource: Resource, environment: Mapping[str, str]) -> trace.TracerProvider:
    """A provider without exporters, with our rule of what is sampled: by the parent, else one in a hundred."""
    ours: Sampler = ParentBased(TraceIdRatioBased(SAMPLED_SHARE))
    # Given none, the provider takes the one that OTEL_TRACES_SAMPLER names.
    provider = trace.TracerProvider(
        None if environment.get("OTEL_TRACES_SAMPLER") else ours, resource, shutdown_on_exit=False
    )
    provider.sampler = Linked(provider.sampler)
    return provider


def open_tracer(service: str, environment: Mapping[str, str]) -> Tracer:
    """For a program that ends soon: each span is sent as it ends. A collector that is away holds it up for a second."""
    provider = sampling_provider(_resource(service), environment)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(timeout=SHORT_TIMEOUT_S)))
    return provider.get_tracer(service)


def _prometheus(address: Address, stack: AsyncExitStack) -> MetricReader:
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
    server, thread = start_http_server(address.port, address.host, registry)

    async def close() -> None:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)

    stack.push_async_callback(close)
    return reader


def _resource(service: str) -> Resource:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first."""
    found = Resource.create()
    ours = {} if not str(found.attributes[SERVICE_NAME]).startswith(_UNNAMED) else {SERVICE_NAME: service}
    return found.merge(Resource(ours))


async def _closed(provider: metrics.MeterProvider | trace.TracerProvider) -> None:
    """Gives what is left to the exporters, for a while: threads that hang on go down with the process."""
    await asyncio.wait([asyncio.create_task(asyncio.to_thread(provider.shutdown))], timeout=FLUSH_TIMEOUT_S)
