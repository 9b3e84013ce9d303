"""Recorded histories replay: a worker of this code can go on with the runs of the code that made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from tests.fake_batch import FakeBatch
from tests.servers import Temporal
from tests.workflows.conftest import WORKFLOWS, working_fakes
from tests.workflows.histories import FOLDER
from workflows.sandbox import sandboxed

FILES = sorted(FOLDER.glob("*.json"))


def replayer() -> Replayer:
    return Replayer(
        workflows=[kind for kinds in WORKFLOWS.values() for kind in kinds],
        data_converter=pydantic_data_converter,
        workflow_runner=sandboxed(),
    )


def stored(path: Path) -> tuple[str, Any]:
    content = json.loads(path.read_text())
    return content["id"], content["history"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_a_recorded_history_replays(path: Path) -> None:
    """The workflow takes the same course from the same events."""
    workflow_id, history = stored(path)
    await replayer().replay_workflow(WorkflowHistory.from_json(workflow_id, history))


def test_every_workflow_has_a_recorded_history() -> None:
    """None is left out of the replay."""
    kinds = {
        stored(path)[1]["events"][0]["workflowExecutionStartedEventAttributes"]["workflowType"]["name"]
        for path in FILES
    }
    assert kinds >= {
        "ArchiveWebhookDeliveries",
        "BatchTransfer",
        "CheckAlerts",
        "CleanStaleBatches",
        "ExpireTransfers",
        "LaneKeeper",
        "RetryFailedBlockchainTransfers",
        "SweepWebhookDeliveries",
        "WebhookDelivery",
    }


async def test_a_history_of_another_course_is_told() -> None:
    """The replay would notice a changed course."""
    workflow_id, history = stored(FOLDER / "batch_cancelled.json")
    text = json.dumps(history).replace('"create_transfers"', '"conjure_transfers"')
    with pytest.raises(NondeterminismError):
        await replayer().replay_workflow(WorkflowHistory.from_json(workflow_id, text))


async def test_workflows_run_and_replay_without_a_cache(temporal: Temporal) -> None:
    """Each task replays the whole history: whatever isn't deterministic shows."""
    client = await temporal.add_namespace("uncached")
    async with working_fakes(client, max_cached_workflows=0) as fakes:
        batch = FakeBatch(45, window=3, slices_per_run=4)
        batch.poison["submit"], batch.failing, batch.polls = {13}, {3: 1, 44: 99}, 2
        handle = await fakes.start(batch)
        result = await handle.result()
        assert (result["completed"], result["failed"]) == (43, 2)
        first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        await replayer().replay_workflow(await first.fetch_history())
