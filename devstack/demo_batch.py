"""Starts the demo's batch the way a service does: with a Temporal client and the items of a file, nothing else."""

from __future__ import annotations

import csv
import json
import time
from typing import NamedTuple
from uuid import UUID, uuid4

from temporalio.client import Client

from devstack.environment import DEMO_SENDER
from devstack.season import CSV_FILE
from devstack.state import NAMESPACE, StackState
from workflows.interface.names import Queue, WorkflowType, batch_workflow_id


class StartedBatch(NamedTuple):
    """A batch that was started, what the caller was told, and how long that took."""

    batch_id: UUID
    item_count: int
    latency_ms: float

    @property
    def answer_json(self) -> str:
        """What a caller sees."""
        return json.dumps({"batchId": str(self.batch_id), "status": "QUEUED", "itemCount": self.item_count})


async def start_season_batch(state: StackState) -> StartedBatch:
    """Starts the batch of examples/season-tickets.csv; the time is that of the start call alone."""
    client = await Client.connect(state.temporal_address, namespace=NAMESPACE)
    with CSV_FILE.open(newline="") as file:
        items = [{"ticketId": row["ticket_id"], "to": row["to"]} for row in csv.DictReader(file)]
    batch_id = uuid4()
    began = time.perf_counter()
    await client.start_workflow(
        WorkflowType.BATCH_TRANSFER,
        {"batchId": str(batch_id), "fromUserId": DEMO_SENDER, "items": items},
        id=batch_workflow_id(batch_id),
        task_queue=Queue.TRANSFERS,
    )
    return StartedBatch(batch_id, len(items), (time.perf_counter() - began) * 1000)
