"""`CheckAlerts`: its steps and their results, and what the checks measure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from temporalio import activity

from workflows.interface.codes import AlertKind, AlertSeverity
from workflows.interface.message import Message


class CheckResult(Message):
    """What one check found and did."""

    conditions: int
    """Measured conditions that last."""
    opened: int
    """Alerts that were told for the first time."""
    closed: int
    open: int
    """Alerts that are open now."""
    not_measured: tuple[str, ...] = ()
    """What couldn't be looked at."""


class NoticesSent(Message):
    """What became of the messages that were due."""

    sent: int
    failed: int
    waiting: int
    """Messages still to be sent."""


class AlertActivities(ABC):
    """Steps of the queue `maintenance` about alerts."""

    @activity.defn(name="check_alerts")
    @abstractmethod
    async def check_alerts(self) -> CheckResult:
        """Measures, opens and closes alerts, and writes the messages about them."""

    @activity.defn(name="send_alerts")
    @abstractmethod
    async def send_alerts(self) -> NoticesSent:
        """Sends the messages that are due; what a receiver doesn't take is sent by a later check."""


# What is measured ---------------------------------------------------------------------------------------------------


class QueueState(NamedTuple):
    """A task queue as Temporal tells it, its workflow and activity tasks together."""

    queue: str
    depth: int
    oldest_age_s: float
    last_poll_age_s: float | None
    """Since a worker last asked for work; None: none did lately."""


class ScheduleState(NamedTuple):
    """A schedule as Temporal tells it."""

    schedule_id: str
    exists: bool = True
    paused: bool = False
    running: bool = False
    interval_s: float | None = None
    """Between two of its runs; None: none is to come."""
    begun: bool = True
    """Whether it has ever begun a run."""
    succeeded: bool = True
    """Whether one of its latest runs went through."""
    last_success_age_s: float = 0.0
    """Since a run last went through; where none did, since the earliest of them began, or since it was made."""


class EndedJobs(NamedTuple):
    """How many jobs of a type ended within the window."""

    job_type: str
    ended: int
    failed: int


class NewDeadLetters(NamedTuple):
    """Dead letters of a kind that came within the window."""

    kind: str
    letters: int


class LaneBalance(NamedTuple):
    """What a lane's account holds."""

    lane: str
    balance_wei: int


class LaneAge(NamedTuple):
    """A lane's lowest open nonce."""

    lane: str
    nonce: int
    age_s: float


class DisabledEndpoint(NamedTuple):
    """A webhook subscription that was disabled lately."""

    subscription_id: UUID
    url: str
    reason: str


class Measured(NamedTuple):
    """Everything a check looks at. None: it couldn't be measured; `faults` says why."""

    queues: Sequence[QueueState] | None = None
    schedules: Sequence[ScheduleState] | None = None
    balances: Sequence[LaneBalance] | None = None
    ended: Sequence[EndedJobs] | None = None
    dead_letters: Sequence[NewDeadLetters] | None = None
    lanes: Sequence[LaneAge] | None = None
    disabled: Sequence[DisabledEndpoint] | None = None
    faults: Mapping[str, str] = {}


class Thresholds(NamedTuple):
    """From where on a measurement is a condition. The worker's settings ALERT_* (docs/operations.md)."""

    queue_depth: int = 10_000
    queue_age_s: float = 300
    no_worker_s: float = 120
    schedule_intervals: float = 3
    window: timedelta = timedelta(minutes=15)
    failure_rate: float = 0.2
    failure_least_ended: int = 50
    dead_letters: int = 100
    signer_balance_wei: int = 50_000_000_000_000_000
    lane_stuck_s: float = 300
    disabled: timedelta = timedelta(days=1)
    """How long an endpoint's end is an open alert."""


class Condition(NamedTuple):
    """A measurement beyond its threshold."""

    kind: AlertKind
    subject: str
    severity: AlertSeverity
    message: str
    value: float
    threshold: float
