"""What goes wrong with a batch's items, its steps and its workers, and what becomes of the others."""

from __future__ import annotations

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.exceptions import ActivityError, ApplicationError

from tests.fake_batch import FakeBatch, defect
from tests.workflows.conftest import Fakes, until_status
from workflows.defects import defect_signature
from workflows.interface.codes import AlertKind, ErrorCode
from workflows.interface.names import batch_workflow_id


@pytest.mark.parametrize("step", ["create", "submit"])
async def test_a_poison_value_fails_alone(fakes: Fakes, step: str) -> None:
    """A defect is narrowed down to its item, which fails with INTERNAL; all others move."""
    batch = FakeBatch(40)
    batch.poison[step] = {17}
    result = await fakes.run(batch)
    assert (result["status"], result["completed"], result["failed"]) == ("COMPLETED_WITH_FAILURES", 39, 1)
    assert batch.codes == {17: "INTERNAL"}
    assert set(batch.moves.values()) == {1}
    assert [call for call in batch.calls if call.startswith("fail")] == ["fail 17-17"]


async def test_two_poison_values_in_one_slice_fail_alone(fakes: Fakes) -> None:
    """Narrowing goes on in the other half as well."""
    batch = FakeBatch(16, slice_size=16)
    batch.poison["create"] = {3, 14}
    assert (await fakes.run(batch))["completed"] == 14
    assert set(batch.codes) == {3, 14}


async def test_the_same_defect_in_several_slices_pauses_the_batch_with_one_alert(fakes: Fakes) -> None:
    """A missing migration, say, fails no item: the batch waits for a person, and goes on when resumed."""
    batch = FakeBatch(60)
    batch.broken["create"] = "UndefinedTableError: relation 42 doesn't exist"
    pausing = batch.hold("pause")
    handle = await fakes.start(batch)
    await pausing.reached.wait()
    batch.let_go("pause")
    assert batch.codes == {}
    del batch.broken["create"]
    await handle.signal("resume-batch")
    assert (await handle.result())["completed"] == 60
    alerts = [alert for alert in fakes.transfers.alerts if alert.subject == batch_workflow_id(batch.batch_id)]
    assert [alert.kind for alert in alerts] == [AlertKind.REPEATED_DEFECT]
    assert "relation # doesn't exist" in alerts[0].message


async def test_a_defect_that_keeps_a_bound_item_from_settling_waits_for_a_person(fakes: Fakes) -> None:
    """Only the chain may decide about a bound item: the batch pauses with an alert, and goes on when resumed."""
    batch = FakeBatch(4, slice_size=4)
    batch.poison["confirm"] = {2}
    pausing = batch.hold("pause")
    handle = await fakes.start(batch)
    await pausing.reached.wait()
    batch.let_go("pause")
    assert (batch.items[2], batch.codes) == ("BOUND", {})
    batch.poison.clear()
    await handle.signal("resume-batch")
    assert (await handle.result())["completed"] == 4
    [alert] = [a for a in fakes.transfers.alerts if a.subject == batch_workflow_id(batch.batch_id)]
    assert "item 2 is bound but can't be settled" in alert.message


@pytest.mark.parametrize("slices_per_run", [1, 200])
async def test_a_batch_that_waits_for_a_person_shows_paused(fakes: Fakes, slices_per_run: int) -> None:
    """Its status, its details and the database say so, also where the run has only to wait for its slices."""
    batch = FakeBatch(4, slice_size=2, window=2, slices_per_run=slices_per_run)
    batch.poison["confirm"] = {2}
    handle = await fakes.start(batch)
    await until_status(handle, "PAUSED")
    assert batch.paused
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert metadata.current_details.startswith("**PAUSED**")
    assert "1 slices of 2 in flight" in metadata.current_details
    batch.poison.clear()
    await handle.signal("resume-batch")
    assert (await handle.result())["completed"] == 4


async def test_a_cancelled_batch_with_a_stuck_item_says_that_it_is_tried_again(fakes: Fakes) -> None:
    """It can't be paused: nobody has to resume it, and it ends once the item can be settled."""
    batch = FakeBatch(4, slice_size=4)
    hold = batch.hold("confirm")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    await handle.signal("cancel-batch")
    while not batch.cancelled:
        await handle.query("progress")
    batch.poison["confirm"] = {2}
    batch.let_go("confirm")
    while not (alerts := [alert for alert in fakes.transfers.alerts if alert.subject == handle.id]):
        await handle.query("progress")
    batch.poison.clear()
    assert alerts[0].message.startswith("batch can't end its cancel, and tries again: item 2 is bound")
    assert not batch.paused
    assert (await handle.result())["completed"] == 4


async def test_a_defect_of_a_step_of_the_whole_batch_is_alerted_and_tried_again(fakes: Fakes) -> None:
    """What can't be narrowed down to an item waits for whoever mends it; the batch isn't given up."""
    batch = FakeBatch(5)
    batch.broken["close"] = "KeyError: 17"
    handle = await fakes.start(batch)
    while not (alerts := [a for a in fakes.transfers.alerts if a.subject == handle.id]):
        await handle.query("progress")
    assert "close the batch: KeyError: 17" in alerts[0].message
    batch.broken.clear()
    assert (await handle.result())["completed"] == 5


async def test_a_cancel_frees_a_batch_that_waits_because_of_a_stuck_item(fakes: Fakes) -> None:
    """Nobody has to resume it first; once the item can be settled, all ends."""
    batch = FakeBatch(4, slice_size=4)
    batch.poison["confirm"] = {2}
    handle = await fakes.start(batch)
    while not [alert for alert in fakes.transfers.alerts if alert.subject == handle.id]:
        await handle.query("progress")
    await handle.signal("cancel-batch")
    batch.poison.clear()
    result = await handle.result()
    assert (result["status"], result["completed"]) == ("CANCELLED", 4)


async def test_steps_that_say_not_yet_are_asked_again(fakes: Fakes) -> None:
    """Polls are no failures and use up nothing."""
    batch = FakeBatch(20)
    batch.polls = 12
    assert (await fakes.run(batch))["completed"] == 20
    assert len([call for call in batch.calls if call.startswith("confirm")]) >= 14


@pytest.mark.parametrize("step", ["open", "create", "submit", "confirm", "close"])
async def test_a_step_whose_result_is_lost_is_done_again_without_doing_it_twice(fakes: Fakes, step: str) -> None:
    """The work is done, the answer never comes: the next try finds it done."""
    batch = FakeBatch(10)
    batch.lost[step] = 1
    assert (await fakes.run(batch))["completed"] == 10
    assert (batch.run_no, set(batch.moves.values())) == (1, {1})


async def test_a_worker_gone_between_nonce_and_send_is_noticed_by_its_silence(fakes: Fakes) -> None:
    """No heartbeat for three seconds, and the step is given to another; what was bound isn't bound again."""
    batch = FakeBatch(10)
    batch.frozen["submit"] = 1
    assert (await fakes.run(batch))["completed"] == 10
    assert batch.calls.count("submit 1-10") == 2
    assert set(batch.moves.values()) == {1}


async def test_a_full_lane_is_filled_again_while_what_is_bound_is_confirmed(fakes: Fakes) -> None:
    """Submitting and confirming a slice go side by side, or a full lane would wait for itself."""
    batch = FakeBatch(10)
    batch.room = 3
    assert (await fakes.run(batch))["completed"] == 10
    assert batch.calls.count("submit 1-10") >= 4
    assert set(batch.moves.values()) == {1}


async def test_items_that_fail_are_tried_again_together_across_slices(fakes: Fakes) -> None:
    """What is due again leaves its slice, and runs as one range after a durable timer."""
    batch = FakeBatch(40)
    batch.failing = {3: 1, 17: 2, 38: 1}
    result = await fakes.run(batch)
    assert (result["status"], result["completed"]) == ("COMPLETED", 40)
    assert set(batch.moves.values()) == {1}
    assert {n: batch.tries[n] for n in (3, 17, 38)} == {3: 2, 17: 3, 38: 2}
    # No slice was run as a whole a second time.
    assert all(batch.calls.count(f"create {first}-{first + 9}") == 1 for first in (1, 11, 21, 31))


async def test_items_that_never_move_fail_after_three_tries(fakes: Fakes) -> None:
    """The others aren't held up by them."""
    batch = FakeBatch(25)
    batch.failing = {1: 99, 25: 99}
    result = await fakes.run(batch)
    assert (result["completed"], result["failed"]) == (23, 2)
    assert batch.codes == {1: "REVERTED", 25: "REVERTED"}


async def test_failed_items_of_a_finished_batch_are_retried_in_a_new_run(fakes: Fakes) -> None:
    """`retryFailed` reopens what failed before this run, and nothing else runs again."""
    batch = FakeBatch(30)
    batch.failing = {7: 99, 20: 99}
    assert (await fakes.run(batch))["failed"] == 2
    batch.failing = {}
    calls = len(batch.calls)
    result = await fakes.run(batch, retryFailed=True)
    assert (result["status"], result["completed"], batch.run_no) == ("COMPLETED", 30, 2)
    assert not [call for call in batch.calls[calls:] if call in ("create 1-10", "create 11-20", "create 21-30")]
    assert set(batch.moves.values()) == {1}


async def test_a_run_that_was_cut_off_is_gone_on_with(fakes: Fakes) -> None:
    """After a terminated workflow the next start with the same id finishes the open run."""
    batch = FakeBatch(20)
    hold = batch.hold("confirm")
    handle = await fakes.start(batch)
    await hold.reached.wait()
    await handle.terminate("test")
    batch.let_go("confirm")
    result = await fakes.run(batch)
    assert (result["status"], result["completed"], batch.run_no) == ("COMPLETED", 20, 1)


def activity_error(cause: BaseException | None) -> ActivityError:
    error = ActivityError(
        "failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="create_transfers",
        activity_id="1",
        retry_state=None,
    )
    error.__cause__ = cause
    return error


def test_one_defect_is_told_from_another_by_its_words_not_its_numbers() -> None:
    """Ids and numbers differ from slice to slice; the defect is the same."""
    first = defect_signature(activity_error(defect("KeyError: ticket 17 of 3f6fa5a2-5a1b-4b43-9a52-4b1f6b7e0d11")))
    second = defect_signature(activity_error(defect("KeyError: ticket 4 of 99999999-5a1b-4b43-9a52-4b1f6b7e0d12")))
    assert first is not None
    assert first.startswith("KeyError: ticket # of #")
    assert first == second != defect_signature(activity_error(defect("TypeError: ticket 17")))
    assert len(defect_signature(activity_error(defect("x" * 5000))) or "") <= 200


@pytest.mark.parametrize(
    "cause",
    [None, ValueError("x"), ApplicationError("refused", type=ErrorCode.NOT_FOUND), ApplicationError("no type")],
)
def test_what_is_no_defect_has_no_signature(cause: BaseException | None) -> None:
    """Only a step's own word makes a defect."""
    assert defect_signature(activity_error(cause)) is None
