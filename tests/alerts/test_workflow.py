"""`CheckAlerts` on the real Temporal server and database: what it reads there, and that it runs by its schedule."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from activities.alerts import Alerts
from starter.job_settings import JobSettings
from starter.monitoring import read_queues, read_schedules
from starter.schedules import put_schedules
from tests.alerts.conftest import SECRET, World
from tests.real_chain import RealChain
from tests.servers import Temporal
from tests.webhooks.receiver import Receiver
from worker_alert_settings import AlertSettings
from worker_alerts import alert_steps
from worker_connections import Connections
from worker_steps import steps_of
from workflows.check_alerts import CheckAlerts
from workflows.interface.alerts import CheckResult
from workflows.interface.names import Queue, ScheduleId, WorkflowType
from workflows.sandbox import sandboxed

UNSERVED = {("NO_WORKER", queue.value) for queue in Queue if queue is not Queue.MAINTENANCE}
LOW_ETH = "0.5"


@pytest.fixture(scope="module")
async def client(temporal: Temporal) -> Client:
    """A namespace where nothing but these checks run."""
    return await temporal.add_namespace("alerts")


@pytest.fixture
def steps(world: World, client: Client, real_chain: RealChain, receiver: Receiver) -> Alerts:
    """The steps as the worker makes them from its settings."""
    settings = AlertSettings(
        alert_webhook_url=receiver.url,
        alert_webhook_secret=SECRET,
        alert_signer_balance_eth=LOW_ETH,
    )
    to = Connections(client, world.pool, real_chain.rpc, {}, real_chain.chain_id)
    return alert_steps(to, settings, world.sender, world.steps.database._raise_alert)


def working(client: Client, steps: Alerts) -> Worker:
    """A worker of the queue `maintenance`. Without a cache, so that every task replays the workflow."""
    return Worker(
        client,
        task_queue=Queue.MAINTENANCE,
        workflows=[CheckAlerts],
        activities=steps_of(steps),
        workflow_runner=sandboxed(),
        max_cached_workflows=0,
        build_id="tests",
    )


async def check(client: Client, workflow_id: str) -> CheckResult:
    """Starts the workflow without input, as anybody may."""
    handle = await client.start_workflow(WorkflowType.CHECK_ALERTS, id=workflow_id, task_queue=Queue.MAINTENANCE)
    async with asyncio.timeout(60):
        return CheckResult.model_validate(await handle.result())


async def until_polled(client: Client) -> None:
    """Returns once the server knows of the worker."""
    async with asyncio.timeout(30):
        while {one.queue: one.last_poll_age_s for one in await read_queues(client)}[Queue.MAINTENANCE] is None:
            await asyncio.sleep(0.1)


async def test_queues_without_workers_and_missing_schedules_are_told(
    world: World, client: Client, steps: Alerts, receiver: Receiver, real_chain: RealChain
) -> None:
    """Queues that nobody serves, schedules that aren't there and a poor lane alert; once mended, theirs close."""
    lane, _ = await real_chain.new_lane()
    await world.pool.execute(
        "INSERT INTO chain_lanes (chain_id, signer, next_nonce, max_in_flight) VALUES ($1, $2, 0, 16)", *lane
    )
    for schedule_id in ScheduleId:
        assert not (await read_schedules(client))[list(ScheduleId).index(schedule_id)].exists
    await real_chain.fund(lane.signer, 10**17)
    async with working(client, steps):
        await until_polled(client)
        first = await check(client, "check-1")
        assert first.not_measured == ()
        found = {(kind, subject) for kind, subject, is_open in await world.alerts() if is_open}
        missed = {("SCHEDULE_MISSED", schedule.value) for schedule in ScheduleId}
        poor = ("SIGNER_BALANCE", f"lane/{lane.chain_id}/{lane.address}")
        assert found == UNSERVED | missed | {poor}
        await put_schedules(client, JobSettings())
        await real_chain.fund(lane.signer, 10**18)
        second = await check(client, "check-2")
        assert second.closed == len(ScheduleId) + 1
        assert {(kind, subject) for kind, subject, is_open in await world.alerts() if is_open} == UNSERVED
        receiver.verify_all(SECRET)
        assert len(receiver.requests) == first.opened + second.closed
        await client.get_schedule_handle(ScheduleId.CHECK_ALERTS).trigger()
        async with asyncio.timeout(30):
            while not (await read_schedules(client))[list(ScheduleId).index(ScheduleId.CHECK_ALERTS)].succeeded:
                await asyncio.sleep(0.1)
            while await world.pool.fetchval("SELECT max(seen) FROM alerts") < 3:
                await asyncio.sleep(0.1)
    for schedule_id in ScheduleId:
        await client.get_schedule_handle(schedule_id).delete()


async def test_a_schedule_is_read_as_it_stands(client: Client) -> None:
    """Its interval, its pause and its age; one that is gone is told as gone."""
    await put_schedules(client, JobSettings())
    handle = client.get_schedule_handle(ScheduleId.EXPIRE_TRANSFERS)
    await handle.pause()
    await client.get_schedule_handle(ScheduleId.CHECK_ALERTS).delete()
    states = {one.schedule_id: one for one in await read_schedules(client)}
    expire = states[ScheduleId.EXPIRE_TRANSFERS]
    assert expire.paused
    assert expire.interval_s is not None
    assert abs(expire.interval_s - 300) <= timedelta(minutes=1).total_seconds()
    assert expire.last_success_age_s < 60
    assert not states[ScheduleId.CHECK_ALERTS].exists
    for schedule_id in set(ScheduleId) - {ScheduleId.CHECK_ALERTS}:
        await client.get_schedule_handle(schedule_id).delete()
