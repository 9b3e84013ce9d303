"""What the frequent jobs ask of Postgres: gifts that expire, and failed transfers that are due for a retry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from ledger.events import emit_transfer_events
from ledger.pool import Pool, transaction
from ledger.queries import load
from workflows.interface.codes import AlertKind, EventType, FailureCode
from workflows.interface.names import ScheduleId

_SQL, _LETTERS = load("maintenance"), load("dead_letters")


class TimeMark(NamedTuple):
    """Where a page in the order of time ended."""

    at: datetime = datetime.min.replace(tzinfo=UTC)
    transfer_id: UUID = UUID(int=0)


class ExpiredPage(NamedTuple):
    """One page of expiring: the transfers that ended, where the next page begins, and whom to wake."""

    transfer_ids: tuple[UUID, ...]
    end: TimeMark
    subscription_ids: frozenset[UUID]


class RetryRule(NamedTuple):
    """Which failed transfers are due for a scheduled retry."""

    codes: Sequence[FailureCode]
    most_retries: int
    least_age: timedelta
    """Since the last retry."""


class DueRetry(NamedTuple):
    """A failed transfer that was claimed for a retry."""

    failed_at: datetime
    transfer_id: UUID
    from_user_id: str


class Expiry:
    """Gifts that nobody accepted in time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def expire_page(self, after: TimeMark, page_size: int) -> ExpiredPage:
        """Ends the next ones, whoever wrote them, and frees their tickets. Whoever decides one just now keeps it."""
        async with transaction(self._pool) as connection:
            rows = await connection.fetch(_SQL["expire_page"], *after, page_size)
            ids = tuple(row["transfer_id"] for row in rows)
            woken = await emit_transfer_events(connection, ids, EventType.TRANSFER_EXPIRED)
        return ExpiredPage(ids, max((TimeMark(*row) for row in rows), default=after), woken)


class RetryClaims:
    """Failed transfers of the chain, as the scheduled retry takes them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim_page(self, rule: RetryRule, after: TimeMark, page_size: int) -> list[DueRetry]:
        """The next due ones, oldest first; until the rule's age has passed again, no other run gets them."""
        codes = [code.value for code in rule.codes]
        rows = await self._pool.fetch(
            _SQL["claim_retries"], *after, rule.most_retries, rule.least_age, codes, page_size
        )
        return sorted(DueRetry(*row) for row in rows)


class JobFailures:
    """Scheduled jobs that failed: their dead letters, and the alerts about them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def settle(self, job: ScheduleId) -> None:
        """The job's last step is done: what its earlier runs met is over."""
        async with transaction(self._pool) as connection:
            await connection.execute(_LETTERS["resolve_job"], job)
            closed = (AlertKind.DEFECT.value, subject_of(job), "the job went through again")
            await connection.execute(_SQL["close_alert"], *closed)


def subject_of(job: ScheduleId) -> str:
    """What an alert about a scheduled job names."""
    return f"schedule/{job}"
