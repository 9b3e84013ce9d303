"""Alerts: opened and closed by checks, told in notices that outlive a crash, acknowledged by people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias
from uuid import UUID

import asyncpg

from ledger.pool import Connection, Pool, transaction
from ledger.queries import load
from workflows.interface.alert_rules import MEASURED_KINDS
from workflows.interface.alerts import Condition
from workflows.interface.codes import AlertChannel, AlertKind, AlertNotice, AlertSeverity

_SQL = load("alerts")
MOST_LISTED = 1000


class AlertRow(NamedTuple):
    """An alert as it stands."""

    alert_id: int
    kind: str
    subject: str
    severity: AlertSeverity
    message: str
    value: float | None
    threshold: float | None
    seen: int
    opened_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    close_message: str | None
    acked_at: datetime | None
    acked_by: str | None


class ListedAlert(NamedTuple):
    """An alert and how many of its notices nobody has taken yet."""

    alert: AlertRow
    unsent: int


class DueNotice(NamedTuple):
    """A message that is to be sent now."""

    notice_id: UUID
    channel: AlertChannel
    kind: AlertNotice
    body: str


class Recorded(NamedTuple):
    """What a check changed."""

    opened: int
    closed: int
    open: int


BodyOf: TypeAlias = Callable[[AlertRow, AlertNotice], str]


class AlertLedger:
    """The tables `alerts` and `alert_notices`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record(
        self,
        conditions: Sequence[Condition],
        measured: AbstractSet[AlertKind],
        channels: Mapping[AlertChannel, BodyOf],
        *,
        quiet: timedelta,
        repeat: timedelta,
    ) -> Recorded:
        """Opens and closes alerts by what a check found, and writes the notices that are due, all or nothing.

        `quiet`: how long an alert that is raised where it's met stays open without being met again.
        """
        columns = [list(column) for column in zip(*map(_stored, conditions), strict=True)] or [[] for _ in range(6)]
        async with transaction(self._pool) as connection:
            await connection.execute(_SQL["begin_check"])
            await connection.execute(_SQL["see_conditions"], *columns)
            await connection.execute(_SQL["close_over"], sorted(measured), columns[0], columns[1])
            await connection.execute(_SQL["close_quiet"], sorted(MEASURED_KINDS), quiet)
            told = await _tell(connection, channels, repeat)
            count = await connection.fetchval(_SQL["count_open"])
        return Recorded(told.count(AlertNotice.OPENED), told.count(AlertNotice.CLOSED), count)

    async def claim(self, channels: Sequence[AlertChannel], most: int, lease: timedelta) -> list[DueNotice]:
        """Takes due notices; they're due again after `lease` unless they are sent by then."""
        rows = await self._pool.fetch(_SQL["claim_notices"], list(channels), most, lease)
        return [
            DueNotice(row["notice_id"], AlertChannel(row["channel"]), AlertNotice(row["kind"]), row["body"])
            for row in rows
        ]

    async def sent(self, notice_id: UUID) -> None:
        """Its receiver has the notice."""
        await self._pool.execute(_SQL["notice_sent"], notice_id)

    async def failed(self, notice_id: UUID, error: str) -> None:
        """Its receiver hasn't taken the notice: it's due again later."""
        await self._pool.execute(_SQL["notice_failed"], notice_id, error)

    async def waiting(self, channels: Sequence[AlertChannel]) -> int:
        """Notices still to be sent to these channels."""
        count: int = await self._pool.fetchval(_SQL["count_waiting"], list(channels))
        return count

    async def list(self, *, with_closed: bool, most: int = MOST_LISTED) -> Sequence[ListedAlert]:
        """Alerts, the newest first."""
        rows = await self._pool.fetch(_SQL["list_alerts"], with_closed, most)
        return [ListedAlert(_alert_of(row), row["unsent"]) for row in rows]

    async def ack(self, alert_id: int, by: str) -> ListedAlert | None:
        """Acknowledges an alert, so that it's repeated no more; None if there is none. A closed one stays as it is."""
        await self._pool.execute(_SQL["ack_alert"], alert_id, by)
        row = await self._pool.fetchrow(_SQL["find_alert"], alert_id)
        return None if row is None else ListedAlert(_alert_of(row), row["unsent"])


async def _tell(
    connection: Connection, channels: Mapping[AlertChannel, BodyOf], repeat: timedelta
) -> Sequence[AlertNotice]:
    rows = await connection.fetch(_SQL["to_tell"], repeat)
    alerts = [(_alert_of(row), AlertNotice(row["notice"])) for row in rows]
    notices = [
        (alert.alert_id, notice.value, channel.value, body_of(alert, notice))
        for alert, notice in alerts
        for channel, body_of in channels.items()
    ]
    if notices:
        await connection.execute(_SQL["write_notices"], *(list(column) for column in zip(*notices, strict=True)))
    kinds = [notice for _, notice in alerts]
    await connection.execute(_SQL["set_told"], [alert.alert_id for alert, _ in alerts], kinds)
    return kinds


def _stored(condition: Condition) -> tuple[str, str, str, str, float, float]:
    return (
        condition.kind.value,
        condition.subject,
        condition.severity.value,
        condition.message,
        float(condition.value),
        float(condition.threshold),
    )


def _alert_of(row: asyncpg.Record) -> AlertRow:
    fields = {name: row[name] for name in AlertRow._fields}
    return AlertRow(**fields | {"severity": AlertSeverity(row["severity"])})
