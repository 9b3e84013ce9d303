"""`WebhookDelivery`: drains one subscription's due deliveries, sleeps until the next is due, ends when none is left."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.decoding import NO_INPUT, decoded, invalid_input
from workflows.interface.batch import Alert, TransferActivities
from workflows.interface.codes import AlertKind, ErrorCode
from workflows.interface.names import Signal, WorkflowType, webhook_workflow_id
from workflows.interface.policies import DRAIN_STEP, SLICE_STEP, TASK_TIMEOUT, delivery_priority
from workflows.interface.webhook import DeliveryRun, DeliveryWork, DrainResult, WebhookActivities


@workflow.defn(name=WorkflowType.WEBHOOK_DELIVERY)
class WebhookDelivery:
    """One per subscription at a time; the signal `wake` says that new deliveries may be due."""

    def __init__(self) -> None:
        self._woken = False
        self._drains = 0
        self._delivered = 0
        self._failed_attempts = 0

    @workflow.run
    async def run(self, raw: RawValue = NO_INPUT) -> DrainResult:
        """Returns what it did since it started.

        Raises:
            ApplicationError: INVALID_INPUT, or what the drain ended with (NOT_FOUND, DEFECT).
        """
        work = _checked(decoded(raw, DeliveryRun))
        self._delivered, self._failed_attempts = work.delivered, work.failed_attempts
        drained = await self._drain(work)
        while not drained.disabled and await self._wait(drained.next_due_in_s, work.linger_s):
            if self._drains >= work.drains_per_run or workflow.info().is_continue_as_new_suggested():
                # The next run drains at once, so a wake that came since the last drain isn't lost.
                workflow.continue_as_new(self._carried(work), task_timeout=TASK_TIMEOUT)
            drained = await self._drain(work)
        return DrainResult(delivered=self._delivered, failed_attempts=self._failed_attempts, disabled=drained.disabled)

    @workflow.signal(name=Signal.WAKE)
    def wake(self) -> None:
        """New deliveries may be due."""
        self._woken = True

    async def _drain(self, work: DeliveryRun) -> DrainResult:
        self._woken = False
        self._drains += 1
        try:
            drained = await workflow.execute_activity_method(
                WebhookActivities.drain_deliveries,
                DeliveryWork(subscription_id=work.subscription_id),
                **DRAIN_STEP,
                priority=delivery_priority(work.subscription_id),
                summary=f"{self._delivered} delivered so far",
            )
        except ActivityError as error:
            if isinstance(error.cause, ApplicationError) and error.cause.type == ErrorCode.DEFECT:
                await self._alert(work, error.cause.message)
            # Ends the workflow; the sweep starts it again within a minute.
            raise
        self._delivered += drained.delivered
        self._failed_attempts += drained.failed_attempts
        return drained

    async def _alert(self, work: DeliveryRun, message: str) -> None:
        await workflow.execute_activity_method(
            TransferActivities.raise_alert,
            Alert(kind=AlertKind.DEFECT, subject=workflow.info().workflow_id, message=message),
            **SLICE_STEP,
            priority=delivery_priority(work.subscription_id),
            summary="alert",
        )

    async def _wait(self, next_due_in_s: float | None, linger_s: float) -> bool:
        """Waits for the next due delivery or a wake; False if there is nothing left to wait for."""
        if next_due_in_s is not None and next_due_in_s <= 0:
            return True
        pause = timedelta(seconds=linger_s if next_due_in_s is None else next_due_in_s)
        self._describe(next_due_in_s)
        try:
            await workflow.wait_condition(lambda: self._woken, timeout=pause, timeout_summary=_timer(next_due_in_s))
        except TimeoutError:
            # A wake in the same task as the timer must count: after the end nobody looks again.
            return next_due_in_s is not None or self._woken
        return True

    def _describe(self, next_due_in_s: float | None) -> None:
        if next_due_in_s is None:
            upcoming = "nothing left"
        else:
            upcoming = (workflow.now() + timedelta(seconds=next_due_in_s)).isoformat(timespec="seconds")
        workflow.set_current_details(
            "| delivered | failed attempts | next due |\n|---|---|---|\n"
            f"| {self._delivered} | {self._failed_attempts} | {upcoming} |"
        )

    def _carried(self, work: DeliveryRun) -> DeliveryRun:
        return work.model_copy(update={"delivered": self._delivered, "failed_attempts": self._failed_attempts})


def _timer(next_due_in_s: float | None) -> str:
    return "lingers for new deliveries" if next_due_in_s is None else "until the next delivery is due"


def _checked(work: DeliveryRun) -> DeliveryRun:
    if workflow.info().workflow_id != webhook_workflow_id(work.subscription_id):
        raise invalid_input(f"the workflow id must be {webhook_workflow_id(work.subscription_id)}")
    return work
