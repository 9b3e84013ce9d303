"""Pause, resume and cancel at each stage of a batch, and their way over continue-as-new."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from tests.fake_batch import FakeBatch
from tests.workflows.conftest import Fakes, until_status

STAGES = ["open", "create", "submit", "confirm"]
Handle = WorkflowHandle[Any, Any]


async def by_signal(handle: Handle) -> None:
    await handle.signal("cancel-batch", {"reason": "sold out"})


async def by_signal_without_reason(handle: Handle) -> None:
    await handle.signal("cancel-batch")


async def by_odd_signal(handle: Handle) -> None:
    await handle.signal("cancel-batch", ["whatever"])


async def by_the_web_ui(handle: Handle) -> None:
    await handle.cancel()


@pytest.mark.parametrize("stage", STAGES)
async def test_a_cancel_at_any_stage_moves_what_is_bound_and_nothing_else(fakes: Fakes, stage: str) -> None:
    """Items end COMPLETED or CANCELLED, each ticket moved at most once, and the batch CANCELLED."""
    batch = FakeBatch(40, window=2)
    hold, cutting = batch.hold(stage), batch.hold("cancel")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    await by_signal(handle)
    if stage == "open":
        batch.let_go("open")
    await cutting.reached.wait()
    batch.let_go("cancel")
    if stage != "open":
        batch.let_go(stage)
    result = await handle.result()
    assert (result["status"], result["completed"] + result["cancelled"]) == ("CANCELLED", 40)
    assert result["completed"] == len(batch.moves)
    assert set(batch.moves.values()) <= {1}
    assert batch.reason == "sold out"
    assert result["completed"] == (20 if stage == "confirm" else 0)


@pytest.mark.parametrize("cancel", [by_signal_without_reason, by_odd_signal, by_the_web_ui])
async def test_every_way_to_cancel_is_the_same_cut(fakes: Fakes, cancel: Callable[[Handle], Awaitable[None]]) -> None:
    """A signal without or with an odd argument, and the Web UI's button, all mean cancel-batch."""
    batch = FakeBatch(30, window=1)
    hold = batch.hold("confirm")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    cutting = batch.hold("cancel")
    await cancel(handle)
    await cutting.reached.wait()
    batch.let_go("cancel")
    batch.let_go("confirm")
    result = await handle.result()
    assert (result["status"], result["completed"], result["cancelled"]) == ("CANCELLED", 10, 20)


async def test_a_staged_batch_that_never_ran_can_be_cancelled(fakes: Fakes) -> None:
    """Signal-with-start: the run begins with the cut."""
    batch = fakes.transfers.add(FakeBatch(20))
    handle = await fakes.start_raw(
        batch, {"batchId": str(batch.batch_id)}, start_signal="cancel-batch", start_signal_args=[{"reason": "r"}]
    )
    result = await handle.result()
    assert (result["status"], result["cancelled"]) == ("CANCELLED", 20)
    assert not [call for call in batch.calls if call.startswith(("create", "submit"))]


async def test_a_bound_item_of_a_cancelled_batch_that_doesnt_move_is_cancelled(fakes: Fakes) -> None:
    """After the cut nothing is tried again."""
    batch = FakeBatch(10)
    batch.failing = {4: 1}
    hold = batch.hold("confirm")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    cutting = batch.hold("cancel")
    await by_signal(handle)
    await cutting.reached.wait()
    batch.let_go("cancel")
    await until(fakes, handle, lambda: batch.cancelled)
    batch.let_go("confirm")
    result = await handle.result()
    assert (result["completed"], result["cancelled"]) == (9, 1)


async def test_a_cancel_while_items_wait_for_another_try_ends_at_once(fakes: Fakes) -> None:
    """Waiting items are cancelled with the rest."""
    batch = FakeBatch(10)
    batch.failing = {4: 99}
    # The fourth item comes back from its first go and is held on its way into the second.
    handle = await fakes.start(batch)
    await until(fakes, handle, lambda: batch.tries[4] >= 1)
    await by_signal(handle)
    result = await handle.result()
    assert result["completed"] == 9
    assert result["status"] in ("CANCELLED", "COMPLETED_WITH_FAILURES")


async def until(fakes: Fakes, handle: Handle, reached: Callable[[], bool]) -> None:
    """Asks the running workflow, each time a round trip, until it has got so far."""
    while not reached():
        await handle.query("progress")


@pytest.mark.parametrize("stage", STAGES)
async def test_a_pause_at_any_stage_binds_nothing_more_until_resumed(fakes: Fakes, stage: str) -> None:
    """What is bound is confirmed during the pause; then all goes on to the end."""
    batch = FakeBatch(40, window=2)
    hold, pausing = batch.hold(stage), batch.hold("pause")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    await handle.signal("pause-batch")
    if stage == "open":
        batch.let_go("open")
    await pausing.reached.wait()
    batch.let_go("pause")
    await until_status(handle, "PAUSED")
    if stage != "open":
        batch.let_go(stage)
    bound = 20 if stage == "confirm" else 0
    await until(fakes, handle, lambda: len(batch.moves) == bound)
    resuming = batch.hold("resume")
    await handle.signal("resume-batch")
    await resuming.reached.wait()
    assert len(batch.moves) == bound
    batch.let_go("resume")
    result = await handle.result()
    assert (result["status"], result["completed"]) == ("COMPLETED", 40)
    assert set(batch.moves.values()) == {1}


async def test_a_paused_batch_can_be_cancelled(fakes: Fakes) -> None:
    """A pause keeps no batch from its end."""
    batch = FakeBatch(40, window=1)
    hold = batch.hold("submit")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    await handle.signal("pause-batch")
    await until_status(handle, "PAUSED")
    batch.let_go("submit")
    await handle.signal("cancel-batch")
    result = await handle.result()
    assert (result["status"], result["completed"], result["cancelled"]) == ("CANCELLED", 0, 40)


async def test_pause_and_resume_at_once_leave_the_batch_running(fakes: Fakes) -> None:
    """The last word counts."""
    batch = FakeBatch(20)
    hold = batch.hold("create")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    for _ in range(3):
        await handle.signal("pause-batch")
        await handle.signal("resume-batch")
    batch.let_go("create")
    assert (await handle.result())["completed"] == 20
    assert not batch.paused


@pytest.mark.parametrize(("slices_per_run", "item_count"), [(1, 25), (2, 45)])
async def test_a_batch_goes_on_over_many_runs(fakes: Fakes, slices_per_run: int, item_count: int) -> None:
    """Continue-as-new carries what is left, the counts and the retries that are due; every item moves once."""
    batch = FakeBatch(item_count, window=3, slices_per_run=slices_per_run)
    batch.failing = {2: 2, 18: 1, 24: 99}
    handle = await fakes.start(batch)
    result = await handle.result()
    assert (result["completed"], result["failed"]) == (item_count - 1, 1)
    assert set(batch.moves.values()) == {1}
    assert (batch.run_no, batch.calls.count("open")) == (1, 1)
    # Nothing was looked for again from the start: the retries that were due came along.
    assert max(batch.calls.count(f"create {first}-{first + 9}") for first in range(1, item_count, 10)) == 1
    # The server lets a workflow continue as new once a second.
    assert await runs_of(fakes, handle) >= 3


async def runs_of(fakes: Fakes, handle: Handle) -> int:
    """How many runs the chain of continue-as-new has had: each one's history names the next."""
    runs, run_id = 1, handle.first_execution_run_id
    while True:
        history = await fakes.client.get_workflow_handle(handle.id, run_id=run_id).fetch_history()
        last = history.events[-1]
        if last.event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
            return runs
        attributes = last.workflow_execution_continued_as_new_event_attributes
        assert len(attributes.input.payloads[0].data) < 4_000
        runs, run_id = runs + 1, attributes.new_execution_run_id


async def test_inline_items_are_never_carried_to_the_next_run(fakes: Fakes) -> None:
    """They're in Postgres by then."""
    batch = FakeBatch(30, slices_per_run=1)
    items = [{"ticketId": str(n), "to": "x" * 60} for n in range(30)]
    handle = await fakes.start(batch, fromUserId="alice", items=items)
    assert (await handle.result())["completed"] == 30
    assert await runs_of(fakes, handle) >= 3


@pytest.mark.parametrize("signal", ["cancel-batch", "pause-batch"])
async def test_a_signal_sent_before_a_new_run_holds_in_it(fakes: Fakes, signal: str) -> None:
    """Pause and cancel are carried over continue-as-new."""
    batch = FakeBatch(40, window=1, slices_per_run=1)
    hold = batch.hold("confirm")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    await handle.signal(signal)
    batch.let_go("confirm")
    latest = fakes.client.get_workflow_handle(handle.id)
    if signal == "pause-batch":
        await until_status(latest, "PAUSED")
        assert len(batch.moves) < 40
        await latest.signal("resume-batch")
    result = await handle.result()
    assert result["status"] == ("COMPLETED" if signal == "pause-batch" else "CANCELLED")
    assert set(batch.moves.values()) == {1}


@pytest.mark.parametrize("paused", [False, True])
async def test_a_resume_that_meets_the_first_task_of_a_new_run_counts(fakes: Fakes, paused: bool) -> None:
    """A signal that comes before the new run has read what it was handed is newer than that."""
    batch = fakes.transfers.add(FakeBatch(20))
    batch.run_no, batch.paused = 1, paused
    resume = {
        "plan": {
            **batch.pace,
            "batch_id": str(batch.batch_id),
            "from_user_id": "alice",
            "item_count": 20,
            "settlement": "batched",
            "run_no": 1,
            "status": "PROCESSING",
            "counts": batch.counts.model_dump(),
            "request_sha256": "ab",
        },
        "next_item": 1,
        "counts": batch.counts.model_dump(),
        "paused": paused,
        "pause_wanted": True,
    }
    argument = {"batchId": str(batch.batch_id), "resume": resume}
    handle = await fakes.start_raw(batch, argument, start_signal="resume-batch")
    assert (await handle.result())["completed"] == 20
