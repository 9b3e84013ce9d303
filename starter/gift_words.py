"""Says a word about a gift (accept, decline, cancel) to its `Transfer` workflow and waits for the answer.

By Update-with-Start: a gift that waits has no open workflow, so the word begins one.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from starter.errors import UnavailableError
from starter.temporal_errors import refusal_in, translated
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError
from workflows.interface.names import Queue, Update, WorkflowType, transfer_workflow_id
from workflows.interface.policies import TASK_TIMEOUT, transfer_priority
from workflows.interface.transfer import GiftUpdate, GiftWord, TransferState

MOST_TRIES = 5
"""A word that meets a run which has just ended begins another one; five in a row mean that something else is wrong."""
_UPDATES = {
    GiftWord.ACCEPT: Update.ACCEPT_GIFT,
    GiftWord.DECLINE: Update.DECLINE_GIFT,
    GiftWord.CANCEL: Update.CANCEL_GIFT,
}
_ENDED_BEFORE_ANSWER = "AcceptedUpdateCompletedWorkflow"
"""Type of the server's own failure of an update whose workflow ended while its handler ran."""


class _MetEndedRunError(Exception):
    """The word reached a run that had just ended, and had no effect there that could be told."""


class Word(NamedTuple):
    """What is said, of which gift."""

    transfer_id: UUID
    word: GiftWord
    update: GiftUpdate

    @property
    def fairness(self) -> Priority:
        """Only a cancel comes from the sender, whose share it is."""
        return transfer_priority(self.update.user_id if self.word is GiftWord.CANCEL else None)


async def say_word(temporal: Client, word: Word, answer_timeout: timedelta) -> TransferState:
    """The gift as the word left it.

    Raises:
        RequestError: NOT_ALLOWED with the reason (decided before, expired, somebody else's), or NOT_FOUND.
        UnavailableError: Temporal or every worker doesn't answer in time; the word may still have its effect.
    """
    limit = asyncio.timeout(answer_timeout.total_seconds())
    try:
        async with limit:
            for _ in range(MOST_TRIES):
                try:
                    return await _say(temporal, word, answer_timeout)
                except _MetEndedRunError:
                    continue
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        if isinstance(error.__cause__, asyncio.CancelledError) and not limit.expired():
            # The SDK takes a cancelled task for a timeout; this one is the caller's (Ctrl-C).
            raise asyncio.CancelledError from error
        raise _unanswered(word, answer_timeout) from error
    except TimeoutError as error:
        raise _unanswered(word, answer_timeout) from error
    raise UnavailableError(
        f"the workflow of gift {word.transfer_id} ended {MOST_TRIES} times before it took up {word.word!s}: "
        f"`temporal workflow show --workflow-id {transfer_workflow_id(word.transfer_id)}` tells why"
    )


async def _say(temporal: Client, word: Word, answer_timeout: timedelta) -> TransferState:
    try:
        answer = await temporal.execute_update_with_start_workflow(
            _UPDATES[word.word],
            word.update.model_dump(mode="json", by_alias=True, exclude_none=True),
            start_workflow_operation=_start(word),
            rpc_timeout=answer_timeout,
        )
    except WorkflowUpdateFailedError as error:
        raise _why_failed(word, error.cause) from error
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.ABORTED):
            raise _MetEndedRunError from error
        raise translated(error, word.transfer_id, "gift") from error
    return TransferState.model_validate(answer)


def _start(word: Word) -> WithStartWorkflowOperation[object, object]:
    return WithStartWorkflowOperation(
        WorkflowType.TRANSFER,
        {"transferId": str(word.transfer_id)},
        id=transfer_workflow_id(word.transfer_id),
        task_queue=Queue.TRANSFERS,
        task_timeout=TASK_TIMEOUT,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"{word.word} of a gift by {word.update.user_id}",
        priority=word.fairness,
    )


def _why_failed(word: Word, cause: BaseException) -> Exception:
    if isinstance(cause, ApplicationError) and cause.type == _ENDED_BEFORE_ANSWER:
        return _MetEndedRunError()
    return refusal_in(cause) or RequestError(
        ErrorCode.DEFECT, f"{word.word} of gift {word.transfer_id} failed without a code: {cause}"
    )


def _unanswered(word: Word, answer_timeout: timedelta) -> UnavailableError:
    return UnavailableError(
        f"Temporal or every worker didn't answer within {answer_timeout.total_seconds():g} s: the gift's {word.word} "
        f"may still happen, once a worker runs on the queue {Queue.TRANSFERS}: `transfers transfer show "
        f"{word.transfer_id}` tells. To ask again is safe; a gift that was decided meanwhile answers how it stands"
    )
