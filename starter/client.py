"""A small typed client for services: starts, watches and steers batches with nothing but a Temporal client.

Loads neither a database driver nor an HTTP library. Batches of more than 2,000 items are staged first
(`starter.staging`) and then started here by their id alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
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
from temporalio.common import SearchAttributeKey, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from ledger.fingerprint import request_sha256
from starter.errors import UnavailableError
from starter.requests import BatchStarted, chosen_batch_id, inline_request, staged_items
from workflows.interface.batch import BatchInput, BatchItem, BatchProgress, BatchResult, CancelReason
from workflows.interface.codes import BatchStatus, ErrorCode, Settlement
from workflows.interface.errors import RequestError
from workflows.interface.message import Message
from workflows.interface.names import (
    MemoKey,
    Query,
    Queue,
    SearchAttribute,
    Signal,
    WorkflowType,
    batch_workflow_id,
)
from workflows.policies import TASK_TIMEOUT, batch_priority

ANSWER_TIMEOUT = timedelta(seconds=10)
"""For one call to Temporal; a query also needs a worker to answer."""
_STATUS = SearchAttributeKey.for_keyword(SearchAttribute.BATCH_STATUS)
_ONCE = WorkflowIDReusePolicy.REJECT_DUPLICATE
# A run that failed or was terminated may be begun again: Postgres knows what is left to do.
_AGAIN_AFTER_FAILURE = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
_ENDED_BADLY = (
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
    WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT,
)


class TransferClient:
    """Batches over a Temporal client of any data converter that writes JSON."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    async def start_batch(
        self,
        from_user_id: str,
        items: Iterable[BatchItem],
        *,
        batch_id: UUID | None = None,
        idempotency_key: str | None = None,
        settlement: Settlement = Settlement.BATCHED,
    ) -> BatchStarted:
        """Starts a batch of at most 2,000 items, which travel inside the start.

        The same request again (same id or idempotency key, same content) gives the first batch back.

        Raises:
            RequestError: INVALID_INPUT, or BATCH_CONTENT_DIFFERS where the id belongs to another request.
            UnavailableError: Temporal doesn't answer.
        """
        request = inline_request(
            from_user_id, items, chosen_batch_id(from_user_id, batch_id, idempotency_key), settlement
        )
        rows = staged_items(request)
        sha256 = request_sha256(request.from_user_id or "", rows, settlement).hex()
        try:
            await self._start(request, len(rows), request.from_user_id, sha256, _ONCE)
        except WorkflowAlreadyStartedError:
            return await self._first_batch(request, len(rows), sha256)
        return BatchStarted(batch_id=request.batch_id, status=BatchStatus.QUEUED, item_count=len(rows))

    async def start_staged(
        self,
        batch_id: UUID,
        *,
        from_user_id: str | None = None,
        item_count: int | None = None,
        sha256: str | None = None,
    ) -> bool:
        """Starts a batch that stands in Postgres already; False where it runs or ended before (nothing changes).

        The other arguments only label the workflow.
        """
        try:
            await self._start(BatchInput(batch_id=batch_id), item_count, from_user_id, sha256, _AGAIN_AFTER_FAILURE)
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def progress(self, batch_id: UUID) -> BatchProgress:
        """Where the items stand: the running workflow's answer, or the result of one that has ended.

        Raises:
            RequestError: NOT_FOUND, or the code the batch's workflow failed with.
            UnavailableError: Temporal or every worker doesn't answer.
        """
        description = await self._describe(batch_id)
        if description.status is WorkflowExecutionStatus.RUNNING:
            return await self._ask_progress(batch_id)
        result = await self.wait(batch_id)
        return BatchProgress(**result.model_dump(by_alias=False), queued=0, processing=0)

    async def wait(self, batch_id: UUID) -> BatchResult:
        """The result, once the batch has ended.

        Raises:
            RequestError: NOT_FOUND, or the code the batch's workflow failed with.
            UnavailableError: Temporal doesn't answer.
        """
        try:
            return BatchResult.model_validate(await self._handle(batch_id).result())
        except WorkflowFailureError as error:
            raise _failure_of(batch_id, error) from error
        except RPCError as error:
            raise _translated(error, batch_id) from error

    async def cancel(self, batch_id: UUID, reason: str | None = None, *, from_user_id: str | None = None) -> None:
        """Asks the batch to stop: what isn't bound to a chain transaction is cancelled, the rest finishes.

        A batch that was staged and never started is started with the signal, and so cancelled too (`from_user_id`
        then labels it).

        Raises:
            RequestError: NOT_ALLOWED, it has ended already.
        """
        argument = CancelReason(reason=reason).model_dump(mode="json", by_alias=True, exclude_none=True)
        start_signal = (Signal.CANCEL_BATCH, argument)
        try:
            await self._start(
                BatchInput(batch_id=batch_id), None, from_user_id, None, _AGAIN_AFTER_FAILURE, start_signal
            )
        except WorkflowAlreadyStartedError as error:
            raise _has_ended(batch_id) from error

    async def pause(self, batch_id: UUID) -> None:
        """Asks the batch to bind nothing new; what is bound finishes.

        Raises:
            RequestError: NOT_FOUND (never started), NOT_ALLOWED (ended).
        """
        await self._signal(batch_id, Signal.PAUSE_BATCH)

    async def resume(self, batch_id: UUID) -> None:
        """Lets a paused batch go on; same errors as `pause`."""
        await self._signal(batch_id, Signal.RESUME_BATCH)

    async def retry_failed(self, batch_id: UUID, *, from_user_id: str | None = None) -> None:
        """Begins a new run of an ended batch that reopens its failed items where another try can help.

        Raises:
            RequestError: NOT_ALLOWED, the batch still runs.
        """
        request = BatchInput(batch_id=batch_id, retry_failed=True)
        try:
            await self._start(request, None, from_user_id, None, WorkflowIDReusePolicy.ALLOW_DUPLICATE)
        except WorkflowAlreadyStartedError as error:
            raise RequestError(
                ErrorCode.NOT_ALLOWED, f"batch {batch_id} still runs: retry what failed once it has ended"
            ) from error

    async def _start(
        self,
        request: BatchInput,
        item_count: int | None,
        from_user_id: str | None,
        sha256: str | None,
        reuse: WorkflowIDReusePolicy,
        start_signal: tuple[Signal, dict[str, Any]] | None = None,
    ) -> None:
        try:
            await self._temporal.start_workflow(
                WorkflowType.BATCH_TRANSFER,
                _as_json(request),
                id=batch_workflow_id(request.batch_id),
                task_queue=Queue.TRANSFERS,
                task_timeout=TASK_TIMEOUT,
                id_reuse_policy=reuse,
                id_conflict_policy=(
                    WorkflowIDConflictPolicy.UNSPECIFIED if start_signal else WorkflowIDConflictPolicy.FAIL
                ),
                memo={MemoKey.REQUEST_SHA256: sha256} if sha256 else None,
                static_summary=_summary(item_count, from_user_id),
                # Without a sender known, the batch shares its workers as a sender of its own.
                priority=batch_priority(from_user_id or str(request.batch_id)),
                start_signal=start_signal[0] if start_signal else None,
                start_signal_args=[start_signal[1]] if start_signal else [],
                rpc_timeout=ANSWER_TIMEOUT,
            )
        except RPCError as error:
            raise _translated(error, request.batch_id) from error

    async def _first_batch(self, request: BatchInput, item_count: int, sha256: str) -> BatchStarted:
        """What stands under an id that was taken, if it's the same request."""
        description = await self._describe(request.batch_id)
        first = await description.memo_value(MemoKey.REQUEST_SHA256, None)
        if first is None:
            # Started by its id alone, and no worker has opened it yet: whether it's the same can't be told yet.
            raise UnavailableError(
                f"batch {request.batch_id} was started before and no worker has opened it yet: ask again shortly"
            )
        if first != sha256:
            raise RequestError(
                ErrorCode.BATCH_CONTENT_DIFFERS,
                f"batch {request.batch_id} holds another request: use a new batch id or idempotency key for this one",
            )
        if description.status in _ENDED_BADLY and await self._begin_again(request, item_count, sha256):
            return BatchStarted(batch_id=request.batch_id, status=BatchStatus.QUEUED, item_count=item_count)
        return BatchStarted(
            batch_id=request.batch_id, status=await self._status(description, request.batch_id), item_count=item_count
        )

    async def _begin_again(self, request: BatchInput, item_count: int, sha256: str) -> bool:
        try:
            await self._start(request, item_count, request.from_user_id, sha256, _AGAIN_AFTER_FAILURE)
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def _status(self, description: WorkflowExecutionDescription, batch_id: UUID) -> BatchStatus:
        """The first batch's status without needing a worker: its search attribute, or its result."""
        if description.status is WorkflowExecutionStatus.RUNNING:
            told = description.typed_search_attributes.get(_STATUS)
            return BatchStatus(told) if told else BatchStatus.QUEUED
        return (await self.wait(batch_id)).status

    async def _ask_progress(self, batch_id: UUID) -> BatchProgress:
        try:
            answer = await self._handle(batch_id).query(Query.PROGRESS, rpc_timeout=ANSWER_TIMEOUT)
        except WorkflowQueryFailedError as error:
            raise UnavailableError(f"batch {batch_id} can't answer yet: {error}") from error
        except RPCError as error:
            raise _translated(error, batch_id) from error
        return BatchProgress.model_validate(answer)

    async def _signal(self, batch_id: UUID, signal: Signal) -> None:
        description = await self._describe(batch_id)
        if description.status is not WorkflowExecutionStatus.RUNNING:
            raise _has_ended(batch_id)
        try:
            await self._handle(batch_id).signal(signal, rpc_timeout=ANSWER_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise _has_ended(batch_id) from error
            raise _translated(error, batch_id) from error

    async def _describe(self, batch_id: UUID) -> WorkflowExecutionDescription:
        try:
            return await self._handle(batch_id).describe(rpc_timeout=ANSWER_TIMEOUT)
        except RPCError as error:
            raise _translated(error, batch_id) from error

    def _handle(self, batch_id: UUID) -> WorkflowHandle[Any, Any]:
        return self._temporal.get_workflow_handle(batch_workflow_id(batch_id))


def _as_json(message: Message) -> dict[str, Any]:
    """Plain JSON values, so that the client's own data converter doesn't matter."""
    return message.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


def _summary(item_count: int | None, from_user_id: str | None) -> str:
    count = "batch" if item_count is None else f"{item_count:,} tickets"
    return count if from_user_id is None else f"{count} of {from_user_id}"


def _has_ended(batch_id: UUID) -> RequestError:
    return RequestError(ErrorCode.NOT_ALLOWED, f"batch {batch_id} has ended already")


def _failure_of(batch_id: UUID, error: WorkflowFailureError) -> RequestError:
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in list(ErrorCode):
        return RequestError(ErrorCode(cause.type), cause.message)
    return RequestError(ErrorCode.DEFECT, f"the workflow of batch {batch_id} ended without a result: {cause}")


def _translated(error: RPCError, batch_id: UUID) -> Exception:
    if error.status is RPCStatusCode.NOT_FOUND:
        return RequestError(
            ErrorCode.NOT_FOUND, f"Temporal knows no batch {batch_id}: it was never started, or long ago"
        )
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        return RequestError(ErrorCode.INVALID_INPUT, error.message)
    return UnavailableError(f"Temporal doesn't answer as it should: {error.message} ({error.status.name})")
