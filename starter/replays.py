"""Starts replays of dead letters and tells how they stand: an id is one replay, however often it's asked for."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from enum import StrEnum
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import Priority, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from starter.client import ANSWER_TIMEOUT
from starter.temporal_errors import failure_of, translated
from workflows.interface.codes import ErrorCode
from workflows.interface.dead_letters import ReplayInput, ReplayResult
from workflows.interface.errors import RequestError
from workflows.interface.names import MemoKey, PriorityKey, Queue, WorkflowType, replay_workflow_id
from workflows.interface.policies import TASK_TIMEOUT


class ReplayStanding(StrEnum):
    """How a replay stands."""

    STARTED = "STARTED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"


class ReplayClient:
    """Replays over a Temporal client."""

    def __init__(self, temporal: Client, answer_timeout: timedelta = ANSWER_TIMEOUT) -> None:
        self._temporal = temporal
        self._answer_timeout = answer_timeout

    async def standing(self, request: ReplayInput) -> ReplayStanding | None:
        """How the replay of this id stands; None where it may be started (never was, or ended before its end).

        Raises:
            RequestError: NOT_ALLOWED, the id belongs to another selection.
            UnavailableError: Temporal doesn't answer.
        """
        try:
            found = await self._handle(request).describe(rpc_timeout=self._answer_timeout)
            told = await found.memo_value(MemoKey.REQUEST_SHA256, None)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise translated(error, request.replay_id, "replay") from error
        if told is not None and told != _fingerprint(request):
            raise RequestError(
                ErrorCode.NOT_ALLOWED,
                f"replay {request.replay_id} was asked for with another selection: take another id",
            )
        if found.status is WorkflowExecutionStatus.COMPLETED:
            return ReplayStanding.COMPLETED
        return ReplayStanding.RUNNING if found.status is WorkflowExecutionStatus.RUNNING else None

    async def start(self, request: ReplayInput, selected: int) -> ReplayStanding:
        """Starts it. One that runs, or has ended well, stays as it is; one that was cancelled goes on.

        Raises:
            UnavailableError: Temporal doesn't answer.
        """
        try:
            await self._temporal.start_workflow(
                WorkflowType.REPLAY_DEAD_LETTERS,
                request.model_dump(mode="json", by_alias=True, exclude_none=True),
                id=replay_workflow_id(request.replay_id),
                task_queue=Queue.MAINTENANCE,
                task_timeout=TASK_TIMEOUT,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                memo={MemoKey.REQUEST_SHA256: _fingerprint(request)},
                priority=Priority(priority_key=PriorityKey.MAINTENANCE),
                static_summary=f"{selected:,} dead letters, asked for by {request.by}",
                rpc_timeout=self._answer_timeout,
            )
        except WorkflowAlreadyStartedError:
            return await self.standing(request) or ReplayStanding.RUNNING
        except RPCError as error:
            raise translated(error, request.replay_id, "replay") from error
        return ReplayStanding.STARTED

    async def result(self, request: ReplayInput) -> ReplayResult:
        """What it did, once it has ended.

        Raises:
            RequestError: it ended without a result (cancelled, or a defect).
            UnavailableError: Temporal doesn't answer.
        """
        try:
            return ReplayResult.model_validate(await self._handle(request).result())
        except WorkflowFailureError as error:
            raise failure_of(request.replay_id, error, "replay") from error
        except RPCError as error:
            raise translated(error, request.replay_id, "replay") from error

    def _handle(self, request: ReplayInput) -> WorkflowHandle[Any, Any]:
        return self._temporal.get_workflow_handle(replay_workflow_id(request.replay_id))


def _fingerprint(request: ReplayInput) -> str:
    """SHA-256 over what is replayed and how; not over who asks, nor how fast."""
    what = request.model_dump(mode="json", by_alias=True, exclude_none=True, include={"filter", "force"})
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
