"""What becomes of a step that met a defect: told from others, counted, alerted, tried again."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.interface.batch import Alert, TransferActivities
from workflows.interface.codes import AlertKind, ErrorCode
from workflows.interface.policies import SLICE_STEP, ActivityOptions

P = TypeVar("P")
R = TypeVar("R")

SAME_DEFECTS = 3
"""So many slices in a row with the same defect are no poison values."""
AFTER_DEFECT, LONGEST_AFTER_DEFECT = timedelta(seconds=10), timedelta(minutes=10)


class DefectsInARow:
    """Counts slices that met the same defect one after the other."""

    def __init__(self) -> None:
        self._last: str | None = None
        self._count = 0

    def are_too_many(self, signature: str) -> bool:
        """Counts one more; true once for each row of them, so that one alert is raised."""
        self._count = self._count + 1 if signature == self._last else 1
        self._last = signature
        return self._count == SAME_DEFECTS

    def forget(self) -> None:
        """A slice without a defect, or a person's word that the cause is mended."""
        self._count = 0


def defect_signature(error: ActivityError) -> str | None:
    """What tells one defect from another: its message without numbers; None where it's no defect."""
    cause = _defect(error)
    return None if cause is None else re.sub(r"[0-9a-f]{8,}|[0-9]+", "#", cause.message)[:200]


async def insist(
    method: Callable[[Any, P], Awaitable[R]], argument: P, options: ActivityOptions, summary: str, priority: Priority
) -> R:
    """A step that can't be narrowed down: after a defect it's alerted and tried again until it's done."""
    met = 0
    while True:
        try:
            return await workflow.execute_activity_method(
                method, argument, **options, priority=priority, summary=summary
            )
        except ActivityError as error:
            if _defect(error) is None:
                raise
            await after_defect(error, summary, priority, met)
            met += 1


async def after_defect(error: ActivityError, summary: str, priority: Priority, met_before: int) -> None:
    """Alerts what a step met, and waits before it's tried again."""
    cause = error.cause
    told = cause.message if isinstance(cause, ApplicationError) else str(cause or error)
    await raise_alert(AlertKind.DEFECT, f"{summary}: {told}", priority)
    await workflow.sleep(wait_after_defect(met_before), summary=f"after a defect: {summary}")


def wait_after_defect(met_before: int) -> timedelta:
    """Longer each time: a defect that nobody mends for weeks must not fill the workflow's history."""
    return min(AFTER_DEFECT * (1 << min(met_before, 10)), LONGEST_AFTER_DEFECT)


async def raise_alert(kind: AlertKind, message: str, priority: Priority) -> None:
    """A condition of this workflow that a person must see."""
    alert = Alert(kind=kind, subject=workflow.info().workflow_id, message=message)
    await workflow.execute_activity_method(
        TransferActivities.raise_alert, alert, **SLICE_STEP, priority=priority, summary="alert"
    )


def _defect(error: ActivityError) -> ApplicationError | None:
    cause = error.cause
    return cause if isinstance(cause, ApplicationError) and cause.type == ErrorCode.DEFECT else None
