"""From where on a measurement is a condition."""

from __future__ import annotations

from uuid import UUID

import pytest

from workflows.interface.alert_rules import MEASURED_KINDS, RULES, conditions_of, kinds_measured
from workflows.interface.alerts import (
    Condition,
    DisabledEndpoint,
    EndedJobs,
    LaneAge,
    LaneBalance,
    Measured,
    NewDeadLetters,
    QueueState,
    ScheduleState,
    Thresholds,
)
from workflows.interface.codes import AlertKind

LIMITS = Thresholds(failure_least_ended=10)
SOUND = QueueState("transfers", 3, 1.0, 5.0)
SCHEDULE = ScheduleState("sweep", interval_s=60, last_success_age_s=50)
NEVER = SCHEDULE._replace(succeeded=False, last_success_age_s=181)


def found(**measured: object) -> list[Condition]:
    return conditions_of(Measured(**measured), LIMITS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("measured", "kind", "subject"),
    [
        ({"queues": [SOUND._replace(depth=10_001)]}, AlertKind.QUEUE_DEPTH, "transfers"),
        ({"queues": [SOUND._replace(oldest_age_s=300.1)]}, AlertKind.QUEUE_AGE, "transfers"),
        ({"queues": [SOUND._replace(last_poll_age_s=None)]}, AlertKind.NO_WORKER, "transfers"),
        ({"queues": [SOUND._replace(last_poll_age_s=121.0)]}, AlertKind.NO_WORKER, "transfers"),
        ({"schedules": [SCHEDULE._replace(last_success_age_s=181)]}, AlertKind.SCHEDULE_MISSED, "sweep"),
        ({"schedules": [SCHEDULE._replace(last_success_age_s=181, running=True)]}, AlertKind.SCHEDULE_MISSED, "sweep"),
        ({"schedules": [NEVER]}, AlertKind.SCHEDULE_MISSED, "sweep"),
        ({"schedules": [ScheduleState("sweep", exists=False)]}, AlertKind.SCHEDULE_MISSED, "sweep"),
        ({"ended": [EndedJobs("item", 10, 3)]}, AlertKind.FAILURE_RATE, "item"),
        ({"dead_letters": [NewDeadLetters("delivery", 101)]}, AlertKind.DEAD_LETTERS, "delivery"),
        ({"balances": [LaneBalance("lane/1/0xa", 49_999_999_999_999_999)]}, AlertKind.SIGNER_BALANCE, "lane/1/0xa"),
        ({"lanes": [LaneAge("lane/1/0xa", 7, 300.1)]}, AlertKind.LANE_STUCK, "lane/1/0xa"),
        (
            {"disabled": [DisabledEndpoint(UUID(int=1), "http://a/", "410")]},
            AlertKind.ENDPOINT_DISABLED,
            f"webhook/{UUID(int=1)}",
        ),
        ({"faults": {"schedules": "away"}}, AlertKind.NOT_MEASURED, "schedules"),
    ],
)
def test_a_measurement_beyond_its_threshold_is_one_condition(
    measured: dict[str, object], kind: AlertKind, subject: str
) -> None:
    """It has the kind and the subject that it's known by, and a sentence that names the subject's figures."""
    [condition] = found(**measured)
    assert (condition.kind, condition.subject) == (kind, subject)
    assert len(condition.message) > 20


@pytest.mark.parametrize(
    "measured",
    [
        {"queues": [SOUND._replace(depth=10_000, oldest_age_s=300.0, last_poll_age_s=120.0)]},
        {"queues": [SOUND._replace(depth=0, oldest_age_s=9_999.0)]},
        {"schedules": [SCHEDULE._replace(last_success_age_s=180)]},
        {"schedules": [SCHEDULE._replace(last_success_age_s=9_999, paused=True)]},
        {"schedules": [SCHEDULE._replace(last_success_age_s=9_999, interval_s=None)]},
        {"ended": [EndedJobs("item", 10, 2), EndedJobs("delivery", 9, 9), EndedJobs("transfer", 0, 0)]},
        {"dead_letters": [NewDeadLetters("delivery", 100)]},
        {"balances": [LaneBalance("lane/1/0xa", 50_000_000_000_000_000)]},
        {"lanes": [LaneAge("lane/1/0xa", 7, 300.0)]},
        {},
    ],
)
def test_a_measurement_at_its_threshold_is_none(measured: dict[str, object]) -> None:
    """Thresholds are the last sound values; paused schedules and too few jobs to tell are no conditions."""
    assert found(**measured) == []


def test_what_was_not_measured_is_not_over() -> None:
    """Kinds of a measurement that failed aren't among those a check may close."""
    measured = kinds_measured(Measured(queues=None, schedules=(), balances=None, ended=()))
    assert measured == {AlertKind.SCHEDULE_MISSED, AlertKind.FAILURE_RATE, AlertKind.NOT_MEASURED}


def test_every_rule_has_its_kind() -> None:
    """There is a rule for each measured kind, and no measured kind is raised elsewhere."""
    assert len(RULES) == len(MEASURED_KINDS)
    elsewhere = {AlertKind.DEFECT, AlertKind.REPEATED_DEFECT, AlertKind.LANE_CONDITION, AlertKind.DATABASE_CONDITION}
    assert not elsewhere & MEASURED_KINDS
