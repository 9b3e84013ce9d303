"""What ended lately: failures by cause, processing times, and what checks measure in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ledger.pool import Pool
from ledger.queries import load
from workflows.interface.alerts import DisabledEndpoint, EndedJobs, LaneAge, NewDeadLetters
from workflows.interface.chain import Lane
from workflows.interface.names import lane_workflow_id

_SQL = load("reports")
LONG_TIMEOUT_S = 300.0
"""For what a person asks about millions of items at once; the pool's own limit is that of a slice's statements."""


class FailureGroup(NamedTuple):
    """Failures of one job type with the same code, at the same endpoint."""

    job_type: str
    code: str
    endpoint: str | None
    failures: int
    first_at: datetime
    last_at: datetime
    example: str
    reason: str | None


class ProcessingTime(NamedTuple):
    """How long a phase of a job type took."""

    job_type: str
    phase: str
    jobs: int
    p50_s: float
    p95_s: float
    max_s: float


class SlowItem(NamedTuple):
    """How long one item took."""

    item_no: int
    queued_s: float
    chain_s: float
    total_s: float


class LedgerMeasured(NamedTuple):
    """What a check measures in Postgres."""

    ended: Sequence[EndedJobs]
    dead_letters: Sequence[NewDeadLetters]
    lanes: Sequence[LaneAge]
    disabled: Sequence[DisabledEndpoint]


class Reports:
    """Reads alone."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def measure(self, window: timedelta, disabled: timedelta) -> LedgerMeasured:
        """What ended and died within the window, open nonces, and endpoints disabled within `disabled`."""
        now = datetime.now(UTC)
        ended = await self._pool.fetch(_SQL["ended_jobs"], now - window)
        dead = await self._pool.fetch(_SQL["new_dead_letters"], window)
        ages = await self._pool.fetch(_SQL["lane_ages"])
        off = await self._pool.fetch(_SQL["disabled_since"], now - disabled)
        return LedgerMeasured(
            ended=[EndedJobs(*row) for row in ended],
            dead_letters=[NewDeadLetters(*row) for row in dead],
            lanes=[LaneAge(_lane_id(row), row["nonce"], row["age_s"]) for row in ages],
            disabled=[DisabledEndpoint(*row) for row in off],
        )

    async def lanes(self) -> Sequence[Lane]:
        """Lanes that aren't halted."""
        return [Lane(row["chain_id"], row["signer"]) for row in await self._pool.fetch(_SQL["lanes"])]

    async def failures(self, since: datetime) -> Sequence[FailureGroup]:
        """What failed since then, the most frequent first."""
        return [FailureGroup(*row) for row in await self._pool.fetch(_SQL["failures"], since, timeout=LONG_TIMEOUT_S)]

    async def processing_times(self, since: datetime) -> Sequence[ProcessingTime]:
        """How long what ended well since then took."""
        rows = await self._pool.fetch(_SQL["processing_times"], since, timeout=LONG_TIMEOUT_S)
        return [ProcessingTime(*row) for row in rows]

    async def has_batch(self, batch_id: UUID) -> bool:
        """Whether there is such a batch."""
        return bool(await self._pool.fetchval(_SQL["find_batch"], batch_id))

    async def batch_times(self, batch_id: UUID) -> Sequence[ProcessingTime]:
        """How long the items of a batch took that are completed."""
        rows = await self._pool.fetch(_SQL["processing_times_of_batch"], batch_id, timeout=LONG_TIMEOUT_S)
        return [ProcessingTime(*row) for row in rows]

    async def slowest_items(self, batch_id: UUID, most: int) -> Sequence[SlowItem]:
        """The items of a batch that took longest."""
        rows = await self._pool.fetch(_SQL["slowest_items"], batch_id, most, timeout=LONG_TIMEOUT_S)
        return [SlowItem(*row) for row in rows]


def _lane_id(row: asyncpg.Record) -> str:
    return lane_workflow_id(row["chain_id"], Lane(row["chain_id"], row["signer"]).address)
