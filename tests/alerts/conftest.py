"""The steps of checks on a fresh database, with other servers' figures as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.alerts import AlertLedgers, AlertPlan, Alerts, Probes
from ledger.alerts import AlertLedger
from ledger.maintenance import JobFailures
from ledger.pool import Pool
from ledger.reports import Reports
from ledger.runs import BatchRuns
from tests.webhooks.receiver import Receiver
from webhooks.sender import Sender, open_sender
from workflows.interface.alerts import CheckResult, NoticesSent, QueueState, ScheduleState, Thresholds
from workflows.interface.chain import Lane
from workflows.interface.names import Queue, ScheduleId

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
KEY = bytes(range(32))
LIMITS = Thresholds(failure_least_ended=2, dead_letters=1)


class World:
    """Steps of `CheckAlerts`, and the figures they're told."""

    def __init__(self, pool: Pool, sender: Sender, receiver: Receiver) -> None:
        self.pool, self.sender = pool, sender
        self.ledger = AlertLedger(pool)
        self.queues = [QueueState(queue.value, 0, 0.0, 1.0) for queue in Queue]
        self.schedules = [ScheduleState(one.value, interval_s=60, last_success_age_s=1) for one in ScheduleId]
        self.balance_wei = 10**18
        self.fault: Exception | None = None
        self.plan = AlertPlan(
            limits=LIMITS,
            quiet=timedelta(hours=2),
            repeat=timedelta(hours=1),
            webhook_url=receiver.url,
            webhook_secret=KEY,
            slack_url=f"http://127.0.0.1:{receiver.port}/slack",
        )

    @property
    def steps(self) -> Alerts:
        """The steps as a worker has them."""
        ledgers = AlertLedgers(self.ledger, Reports(self.pool), JobFailures(self.pool))
        probes = Probes(self._queues, self._schedules, self._balances)
        return Alerts(ledgers, probes, self.sender, self.plan, BatchRuns(self.pool).raise_alert)

    async def check(self) -> CheckResult:
        """One check, without sending."""
        result: CheckResult = await ActivityEnvironment().run(self.steps.check_alerts)
        return result

    async def send(self) -> NoticesSent:
        """Sends what is due."""
        result: NoticesSent = await ActivityEnvironment().run(self.steps.send_alerts)
        return result

    async def alerts(self) -> list[tuple[Any, ...]]:
        """Kind, subject and whether it's open, in the order they opened."""
        rows = await self.pool.fetch("SELECT kind, subject, closed_at IS NULL FROM alerts ORDER BY alert_id")
        return [tuple(row) for row in rows]

    async def let_pass(self, span: timedelta) -> None:
        """As if so much time had passed for the alerts and their notices."""
        await self.pool.execute(
            "UPDATE alerts SET opened_at = opened_at - $1::interval, last_seen_at = last_seen_at - $1::interval,"
            " last_told_at = last_told_at - $1::interval",
            span,
        )
        await self.pool.execute("UPDATE alert_notices SET next_attempt_at = next_attempt_at - $1::interval", span)

    async def _queues(self) -> Sequence[QueueState]:
        if self.fault:
            raise self.fault
        return self.queues

    async def _schedules(self) -> Sequence[ScheduleState]:
        return self.schedules

    async def _balances(self, lanes: Sequence[Lane]) -> Sequence[int]:
        return [self.balance_wei for _ in lanes]


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with open_sender(timeout_s=5) as opened:
        yield opened


@pytest.fixture
def world(pool: Pool, sender: Sender, receiver: Receiver) -> World:
    return World(pool, sender, receiver)
