"""Observers tell what is so in Temporal, in Postgres and at the node; stale figures go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
)
from temporalio.common import Priority
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from chain.node_figures import read_node_figures
from ledger.figures import Figures
from ledger.pool import Pool
from telemetry import catalogue
from telemetry.board import MAX_AGE_S, Board, Figure
from telemetry.catalogue import Metric
from telemetry.chain_observer import LaneObserver, NodeObserver
from telemetry.ledger_observers import DeadLetterObserver, GiftObserver, LedgerObserver
from telemetry.observing import observed
from telemetry.temporal_observers import QueueObserver, ScheduleObserver
from tests.real_chain import RealChain
from tests.servers import Temporal
from tests.telemetry.conftest import Meters
from tests.telemetry.job_workflow import Job
from tests.telemetry.test_jobs import job_step
from workflows.interface.names import PriorityKey, Queue, ScheduleId
from workflows.sandbox import sandboxed


def value(figures: Sequence[Figure], metric: Metric, **labels: str) -> float:
    """The one figure with these labels."""
    [found] = [one.value for one in figures if one.metric is metric and labels.items() <= one.labels.items()]
    return found


async def test_a_queue_without_a_worker_shows_its_tasks(temporal: Temporal) -> None:
    """Depth and age stand under the tasks' priority, the others are 0, and no worker is told."""
    client = await temporal.add_namespace("queues")
    for _ in range(3):
        await client.start_workflow(
            "Job", id=f"job/{uuid4()}", task_queue=Queue.WEBHOOKS, priority=Priority(priority_key=1)
        )
    observer, webhooks = QueueObserver(client), {"queue": "webhooks", "task_kind": "workflow"}
    figures = await observer.read()
    async with asyncio.timeout(30):  # the server tells its figures late, and the same ones for 5 s
        while (
            value(figures, catalogue.QUEUE_DEPTH, priority="1", **webhooks) != 3
            or not value(figures, catalogue.QUEUE_OLDEST_AGE, priority="1", **webhooks)
            or not value(figures, catalogue.QUEUE_ADD_RATE, priority="1", **webhooks)
        ):
            await asyncio.sleep(0.2)
            figures = await observer.read()
    assert value(figures, catalogue.QUEUE_DEPTH, priority=str(int(PriorityKey.BATCH)), **webhooks) == 0
    assert value(figures, catalogue.QUEUE_DEPTH, queue="transfers", task_kind="activity", priority="3") == 0
    assert value(figures, catalogue.WORKERS, **webhooks) == 0


async def test_a_worker_is_told_until_it_has_not_asked_for_long(temporal: Temporal) -> None:
    """The server remembers pollers for minutes; those that stopped asking aren't told any more."""
    client = await temporal.add_namespace("pollers")
    async with Worker(
        client, task_queue=Queue.WEBHOOKS, workflows=[Job], activities=[job_step], workflow_runner=sandboxed()
    ):
        observer, webhooks = QueueObserver(client), {"queue": "webhooks", "task_kind": "activity"}
        async with asyncio.timeout(20):
            while value(await observer.read(), catalogue.WORKERS, **webhooks) != 1:
                await asyncio.sleep(0.1)
    later = QueueObserver(client, clock=lambda: 4e9)
    assert value(await later.read(), catalogue.WORKERS, **webhooks) == 0


async def test_schedules_show_when_they_last_succeeded(telemetry_client: Client) -> None:
    """A run that ended well counts, one that failed doesn't; a missing schedule has no figure."""
    client, queue = telemetry_client, f"jobs-{uuid4()}"
    made: dict[ScheduleId, str] = {ScheduleId.EXPIRE_TRANSFERS: "well", ScheduleId.CHECK_ALERTS: "defect"}
    async with Worker(client, task_queue=queue, workflows=[Job], activities=[job_step], workflow_runner=sandboxed()):
        for schedule, ending in made.items():
            action = ScheduleActionStartWorkflow("Job", args=[[ending]], id=f"run-{schedule}", task_queue=queue)
            spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=300))])
            handle = await client.create_schedule(schedule, Schedule(action=action, spec=spec))
            # In a fresh namespace the server's scheduler begins a second late; it answers once it's there.
            await handle.describe()
        await asyncio.sleep(1.2)  # ages are told by the second
        for schedule in made:
            await client.get_schedule_handle(schedule).trigger()
        for schedule in made:
            await until_run(client, schedule)
    figures = await ScheduleObserver(client).read()
    succeeded_s = value(figures, catalogue.SCHEDULE_LAST_SUCCESS_AGE, schedule="expire-transfers")
    never_s = value(figures, catalogue.SCHEDULE_LAST_SUCCESS_AGE, schedule="check-alerts")
    assert 0 <= succeeded_s < never_s - 1
    assert never_s >= 1.2
    assert value(figures, catalogue.SCHEDULE_PAUSED, schedule="check-alerts") == 0
    assert {one.labels["schedule"] for one in figures} == {"expire-transfers", "check-alerts"}


async def until_run(client: Client, schedule: ScheduleId) -> None:
    """Waits for the end of the schedule's run."""
    async with asyncio.timeout(20):
        while not (recent := (await client.get_schedule_handle(schedule).describe()).info.recent_actions):
            await asyncio.sleep(0.05)
        handle = client.get_workflow_handle(recent[-1].action.workflow_id)  # type: ignore[attr-defined]
        await asyncio.wait([asyncio.create_task(handle.result())])


async def test_the_ledger_shows_batches_letters_gifts_and_endpoints(pool: Pool) -> None:
    """Items of open batches by status, open dead letters by kind, endpoints by state; what isn't there is 0."""
    await pool.execute(
        """WITH b AS (INSERT INTO batch_transfers (batch_id, from_user_id, settlement, status, item_count, run_no)
             VALUES (gen_random_uuid(), 'alice', 'batched', 'PROCESSING', 10, 1) RETURNING batch_id)
           INSERT INTO batch_counters (batch_id, item_count, queued, processing, completed)
           SELECT batch_id, 10, 5, 3, 2 FROM b"""
    )
    await pool.execute(
        """INSERT INTO webhook_subscriptions (url, secret, event_types, failing_since)
           VALUES ('http://one.example', decode(repeat('00', 32), 'hex'), '{*}', NULL),
                  ('http://two.example', decode(repeat('00', 32), 'hex'), '{*}', now())"""
    )
    await bury(pool)
    figures = await LedgerObserver(Figures(pool)).read()
    assert value(figures, catalogue.BATCH_OPEN, status="PROCESSING") == 1
    assert value(figures, catalogue.BATCH_OPEN, status="PAUSED") == 0
    assert [value(figures, catalogue.BATCH_ITEMS, status=one) for one in ("QUEUED", "PROCESSING", "FAILED")] == [
        5,
        3,
        0,
    ]
    assert value(figures, catalogue.TRANSFER_LIVE, status="ACCEPTED") == 3
    assert value(figures, catalogue.WEBHOOK_ENDPOINTS, state="active") == 1
    assert value(figures, catalogue.WEBHOOK_ENDPOINTS, state="failing") == 1
    assert value(await GiftObserver(Figures(pool)).read(), catalogue.TRANSFER_LIVE, status="PENDING") == 0


async def test_dead_letters_are_told_as_open_and_as_buried_since_the_start(pool: Pool) -> None:
    """Open ones count at once, however old; buried ones those that came after the first look."""
    observer = DeadLetterObserver(Figures(pool))
    await bury(pool, age_s=60)
    figures = await observer.read()
    assert value(figures, catalogue.DEAD_LETTERS_OPEN, kind="job") == 1
    assert value(figures, catalogue.DEAD_LETTERS_BURIED, kind="job") == 0
    await bury(pool, age_s=30)
    assert value(await observer.read(), catalogue.DEAD_LETTERS_OPEN, kind="job") == 2
    # The letter is behind the mark now, or it will be at the next look.
    async with asyncio.timeout(10):
        while not value(await observer.read(), catalogue.DEAD_LETTERS_BURIED, kind="job"):
            await asyncio.sleep(0.05)
    assert value(await observer.read(), catalogue.DEAD_LETTERS_BURIED, kind="job") == 1


async def bury(pool: Pool, age_s: int = 0) -> None:
    """A dead letter of a job."""
    await pool.execute(
        """INSERT INTO dead_letters (dead_letter_id, kind, job, code, reason, attempts, first_failed_at, payload_ref)
           VALUES (uuidv7($1), 'job', $2, 'DEFECT', 'broken', 1, now(), 'workflow')""",
        timedelta(seconds=-age_s),
        f"job-{uuid4()}",
    )


async def test_lanes_show_their_head_and_the_node_its_balance(pool: Pool, real_chain: RealChain) -> None:
    """In flight, the age of the lowest open nonce, the balance in gwei, and how old the latest block is."""
    lane, _ = await real_chain.new_lane(bytes(31) + b"\x07")
    await pool.execute(
        "INSERT INTO chain_lanes (chain_id, signer, next_nonce, max_in_flight) VALUES ($1, $2, 2, 16)", *lane
    )
    await pool.execute(
        """INSERT INTO chain_transactions (chain_id, signer, nonce, settlement, gas_limit, bound_at)
           VALUES ($1, $2, 0, 'single', 21000, now() - interval '100 s'), ($1, $2, 1, 'single', 21000, now())""",
        *lane,
    )
    figures = Figures(pool)
    lanes = await LaneObserver(figures, lane.chain_id).read()
    assert value(lanes, catalogue.LANE_IN_FLIGHT, signer=lane.address) == 2
    assert value(lanes, catalogue.LANE_LIMIT, signer=lane.address) == 16
    assert 100 <= value(lanes, catalogue.LANE_HEAD_NONCE_AGE, signer=lane.address) < 130
    node = await NodeObserver(
        figures, lane.chain_id, lambda signers: read_node_figures(real_chain.rpc, signers), clock=lambda: 4e9
    ).read()
    balance = int(await real_chain.rpc.call("eth_getBalance", lane.address, "latest"), 16)
    assert value(node, catalogue.LANE_BALANCE, signer=lane.address) == balance / 1e9
    assert value(node, catalogue.CHAIN_HEAD_AGE) > 1e9
    assert value(node, catalogue.CHAIN_BLOCKS_BEHIND) > 1e6


class Seen:
    """An observer whose next look can be made to fail."""

    name, interval_s = "seen", 0.01

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.looks = asyncio.Semaphore(0)

    async def read(self) -> Sequence[Figure]:
        self.looks.release()
        if self.fault:
            raise self.fault
        return [Figure(catalogue.CHAIN_HEAD_BLOCK, 7)]


async def test_a_fault_keeps_the_last_figures_until_they_are_stale(
    meters: Meters, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage is logged once and the looks go on; figures are told for two minutes, their age all the time."""
    now_s, seen = 0.0, Seen()
    board = Board(meters.meter, [catalogue.CHAIN_HEAD_BLOCK], clock=lambda: now_s)
    async with observed(board, [seen]):
        for _ in range(3):
            await seen.looks.acquire()
        assert meters.value(catalogue.CHAIN_HEAD_BLOCK) == 7
        seen.fault = RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        for _ in range(4):
            await seen.looks.acquire()
        now_s = MAX_AGE_S
        assert meters.value(catalogue.CHAIN_HEAD_BLOCK) == 7
        now_s = MAX_AGE_S + 1
        assert meters.points(catalogue.CHAIN_HEAD_BLOCK) == []
        assert meters.value(catalogue.OBSERVER_LAST_SUCCESS_AGE, observer="seen") == MAX_AGE_S + 1
    assert len([one for one in caplog.records if one.levelname == "WARNING"]) == 1


async def test_a_defect_of_an_observer_is_logged_and_ends_nothing(
    meters: Meters, caplog: pytest.LogCaptureFixture
) -> None:
    """It's asked again, and each time the log has the traceback."""
    seen = Seen()
    seen.fault = KeyError("a bug")
    async with observed(Board(meters.meter, []), [seen]):
        for _ in range(3):
            await seen.looks.acquire()
    assert [one.exc_info is not None for one in caplog.records if one.levelname == "ERROR"][:2] == [True, True]
