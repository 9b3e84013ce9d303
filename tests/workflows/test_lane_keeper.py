"""The keeper of a lane: runs while nonces are open, hears every wake, and is never given up."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from activities.faults import not_yet
from tests.fake_batch import Hold, defect
from tests.fakes import FakeLane
from tests.workflows.conftest import CHAIN_ID, Fakes
from workflows.interface.codes import AlertKind
from workflows.interface.names import lane_workflow_id


async def test_a_keeper_ends_when_no_nonce_is_open(fakes: Fakes) -> None:
    """Its step polls by itself: one round, however often it was told not yet."""
    lane = FakeLane(not_yet("3 nonces are open", 0.01), not_yet("1 nonce is open", 0.01))
    handle = await fakes.wake(lane)
    await handle.result()
    assert lane.rounds == 3


async def test_a_wake_during_a_round_brings_another_round(fakes: Fakes) -> None:
    """What was bound after the round had looked is tended as well."""
    hold = Hold()
    lane = FakeLane(hold)
    handle = await fakes.wake(lane)
    await hold.reached.wait()
    again = await fakes.wake(lane)
    assert (again.id, again.result_run_id) == (handle.id, handle.result_run_id)
    hold.released.set()
    await handle.result()
    assert lane.rounds == 2


async def test_no_wake_is_lost_however_it_meets_the_keepers_end(fakes: Fakes) -> None:
    """After every binding's wake some round looks at the lane, whether a keeper was running, ending or gone."""
    lane = FakeLane()
    for _ in range(40):
        lane.wanted = True
        await fakes.wake(lane)
    await fakes.client.get_workflow_handle(lane_workflow_id(CHAIN_ID, lane.signer)).result()
    assert not lane.wanted


async def test_a_keeper_survives_a_defect_and_alerts(fakes: Fakes) -> None:
    """A lane is never given up: the round is made again, and a person is told."""
    lane = FakeLane(defect("KeyError: 17"))
    handle = await fakes.wake(lane)
    await handle.result()
    assert lane.rounds == 2
    [alert] = [alert for alert in fakes.transfers.alerts if alert.subject == handle.id]
    assert (alert.kind, handle.id) == (AlertKind.DEFECT, lane_workflow_id(CHAIN_ID, lane.signer))
    assert "KeyError: 17" in alert.message


@pytest.mark.parametrize("argument", [{"chainId": "x"}, "lane", {}])
async def test_a_keeper_with_an_impossible_input_ends(fakes: Fakes, argument: object) -> None:
    """It isn't retried for ever."""
    handle = await fakes.client.start_workflow("LaneKeeper", argument, id="lane/31337/0xbad", task_queue="blockchain")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "INVALID_INPUT"


async def test_the_sweep_tells_how_many_it_woke(fakes: Fakes) -> None:
    """The scheduled workflow's result is its step's."""
    result = await fakes.client.execute_workflow("SweepWebhookDeliveries", id="sweep", task_queue="maintenance")
    assert result == {"dueSubscriptions": 3}
