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
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from ledger.fingerprint import request_sha256
from starter.errors import UnavailableError
from starter.requests import BatchLabel, BatchStarted, chosen_batch_id, inline_request, staged_items
from starter.taken_ids import ENDED_BADLY, first_sha256, require_same
from starter.temporal_errors import failure_of, has_ended, translated
from workflows.interface.batch import BatchInput, BatchItem, BatchProgress, BatchResult, CancelReason
from workflows.interface.codes import BatchStatus, ErrorCode
from workflows.interface.errors import RequestError
from workflows.interface.names import (
    MemoKey,
    Query,
    Queue,
    SearchAttribute,
    Signal,
    WorkflowType,
    batch_workflow_id,
)
from workflows.interface.options import DEFAULT_OPTIONS, BatchOptions
from workflows.interface.policies import TASK_TIMEOUT, batch_priority

ANSWER_TIMEOUT = timedelta(seconds=10)
"""For one call to Temporal; a query also needs a worker to answer."""
_STATUS = SearchAttributeKey.for_keyword(SearchAttribute.BATCH_STATUS)
_ONCE = WorkflowIDReusePolicy.REJECT_DUPLICATE
# A run that failed or was terminated may be begun again: Postgres knows what is left to do.
_AGAIN_AFTER_FAILURE = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY


class TransferClient:
    """Batches over a Temporal client of any data converter that writes JSON."""

    def __init__(self, temporal: Client, answer_timeout: timedelta = ANSWER_TIMEOUT) -> None:
        self._temporal = temporal
        self._answer_timeout = answer_timeout

    async def start_batch(
        self,
        from_user_id: str,
        items: Iterable[BatchItem],
        *,
        batch_id: UUID | None = None,
        idempotency_key: str | None = None,
        options: BatchOptions = DEFAULT_OPTIONS,
    ) -> BatchStarted:
        """Starts a batch of at most 2,000 items, which travel inside the start.

        The same request again (same id or idempotency key, same content) gives the first batch back.

        Raises:
            RequestError: INVALID_INPUT, or BATCH_CONTENT_DIFFERS where the id belongs to another request.
            UnavailableError: Temporal doesn't answer.
        """
        request = inline_request(from_user_id, items, chosen_batch_id(from_user_id, batch_id, idempotency_key), options)
        rows = staged_items(request)
        sha256 = request_sha256(request.from_user_id or "", rows, options).hex()
        label = BatchLabel(request.from_user_id, len(rows), sha256)
        try:
            await self._start(request, reuse=_ONCE, label=label)
        except WorkflowAlreadyStartedError:
            status = await self._first_batch(request, label)
            return BatchStarted(batch_id=request.batch_id, status=status, item_count=len(rows))
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
            label = BatchLabel(from_user_id, item_count, sha256)
            await self._start(BatchInput(batch_id=batch_id), reuse=_AGAIN_AFTER_FAILURE, label=label)
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def holds(self, batch_id: UUID, sha256: str) -> bool:
        """Whether this request (its fingerprint in hex) runs or ended well; False where it may be started.

        Raises:
            RequestError: BATCH_CONTENT_DIFFERS, another request runs under the id or ended well.
            UnavailableError: Temporal doesn't answer, or what runs can't be compared yet.
        """
        try:
            description = await self._describe(batch_id)
        except RequestError as error:
            if error.code is ErrorCode.NOT_FOUND:
                return False
            raise
        if description.status in ENDED_BADLY:
            return False
        # By its id alone means whatever is staged under it.
        first = await first_sha256(self._temporal, description, batch_id, self._answer_timeout)
        require_same(batch_id, first or sha256, sha256)
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
            raise failure_of(batch_id, error) from error
        except RPCError as error:
            raise translated(error, batch_id) from error

    async def cancel(self, batch_id: UUID, reason: str | None = None, *, from_user_id: str | None = None) -> None:
        """Asks the batch to stop: what isn't bound to a chain transaction is cancelled, the rest finishes.

        A batch that was staged and never started is started with the signal, and so cancelled too (`from_user_id`
        then labels it).

        Raises:
            RequestError: NOT_ALLOWED, it has ended already.
        """
        argument = CancelReason(reason=reason).as_json()
        request, label, start_signal = (
            BatchInput(batch_id=batch_id),
            BatchLabel(from_user_id),
            (Signal.CANCEL_BATCH, argument),
        )
        try:
            await self._start(request, reuse=_AGAIN_AFTER_FAILURE, label=label, start_signal=start_signal)
        except WorkflowAlreadyStartedError as error:
            raise has_ended(batch_id) from error

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
            await self._start(request, reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE, label=BatchLabel(from_user_id))
        except WorkflowAlreadyStartedError as error:
            raise RequestError(
                ErrorCode.NOT_ALLOWED, f"batch {batch_id} still runs: retry what failed once it has ended"
            ) from error

    async def _start(
        self,
        request: BatchInput,
        *,
        reuse: WorkflowIDReusePolicy,
        label: BatchLabel,
        start_signal: tuple[Signal, dict[str, Any]] | None = None,
    ) -> None:
        conflict = WorkflowIDConflictPolicy.UNSPECIFIED if start_signal else WorkflowIDConflictPolicy.FAIL
        try:
            await self._temporal.start_workflow(
                WorkflowType.BATCH_TRANSFER,
                request.as_json(),
                id=batch_workflow_id(request.batch_id),
                task_queue=Queue.TRANSFERS,
                task_timeout=TASK_TIMEOUT,
                id_reuse_policy=reuse,
                id_conflict_policy=conflict,
                memo={MemoKey.REQUEST_SHA256: label.sha256} if label.sha256 else None,
                static_summary=label.summary,
                # Where the sender isn't known, the batch shares the workers as a sender of its own.
                priority=batch_priority(label.from_user_id or str(request.batch_id)),
                start_signal=start_signal[0] if start_signal else None,
                start_signal_args=[start_signal[1]] if start_signal else [],
                rpc_timeout=self._answer_timeout,
            )
        except RPCError as error:
            raise translated(error, request.batch_id) from error

    async def _first_batch(self, request: BatchInput, label: BatchLabel) -> BatchStatus:
        """The status of what stands under an id that was taken, if it's the same request."""
        description = await self._describe(request.batch_id)
        first = await first_sha256(self._temporal, description, request.batch_id, self._answer_timeout)
        if first is None:
            # Started by its id alone, and no worker has opened it yet: whether it's the same can't be told yet.
            raise UnavailableError(
                f"batch {request.batch_id} was started before and no worker has opened it yet: ask again shortly"
            )
        require_same(request.batch_id, first, label.sha256)
        if description.status in ENDED_BADLY and await self._begin_again(request, label):
            return BatchStatus.QUEUED
        return await self._status(description, request.batch_id)

    async def _begin_again(self, request: BatchInput, label: BatchLabel) -> bool:
        try:
            await self._start(request, reuse=_AGAIN_AFTER_FAILURE, label=label)
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
            answer = await self._handle(batch_id).query(Query.PROGRESS, rpc_timeout=self._answer_timeout)
        except WorkflowQueryFailedError as error:
            raise UnavailableError(f"batch {batch_id} can't answer yet: {error}") from error
        except RPCError as error:
            raise translated(error, batch_id) from error
        return BatchProgress.model_validate(answer)

    async def _signal(self, batch_id: UUID, signal: Signal) -> None:
        description = await self._describe(batch_id)
        if description.status is not WorkflowExecutionStatus.RUNNING:
            raise has_ended(batch_id)
        try:
            await self._handle(batch_id).signal(signal, rpc_timeout=self._answer_timeout)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise has_ended(batch_id) from error
            raise translated(error, batch_id) from error

    async def _describe(self, batch_id: UUID) -> WorkflowExecutionDescription:
        try:
            return await self._handle(batch_id).describe(rpc_timeout=self._answer_timeout)
        except RPCError as error:
            raise translated(error, batch_id) from error

    def _handle(self, batch_id: UUID) -> WorkflowHandle[Any, Any]:
        return self._temporal.get_workflow_handle(batch_workflow_id(batch_id))
