"""`CheckAlerts`: run by a schedule, looks for what a person must see and tells it."""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError

from workflows.burial import buried_if_failed
from workflows.decoding import NO_INPUT, decoded
from workflows.interface.alerts import AlertActivities, CheckResult, NoticesSent
from workflows.interface.maintenance import Job
from workflows.interface.names import ScheduleId, WorkflowType
from workflows.interface.policies import MAINTENANCE_PRIORITY, MAINTENANCE_STEP, limited


@workflow.defn(name=WorkflowType.CHECK_ALERTS)
class CheckAlerts:
    """One check, and whatever messages are due by then."""

    @workflow.run
    async def run(self, raw: RawValue = NO_INPUT) -> CheckResult:
        """Opens and closes alerts and sends the messages about them."""
        job = decoded(raw, Job) if raw.payload.data else Job()
        try:
            checked = await self._check(job)
        except ActivityError:
            # What earlier checks wrote mustn't wait for this one's cause to be mended.
            await self._send(job)
            raise
        sent = await self._send(job)
        unknown = f" Not measured: {', '.join(checked.not_measured)}." if checked.not_measured else ""
        workflow.set_current_details(
            f"{checked.open} alerts are open: {checked.opened} opened, {checked.closed} closed by this check. "
            f"{sent.sent} messages sent, {sent.waiting} wait for their receiver.{unknown}"
        )
        return checked

    async def _check(self, job: Job) -> CheckResult:
        step = workflow.execute_activity_method(
            AlertActivities.check_alerts,
            **limited(MAINTENANCE_STEP, job.step_limit_s),
            priority=MAINTENANCE_PRIORITY,
            summary="measure and compare",
        )
        return await buried_if_failed(ScheduleId.CHECK_ALERTS, step)

    async def _send(self, job: Job) -> NoticesSent:
        step = workflow.execute_activity_method(
            AlertActivities.send_alerts,
            **limited(MAINTENANCE_STEP, job.step_limit_s),
            priority=MAINTENANCE_PRIORITY,
            summary="tell what is due",
        )
        return await buried_if_failed(ScheduleId.CHECK_ALERTS, step)
