"""Starts the demo's batch the way a service does: with a Temporal client and the items of a file, nothing else."""

from __future__ import annotations

import csv
import time
from typing import NamedTuple
from uuid import UUID

from temporalio.client import Client

from devstack.environment import DEMO_SENDER
from devstack.errors import StackError
from devstack.season import CSV_FILE
from devstack.state import NAMESPACE, StackState
from starter.client import TransferClient
from starter.errors import UnavailableError
from workflows.interface.batch import BatchItem
from workflows.interface.errors import RequestError


class StartedBatch(NamedTuple):
    """A batch that was started, what the caller was told, and how long that took."""

    batch_id: UUID
    answer_json: str
    latency_ms: float


async def start_season_batch(state: StackState) -> StartedBatch:
    """Starts the batch of examples/season-tickets.csv; the time is that of the start call alone."""
    client = TransferClient(await Client.connect(state.temporal_address, namespace=NAMESPACE))
    with CSV_FILE.open(newline="") as file:
        items = [BatchItem(ticket_id=row["ticket_id"], to=row["to"]) for row in csv.DictReader(file)]
    began = time.perf_counter()
    try:
        answer = await client.start_batch(DEMO_SENDER, items)
    except (RequestError, UnavailableError) as error:
        raise StackError(f"the batch wasn't started: {error}") from error
    latency_ms = (time.perf_counter() - began) * 1000
    return StartedBatch(answer.batch_id, answer.model_dump_json(), latency_ms)
