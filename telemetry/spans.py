"""Spans of our own: a statement of the ledger, a webhook request, and the sampling that keeps linked ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from asyncpg.connection import LoggedQuery
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

OTHER_STATEMENT = "statement"
"""A statement without a name: of the driver, or one that is put together."""


class StatementSpans:
    """A span for each statement that a traced step runs: for `create_pool(on_statement=…)`.

    The driver calls it after the statement, in the step's own context. Arguments are never told.
    """

    def __init__(self, tracer: Tracer, names: Mapping[str, str], clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._tracer = tracer
        self._names = names
        self._clock_ns = clock_ns

    def __call__(self, query: LoggedQuery) -> None:
        if not trace.get_current_span().is_recording():
            return
        now_ns = self._clock_ns()
        name = self._names.get(query.query, OTHER_STATEMENT)
        span = self._tracer.start_span(
            f"sql {name}",
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql", "db.query.summary": name},
            start_time=now_ns - int(query.elapsed * 1e9),
        )
        if query.exception is not None:
            span.set_status(Status(StatusCode.ERROR, type(query.exception).__name__))
        span.end(now_ns)


@contextmanager
def delivery_span(tracer: Tracer, traceparent: str | None, attributes: Mapping[str, str]) -> Iterator[None]:
    """A trace of its own for a webhook request whose event was traced, linked with the event's; nothing for others.

    Its own, for an endpoint that fails for days would keep the batch's trace open for days.
    """
    context = TraceContextTextMapPropagator().extract({"traceparent": traceparent}) if traceparent else Context()
    event = trace.get_current_span(context).get_span_context()
    if not event.is_valid:
        yield
        return
    with tracer.start_as_current_span(
        "webhook delivery", Context(), SpanKind.PRODUCER, dict(attributes), links=[Link(event)]
    ):
        yield


class Linked(Sampler):
    """Keeps what is linked with a sampled span; another sampler decides on the rest."""

    def __init__(self, others: Sampler) -> None:
        self._others = others

    def should_sample(  # noqa: PLR0917  # as the SDK calls it
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if any(link.context.trace_flags.sampled for link in links or ()):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)
        return self._others.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"Linked{{{self._others.get_description()}}}"
