"""Every timeout, heartbeat and retry cap in one place; docs/architecture.md has the table with the reasons."""

from __future__ import annotations

from datetime import timedelta
from typing import TypedDict

from temporalio.common import Priority, RetryPolicy

from workflows.interface.names import PriorityKey, Queue

HEARTBEAT_TIMEOUT = timedelta(seconds=3)
"""How long a killed worker's slice waits before another worker gets it."""
TASK_TIMEOUT = timedelta(seconds=4)
"""A killed worker's workflow task waits this long; above the SDK's deadlock detector (2 s)."""

# Without limit, every second: a killed worker's slice must not wait for a grown backoff. Steps that have to wait
# longer (a poll, an outage) say so themselves by `next_retry_delay`.
WITHOUT_LIMIT = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=1.0, maximum_interval=timedelta(seconds=1)
)


class ActivityOptions(TypedDict):
    """Keyword arguments of `workflow.execute_activity_method`."""

    task_queue: str
    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy


def _options(queue: Queue, most_s: float) -> ActivityOptions:
    return {
        "task_queue": queue,
        "start_to_close_timeout": timedelta(seconds=most_s),
        "heartbeat_timeout": HEARTBEAT_TIMEOUT,
        "retry_policy": WITHOUT_LIMIT,
    }


# One go at a slice: some multi-row statements and JSON-RPC batches, each with its own shorter limit.
SLICE_STEP = _options(Queue.TRANSFERS, 60)
CHAIN_STEP = _options(Queue.BLOCKCHAIN, 60)
# Pages through a whole batch (an inline batch written, a million items cancelled or reopened), heartbeating per page.
WHOLE_BATCH_STEP = _options(Queue.TRANSFERS, 600)
# Takes new requests for 2 s, then waits for the open ones (15 s at most) and records them.
DRAIN_STEP = _options(Queue.WEBHOOKS, 60)
MAINTENANCE_STEP = _options(Queue.MAINTENANCE, 60)


class LimitedActivityOptions(ActivityOptions):
    """The same, with an end to the retries."""

    schedule_to_close_timeout: timedelta


def limited(options: ActivityOptions, limit_s: float) -> LimitedActivityOptions:
    """For the steps of scheduled jobs: a run that can't get on ends, and the next run begins anew."""
    return {**options, "schedule_to_close_timeout": timedelta(seconds=limit_s)}


# The same steps for one transfer, and what decides a gift.
TRANSFER_STEP = _options(Queue.TRANSFERS, 30)
CHAIN_TRANSFER_STEP = _options(Queue.BLOCKCHAIN, 30)

LANE_PRIORITY = Priority(priority_key=PriorityKey.SINGLE_TRANSFER)
"""A lane serves everybody: its keeper comes first."""
MAINTENANCE_PRIORITY = Priority(priority_key=PriorityKey.MAINTENANCE)


def batch_priority(from_user_id: str) -> Priority:
    """Batches share the workers by sending user."""
    return Priority(priority_key=PriorityKey.BATCH, fairness_key=fairness_key(from_user_id))


def transfer_priority(from_user_id: str | None) -> Priority:
    """Single transfers come before all batches; among themselves they share by sending user."""
    return Priority(
        priority_key=PriorityKey.SINGLE_TRANSFER, fairness_key=fairness_key(from_user_id) if from_user_id else None
    )


def delivery_priority(subscription_id: object) -> Priority:
    """Deliveries share the workers by endpoint, whatever batch woke them."""
    return Priority(priority_key=PriorityKey.BATCH, fairness_key=str(subscription_id))


def fairness_key(user_id: str) -> str:
    """A user id cut to Temporal's 64 bytes (ids are at most that long; kept as a guard of the limit)."""
    return user_id.encode()[:64].decode(errors="ignore")
