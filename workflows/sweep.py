"""`SweepWebhookDeliveries`: run by a schedule, starts the drains that were missed."""

from __future__ import annotations

from temporalio import workflow

from workflows.interface.names import WorkflowType
from workflows.interface.policies import MAINTENANCE_PRIORITY, MAINTENANCE_STEP
from workflows.interface.webhook import MaintenanceActivities, SweepResult


@workflow.defn(name=WorkflowType.SWEEP_WEBHOOK_DELIVERIES)
class SweepWebhookDeliveries:
    """One sweep over all subscriptions."""

    @workflow.run
    async def run(self) -> SweepResult:
        """Wakes the drain of every subscription that has due deliveries."""
        swept = await workflow.execute_activity_method(
            MaintenanceActivities.sweep_webhook_deliveries,
            **MAINTENANCE_STEP,
            priority=MAINTENANCE_PRIORITY,
            summary="every subscription with due deliveries",
        )
        workflow.set_current_details(f"{swept.due_subscriptions} subscriptions had due deliveries and were woken.")
        return swept
