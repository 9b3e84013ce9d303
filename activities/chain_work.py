"""What the chain steps share, for a slice as for one transfer: bind, sign, send; look for what is final, and settle."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple, Protocol
from uuid import UUID

from temporalio import activity

from activities.chain_limits import CONFIRM_CALLS, CallBudget, ChainLimits, take_for_submit
from activities.faults import RaiseAlert, not_yet
from activities.lane_waking import LaneWaker
from activities.rate_gate import RateLimitedError
from activities.waking import Waker
from chain.approvals import Approvals
from chain.block_clock import BlockClock
from chain.confirmation import Confirmer
from chain.packing import Packer
from chain.recipients import Recipients
from chain.sender import LaneCondition, Sender
from ledger.attempts import Attempts
from ledger.binding import Binding, Bound
from ledger.ranges import Work, is_single
from ledger.settlement import Settling
from workflows.interface.chain import ChainTransfer, Lane, PlannedTransaction
from workflows.interface.codes import AlertKind, Settlement
from workflows.interface.names import lane_workflow_id

ROOM_POLL_S = 0.3
# Each round binds what one lane takes, or finds itself overtaken; a slice has 1,000 items at most.
MOST_ROUNDS = 100


class ChainLedgers(NamedTuple):
    """The parts of the ledger that binding and settling use."""

    binding: Binding
    attempts: Attempts
    settling: Settling


class ChainTools(NamedTuple):
    """The parts of the chain room they use."""

    approvals: Approvals
    packer: Packer
    recipients: Recipients
    sender: Sender
    confirmer: Confirmer
    blocks: BlockClock


class Submitted(NamedTuple):
    """What submitting did: chain transactions bound, transfers left for want of room, and whom to wake."""

    bound: int
    left: int
    subscription_ids: frozenset[UUID]
    stopped: bool = False
    """The batch is paused or cancelled."""


class Settled(NamedTuple):
    """What settling did: how many chain transactions are final, and whom it woke."""

    final: int = 0
    subscription_ids: frozenset[UUID] = frozenset()
    overtaken: Sequence[int] = ()
    """Chain transactions whose nonce the chain has used although none of their attempts was mined."""


class Owner(Protocol):
    """Whose transfers they are: a batch's, or their own."""

    async def fail_unapproved(self, transfer_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Fails what nobody here may move, before it is bound; returns the subscriptions to wake."""
        ...

    async def due_subscriptions(self) -> frozenset[UUID]:
        """Subscriptions with due deliveries: an earlier go may have died before its wake."""
        ...

    async def is_stopped(self) -> bool:
        """Whether nothing may be bound just now."""
        ...


class ChainWork:
    """Binding, sending and settling for the steps of the queue `blockchain`."""

    def __init__(
        self,
        ledgers: ChainLedgers,
        tools: ChainTools,
        waker: Waker,
        lane_waker: LaneWaker,
        raise_alert: RaiseAlert,
        *,
        limits: ChainLimits,
    ) -> None:
        self.ledgers = ledgers
        self.limits = limits
        self.blocks = tools.blocks
        self.raise_alert = raise_alert
        self._tools = tools
        self._waker = waker
        self._lane_waker = lane_waker
        self._turn = count()

    async def submit(self, work: Work, owner: Owner) -> Submitted:
        """Binds what the lanes have room for and rate limits allow, signs and broadcasts it.

        Raises:
            ApplicationError: NOT_YET, no lane has room for any of it, or a rate limit allows none of it.
        """
        with self.limits.calls(urgent=_urgent(work)) as calls:
            if activity.info().attempt > 1:
                await self._send_bound(work, owner)
            submitted = await self._bind_all(work, owner, calls)
        await self._waker.wake(submitted.subscription_ids)
        if submitted.left and not submitted.bound and not submitted.stopped:
            await self._alert_without_lanes()
            raise not_yet("no lane has room", ROOM_POLL_S)
        return submitted

    async def confirm(self, work: Work, owner: Owner) -> frozenset[UUID]:
        """Settles what a block at depth decides; returns the subscriptions that got deliveries.

        Raises:
            ApplicationError: NOT_YET, while some are open.
        """
        open_ids = await self.ledgers.attempts.open_of_items(work)
        most = len(open_ids)
        with self.limits.calls(urgent=_urgent(work)) as calls:
            if open_ids:
                most = max(await calls.take(CONFIRM_CALLS + len(open_ids)) - CONFIRM_CALLS, 1)
            settled = await self.settle(open_ids, most)
        if settled.final < len(open_ids):
            # Where a rate limit cut the look short, the next needn't wait for a block.
            delay_s = self.blocks.next_look_s() if most >= len(open_ids) else ROOM_POLL_S
            raise not_yet(f"{len(open_ids) - settled.final} chain transactions are open", delay_s)
        if activity.info().attempt > 1:
            # An earlier go may have settled some of them and died before its wake.
            await self._waker.wake(await owner.due_subscriptions())
        return settled.subscription_ids

    async def settle(self, transaction_ids: Sequence[int], most_receipts: int | None = None) -> Settled:
        """Settles those of the chain transactions that are final now."""
        if not transaction_ids:
            return Settled()
        attempts, confirmer = self.ledgers.attempts, self._tools.confirmer
        receipts = await confirmer.final_receipts(await attempts.sent(transaction_ids), most_receipts)
        self.blocks.saw(receipts.head)
        final = receipts.by_transaction
        bound = await attempts.bound(list(final), with_raw=False) if final else []
        woken = await self.ledgers.settling.settle(await confirmer.results(bound, final))
        await self._waker.wake(woken)
        return Settled(len(final), woken, receipts.overtaken)

    async def send_again(self, lane: Lane, transaction_ids: Sequence[int]) -> None:
        """Sends what is still open of them once more, the same bytes."""
        bound = await self.ledgers.attempts.open_bound(transaction_ids)
        if bound:
            report = await self._tools.sender.resend(bound)
            activity.logger.info("lane %s: %d of %d sent again", lane.address, report.delivered, len(bound))
            await self._alert(report.conditions)

    async def _send_bound(self, work: Work, owner: Owner) -> None:
        """What an earlier go at this work bound and perhaps never sent. Its wake may be missing as well."""
        ids = await self.ledgers.attempts.open_of_items(work)
        bound = await self.ledgers.attempts.bound(ids, with_raw=True)
        unsent = [t for t in bound if not any(a.send_class and a.send_class.delivered for a in t.attempts)]
        await self._waker.wake(await owner.due_subscriptions())
        await asyncio.gather(*(self._lane_waker.wake(lane) for lane in {t.lane for t in bound}))
        if unsent:
            await self._alert((await self._tools.sender.sign_and_send(unsent)).conditions)

    async def _bind_all(self, work: Work, owner: Owner, calls: CallBudget) -> Submitted:
        """Reads what is ready and binds it lane by lane until nothing is left, no lane has room or a limit is met."""
        done, woken = 0, frozenset[UUID]()
        for _ in range(MOST_ROUNDS):
            settlement, ready = await self.ledgers.binding.ready(work)
            if not ready:
                return Submitted(done, 0, woken)
            unapproved = await self._tools.approvals.missing(ready, settlement)
            if unapproved:
                ids = [transfer.transfer_id for transfer in ready if (transfer.token, transfer.holder) in unapproved]
                woken |= await owner.fail_unapproved(ids)
                continue
            try:
                bound = await self._bind(work, ready, settlement, calls)
            except RateLimitedError:
                if not done:
                    raise
                return Submitted(done, len(ready), woken)
            if bound is None or bound.stopped:
                stopped = bound is not None or await owner.is_stopped()
                return Submitted(done, len(ready), woken, stopped=stopped)
            done += len(bound.transactions)
            woken |= bound.subscription_ids
        raise not_yet("other copies are quicker", ROOM_POLL_S)

    async def _bind(
        self, work: Work, ready: Sequence[ChainTransfer], settlement: Settlement, calls: CallBudget
    ) -> Bound | None:
        """Binds and sends what fits on one lane; None where no lane has room.

        Raises:
            RateLimitedError: a limit allows nothing just now.
        """
        recipients, packer = self._tools.recipients, self._tools.packer
        ready = await take_for_submit(calls, ready, recipients.unknown(t.to for t in ready), settlement)
        with_code = await recipients.with_code(transfer.to for transfer in ready)
        planned = packer.plan(ready, with_code, settlement)
        rooms = await self.ledgers.binding.rooms(len(planned), single=_urgent(work))
        if not rooms:
            return None
        # In turn among those that take it all: slices that bind at once would else wait for each other on one lane.
        wide = [lane_room for lane_room in rooms if lane_room.room >= len(planned)] or rooms[:1]
        lane, room = wide[next(self._turn) % len(wide)]

        def plan_first(items: int) -> list[PlannedTransaction]:
            return packer.plan(ready[:items], with_code, settlement)

        allowed = await self.limits.allowed(planned[:room], plan_first, urgent=_urgent(work))
        bound = await self.ledgers.binding.bind(work, lane, allowed)
        if not bound.transactions:
            await self.limits.give_back(allowed)
            return bound
        _, report = await asyncio.gather(
            self._lane_waker.wake(lane), self._tools.sender.sign_and_send(bound.transactions)
        )
        await self._alert(report.conditions)
        return bound

    async def _alert_without_lanes(self) -> None:
        """Waiting for room ends by itself; waiting for a lane that is halted or has no key here doesn't."""
        if not await self.ledgers.binding.usable_lanes():
            message = "no lane can be used: all are halted, or this worker's keystore has none of their keys"
            await self.raise_alert(AlertKind.LANE_CONDITION, "lanes", message)

    async def _alert(self, conditions: Mapping[Lane, LaneCondition]) -> None:
        for lane, condition in conditions.items():
            if condition.send_class.alerts:
                subject = lane_workflow_id(lane.chain_id, lane.address)
                message = f"{condition.send_class}: {condition.message}"
                await self.raise_alert(AlertKind.LANE_CONDITION, subject, message)


def _urgent(work: Work) -> bool:
    """Single transfers overtake batches, down to the lanes' room and the rate limits' tokens; retried items don't."""
    return is_single(work)
