"""Events know the traced step that wrote them, and nobody else's."""

from __future__ import annotations

from uuid import uuid4

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import Tracer

from ledger.pool import Pool, create_pool, transaction


def tracer(sampler: Sampler) -> Tracer:
    """A tracer that keeps all or nothing."""
    return TracerProvider(sampler, shutdown_on_exit=False).get_tracer("tests")


async def event_in_transaction(pool: Pool) -> str | None:
    """Writes an event as all do; what trace it got."""
    async with transaction(pool) as connection:
        trace: str | None = await connection.fetchval(
            "INSERT INTO events (type, transfer_id) VALUES ('transfer.created', $1) RETURNING trace", uuid4()
        )
        return trace


async def test_an_event_has_the_trace_of_its_transaction_alone(database_url: str) -> None:
    """On one connection, a traced transaction's event has its trace; those before, after and unsampled have none."""
    async with await create_pool(database_url, most_connections=1, name="tests") as pool:
        assert await event_in_transaction(pool) is None
        with tracer(ALWAYS_ON).start_as_current_span("step") as span:
            told = await event_in_transaction(pool)
        context = span.get_span_context()
        assert told == f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
        assert await event_in_transaction(pool) is None
        with tracer(ALWAYS_OFF).start_as_current_span("step"):
            assert await event_in_transaction(pool) is None
