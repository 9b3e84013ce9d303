"""A small typed client for services: single transfers and gifts with nothing but a Temporal client.

Loads neither a database driver nor an HTTP library. Batches have `starter.client`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from starter.client import ANSWER_TIMEOUT
from starter.errors import UnavailableError
from starter.gift_words import Word, say_word
from starter.taken_ids import ENDED_BADLY, transfer_request_of
from starter.temporal_errors import failure_of, translated
from starter.transfer_requests import (
    TransferStarted,
    chosen_expiry,
    chosen_transfer_id,
    gift_update,
    new_transfer,
    require_same_request,
    require_same_transfer,
)
from workflows.interface.codes import ErrorCode, Settlement, TransferKind
from workflows.interface.errors import RequestError
from workflows.interface.names import Query, Queue, WorkflowType, transfer_workflow_id
from workflows.interface.policies import TASK_TIMEOUT, transfer_priority
from workflows.interface.transfer import GiftWord, ReopenedBy, Reopening, TransferInput, TransferState

OPENING_POLL_S = 0.1
"""Between two looks at a transfer that no worker has opened yet."""
_ONCE = WorkflowIDReusePolicy.REJECT_DUPLICATE
# Postgres knows what stands under the id; another run finds it, or says that it's another request.
_AGAIN = WorkflowIDReusePolicy.ALLOW_DUPLICATE


class SingleTransferClient:
    """Single transfers and gifts over a Temporal client of any data converter that writes JSON."""

    def __init__(self, temporal: Client, answer_timeout: timedelta = ANSWER_TIMEOUT) -> None:
        self._temporal = temporal
        self._answer_timeout = answer_timeout

    async def start_transfer(
        self,
        from_user_id: str,
        ticket_id: str,
        to: str,
        *,
        transfer_id: UUID | None = None,
        idempotency_key: str | None = None,
        settlement: Settlement | None = None,
    ) -> TransferStarted:
        """Starts the transfer of one ticket to a user id or a 0x address; `wait` tells its end.

        The same request again (same id or idempotency key, same content) gives the first transfer back.

        Raises:
            RequestError: INVALID_INPUT, or TRANSFER_CONTENT_DIFFERS where the id belongs to another request.
            UnavailableError: Temporal doesn't answer.
        """
        request = new_transfer(
            transfer_id=chosen_transfer_id(from_user_id, transfer_id, idempotency_key),
            from_user_id=from_user_id,
            ticket_id=ticket_id,
            to=to,
            settlement=settlement,
        )
        try:
            await self._start(request, reuse=_ONCE)
        except WorkflowAlreadyStartedError:
            return await self._first_transfer(request)
        return TransferStarted(transfer_id=request.transfer_id, repeated=False)

    async def create_gift_transfer(
        self,
        from_user_id: str,
        ticket_id: str,
        to: str,
        *,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        transfer_id: UUID | None = None,
        idempotency_key: str | None = None,
        settlement: Settlement | None = None,
    ) -> TransferState:
        """Offers the ticket to its recipient until it expires (a week where nothing is said); waits until it's made.

        The answer is PENDING, or FAILED with the reason. The same request again gives the first gift as it stands.

        Raises:
            RequestError: INVALID_INPUT, or TRANSFER_CONTENT_DIFFERS where the id belongs to another request.
            UnavailableError: Temporal or every worker doesn't answer; the gift may still be made, to ask again is safe.
        """
        request = new_transfer(
            transfer_id=chosen_transfer_id(from_user_id, transfer_id, idempotency_key),
            from_user_id=from_user_id,
            ticket_id=ticket_id,
            to=to,
            kind=TransferKind.GIFT,
            settlement=settlement,
            expires_at=chosen_expiry(expires_at, expires_in),
        )
        try:
            async with asyncio.timeout(self._answer_timeout.total_seconds()):
                return await self._made(request, expires_at, expires_in)
        except TimeoutError as error:
            raise UnavailableError(
                f"no worker answered within {self._answer_timeout.total_seconds():g} s: gift {request.transfer_id} "
                f"may still be made; ask again under this id, which is safe, once a worker runs on the queue "
                f"{Queue.TRANSFERS}"
            ) from error

    async def accept_gift(self, transfer_id: UUID, user_id: str) -> TransferState:
        """The recipient takes the gift: its ticket goes to the chain (`wait` tells when it has moved).

        Raises:
            RequestError: NOT_ALLOWED with the reason (decided before, expired, somebody else's), or NOT_FOUND.
            UnavailableError: Temporal or every worker doesn't answer; it may still happen, to ask again is safe.
        """
        return await self._say(transfer_id, GiftWord.ACCEPT, user_id)

    async def decline_gift(self, transfer_id: UUID, user_id: str, reason: str | None = None) -> TransferState:
        """The recipient doesn't want the gift: its ticket is free again. Same errors as `accept_gift`."""
        return await self._say(transfer_id, GiftWord.DECLINE, user_id, reason)

    async def cancel_gift(self, transfer_id: UUID, user_id: str, reason: str | None = None) -> TransferState:
        """The sender takes the offer back: its ticket is free again. Same errors as `accept_gift`."""
        return await self._say(transfer_id, GiftWord.CANCEL, user_id, reason)

    async def retry(self, transfer_id: UUID, *, force: bool = False, from_user_id: str | None = None) -> None:
        """Reopens a failed transfer where another try can help, or with `force` whatever it failed with.

        `wait` tells what became of it; `from_user_id` gives the run its sender's share of the workers.

        Raises:
            RequestError: NOT_ALLOWED, it's under way.
            UnavailableError: Temporal doesn't answer.
        """
        request = TransferInput(transfer_id=transfer_id, reopen=Reopening(by=ReopenedBy.OPERATOR, force=force))
        try:
            await self._start(request, reuse=_AGAIN, sender=from_user_id, summary="retry of a failed transfer")
        except WorkflowAlreadyStartedError as error:
            raise RequestError(
                ErrorCode.NOT_ALLOWED, f"transfer {transfer_id} is under way: nothing to retry"
            ) from error

    async def progress(self, transfer_id: UUID) -> TransferState:
        """Where the transfer stands: the running workflow's answer, or the result of the last run that ended.

        A gift that waits has no running workflow: what has expired it since, only Postgres knows (`transfer show`).

        Raises:
            RequestError: NOT_FOUND, or the code the transfer's workflow failed with.
            UnavailableError: Temporal or every worker doesn't answer, or no worker has opened it yet.
        """
        description = await self._describe(transfer_id)
        if description.status is not WorkflowExecutionStatus.RUNNING:
            return await self.wait(transfer_id)
        state = await self._ask_progress(transfer_id)
        if state is None:
            raise UnavailableError(
                f"transfer {transfer_id} was started and no worker has opened it yet: ask again shortly"
            )
        return state

    async def wait(self, transfer_id: UUID) -> TransferState:
        """The transfer once its workflow has nothing more to do: settled, failed, or a gift that waits.

        Raises:
            RequestError: NOT_FOUND, or the code the transfer's workflow failed with.
            UnavailableError: Temporal doesn't answer.
        """
        try:
            return TransferState.model_validate(await self._handle(transfer_id).result())
        except WorkflowFailureError as error:
            raise failure_of(transfer_id, error, "transfer") from error
        except RPCError as error:
            raise translated(error, transfer_id, "transfer") from error

    async def _say(self, transfer_id: UUID, word: GiftWord, user_id: str, reason: str | None = None) -> TransferState:
        update = gift_update(user_id, reason)
        return await say_word(self._temporal, Word(transfer_id, word, update), self._answer_timeout)

    async def _made(
        self, request: TransferInput, expires_at: datetime | None, expires_in: timedelta | None
    ) -> TransferState:
        """A new gift, or the one that stands under the id already."""
        try:
            await self._start(request, reuse=_AGAIN)
            return await self.wait(request.transfer_id)
        except WorkflowAlreadyStartedError:
            state = await self._opened(request.transfer_id)
        except RequestError as error:
            # The same span asked for again ends later than the first time: that alone makes no other request of it.
            if expires_in is None or error.code is not ErrorCode.TRANSFER_CONTENT_DIFFERS:
                raise
            state = await self._found(request)
        require_same_transfer(request, state, expiry_matters=expires_at is not None)
        return state

    async def _found(self, request: TransferInput) -> TransferState:
        """What stands under the id now, by a run that finds it."""
        by_id = TransferInput(transfer_id=request.transfer_id)
        with suppress(WorkflowAlreadyStartedError):
            await self._start(by_id, reuse=_AGAIN, sender=request.from_user_id, summary="look at a transfer")
        return await self._opened(request.transfer_id)

    async def _opened(self, transfer_id: UUID) -> TransferState:
        """What stands under an id whose workflow runs, once its first step is through."""
        while True:
            description = await self._describe(transfer_id)
            if description.status is not WorkflowExecutionStatus.RUNNING:
                return await self.wait(transfer_id)
            state = await self._ask_progress(transfer_id)
            if state is not None:
                return state
            await asyncio.sleep(OPENING_POLL_S)

    async def _first_transfer(self, request: TransferInput) -> TransferStarted:
        """What stands under an id that was taken, if it's the same request."""
        description = await self._describe(request.transfer_id)
        repeated = TransferStarted(transfer_id=request.transfer_id, repeated=True)
        if description.status in ENDED_BADLY:
            # Its own request may be the one that was refused: another run compares with what stands in Postgres.
            return await self._begin_again(request)
        first = await transfer_request_of(self._temporal, description, self._answer_timeout)
        if first is not None and first.is_new:
            require_same_request(request, first)
            return repeated
        require_same_transfer(request, await self.progress(request.transfer_id), expiry_matters=False)
        return repeated

    async def _begin_again(self, request: TransferInput) -> TransferStarted:
        with suppress(WorkflowAlreadyStartedError):
            await self._start(request, reuse=_AGAIN)
        return TransferStarted(transfer_id=request.transfer_id, repeated=True)

    async def _start(
        self, request: TransferInput, *, reuse: WorkflowIDReusePolicy, sender: str | None = None, summary: str = ""
    ) -> None:
        what = "gift" if request.kind is TransferKind.GIFT else "transfer"
        try:
            await self._temporal.start_workflow(
                WorkflowType.TRANSFER,
                request.model_dump(mode="json", by_alias=True, exclude_none=True),
                id=transfer_workflow_id(request.transfer_id),
                task_queue=Queue.TRANSFERS,
                task_timeout=TASK_TIMEOUT,
                id_reuse_policy=reuse,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                static_summary=summary or f"{what} of ticket {request.ticket_id} of {request.from_user_id}",
                priority=transfer_priority(request.from_user_id or sender),
                rpc_timeout=self._answer_timeout,
            )
        except RPCError as error:
            raise translated(error, request.transfer_id, what) from error

    async def _ask_progress(self, transfer_id: UUID) -> TransferState | None:
        """The running workflow's answer; None before its first step is through."""
        try:
            answer = await self._handle(transfer_id).query(Query.PROGRESS, rpc_timeout=self._answer_timeout)
        except WorkflowQueryFailedError:
            return None
        except RPCError as error:
            if error.status is RPCStatusCode.FAILED_PRECONDITION:
                return None
            raise translated(error, transfer_id, "transfer") from error
        return None if answer is None else TransferState.model_validate(answer)

    async def _describe(self, transfer_id: UUID) -> WorkflowExecutionDescription:
        try:
            return await self._handle(transfer_id).describe(rpc_timeout=self._answer_timeout)
        except RPCError as error:
            raise translated(error, transfer_id, "transfer") from error

    def _handle(self, transfer_id: UUID) -> WorkflowHandle[Any, Any]:
        return self._temporal.get_workflow_handle(transfer_workflow_id(transfer_id))
