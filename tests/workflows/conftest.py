"""Workers with fakes, in a namespace of their own: one set for the whole session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.worker import Worker

from tests.fake_batch import FakeBatch
from tests.fake_jobs import FakeMaintenance
from tests.fake_transfer import FakeSingles, FakeTransfer
from tests.fakes import FakeBlockchain, FakeLane, FakeTransfers, FakeWebhooks
from tests.servers import Temporal
from workflows.batch_transfer import BatchTransfer
from workflows.check_alerts import CheckAlerts
from workflows.interface.names import (
    Queue,
    Update,
    WorkflowType,
    batch_workflow_id,
    lane_workflow_id,
    transfer_workflow_id,
)
from workflows.lane_keeper import LaneKeeper
from workflows.maintenance import (
    ArchiveWebhookDeliveries,
    CleanStaleBatches,
    ExpireTransfers,
    RetryFailedBlockchainTransfers,
    SweepWebhookDeliveries,
)
from workflows.sandbox import sandboxed
from workflows.transfer import Transfer
from workflows.webhook_delivery import WebhookDelivery

WORKFLOWS: dict[Queue, list[type]] = {
    Queue.TRANSFERS: [BatchTransfer, Transfer],
    Queue.BLOCKCHAIN: [LaneKeeper],
    Queue.WEBHOOKS: [WebhookDelivery],
    Queue.MAINTENANCE: [
        ArchiveWebhookDeliveries,
        CheckAlerts,
        CleanStaleBatches,
        ExpireTransfers,
        RetryFailedBlockchainTransfers,
        SweepWebhookDeliveries,
    ],
}
CHAIN_ID = 31337


class Fakes(NamedTuple):
    """The fakes of the queues, and the client of their namespace."""

    client: Client
    transfers: FakeTransfers
    blockchain: FakeBlockchain
    webhooks: FakeWebhooks
    maintenance: FakeMaintenance
    singles: FakeSingles

    async def start(self, batch: FakeBatch, **fields: Any) -> WorkflowHandle[Any, Any]:
        """Starts the batch's workflow with plain JSON, as any client can."""
        self.transfers.add(batch)
        return await self.start_raw(batch, {"batchId": str(batch.batch_id), **fields})

    async def start_raw(self, batch: FakeBatch, argument: Any, **options: Any) -> WorkflowHandle[Any, Any]:
        """Starts it with whatever argument."""
        return await self.client.start_workflow(
            WorkflowType.BATCH_TRANSFER,
            argument,
            **{
                "id": batch_workflow_id(batch.batch_id),
                "task_queue": Queue.TRANSFERS,
                "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                **options,
            },
        )

    async def run(self, batch: FakeBatch, **fields: Any) -> Any:
        """Starts it and waits for its result."""
        return await (await self.start(batch, **fields)).result()

    async def begin(self, transfer: FakeTransfer, **fields: Any) -> WorkflowHandle[Any, Any]:
        """Starts a transfer's workflow; without fields, for a transfer that stands already."""
        self.singles.transfers[transfer.transfer_id] = transfer
        return await self.client.start_workflow(
            WorkflowType.TRANSFER,
            {"transferId": str(transfer.transfer_id), **fields},
            id=transfer_workflow_id(transfer.transfer_id),
            task_queue=Queue.TRANSFERS,
        )

    async def say(self, transfer: FakeTransfer, update: Update, user_id: str = "bob", **more: str) -> Any:
        """A word on a gift, by Update-with-Start."""
        self.singles.transfers[transfer.transfer_id] = transfer
        workflow_id = transfer_workflow_id(transfer.transfer_id)
        start = WithStartWorkflowOperation[Any, Any](
            WorkflowType.TRANSFER,
            {"transferId": str(transfer.transfer_id)},
            id=workflow_id,
            task_queue=Queue.TRANSFERS,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        return await self.client.execute_update_with_start_workflow(
            update, {"userId": user_id, **more}, start_workflow_operation=start
        )

    async def wake(self, lane: FakeLane) -> WorkflowHandle[Any, Any]:
        """Signal-with-start of the lane's keeper, as every binding's commit is followed by."""
        self.blockchain.lanes[lane.signer] = lane
        return await self.client.start_workflow(
            WorkflowType.LANE_KEEPER,
            {"chainId": CHAIN_ID, "signer": lane.signer},
            id=lane_workflow_id(CHAIN_ID, lane.signer),
            task_queue=Queue.BLOCKCHAIN,
            start_signal="wake",
        )

    def steps(self, queue: Queue) -> list[Callable[..., Any]]:
        """The activity methods of a queue's fake."""
        offered: dict[Queue, list[object]] = {
            Queue.TRANSFERS: [self.transfers, self.singles],
            Queue.BLOCKCHAIN: [self.blockchain, self.singles],
            Queue.WEBHOOKS: [self.webhooks],
            Queue.MAINTENANCE: [self.maintenance],
        }
        methods = (getattr(fake, name) for fake in offered[queue] for name in dir(fake) if not name.startswith("_"))
        return [method for method in methods if hasattr(method, "__temporal_activity_definition")]


async def until_status(handle: WorkflowHandle[Any, Any], status: str) -> None:
    """Asks until the workflow says so."""
    while (await handle.query("progress"))["status"] != status:
        pass


@asynccontextmanager
async def working_fakes(client: Client, max_cached_workflows: int = 500) -> AsyncIterator[Fakes]:
    """Workers on all queues, set up as the real worker's are."""
    transfers = FakeTransfers()
    fakes = Fakes(client, transfers, FakeBlockchain(transfers), FakeWebhooks(), FakeMaintenance(), FakeSingles())
    async with AsyncExitStack() as stack:
        for queue in Queue:
            worker = Worker(
                client,
                task_queue=queue,
                workflows=WORKFLOWS[queue],
                activities=fakes.steps(queue),
                workflow_runner=sandboxed(),
                build_id="tests",
                max_cached_workflows=max_cached_workflows,
                disable_eager_activity_execution=True,
                sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
                max_heartbeat_throttle_interval=timedelta(seconds=1),
            )
            await stack.enter_async_context(worker)
        yield fakes


@pytest.fixture(scope="session")
async def fakes(temporal: Temporal) -> AsyncIterator[Fakes]:
    """The session's workers with fakes."""
    async with working_fakes(await temporal.add_namespace("fakes")) as working:
        yield working
