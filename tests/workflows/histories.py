"""Records small histories of every workflow for the replay tests: `python -m tests.workflows.histories` does it anew.

Do that only when runs of the old code needn't be finished by the new code.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowHistory

from devstack.ports import free_ports
from tests.fake_batch import FakeBatch, defect
from tests.fake_transfer import FakeTransfer
from tests.fakes import FakeLane
from tests.servers import running_temporal
from tests.workflows.conftest import Fakes, working_fakes
from workflows.interface.codes import ItemOrder, TransferKind, TransferStatus
from workflows.interface.names import Update, transfer_workflow_id

FOLDER = Path(__file__).parent / "histories"
# What differs between machines, and is no matter of the workflow.
_SCRUBBED = {"identity": "worker", "stackTrace": "", "binaryChecksum": "", "workerInstanceKey": ""}


async def record(fakes: Fakes) -> dict[str, WorkflowHistory]:
    """Runs one of each kind and answers their histories by name."""
    return {
        "batch_with_faults": await _history(await _with_faults(fakes)),
        "batch_continued": await _history(await _continued(fakes)),
        "batch_cancelled": await _history(await _cancelled(fakes)),
        "batch_sequential": await _history(await _sequential(fakes)),
        "batch_of_gifts": await _history(await _gifts(fakes)),
        "lane_keeper": await _history(await fakes.wake(FakeLane(defect("KeyError: 17")))),
        "webhook_delivery": await _history(await _delivery(fakes)),
        "transfer": await _history(await fakes.begin(FakeTransfer(), fromUserId="alice", ticketId="17", to="bob")),
        "gift_accepted": await _history(await _accepted_gift(fakes)),
        **await record_jobs(fakes),
    }


async def _accepted_gift(fakes: Fakes) -> WorkflowHandle[Any, Any]:
    gift = FakeTransfer(TransferStatus.PENDING)
    await fakes.say(gift, Update.ACCEPT_GIFT)
    return fakes.client.get_workflow_handle(transfer_workflow_id(gift.transfer_id))


async def record_jobs(fakes: Fakes) -> dict[str, WorkflowHistory]:
    """The scheduled jobs, one of them with a defect."""
    kinds = {
        "sweep": "SweepWebhookDeliveries",
        "job_expire": "ExpireTransfers",
        "job_retry": "RetryFailedBlockchainTransfers",
        "job_archive": "ArchiveWebhookDeliveries",
        "job_clean": "CleanStaleBatches",
        "job_check_alerts": "CheckAlerts",
    }
    recorded = {name: await _history(await _by_name(fakes, kind, name, "maintenance")) for name, kind in kinds.items()}
    fakes.maintenance.faults["expire_transfers"] = defect("KeyError: 17")
    failed = await _by_name(fakes, "ExpireTransfers", "job_defect", "maintenance")
    with suppress(WorkflowFailureError):
        await failed.result()
    return {**recorded, "job_defect": await failed.fetch_history()}


async def _with_faults(fakes: Fakes) -> WorkflowHandle[Any, Any]:
    batch = FakeBatch(40)
    batch.poison["create"], batch.failing, batch.polls = {17}, {3: 1, 25: 99}, 3
    batch.subscription_ids = (uuid4(),)
    return await fakes.start(batch)


async def _continued(fakes: Fakes) -> WorkflowHandle[Any, Any]:
    batch = FakeBatch(30, slices_per_run=2)
    batch.failing = {3: 1}
    handle = await fakes.start(batch)
    await handle.result()
    return fakes.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)


async def _cancelled(fakes: Fakes) -> WorkflowHandle[Any, Any]:
    batch = FakeBatch(30, window=1)
    hold = batch.hold("confirm")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    for signal in ("pause-batch", "resume-batch", "cancel-batch"):
        await handle.signal(signal)
    batch.let_go("confirm")
    return handle


async def _sequential(fakes: Fakes) -> WorkflowHandle[Any, Any]:
    batch = FakeBatch(4, slice_size=1, window=1)
    batch.order, batch.failing = ItemOrder.SEQUENTIAL, {2: 99, 3: 1}
    return await fakes.start(batch)


async def _gifts(fakes: Fakes) -> WorkflowHandle[Any, Any]:
    batch = FakeBatch(25)
    batch.kind, batch.locked = TransferKind.GIFT, {3: 1}
    return await fakes.start(batch)


async def _delivery(fakes: Fakes) -> WorkflowHandle[Any, Any]:
    subscription_id = uuid4()
    argument = {"subscriptionId": str(subscription_id), "lingerS": 0.1}
    return await _by_name(fakes, "WebhookDelivery", f"webhook/{subscription_id}", "webhooks", argument)


async def _by_name(fakes: Fakes, kind: str, workflow_id: str, queue: str, *args: Any) -> WorkflowHandle[Any, Any]:
    return await fakes.client.start_workflow(kind, args=args, id=workflow_id, task_queue=queue)


async def _history(handle: WorkflowHandle[Any, Any]) -> WorkflowHistory:
    await handle.result()
    return await handle.fetch_history()


def scrubbed(value: Any) -> Any:
    """The history's JSON without what belongs to one machine."""
    if isinstance(value, dict):
        return {key: _SCRUBBED.get(key, scrubbed(inner)) for key, inner in value.items()}
    return [scrubbed(inner) for inner in value] if isinstance(value, list) else value


async def main() -> None:
    """Writes the files."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            running_temporal(Path(folder), free_ports()) as temporal,
            working_fakes(await temporal.add_namespace("fakes")) as fakes,
        ):
            histories = await record(fakes)
    FOLDER.mkdir(exist_ok=True)
    for name, history in histories.items():
        content = {"id": history.workflow_id, "history": scrubbed(json.loads(history.to_json()))}
        (FOLDER / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
