"""`LaneKeeper`: sees that every nonce a lane has given out is sent and settled, whoever's transfers it carries."""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError

from workflows.decoding import NO_INPUT, decoded
from workflows.defects import after_defect
from workflows.interface.batch import BlockchainActivities, LaneState, LaneWork
from workflows.interface.names import Signal, WorkflowType
from workflows.interface.policies import CHAIN_STEP, LANE_PRIORITY, TASK_TIMEOUT

ROUNDS_PER_RUN = 200


@workflow.defn(name=WorkflowType.LANE_KEEPER)
class LaneKeeper:
    """One per lane, while the lane has open nonces. Its step polls by itself and returns when none is open."""

    def __init__(self) -> None:
        self._woken = True
        self._defects = 0

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
        summary = "tend open nonces"
        try:
            state: LaneState = await workflow.execute_activity_method(
                BlockchainActivities.tend_lane, work, **CHAIN_STEP, priority=LANE_PRIORITY, summary=summary
            )
        except ActivityError as error:
            await after_defect(error, summary, LANE_PRIORITY, self._defects)
            self._defects += 1
            return False
        self._defects = 0
        return state.open == 0
