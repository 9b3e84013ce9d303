"""`Transfer`: one ticket's way. Makes a direct transfer or a gift, hears the word on a gift, retries what failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import Priority, RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.decoding import NO_INPUT, decoded, decoded_transfer
from workflows.defects import insist
from workflows.deliveries import DeliveryStarter
from workflows.interface.codes import TransferStatus
from workflows.interface.names import Query, Update, WorkflowType
from workflows.interface.policies import (
    CHAIN_TRANSFER_STEP,
    TRANSFER_STEP,
    ActivityOptions,
    transfer_priority,
)
from workflows.interface.transfer import (
    ChainTransferActivities,
    GiftDecision,
    GiftUpdate,
    GiftWord,
    OpenTransfer,
    SingleTransferActivities,
    TransferInput,
    TransferState,
    TransferStep,
    TransferWork,
)
from workflows.interface.tries import FIRST_DELAY

P = TypeVar("P")
R = TypeVar("R")

_ON_ITS_WAY = (TransferStatus.ACCEPTED, TransferStatus.SUBMITTED)


@workflow.defn(name=WorkflowType.TRANSFER)
class Transfer:
    """Runs while there is something to do: a gift that waits has no open workflow, its updates start one."""

    def __init__(self) -> None:
        self._request: TransferInput | None = None
        self._step = TransferStep()
        self._refused: ApplicationError | None = None
        self._deliveries = DeliveryStarter()

    @workflow.run
    async def run(self, request: RawValue = NO_INPUT) -> TransferState:
        """Input: `TransferInput` as JSON. Result: how the transfer stands when nothing is left to do.

        Raises (as the workflow's failure): INVALID_INPUT, NOT_FOUND, TRANSFER_CONTENT_DIFFERS.
        """
        try:
            wanted = decoded_transfer(request)
            await self._open(wanted)
        except ApplicationError as error:
            # Whoever came with an update gets the same answer; a handler left behind would get none.
            self._refused = error
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise
        await self._until_nothing_is_left()
        await self._deliveries.started()
        return self._state

    @workflow.update(name=Update.ACCEPT_GIFT)
    async def accept_gift(self, word: RawValue = NO_INPUT) -> TransferState:
        """The recipient accepts a gift that waits; it goes to the chain. Argument: `GiftUpdate` as JSON."""
        return await self._decide(GiftWord.ACCEPT, word)

    @workflow.update(name=Update.DECLINE_GIFT)
    async def decline_gift(self, word: RawValue = NO_INPUT) -> TransferState:
        """The recipient declines a gift that waits."""
        return await self._decide(GiftWord.DECLINE, word)

    @workflow.update(name=Update.CANCEL_GIFT)
    async def cancel_gift(self, word: RawValue = NO_INPUT) -> TransferState:
        """The sender takes a gift back that waits."""
        return await self._decide(GiftWord.CANCEL, word)

    @workflow.query(name=Query.PROGRESS)
    def progress(self) -> TransferState:
        """Where the transfer stands."""
        if self._step.state is None:
            raise ValueError("the transfer isn't open yet: ask again shortly")
        return self._step.state

    @property
    def _state(self) -> TransferState:
        if self._step.state is None:
            raise RuntimeError("no step before the transfer is open")
        return self._step.state

    # The course of a run --------------------------------------------------------------------------------------------

    async def _open(self, wanted: TransferInput) -> None:
        """The first step; while another transfer holds the ticket it's tried again, as an item is."""
        tries = 0
        while self._step.state is None:
            request = OpenTransfer(request=wanted, tries=tries)
            step = await self._call(SingleTransferActivities.open_transfer, request, TRANSFER_STEP, "open the transfer")
            if step.state is None:
                await workflow.sleep(FIRST_DELAY * 2**tries, summary="another transfer holds the ticket")
                tries += 1
            self._note(step)
        self._request = wanted

    async def _until_nothing_is_left(self) -> None:
        """To the chain and until it's decided; words on a gift that come meanwhile are answered."""
        while not workflow.all_handlers_finished() or self._is_on_its_way():
            await workflow.wait_condition(lambda: self._is_on_its_way() or workflow.all_handlers_finished())
            if self._is_on_its_way():
                await self._move()
        if self._step.works_for is not None and self._state.status is TransferStatus.COMPLETED:
            await self._call(SingleTransferActivities.mend_batch, self._work(), TRANSFER_STEP, "mend its batch")

    def _is_on_its_way(self) -> bool:
        return self._state.status in _ON_ITS_WAY

    async def _move(self) -> None:
        """One try: bound to a chain transaction, and settled."""
        if self._step.next_try_in_s:
            await workflow.sleep(timedelta(seconds=self._step.next_try_in_s), summary="until the next try is due")
        if self._state.status is TransferStatus.ACCEPTED:
            chain = ChainTransferActivities.submit_transfer
            self._note(await self._call(chain, self._work(), CHAIN_TRANSFER_STEP, "submit"))
        if self._state.status is TransferStatus.SUBMITTED:
            chain = ChainTransferActivities.confirm_transfer
            self._note(await self._call(chain, self._work(), CHAIN_TRANSFER_STEP, "confirm"))

    async def _decide(self, word: GiftWord, raw: RawValue) -> TransferState:
        update = decoded(raw, GiftUpdate)
        await workflow.wait_condition(lambda: self._request is not None or self._refused is not None)
        if self._refused is not None:
            raise self._refused
        decision = GiftDecision(
            transfer_id=self._state.transfer_id,
            word=word,
            user_id=update.user_id,
            said=str(workflow.uuid4()),
            reason=update.reason,
        )
        step = await self._call(SingleTransferActivities.decide_gift, decision, TRANSFER_STEP, f"{word} the gift")
        self._note(step)
        if step.state is None:
            raise RuntimeError("a decision answers how the gift stands")
        return step.state

    async def _call(
        self, method: Callable[[Any, P], Awaitable[R]], argument: P, options: ActivityOptions, summary: str
    ) -> R:
        """One step, tried until it's done; a request that can't be done keeps its own error."""
        try:
            return await insist(method, argument, options, summary, self._priority())
        except ActivityError as error:
            if not isinstance(error.cause, ApplicationError):
                raise
            raise ApplicationError(error.cause.message, type=error.cause.type, non_retryable=True) from error

    def _note(self, step: TransferStep) -> None:
        self._step = step
        self._deliveries.want(step.subscription_ids)
        state = step.state
        if state is not None:
            why = f": {state.reason}" if state.reason else ""
            workflow.set_current_details(
                f"**{state.status}** · ticket `{state.ticket_id}` of `{state.from_user_id}` "
                f"to `{state.to_user_id or state.to_address}` ({state.kind}){why}"
            )

    def _work(self) -> TransferWork:
        return TransferWork(transfer_id=self._state.transfer_id, batch_id=self._step.works_for)

    def _priority(self) -> Priority:
        """That of its start: a retry of a batch's item comes with the batches."""
        given = workflow.info().priority
        return given if given.priority_key is not None else transfer_priority(None)
