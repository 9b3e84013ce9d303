"""`LaneKeeper`: sees that every nonce a lane has given out is sent and settled, whoever's transfers it carries."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError

from workflows.decoding import NO_INPUT, decoded
from workflows.interface.batch import Alert, BlockchainActivities, LaneState, LaneWork, TransferActivities
from workflows.interface.codes import AlertKind
from workflows.interface.names import Signal, WorkflowType
from workflows.interface.policies import CHAIN_STEP, LANE_PRIORITY, SLICE_STEP, TASK_TIMEOUT

AFTER_DEFECT = timedelta(seconds=10)
ROUNDS_PER_RUN = 200


@workflow.defn(name=WorkflowType.LANE_KEEPER)
class LaneKeeper:
    """One per lane, while the lane has open nonces. Its step polls by itself and returns when none is open."""

    def __init__(self) -> None:
        self._woken = True

    @workflow.run
    async def run(self, request: RawValue = NO_INPUT) -> None:
        """Input: `LaneWork` as JSON."""
        work = decoded(request, LaneWork)
        workflow.set_current_details(f"Tends lane `{work.signer}` of chain {work.chain_id} until no nonce is open.")
        for _ in range(ROUNDS_PER_RUN):
            if not self._woken:
                return
            self._woken = False
            if not await self._tend(work):
                self._woken = True
        workflow.continue_as_new(work, task_timeout=TASK_TIMEOUT)

    @workflow.signal(name=Signal.WAKE)
    def wake(self) -> None:
        """A binding was committed."""
        self._woken = True

    async def _tend(self, work: LaneWork) -> bool:
        """One round; False after a defect, which is alerted and tried again: a lane is never given up."""
        try:
            state: LaneState = await workflow.execute_activity_method(
                BlockchainActivities.tend_lane, work, **CHAIN_STEP, priority=LANE_PRIORITY, summary="tend open nonces"
            )
        except ActivityError as error:
            await self._alert(str(error.cause or error))
            await workflow.sleep(AFTER_DEFECT, summary="after a defect")
            return False
        return state.open == 0

    async def _alert(self, message: str) -> None:
        alert = Alert(kind=AlertKind.DEFECT, subject=workflow.info().workflow_id, message=message)
        await workflow.execute_activity_method(
            TransferActivities.raise_alert, alert, **SLICE_STEP, priority=LANE_PRIORITY, summary="alert"
        )
