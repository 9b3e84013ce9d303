"""Steps of `CheckAlerts`: measure and record, then send what is to be told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeVar

from temporalio import activity
from temporalio.service import RPCError

from activities.alert_messages import BODIES
from activities.faults import RaiseAlert, Step, step
from chain.rpc import RpcError
from ledger.alerts import AlertLedger, DueNotice
from ledger.maintenance import JobFailures
from ledger.reports import Reports
from webhooks.sender import Sender
from workflows.interface.alert_rules import conditions_of, kinds_measured
from workflows.interface.alerts import (
    AlertActivities,
    CheckResult,
    LaneBalance,
    Measured,
    NoticesSent,
    QueueState,
    ScheduleState,
    Thresholds,
)
from workflows.interface.chain import Lane
from workflows.interface.codes import AlertChannel, AlertNotice
from workflows.interface.errors import InfrastructureError
from workflows.interface.names import ScheduleId, lane_workflow_id

MOST_AT_ONCE = 32
CLAIMED_FOR = timedelta(seconds=60)
"""A sender that died leaves its messages to another after this; longer than a request may take."""
MOST_ROUNDS = 3
"""An alert's messages go one after the other: the next ones are due as soon as the first is taken."""
MEASURE_TIMEOUT_S = 20.0

_log = logging.getLogger(__name__)
# Servers that are asked and may be away; what Postgres is asked ends the step, for nothing could be recorded either.
_AWAY = (RPCError, RpcError, InfrastructureError, OSError, TimeoutError)

T = TypeVar("T")


class AlertPlan(NamedTuple):
    """What to look for, and whom to tell. The addresses stay out of its repr: they hold keys."""

    limits: Thresholds
    quiet: timedelta
    repeat: timedelta
    webhook_url: str | None
    webhook_secret: bytes
    slack_url: str | None

    def __repr__(self) -> str:
        return f"AlertPlan({self.limits}, quiet={self.quiet}, repeat={self.repeat}, {self.channels})"

    @property
    def channels(self) -> Sequence[AlertChannel]:
        """Where messages go."""
        urls = {AlertChannel.WEBHOOK: self.webhook_url, AlertChannel.SLACK: self.slack_url}
        return [AlertChannel.LOG, *(channel for channel, url in urls.items() if url)]


class Probes(NamedTuple):
    """What is asked of other servers than Postgres."""

    queues: Callable[[], Awaitable[Sequence[QueueState]]]
    schedules: Callable[[], Awaitable[Sequence[ScheduleState]]]
    balances: Callable[[Sequence[Lane]], Awaitable[Sequence[int]]]
    """In wei, in the order of the lanes."""


class AlertLedgers(NamedTuple):
    """The parts of the ledger these steps use."""

    alerts: AlertLedger
    reports: Reports
    failures: JobFailures


class Alerts(Step, AlertActivities):
    """Implements `AlertActivities`."""

    def __init__(
        self,
        ledgers: AlertLedgers,
        probes: Probes,
        sender: Sender,
        plan: AlertPlan,
        raise_alert: RaiseAlert,
    ) -> None:
        super().__init__(raise_alert)
        self._ledger, self._reports, self._failures = ledgers
        self._probes = probes
        self._sender = sender
        self._plan = plan

    @activity.defn(name="check_alerts")
    @step
    async def check_alerts(self) -> CheckResult:
        measured = await self._measure()
        conditions = conditions_of(measured, self._plan.limits)
        bodies = {channel: BODIES[channel] for channel in self._plan.channels}
        recorded = await self._ledger.record(
            conditions, kinds_measured(measured), bodies, quiet=self._plan.quiet, repeat=self._plan.repeat
        )
        return CheckResult(conditions=len(conditions), not_measured=tuple(measured.faults), **recorded._asdict())

    @activity.defn(name="send_alerts")
    @step
    async def send_alerts(self) -> NoticesSent:
        sent = failed = 0
        for _ in range(MOST_ROUNDS):
            due = await self._ledger.claim(self._plan.channels, MOST_AT_ONCE, CLAIMED_FOR)
            if not due:
                break
            taken = await asyncio.gather(*map(self._send, due))
            sent += sum(taken)
            failed += len(taken) - sum(taken)
        await self._failures.settle(ScheduleId.CHECK_ALERTS)
        return NoticesSent(sent=sent, failed=failed, waiting=await self._ledger.waiting(self._plan.channels))

    async def _measure(self) -> Measured:
        limits, faults = self._plan.limits, dict[str, str]()
        ledger = await self._reports.measure(limits.window, limits.disabled)
        lanes = await self._reports.lanes()
        queues, schedules, balances = await asyncio.gather(
            _asked("task queues", self._probes.queues(), faults),
            _asked("schedules", self._probes.schedules(), faults),
            _asked("balances of the lanes", self._balances(lanes), faults),
        )
        return Measured(queues, schedules, balances, *ledger, faults=faults)

    async def _balances(self, lanes: Sequence[Lane]) -> Sequence[LaneBalance]:
        found = await self._probes.balances(lanes) if lanes else ()
        ids = [lane_workflow_id(lane.chain_id, lane.address) for lane in lanes]
        return [LaneBalance(*pair) for pair in zip(ids, found, strict=True)]

    async def _send(self, notice: DueNotice) -> bool:
        error = await self._told(notice)
        if error is None:
            await self._ledger.sent(notice.notice_id)
        else:
            await self._ledger.failed(notice.notice_id, error)
            _log.warning("alert notice %s isn't taken by %s yet: %s", notice.notice_id, notice.channel, error)
        return error is None

    async def _told(self, notice: DueNotice) -> str | None:
        """Why the notice wasn't taken; None if it was."""
        plan = self._plan
        if notice.channel is AlertChannel.LOG:
            _log.log(logging.INFO if notice.kind is AlertNotice.CLOSED else logging.ERROR, "%s", notice.body)
            return None
        hook = notice.channel is AlertChannel.WEBHOOK
        url = plan.webhook_url if hook else plan.slack_url
        body = notice.body.encode()
        answer = await self._sender.send(url or "", plan.webhook_secret if hook else None, notice.notice_id, body)
        if answer.error is None:
            return None
        return f"HTTP {answer.http_status}" if answer.http_status and answer.http_status >= 300 else answer.error


async def _asked(what: str, question: Awaitable[T], faults: dict[str, str]) -> T | None:
    """The answer; None, and a line in `faults`, where the server is away."""
    try:
        async with asyncio.timeout(MEASURE_TIMEOUT_S):
            return await question
    except _AWAY as error:
        faults[what] = f"{type(error).__name__}: {error}"
        return None
