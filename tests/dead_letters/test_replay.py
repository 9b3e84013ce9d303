"""`ReplayDeadLetters` on the real server with the real steps: once each, paced, resumed, recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)

from ledger.dead_letters import CarryOut, DeadLetters, OpenLetter, Signature, TakenUp
from ledger.pool import create_pool
from ledger.webhooks import WebhookLedger
from starter.replays import ReplayClient, ReplayStanding
from tests.dead_letters.conftest import Office
from tests.dead_letters.test_burying import used_up
from tests.webhooks.conftest import Subscriptions
from workflows.interface.codes import DeadLetterKind
from workflows.interface.dead_letters import LetterFilter
from workflows.interface.errors import RequestError
from workflows.interface.names import Queue, replay_workflow_id, transfer_workflow_id, webhook_workflow_id


async def test_one_letter_is_replayed_with_its_record(office: Office) -> None:
    """The named letter's transfer is reopened by an operator; who, when, why and which replay stand on record."""
    [wanted, other] = await office.transfers(2)
    [letter, _] = await office.ledger.open_page(await office.ledger.select(LetterFilter()), UUID(int=0), 2)
    request = office.request(filter=LetterFilter(dead_letter_ids=(letter,)), note="node mended")
    async with office.working():
        result = await office.replay(request)
        await office.notes.until(1)
    assert (result.replayed, result.skipped) == (1, 0)
    assert office.notes.requests == [{"transferId": str(wanted), "reopen": {"by": "operator", "force": False}}]
    [action] = await office.actions()
    assert (action["action"], action["by"], action["note"]) == ("replay", "olga", "node mended")
    assert (action["dead_letter_id"], action["replay_id"]) == (letter, request.replay_id)
    assert await office.statuses() == {"REPLAYED": 1, "OPEN": 1}
    assert other not in office.notes.starts


async def test_a_filter_takes_what_it_names_and_nothing_else(office: Office) -> None:
    """Kind, code and age choose together; what trying again can't help is skipped, unless forced."""
    reverted, refused = await office.transfers(3), await office.transfers(2, code="RECIPIENT_REFUSED")
    await office.ledger.bury_job("expire-transfers", "DEFECT", "boom", "workflow/x/y")
    transfers = LetterFilter(kind=DeadLetterKind.TRANSFER, newer_than_s=3600)
    async with office.working():
        assert (await office.replay(office.request(filter=LetterFilter(older_than_s=3600)))).replayed == 0
        result = await office.replay(office.request(filter=transfers))
        assert (result.replayed, result.skipped) == (3, 2)
        assert set(await office.notes.until(3)) == set(reverted)
        forced = office.request(filter=LetterFilter(code="RECIPIENT_REFUSED"), force=True)
        assert (await office.replay(forced)).replayed == 2
        assert set(await office.notes.until(5)) == {*reverted, *refused}
    assert office.notes.requests[-1]["reopen"]["force"] is True


async def test_replaying_twice_does_nothing_twice(office: Office) -> None:
    """A second replay of the same letters finds them closed; the same replay id again is the first replay's result."""
    ids = await office.transfers(5)
    request = office.request()
    async with office.working():
        assert (await office.replay(request)).replayed == 5
        assert (await office.replay(office.request())).replayed == 0
        assert await ReplayClient(office.client).start(request, 5) is ReplayStanding.COMPLETED
        assert (await ReplayClient(office.client).result(request)).replayed == 5
        assert await office.notes.until(5) == dict.fromkeys(ids, 1)
    with pytest.raises(RequestError, match="was asked for with another selection"):
        await ReplayClient(office.client).standing(request.model_copy(update={"force": True}))


async def test_two_replays_at_once_share_the_letters(office: Office, other_client: Client) -> None:
    """Of two replays over the same letters, with two workers, each letter is done by one, once."""
    ids = await office.transfers(120)
    requests = [office.request(per_second=1000) for _ in range(2)]
    async with office.working(), office.working(client=other_client):
        results = await asyncio.gather(*map(office.replay, requests))
        assert await office.notes.until(120) == dict.fromkeys(ids, 1)
    assert sum(result.replayed for result in results) == 120
    assert len(await office.actions()) == 120


async def test_the_second_of_two_replays_finds_a_letter_closed(office: Office) -> None:
    """While one replay gives a letter its go, another waits for the row, and then has nothing to do for it."""
    await office.transfers(1)
    ids = await office.ledger.open_page(await office.ledger.select(LetterFilter()), UUID(int=0), 9)
    seen: list[int] = []
    second: list[asyncio.Task[frozenset[UUID]]] = []

    async def later(held: Sequence[OpenLetter], _: TakenUp) -> list[UUID]:
        seen.append(len(held))
        return [one.letter.dead_letter_id for one in held]

    async def first(held: Sequence[OpenLetter], _: TakenUp) -> list[UUID]:
        second.append(asyncio.create_task(office.ledger.replay(ids, Signature("oscar", None, uuid4()), later)))
        async with asyncio.timeout(10):
            while not await office.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not second[0].done()
        return [one.letter.dead_letter_id for one in held]

    assert await office.ledger.replay(ids, Signature("olga", None, uuid4()), first) == frozenset(ids)
    assert (await second[0], seen) == (frozenset(), [0])
    assert [row["by"] for row in await office.actions()] == ["olga"]


async def test_a_replay_takes_one_connection(office: Office, database_url: str) -> None:
    """What it asks while the letters are held it asks on their connection: for another it could wait for ever."""
    [transfer_id] = await office.transfers(1)
    ids = await office.ledger.open_page(await office.ledger.select(LetterFilter()), UUID(int=0), 9)

    async def carry_out(held: Sequence[OpenLetter], taken_up: TakenUp) -> list[UUID]:
        async with asyncio.timeout(10):
            assert await taken_up([transfer_id]) == frozenset()
            await office.pool.execute("UPDATE ticket_transfers SET status = 'CANCELLED', failure_code = NULL")
            assert await taken_up([transfer_id]) == {transfer_id}
        return [one.letter.dead_letter_id for one in held]

    async with await create_pool(database_url, most_connections=1, name="one") as narrow:
        await DeadLetters(narrow).replay(ids, Signature("olga", None, uuid4()), carry_out)
    assert await office.statuses() == {"REPLAYED": 1}


async def test_a_killed_workers_replay_goes_on(office: Office) -> None:
    """A replay whose worker goes away in the middle is finished by the next one, each letter once."""
    ids = await office.transfers(9)
    request = office.request(per_second=3)
    async with office.working():
        handle = await office.start(request)
        await office.until(handle, lambda progress: progress.replayed >= 3)
    assert 3 <= (await office.statuses())["REPLAYED"] < 9
    async with office.working():
        result = await ReplayClient(office.client).result(request)
        assert await office.notes.until(9) == dict.fromkeys(ids, 1)
    assert (result.replayed, result.skipped) == (9, 0)


class DiesOnce(DeadLetters):
    """Loses its database once, after the transfers were started and before that's committed."""

    died = False

    async def replay(
        self, dead_letter_ids: Sequence[UUID], signature: Signature, carry_out: CarryOut
    ) -> frozenset[UUID]:
        async def dying(held: Any, taken_up: Any) -> Any:
            done = await carry_out(held, taken_up)
            if not self.died:
                self.died = True
                raise ConnectionResetError
            return done

        return await super().replay(dead_letter_ids, signature, dying)


async def test_a_crash_before_the_commit_repeats_the_start_alone(office: Office) -> None:
    """A letter whose transfer was started and that couldn't be marked is done again, and stands on record once."""
    [transfer_id] = await office.transfers(1)
    async with office.working(DiesOnce(office.pool)):
        result = await office.replay(office.request())
        assert await office.notes.until(2) == {transfer_id: 2}
    assert (result.replayed, result.skipped) == (1, 0)
    assert len(await office.actions()) == 1


async def looked_again(handle: WorkflowHandle[Any, Any]) -> bool:
    """Whether the step has asked to be called again."""
    pending = (await handle.describe()).raw_description.pending_activities
    return any(one.activity_type.name == "replay_letters" and one.attempt > 1 for one in pending)


async def test_a_run_that_is_about_to_end_is_waited_for(office: Office) -> None:
    """A `Transfer` that failed and still runs wouldn't hear of the replay: its letter waits for its end."""
    [transfer_id] = await office.transfers(1)
    office.notes.held.add(transfer_id)
    async with office.working():
        ending = await office.client.start_workflow(
            "Transfer",
            {"transferId": str(transfer_id)},
            id=transfer_workflow_id(transfer_id),
            task_queue=Queue.TRANSFERS,
        )
        await office.notes.until(1)
        handle = await office.start(office.request())
        async with asyncio.timeout(30):
            while not await looked_again(handle):
                await asyncio.sleep(0.05)
        office.notes.held.clear()
        await ending.signal("release")
        async with asyncio.timeout(30):
            result = await handle.result()
        assert await office.notes.until(2) == {transfer_id: 2}
    assert result["replayed"] == 1


async def test_a_transfer_that_is_at_work_already_counts_as_done(office: Office) -> None:
    """Where the transfer's workflow runs and has taken it up, the letter is replayed by that."""
    [transfer_id] = await office.transfers(1)
    office.notes.held.add(transfer_id)
    async with office.working():
        await office.client.start_workflow(
            "Transfer",
            {"transferId": str(transfer_id)},
            id=transfer_workflow_id(transfer_id),
            task_queue=Queue.TRANSFERS,
        )
        await office.notes.until(1)
        await office.pool.execute("UPDATE ticket_transfers SET status = 'CANCELLED', failure_code = NULL")
        result = await office.replay(office.request())
    assert (result.replayed, office.notes.starts[transfer_id]) == (1, 1)


async def test_a_cancelled_replay_goes_on_when_it_is_asked_for_again(office: Office) -> None:
    """Cancel pauses it between two letters; the same replay id goes on with what is left and counts it all."""
    ids = await office.transfers(6)
    request = office.request(per_second=2)
    async with office.working():
        handle = await office.start(request)
        await office.until(handle, lambda progress: progress.replayed >= 2)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
        assert (await office.statuses())["OPEN"] >= 2
        assert (await office.replay(request)).replayed == 6
        assert await office.notes.until(6) == dict.fromkeys(ids, 1)


async def test_it_keeps_its_pace(office: Office) -> None:
    """At one a second, 4 letters are done over 3 seconds at least."""
    await office.transfers(4)
    async with office.working():
        assert (await office.replay(office.request(per_second=1))).replayed == 4
    assert await office.pool.fetchval("SELECT max(at) - min(at) FROM dead_letter_actions") >= timedelta(seconds=2.9)


async def test_it_goes_on_over_many_runs_and_leaves_later_letters(office: Office) -> None:
    """It continues as new without losing its place or count; what fails after its start stays open."""
    await office.transfers(8)
    async with office.working():
        handle = await office.start(office.request(per_second=4, pages_per_run=1))
        await office.until(handle, lambda progress: progress.total == 8)
        await office.transfers(1)
        async with asyncio.timeout(30):
            result = await handle.result()
    assert result["replayed"] == 8
    assert await office.statuses() == {"REPLAYED": 8, "OPEN": 1}
    runs = [run async for run in office.client.list_workflows(f"WorkflowId = '{handle.id}'")]
    assert len({run.run_id for run in runs}) > 1


async def test_a_replayed_delivery_gets_its_attempts_anew(
    office: Office, webhooks: WebhookLedger, subscriptions: Subscriptions
) -> None:
    """The delivery is due again with all its attempts and the same event id; its log is kept, its drain is woken."""
    subscription_id, event_id = await used_up(webhooks, subscriptions)
    async with office.working():
        result = await office.replay(office.request(filter=LetterFilter(subscription_id=subscription_id)))
    assert result.replayed == 1
    [due] = await webhooks.due_page(subscription_id, None, 10)
    assert (due.event_id, due.attempts) == (event_id, 0)
    assert await office.pool.fetchval("SELECT count(*) FROM webhook_attempts") == 5
    drain = office.client.get_workflow_handle(webhook_workflow_id(subscription_id))
    assert (await drain.describe()).status is WorkflowExecutionStatus.RUNNING
    await drain.terminate()


async def test_a_disabled_endpoints_letters_stay_open(
    office: Office, webhooks: WebhookLedger, subscriptions: Subscriptions
) -> None:
    """A delivery to an endpoint that was disabled since is skipped, and its letter stays for a person to see."""
    subscription_id, _ = await used_up(webhooks, subscriptions)
    await webhooks.disable_subscription(subscription_id, "moved house")
    async with office.working():
        result = await office.replay(office.request())
    assert (result.replayed, result.skipped) == (0, 1)
    assert await office.statuses() == {"OPEN": 1}


async def test_a_replayed_job_is_run(office: Office) -> None:
    """The letter of a job triggers its schedule; one whose schedule is gone stays open."""
    job = f"job-{uuid4()}"
    action = ScheduleActionStartWorkflow("Nothing", id=job, task_queue="nobody", run_timeout=timedelta(seconds=5))
    schedule = await office.client.create_schedule(job, Schedule(action=action, spec=ScheduleSpec()))
    for name in (job, f"gone-{job}"):
        await office.ledger.bury_job(name, "DEFECT", "boom", "workflow/x/y")
    async with office.working():
        result = await office.replay(office.request())
    assert (result.replayed, result.skipped) == (1, 1)
    async with asyncio.timeout(30):
        while not (await schedule.describe()).info.num_actions:
            await asyncio.sleep(0.05)
    await schedule.delete()
    assert await office.statuses() == {"REPLAYED": 1, "OPEN": 1}


async def test_impossible_input_ends_it(office: Office) -> None:
    """An input that can't be read, or another workflow id, ends it with INVALID_INPUT."""
    replay_id = uuid4()
    async with office.working():
        for argument in ({"replayId": str(uuid4()), "by": "olga"}, {"replayId": str(replay_id), "by": "", "x": 1}):
            handle = await office.client.start_workflow(
                "ReplayDeadLetters", argument, id=replay_workflow_id(replay_id), task_queue=Queue.MAINTENANCE
            )
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
            assert getattr(caught.value.cause, "type", None) == "INVALID_INPUT"
