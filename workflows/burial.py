"""A defect in a scheduled job is a dead letter with an alert, before it ends the run."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.interface.codes import ErrorCode
from workflows.interface.maintenance import JobFailure, MaintenanceActivities
from workflows.interface.names import ScheduleId
from workflows.interface.policies import MAINTENANCE_PRIORITY, MAINTENANCE_STEP, limited

R = TypeVar("R")

BURIAL_LIMIT_S = 60.0
"""A failed run shall end even if its failure can't be written; the log has it then."""


async def buried_if_defect(job_id: ScheduleId, step: Awaitable[R]) -> R:
    """The step's result.

    Raises:
        ActivityError: the step met a defect, which has its dead letter then, or an outage that lasted too long.
    """
    try:
        return await step
    except ActivityError as error:
        cause = error.cause
        if isinstance(cause, ApplicationError) and cause.type == ErrorCode.DEFECT:
            await _bury(job_id, cause.message)
        raise


async def _bury(job_id: ScheduleId, message: str) -> None:
    info = workflow.info()
    failure = JobFailure(job=job_id, workflow_id=info.workflow_id, run_id=info.run_id, message=message)
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
        workflow.logger.error("the failure of job %s (%s) isn't recorded: %s", job_id, message, error.cause)
