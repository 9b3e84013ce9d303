"""A scheduled job's run that fails is a dead letter with an alert, written before it ends."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import NamedTuple, TypeVar

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutType,
    is_cancelled_exception,
)
from temporalio.exceptions import TimeoutError as StepTimeoutError

from workflows.interface.codes import ErrorCode
from workflows.interface.maintenance import JobFailure, MaintenanceActivities
from workflows.interface.names import ScheduleId
from workflows.interface.policies import MAINTENANCE_PRIORITY, MAINTENANCE_STEP, limited

R = TypeVar("R")

BURIAL_LIMIT_S = 60.0
"""A failed run shall end even if its failure can't be written; the log has it then."""
_LIMITS = {
    TimeoutType.START_TO_CLOSE: "one go at it took longer than it may",
    TimeoutType.SCHEDULE_TO_START: "no worker took it in time",
    TimeoutType.SCHEDULE_TO_CLOSE: "all its goes together took longer than they may",
    TimeoutType.HEARTBEAT: "its worker wasn't heard of any more",
}


class _Failure(NamedTuple):
    code: ErrorCode
    message: str


async def buried_if_failed(job_id: ScheduleId, step: Awaitable[R]) -> R:
    """The step's result.

    Raises:
        ActivityError: the step met a defect, or an outage that lasted too long, which has its dead letter then; or
            somebody cancelled the run, which is no failure.
    """
    try:
        return await step
    except ActivityError as error:
        if not is_cancelled_exception(error):
            await _bury(job_id, _failure(error))
        raise


def _failure(error: ActivityError) -> _Failure:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        code = next((known for known in ErrorCode if known == cause.type), ErrorCode.DEFECT)
        return _Failure(code, cause.message)
    if isinstance(cause, StepTimeoutError):
        limit = _LIMITS.get(cause.type, "it ran out of time") if cause.type else "it ran out of time"
        last = f"; before, {cause.cause.message}" if isinstance(cause.cause, ApplicationError) else ""
        return _Failure(ErrorCode.INFRASTRUCTURE, f"step {error.activity_type}: {limit}{last}")
    return _Failure(ErrorCode.DEFECT, str(cause))


async def _bury(job_id: ScheduleId, failed: _Failure) -> None:
    info = workflow.info()
    failure = JobFailure(
        job=job_id, workflow_id=info.workflow_id, run_id=info.run_id, message=failed.message, code=failed.code
    )
    try:
        await workflow.execute_activity_method(
            MaintenanceActivities.bury_job,
            failure,
            **limited(MAINTENANCE_STEP, BURIAL_LIMIT_S),
            priority=MAINTENANCE_PRIORITY,
            summary="dead letter and alert",
        )
    except ActivityError as error:
        # The run's own failure is what its end must tell.
        workflow.logger.error("the failure of job %s (%s) isn't recorded: %s", job_id, failed.message, error.cause)
