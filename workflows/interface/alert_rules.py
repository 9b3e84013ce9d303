"""Which measurements are conditions that a person must see: plain functions of measurements and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeAlias

from workflows.interface.alerts import Condition, Measured, Thresholds
from workflows.interface.codes import AlertKind, AlertSeverity

WEI_PER_ETHER = 10**18

Rule: TypeAlias = Callable[[Measured, Thresholds], Iterator[Condition]]


def conditions_of(measured: Measured, limits: Thresholds) -> list[Condition]:
    """Every condition, at most one for each kind and subject."""
    return [condition for rule in RULES for condition in rule(measured, limits)]


def kinds_measured(measured: Measured) -> frozenset[AlertKind]:
    """Kinds that this check can tell to be over. What couldn't be measured stays as it was."""
    known = {
        AlertKind.QUEUE_DEPTH: measured.queues,
        AlertKind.QUEUE_AGE: measured.queues,
        AlertKind.NO_WORKER: measured.queues,
        AlertKind.SCHEDULE_MISSED: measured.schedules,
        AlertKind.SIGNER_BALANCE: measured.balances,
        AlertKind.FAILURE_RATE: measured.ended,
        AlertKind.DEAD_LETTERS: measured.dead_letters,
        AlertKind.LANE_STUCK: measured.lanes,
        AlertKind.ENDPOINT_DISABLED: measured.disabled,
        AlertKind.NOT_MEASURED: measured.faults,
    }
    return frozenset(kind for kind, found in known.items() if found is not None)


MEASURED_KINDS = kinds_measured(Measured((), (), (), (), (), (), ()))
"""All kinds that checks measure; the others are raised where they're met."""


def _queue_depth(measured: Measured, limits: Thresholds) -> Iterator[Condition]:
    for one in measured.queues or ():
        if one.depth > limits.queue_depth:
            yield Condition(
                AlertKind.QUEUE_DEPTH,
                one.queue,
                AlertSeverity.WARNING,
                f"{one.depth:,} tasks wait in queue {one.queue}, more than {limits.queue_depth:,}",
                one.depth,
                limits.queue_depth,
            )


def _queue_age(measured: Measured, limits: Thresholds) -> Iterator[Condition]:
    for one in measured.queues or ():
        # The server's figures are estimates: an age without a task behind it is one that was served just now.
        if one.depth and one.oldest_age_s > limits.queue_age_s:
            yield Condition(
                AlertKind.QUEUE_AGE,
                one.queue,
                AlertSeverity.CRITICAL,
                f"the oldest task of queue {one.queue} has waited for {_span(one.oldest_age_s)},"
                f" longer than {_span(limits.queue_age_s)}",
                one.oldest_age_s,
                limits.queue_age_s,
            )


def _no_worker(measured: Measured, limits: Thresholds) -> Iterator[Condition]:
    for one in measured.queues or ():
        age_s = one.last_poll_age_s
        if age_s is None or age_s > limits.no_worker_s:
            since = "lately" if age_s is None else f"for {_span(age_s)}"
            yield Condition(
                AlertKind.NO_WORKER,
                one.queue,
                AlertSeverity.CRITICAL,
                f"no worker has asked queue {one.queue} for work {since}",
                limits.no_worker_s if age_s is None else age_s,
                limits.no_worker_s,
            )


def _schedules(measured: Measured, limits: Thresholds) -> Iterator[Condition]:
    for one in measured.schedules or ():
        # What an operator paused isn't missed; `transfers health` tells of it.
        most_s = (one.interval_s or 0.0) * limits.schedule_intervals
        if not one.exists:
            why = "is gone: another job's next run, a worker's start or `transfers schedules apply` makes it again"
        elif one.paused or one.interval_s is None or one.last_success_age_s <= most_s:
            continue
        else:
            last = "last went through" if one.succeeded else "hasn't gone through for"
            ago = " ago" if one.succeeded else ""
            still = ", a run is under way" if one.running else ""
            why = f"{last} {_span(one.last_success_age_s)}{ago}{still}; it's due every {_span(one.interval_s)}"
        yield Condition(
            AlertKind.SCHEDULE_MISSED,
            one.schedule_id,
            AlertSeverity.CRITICAL,
            f"schedule {one.schedule_id} {why}",
            one.last_success_age_s,
            most_s,
        )


def _failure_rate(measured: Measured, limits: Thresholds) -> Iterator[Condition]:
    for one in measured.ended or ():
        if one.ended < max(limits.failure_least_ended, 1):
            continue
        rate = one.failed / one.ended
        if rate > limits.failure_rate:
            yield Condition(
                AlertKind.FAILURE_RATE,
                one.job_type,
                AlertSeverity.CRITICAL,
                f"{one.failed:,} of {one.ended:,} jobs of type {one.job_type} that ended within {_window(limits)}"
                f" failed ({rate:.0%}, more than {limits.failure_rate:.0%}); `transfers failures` groups them",
                rate,
                limits.failure_rate,
            )


def _dead_letters(measured: Measured, limits: Thresholds) -> Iterator[Condition]:
    for one in measured.dead_letters or ():
        if one.letters > limits.dead_letters:
            yield Condition(
                AlertKind.DEAD_LETTERS,
                one.kind,
                AlertSeverity.WARNING,
                f"{one.letters:,} dead letters of kind {one.kind} came within {_window(limits)},"
                f" more than {limits.dead_letters:,}; `transfers dead-letters list` shows them",
                one.letters,
                limits.dead_letters,
            )


def _signer_balance(measured: Measured, limits: Thresholds) -> Iterator[Condition]:
    least = limits.signer_balance_wei / WEI_PER_ETHER
    for one in measured.balances or ():
        if one.balance_wei < limits.signer_balance_wei:
            holds = one.balance_wei / WEI_PER_ETHER
            yield Condition(
                AlertKind.SIGNER_BALANCE,
                one.lane,
                AlertSeverity.CRITICAL,
                f"the account of {one.lane} holds {holds:g} of the chain's currency, less than {least:g}: top it up",
                holds,
                least,
            )


def _lane_stuck(measured: Measured, limits: Thresholds) -> Iterator[Condition]:
    for one in measured.lanes or ():
        if one.age_s > limits.lane_stuck_s:
            yield Condition(
                AlertKind.LANE_STUCK,
                one.lane,
                AlertSeverity.CRITICAL,
                f"nonce {one.nonce} of {one.lane} has been open for {_span(one.age_s)},"
                f" longer than {_span(limits.lane_stuck_s)}: nothing behind it can be mined",
                one.age_s,
                limits.lane_stuck_s,
            )


def _endpoint_disabled(measured: Measured, limits: Thresholds) -> Iterator[Condition]:
    for one in measured.disabled or ():
        yield Condition(
            AlertKind.ENDPOINT_DISABLED,
            f"webhook/{one.subscription_id}",
            AlertSeverity.WARNING,
            f"the endpoint {one.url} gets nothing any more: {one.reason}",
            1,
            limits.disabled.total_seconds(),
        )


def _not_measured(measured: Measured, limits: Thresholds) -> Iterator[Condition]:  # noqa: ARG001
    for what, fault in measured.faults.items():
        message = f"{what} couldn't be measured: {fault}"
        yield Condition(AlertKind.NOT_MEASURED, what, AlertSeverity.WARNING, message, 1, 0)


RULES: tuple[Rule, ...] = (
    _queue_depth,
    _queue_age,
    _no_worker,
    _schedules,
    _failure_rate,
    _dead_letters,
    _signer_balance,
    _lane_stuck,
    _endpoint_disabled,
    _not_measured,
)


def _window(limits: Thresholds) -> str:
    return _span(limits.window.total_seconds())


def _span(seconds: float) -> str:
    """A duration in words: two units at most."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{timedelta(seconds=round(seconds))}" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
