"""Starts the drains of webhook subscriptions as children of the workflow that is the first to need them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from uuid import UUID

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from workflows.interface.names import Queue, WorkflowType, webhook_workflow_id
from workflows.interface.policies import TASK_TIMEOUT, delivery_priority
from workflows.interface.webhook import DeliveryWork


class DeliveryStarter:
    """Each subscription once per run. The start is never the wake: steps signal the drain after their commits."""

    def __init__(self) -> None:
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    def want(self, subscription_ids: Iterable[UUID]) -> None:
        """Begins to start the drains that weren't begun."""
        for subscription_id in subscription_ids:
            if subscription_id not in self._tasks:
                self._tasks[subscription_id] = asyncio.create_task(_start(subscription_id))

    async def started(self) -> None:
        """Returns once every start has been accepted; a parent that left earlier would take the child with it."""
        for task in list(self._tasks.values()):
            await task


async def _start(subscription_id: UUID) -> None:
    try:
        await workflow.start_child_workflow(
            WorkflowType.WEBHOOK_DELIVERY,
            DeliveryWork(subscription_id=subscription_id),
            id=webhook_workflow_id(subscription_id),
            task_queue=Queue.WEBHOOKS,
            parent_close_policy=ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            task_timeout=TASK_TIMEOUT,
            priority=delivery_priority(subscription_id),
            static_summary=f"Webhook deliveries of subscription {subscription_id}",
        )
    except WorkflowAlreadyStartedError:
        # One per endpoint at a time: somebody else's is as good.
        return
