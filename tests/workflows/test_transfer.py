"""The course of a single transfer: its steps in order, words on a gift, defects, and what callers are told."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.fake_batch import Hold, defect
from tests.fake_transfer import FakeTransfer
from tests.workflows.conftest import Fakes
from workflows.interface.codes import ErrorCode, TransferStatus
from workflows.interface.names import Queue, Update, WorkflowType, transfer_workflow_id

NEW = {"fromUserId": "alice", "ticketId": "17", "to": "bob"}


def refused(error: BaseException | None) -> str | None:
    """The type of the error a caller gets."""
    return error.type if isinstance(error, ApplicationError) else None


async def test_a_new_transfer_goes_to_the_chain(fakes: Fakes) -> None:
    """Opened, submitted and confirmed; the result says how it stands."""
    transfer = FakeTransfer()
    result = await (await fakes.begin(transfer, **NEW)).result()
    assert (result["status"], transfer.done) == ("COMPLETED", ["open", "submit", "confirm"])


async def test_a_failed_try_is_followed_by_another(fakes: Fakes) -> None:
    """After the wait that the step asks for, both chain steps come again."""
    transfer = FakeTransfer()
    transfer.outcomes = [TransferStatus.ACCEPTED, TransferStatus.FAILED]
    result = await (await fakes.begin(transfer, **NEW)).result()
    assert result["status"] == "FAILED"
    assert transfer.done == ["open", *["submit", "confirm"] * 2]


async def test_a_locked_ticket_is_asked_for_again(fakes: Fakes) -> None:
    """Nothing is written while another transfer holds it."""
    transfer = FakeTransfer()
    transfer.locked_for = 1
    assert (await (await fakes.begin(transfer, **NEW)).result())["status"] == "COMPLETED"
    assert transfer.done[:2] == ["open", "open"]


async def test_a_gift_that_waits_has_no_open_workflow(fakes: Fakes) -> None:
    """Its workflow ends with the waiting gift as its result."""
    transfer = FakeTransfer(TransferStatus.PENDING)
    assert (await (await fakes.begin(transfer)).result())["status"] == "PENDING"
    assert transfer.done == ["open"]


async def test_an_accepted_gift_is_answered_at_once_and_then_moved(fakes: Fakes) -> None:
    """The answer doesn't wait for the chain."""
    transfer = FakeTransfer(TransferStatus.PENDING)
    answer = await fakes.say(transfer, Update.ACCEPT_GIFT)
    assert answer["status"] == "ACCEPTED"
    handle = fakes.client.get_workflow_handle(transfer_workflow_id(transfer.transfer_id))
    assert (await handle.result())["status"] == "COMPLETED"
    assert transfer.done == ["open", "accept", "submit", "confirm"]


async def test_a_declined_gift_ends(fakes: Fakes) -> None:
    """Nothing goes to the chain."""
    transfer = FakeTransfer(TransferStatus.PENDING)
    assert (await fakes.say(transfer, Update.DECLINE_GIFT))["status"] == "DECLINED"
    handle = fakes.client.get_workflow_handle(transfer_workflow_id(transfer.transfer_id))
    assert (await handle.result())["status"] == "DECLINED"


async def test_of_two_words_at_once_one_is_refused(fakes: Fakes) -> None:
    """Both come to the same workflow; the second learns that the gift doesn't wait any more."""
    transfer = FakeTransfer(TransferStatus.PENDING)
    answers = await asyncio.gather(*(fakes.say(transfer, Update.ACCEPT_GIFT) for _ in range(2)), return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, WorkflowUpdateFailedError)]
    assert [refused(error.cause) for error in errors] == [ErrorCode.NOT_ALLOWED]
    await fakes.client.get_workflow_handle(transfer_workflow_id(transfer.transfer_id)).result()
    assert transfer.done.count("submit") == 1


async def test_a_word_while_it_is_on_the_chain_is_refused_without_harm(fakes: Fakes) -> None:
    """The running transfer goes on."""
    hold = Hold()
    transfer = FakeTransfer()
    transfer.script = []
    handle = await fakes.begin(transfer, **NEW)
    transfer.script = [hold]
    await hold.reached.wait()
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await fakes.say(transfer, Update.CANCEL_GIFT, "alice")
    assert refused(failed.value.cause) == ErrorCode.NOT_ALLOWED
    hold.released.set()
    assert (await handle.result())["status"] == "COMPLETED"


async def test_a_word_on_a_transfer_that_isnt_there_is_told_so(fakes: Fakes) -> None:
    """The update fails with the step's own error, and so does the workflow that it started."""
    gone = ApplicationError("there is no such transfer", type=ErrorCode.NOT_FOUND, non_retryable=True)
    transfer = FakeTransfer(None, gone)
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await fakes.say(transfer, Update.ACCEPT_GIFT)
    assert refused(failed.value.cause) == ErrorCode.NOT_FOUND
    with pytest.raises(WorkflowFailureError) as ended:
        await fakes.client.get_workflow_handle(transfer_workflow_id(transfer.transfer_id)).result()
    assert refused(ended.value.cause) == ErrorCode.NOT_FOUND


async def test_a_word_that_cant_be_read_is_refused(fakes: Fakes) -> None:
    """With the field's name; the gift waits on."""
    transfer = FakeTransfer(TransferStatus.PENDING)
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await fakes.say(transfer, Update.ACCEPT_GIFT, "")
    assert "userId" in str(failed.value.cause)
    assert transfer.status is TransferStatus.PENDING


@pytest.mark.parametrize("reason", ["a\x00b", "x" * 501, " "])
async def test_a_reason_that_cant_be_kept_is_refused(fakes: Fakes, reason: str) -> None:
    """Before any step sees it: the gift waits on, without an open workflow."""
    transfer = FakeTransfer(TransferStatus.PENDING)
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await fakes.say(transfer, Update.DECLINE_GIFT, reason=reason)
    assert "reason" in str(failed.value.cause)
    handle = fakes.client.get_workflow_handle(transfer_workflow_id(transfer.transfer_id))
    assert (await handle.result())["status"] == "PENDING"


async def test_an_accepted_gift_doesnt_wait_for_another_word(fakes: Fakes) -> None:
    """It goes to the chain while the step of an earlier word hangs; the workflow ends once that is answered."""
    hold = Hold()
    transfer = FakeTransfer(TransferStatus.PENDING, None, hold)
    declining = asyncio.create_task(fakes.say(transfer, Update.DECLINE_GIFT))
    await hold.reached.wait()
    await fakes.say(transfer, Update.ACCEPT_GIFT)
    while transfer.done[-1] != "confirm":
        await asyncio.sleep(0)
    hold.released.set()
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await declining
    assert refused(failed.value.cause) == ErrorCode.NOT_ALLOWED


async def test_a_retried_item_mends_its_batch(fakes: Fakes) -> None:
    """Once it has moved; its batch may have no failure left."""
    transfer = FakeTransfer(TransferStatus.ACCEPTED)
    transfer.works_for = uuid4()
    await (await fakes.begin(transfer, reopen={"by": "operator"})).result()
    assert transfer.done == ["open", "submit", "confirm", "mend"]


async def test_a_defect_is_alerted_and_the_step_tried_again(fakes: Fakes) -> None:
    """A transfer isn't failed for a fault of ours: it waits until it's mended."""
    transfer = FakeTransfer(TransferStatus.ACCEPTED, defect("KeyError: 17"))
    handle = await fakes.begin(transfer)
    while not [alert for alert in fakes.transfers.alerts if str(transfer.transfer_id) in alert.subject]:
        await asyncio.sleep(0)
    await handle.terminate("the alert is what this test waits for")
    assert transfer.done == ["open"]


async def test_an_input_that_cant_be_worked_on_ends_the_workflow(fakes: Fakes) -> None:
    """Under another id, or with half a request."""
    transfer = FakeTransfer()
    with pytest.raises(WorkflowFailureError) as ended:
        await (await fakes.begin(transfer, ticketId="17")).result()
    assert refused(ended.value.cause) == ErrorCode.INVALID_INPUT
    handle = await fakes.client.start_workflow(
        WorkflowType.TRANSFER,
        {"transferId": str(uuid4())},
        id=f"other/{uuid4()}",
        task_queue=Queue.TRANSFERS,
    )
    with pytest.raises(WorkflowFailureError) as foreign:
        await handle.result()
    assert refused(foreign.value.cause) == ErrorCode.INVALID_INPUT
