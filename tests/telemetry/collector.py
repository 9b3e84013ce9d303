"""A collector on loopback: takes OTLP over HTTP as any real one does, and keeps the spans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE_S = 30.0


class Seen(NamedTuple):
    """A span as it came."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    """Trace ids of the spans it's linked with."""
    attributes: dict[str, str]


class Collector:
    """What came so far."""

    def __init__(self) -> None:
        self.port = 0
        self.spans: list[Seen] = []
        self.metric_names: set[str] = set()
        self._came = asyncio.Condition()

    @property
    def url(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once the condition holds; it's looked at whenever something came."""
        async with self._came, asyncio.timeout(PATIENCE_S):
            await self._came.wait_for(condition)

    def names(self, trace_id: str) -> set[str]:
        """Names of the spans of one trace."""
        return {span.name for span in self.spans if span.trace_id == trace_id}

    def named(self, name: str) -> list[Seen]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]

    def app(self) -> web.Application:
        """The HTTP application."""
        app = web.Application()
        app.router.add_post("/v1/traces", self._take_traces)
        app.router.add_post("/v1/metrics", self._take_metrics)
        return app

    async def _take_traces(self, request: web.Request) -> web.Response:
        export = ExportTraceServiceRequest.FromString(await request.read())
        for group in export.resource_spans:
            for scope in group.scope_spans:
                self.spans += [_seen(span) for span in scope.spans]
        await self._tell()
        return web.Response(body=ExportTraceServiceResponse().SerializeToString())

    async def _take_metrics(self, request: web.Request) -> web.Response:
        export = ExportMetricsServiceRequest.FromString(await request.read())
        for group in export.resource_metrics:
            for scope in group.scope_metrics:
                self.metric_names |= {metric.name for metric in scope.metrics}
        await self._tell()
        return web.Response(body=ExportMetricsServiceResponse().SerializeToString())

    async def _tell(self) -> None:
        async with self._came:
            self._came.notify_all()


@asynccontextmanager
async def running_collector() -> AsyncIterator[Collector]:
    """A collector while the block runs."""
    collector = Collector()
    runner = web.AppRunner(collector.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.port = runner.addresses[0][1]
    try:
        yield collector
    finally:
        await runner.cleanup()


def _seen(span: Span) -> Seen:
    return Seen(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        tuple(link.trace_id.hex() for link in span.links),
        {one.key: one.value.string_value for one in span.attributes},
    )
