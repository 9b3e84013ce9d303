"""The course of a batch's workflow where nothing goes wrong, and what callers and operators see of it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from tests.fake_batch import FakeBatch
from tests.workflows.conftest import Fakes
from workflows.interface.names import batch_workflow_id, webhook_workflow_id


async def test_a_batch_ends_with_every_item_moved_once(fakes: Fakes) -> None:
    """Slices are created, submitted and confirmed, and the result is told in camelCase."""
    batch = FakeBatch(45)
    assert await fakes.run(batch) == {
        "batchId": str(batch.batch_id),
        "status": "COMPLETED",
        "itemCount": 45,
        "completed": 45,
        "failed": 0,
        "cancelled": 0,
    }
    assert set(batch.moves.values()) == {1}
    assert sorted(call for call in batch.calls if call.startswith("create")) == [
        "create 1-10",
        "create 11-20",
        "create 21-30",
        "create 31-40",
        "create 41-45",
    ]


async def test_slices_of_one_item_work_too(fakes: Fakes) -> None:
    """The smallest slice is one item."""
    assert (await fakes.run(FakeBatch(3, slice_size=1)))["completed"] == 3


async def test_no_more_slices_than_the_window_are_in_flight(fakes: Fakes) -> None:
    """The third slice begins when one of the two before it has left."""
    batch = FakeBatch(40, window=2)
    hold = batch.hold("confirm")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    batch.let_go("confirm")
    await handle.result()
    third = batch.calls.index("create 21-30")
    assert any(call.startswith("confirm") for call in batch.calls[:third])


async def test_an_inline_batch_is_opened_with_its_items(fakes: Fakes) -> None:
    """The items travel to the first step, and nowhere else."""
    batch = FakeBatch(2)
    items = [{"ticketId": "017", "to": "bob"}, {"ticketId": "18", "to": "carol"}]
    result = await fakes.run(batch, fromUserId="alice", items=items, settlement="single")
    assert result["completed"] == 2
    assert batch.content is not None
    assert [item.ticket_id for item in batch.content.items or ()] == ["17", "18"]


async def test_a_batch_whose_content_differs_ends_with_that_error(fakes: Fakes) -> None:
    """Another request under the same id touches nothing."""
    batch = FakeBatch(1)
    await fakes.run(batch, fromUserId="alice", items=[{"ticketId": "17", "to": "bob"}])
    error = await failure(fakes, batch, {"fromUserId": "alice", "items": [{"ticketId": "17", "to": "carol"}]})
    assert error.type == "BATCH_CONTENT_DIFFERS"
    assert set(batch.moves.values()) == {1}


async def test_the_same_request_again_gives_the_stored_result(fakes: Fakes) -> None:
    """A batch that has ended isn't run again."""
    batch = FakeBatch(5)
    first = await fakes.run(batch)
    calls = len(batch.calls)
    assert await fakes.run(batch) == first
    assert batch.calls[calls:] == ["open", "close"]
    assert batch.run_no == 1


async def test_of_many_starts_at_once_one_runs(fakes: Fakes) -> None:
    """The workflow id is the lock: the others are told, or get the same run."""
    batch = fakes.transfers.add(FakeBatch(20))
    argument = {"batchId": str(batch.batch_id)}
    starts = [fakes.start_raw(batch, argument) for _ in range(5)]
    starts += [
        fakes.start_raw(batch, argument, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING) for _ in range(5)
    ]
    hold = batch.hold("open")
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    await hold.reached.wait()
    batch.let_go("open")
    handles = [outcome for outcome in outcomes if isinstance(outcome, WorkflowHandle)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, WorkflowAlreadyStartedError)]
    assert len(handles) + len(refused) == 10
    assert len({handle.result_run_id or handle.first_execution_run_id for handle in handles}) == 1
    assert (await handles[0].result())["completed"] == 20
    assert (batch.run_no, set(batch.moves.values())) == (1, {1})


async def failure(fakes: Fakes, batch: FakeBatch, fields: Any, **options: Any) -> ApplicationError:
    """The error a start with this input ends with, whatever the input is."""
    argument = {"batchId": str(batch.batch_id), **fields} if isinstance(fields, dict) else fields
    handle = await fakes.start_raw(batch, argument, **options)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    return cause


LINE = {"ticketId": "17", "to": "bob"}


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ({}, "never staged"),
        ({"items": [LINE]}, "fromUserId is needed with items"),
        ({"fromUserId": "alice", "items": [LINE] * 2001}, "items: has more than 2,000 entries"),
        ({"fromUserId": "alice", "items": [{"ticketId": "x", "to": "bob"}]}, "items.0.ticketId: .* whole number"),
        ({"batchId": "7"}, "batchId: must be a UUID"),
        ({"fromUserId": "alice", "items": [LINE], "kindly": True}, "kindly: unknown field"),
        ("not an object", "input: "),
        (None, "BatchInput is needed as JSON"),
        ([], "input: "),
    ],
)
async def test_an_impossible_input_ends_the_workflow(fakes: Fakes, argument: Any, said: str) -> None:
    """It's INVALID_INPUT, naming the fault, and not a task that's retried for ever."""
    error = await failure(fakes, FakeBatch(1), argument)
    assert error.type == "INVALID_INPUT"
    assert error.non_retryable
    with pytest.raises(ApplicationError, match=said):
        raise error


async def test_a_start_without_any_input_ends_the_workflow(fakes: Fakes) -> None:
    """Nothing to decode is an invalid input as well."""
    handle = await fakes.client.start_workflow("BatchTransfer", id=f"batch/{uuid4()}", task_queue="transfers")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "INVALID_INPUT"


@pytest.mark.parametrize("workflow_id", ["batch/7", f"batch/{uuid4()}", "my-batch"])
async def test_another_workflow_id_than_the_batchs_is_refused(fakes: Fakes, workflow_id: str) -> None:
    """The id is the lock of the batch, so it must be the batch's own."""
    batch = fakes.transfers.add(FakeBatch(1))
    error = await failure(fakes, batch, {}, id=workflow_id)
    assert error.type == "INVALID_INPUT"
    assert batch.calls == []


async def test_progress_tells_where_the_items_stand(fakes: Fakes) -> None:
    """The query answers in camelCase at any time, also before the batch is open and after its end."""
    batch = FakeBatch(12)
    opening, confirming = batch.hold("open"), batch.hold("confirm")
    handle = await fakes.start(batch)
    await opening.reached.wait()
    early = await handle.query("progress")
    assert (early["batchId"], early["status"], early["itemCount"]) == (str(batch.batch_id), "QUEUED", 0)
    batch.let_go("open")
    await confirming.reached.wait()
    middle = await handle.query("progress")
    assert (middle["status"], middle["itemCount"], middle["completed"]) == ("PROCESSING", 12, 0)
    batch.let_go("confirm")
    await handle.result()
    last = await handle.query("progress")
    assert last == {
        "batchId": str(batch.batch_id),
        "status": "COMPLETED",
        "itemCount": 12,
        "queued": 0,
        "processing": 0,
        "completed": 12,
        "failed": 0,
        "cancelled": 0,
    }


async def test_the_web_ui_can_find_and_read_a_batch(fakes: Fakes) -> None:
    """Search attributes, memo, summaries and current details are set."""
    batch = FakeBatch(12)
    batch.failing = {3: 9}
    handle = await fakes.start(batch)
    await handle.result()
    description = await handle.describe()
    found = {key.name: value for key, value in description.typed_search_attributes}
    assert {name: found[name] for name in ("BatchStatus", "FromUserId", "ItemCount", "FailedCount")} == {
        "BatchStatus": "COMPLETED_WITH_FAILURES",
        "FromUserId": "alice",
        "ItemCount": 12,
        "FailedCount": 1,
    }
    assert (await description.memo())["requestSha256"] == "ab" * 32
    metadata: WorkflowMetadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert "**COMPLETED_WITH_FAILURES** · 100 % of 12 tickets" in metadata.current_details
    history = await handle.fetch_history()
    scheduled = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
    assert all(event.user_metadata.summary.data for event in scheduled)


async def test_drains_of_webhooks_are_started_and_outlive_their_batch(fakes: Fakes) -> None:
    """Each subscription's drain is a child that is abandoned; one that runs already is as good."""
    batch, other = FakeBatch(5), FakeBatch(5)
    batch.subscription_ids = other.subscription_ids = (uuid4(), uuid4())
    handle = await fakes.start(batch)
    assert (await handle.result())["completed"] == 5
    assert (await fakes.run(other))["completed"] == 5
    for subscription_id in batch.subscription_ids:
        drain = await is_running(fakes.client, webhook_workflow_id(subscription_id))
        assert drain.raw_description.workflow_execution_info.HasField("parent_execution")
    history = await handle.fetch_history()
    begun = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED]
    policies = {e.start_child_workflow_execution_initiated_event_attributes.parent_close_policy for e in begun}
    assert (len(begun), policies) == (2, {2})


async def is_running(client: Client, workflow_id: str) -> Any:
    """The description of a workflow that still runs."""
    description = await client.get_workflow_handle(workflow_id).describe()
    assert description.status is not None
    assert description.status.name == "RUNNING"
    return description


async def test_activities_carry_the_batchs_priority_and_fairness(fakes: Fakes) -> None:
    """Batches have priority 3 and share the workers by sending user."""
    batch = FakeBatch(1)
    handle = await fakes.start(batch)
    await handle.result()
    history = await fakes.client.get_workflow_handle(batch_workflow_id(batch.batch_id)).fetch_history()
    scheduled = [
        e.activity_task_scheduled_event_attributes
        for e in history.events
        if e.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    keys = {
        (a.priority.priority_key, a.priority.fairness_key) for a in scheduled if a.activity_type.name != "open_batch"
    }
    assert keys == {(3, "alice")}
