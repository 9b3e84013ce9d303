"""Steps of the queue `blockchain` for slices and lanes: binding and sending, confirming and settling, tending."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from temporalio import activity

from activities.chain_limits import TEND_CALLS
from activities.chain_work import ChainWork
from activities.faults import Step, not_yet, step
from activities.turns import Turns, crowds, sender_of
from ledger.retries import Retries
from ledger.runs import BatchRuns
from workflows.interface.batch import BlockchainActivities, LaneState, LaneWork, Slice, StepResult
from workflows.interface.chain import Lane
from workflows.interface.codes import AlertKind, FailureCode
from workflows.interface.names import lane_workflow_id

# Whoever bound a transaction settles it within a block or two; the keeper takes over what is older.
STALE_AFTER = timedelta(seconds=4)
# One round over a lane looks at its lowest nonces only: nothing above a gap can be mined anyway.
MOST_TENDED = 200
LANE_POLL_S = 2.0


class BatchOwner:
    """A batch answers for its items' transfers."""

    def __init__(self, runs: BatchRuns, batch_id: UUID) -> None:
        self._runs = runs
        self._batch_id = batch_id

    async def fail_unapproved(self, transfer_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Fails their items too."""
        code = FailureCode.NOT_APPROVED
        return await self._runs.fail_unbound(self._batch_id, transfer_ids, code, code.meaning)

    async def due_subscriptions(self) -> frozenset[UUID]:
        """Those of the batch's sender."""
        return await self._runs.due_subscriptions(self._batch_id)

    async def is_stopped(self) -> bool:
        """Whether the batch is paused or cancelled."""
        return await self._runs.is_stopped(self._batch_id)


class Blockchain(Step, BlockchainActivities):
    """Implements `BlockchainActivities` on the ledger and the chain."""

    def __init__(self, chain: ChainWork, runs: BatchRuns, retries: Retries, turns: Turns) -> None:
        super().__init__(runs.raise_alert)
        self._chain = chain
        self._runs = runs
        self._retries = retries
        self._turns = turns

    @activity.defn(name="submit_transfers")
    @step
    async def submit_transfers(self, work: Slice) -> StepResult:
        """Binds what the lanes have room for, signs and broadcasts it; `left` counts the rest."""
        if crowds(work):
            self._turns.company()
        async with self._turns.turn(sender_of(work)):
            submitted = await self._chain.submit(work, BatchOwner(self._runs, work.batch_id))
        return StepResult(
            counts=await self._runs.counts(work.batch_id),
            left=submitted.left,
            subscription_ids=tuple(submitted.subscription_ids),
            stopped=submitted.stopped,
        )

    @activity.defn(name="confirm_transfers")
    @step
    async def confirm_transfers(self, work: Slice) -> StepResult:
        """Settles the range's transfers that a block at depth decides; NOT_YET while some are open."""
        async with self._turns.turn(sender_of(work)):
            woken = await self._chain.confirm(work, BatchOwner(self._runs, work.batch_id))
        return StepResult(
            counts=await self._runs.counts(work.batch_id),
            due_again=await self._retries.due_again(work),
            subscription_ids=tuple(woken),
        )

    @activity.defn(name="tend_lane")
    @step
    async def tend_lane(self, work: LaneWork) -> LaneState:
        """One round over a lane's open nonces: sign, send again, settle. NOT_YET while some are open."""
        lane = Lane(work.chain_id, bytes.fromhex(work.signer.removeprefix("0x")))
        opened = await self._chain.ledgers.attempts.open_of_lane(lane, STALE_AFTER, MOST_TENDED)
        if not opened:
            return LaneState(open=0)
        stale = [transaction.transaction_id for transaction in opened if transaction.stale]
        if stale:
            await self._tend(lane, stale)
        raise not_yet(f"{len(opened)} nonces are open", LANE_POLL_S)

    async def _tend(self, lane: Lane, stale: Sequence[int]) -> None:
        with self._chain.limits.calls(urgent=True) as calls:
            # Each is looked for twice at most: its receipt, or whether the node knows it.
            granted = await calls.take(TEND_CALLS + 2 * len(stale))
            looked_at = stale[: max((granted - TEND_CALLS) // 2, 1)]
            settled = await self._chain.settle(looked_at)
            if settled.overtaken:
                await self._alert_overtaken(lane, settled.overtaken)
            await self._chain.send_again(lane, looked_at)

    async def _alert_overtaken(self, lane: Lane, transaction_ids: Sequence[int]) -> None:
        """Nonces that the chain has used although no attempt of ours was mined. Nothing is failed for it: a node may
        lag. While it lasts, a person must look.
        """
        subject = lane_workflow_id(lane.chain_id, lane.address)
        message = f"the chain used nonces of chain transactions {list(transaction_ids)[:10]}, but none of our attempts"
        await self._runs.raise_alert(AlertKind.FOREIGN_NONCE, subject, message)
