"""Wakes the keeper of a lane: a signal-with-start that follows every commit of a binding, on retries too."""

from __future__ import annotations

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy

from workflows.interface.batch import LaneWork
from workflows.interface.chain import Lane
from workflows.interface.names import Queue, Signal, WorkflowType, lane_workflow_id
from workflows.interface.policies import LANE_PRIORITY, TASK_TIMEOUT


class LaneWaker:
    """Starts a lane's keeper where none runs, and tells a running one that there's more to tend."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def wake(self, lane: Lane) -> None:
        """Signal-with-start.

        Raises:
            RPCError: Temporal can't be reached or refuses.
        """
        await self._client.start_workflow(
            WorkflowType.LANE_KEEPER,
            LaneWork(chain_id=lane.chain_id, signer=lane.address),
            id=lane_workflow_id(lane.chain_id, lane.address),
            task_queue=Queue.BLOCKCHAIN,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=Signal.WAKE,
            task_timeout=TASK_TIMEOUT,
            priority=LANE_PRIORITY,
            static_summary=f"Keeps lane {lane.address} of chain {lane.chain_id} moving",
        )
