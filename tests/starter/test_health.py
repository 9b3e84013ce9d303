"""`transfers health` as a process: what it finds wrong, and that it fails then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from ledger.pool import Pool
from ledger.runs import BatchRuns
from starter.health import Level, _schedule
from starter.job_settings import JobSettings
from starter.monitoring import read_queues, read_schedules
from starter.schedules import put_schedules
from tests.servers import Temporal
from tests.starter.commands import Transfers
from workflows.interface.alerts import ScheduleState
from workflows.interface.codes import AlertKind
from workflows.interface.names import Queue, ScheduleId, WorkflowType


@activity.defn
async def idle_step() -> None:
    """Never called."""


@workflow.defn
class Idle:
    """Never started."""

    @workflow.run
    async def run(self) -> None:
        """Does nothing."""


@pytest.fixture
async def client(temporal: Temporal, request: pytest.FixtureRequest) -> Client:
    """A namespace that no worker of another test has polled."""
    return await temporal.add_namespace(f"health-{abs(hash(request.node.name))}")


@pytest.fixture
def transfers(
    client: Client, database_url: str, temporal: Temporal, tmp_path_factory: pytest.TempPathFactory
) -> Transfers:
    """The command, pointed at that namespace."""
    settings = {
        "DATABASE_URL": database_url,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": client.namespace,
    }
    return Transfers(tmp_path_factory.mktemp("health"), settings)


@asynccontextmanager
async def polling(client: Client, queues: list[Queue]) -> AsyncIterator[None]:
    """Workers that poll these queues, known to the server."""
    async with AsyncExitStack() as stack:
        for queue in queues:
            worker = Worker(
                client,
                task_queue=queue,
                workflows=[Idle],
                activities=[idle_step],
                workflow_runner=UnsandboxedWorkflowRunner(),
                build_id="tests",
            )
            await stack.enter_async_context(worker)
        async with asyncio.timeout(30):
            while sum(one.last_poll_age_s is not None for one in await read_queues(client)) < len(queues):
                await asyncio.sleep(0.1)
        yield


async def test_a_whole_service_is_healthy_and_open_alerts_are_warnings(
    transfers: Transfers, client: Client, pool: Pool
) -> None:
    """With workers, schedules and schema it ends with 0; an open alert is told and doesn't change that."""
    await put_schedules(client, JobSettings())
    async with polling(client, list(Queue)):
        ended = await transfers("health")
        assert (ended.code, ended.err) == (0, "")
        assert "ok: queue maintenance: a worker polls" in ended.out
        assert ended.out.count("ok: schedule ") == len(ScheduleId)
        assert "ok: schedule archive-webhook-deliveries: not due yet" in ended.out
        await BatchRuns(pool).raise_alert(AlertKind.DEFECT, "lane/1", "KeyError")
        warned = await transfers("health")
        assert warned.code == 0
        assert "DEFECT lane/1: KeyError" in warned.err


async def test_no_worker_on_a_queue_fails(transfers: Transfers, client: Client) -> None:
    """Each queue that nobody polls is an error by its name, the maintenance queue too."""
    await put_schedules(client, JobSettings())
    async with polling(client, [Queue.TRANSFERS, Queue.WEBHOOKS]):
        ended = await transfers("health", "--json")
    assert ended.code == 6
    assert not ended.json["healthy"]
    wrong = {finding["part"] for finding in ended.json["findings"] if finding["level"] == "error"}
    assert wrong == {"queue blockchain", "queue maintenance"}


async def test_schedules_that_are_gone_or_paused_fail(transfers: Transfers, client: Client) -> None:
    """A schedule deleted or paused by hand is told, with its remedy."""
    await put_schedules(client, JobSettings())
    await client.get_schedule_handle(ScheduleId.EXPIRE_TRANSFERS).delete()
    await client.get_schedule_handle(ScheduleId.CLEAN_STALE_BATCHES).pause()
    async with polling(client, list(Queue)):
        ended = await transfers("health")
    assert ended.code == 6
    assert "error: schedule expire-transfers: schedule expire-transfers is gone" in ended.err
    assert "transfers schedules apply" in ended.err
    assert "error: schedule clean-stale-batches: is paused" in ended.err
    assert ended.err.count("error: ") == 2


@workflow.defn(name=WorkflowType.SWEEP_WEBHOOK_DELIVERIES)
class Sweep:
    """A sweep that fails where it's told to."""

    fails = True

    @workflow.run
    async def run(self, _: dict[str, Any]) -> None:
        """Ends as told."""
        if self.fails:
            raise ApplicationError("no table", non_retryable=True)


async def sweep(client: Client, *, fails: bool) -> ScheduleState:
    """One run of the schedule to its end; the schedule as it's read then."""
    Sweep.fails = fails
    handle = client.get_schedule_handle(ScheduleId.SWEEP_WEBHOOK_DELIVERIES)
    before = len((await handle.describe()).info.recent_actions)
    await handle.trigger()
    async with asyncio.timeout(30):
        info = (await handle.describe()).info
        while info.running_actions or len(info.recent_actions) == before:
            await asyncio.sleep(0.05)
            info = (await handle.describe()).info
    [state] = [one for one in await read_schedules(client) if one.schedule_id == ScheduleId.SWEEP_WEBHOOK_DELIVERIES]
    return state


async def test_a_schedule_whose_runs_fail_isnt_in_time(client: Client) -> None:
    """Only a run that went through counts: where all fail, the age is the schedule's own, and grows."""
    await put_schedules(client, JobSettings(sweep_webhooks_every_s=3_600))
    [unbegun] = [one for one in await read_schedules(client) if one.schedule_id == ScheduleId.SWEEP_WEBHOOK_DELIVERIES]
    assert (unbegun.begun, unbegun.succeeded) == (False, False)
    sweeping = Worker(
        client,
        task_queue=Queue.MAINTENANCE,
        workflows=[Sweep],
        workflow_runner=UnsandboxedWorkflowRunner(),
        build_id="tests",
    )
    async with sweeping:
        failed = await sweep(client, fails=True)
        assert (failed.begun, failed.succeeded) == (True, False)
        assert failed.last_success_age_s > unbegun.last_success_age_s
        good = await sweep(client, fails=False)
        assert good.succeeded
        after = await sweep(client, fails=True)
    assert after.succeeded
    assert after.last_success_age_s > good.last_success_age_s


@pytest.mark.parametrize(
    ("begun", "succeeded", "said"),
    [
        (False, False, "not due yet"),
        (True, False, "no run has gone through yet"),
        (True, True, "ran in time, 43 s ago"),
    ],
)
def test_a_sound_schedule_is_told_as_it_is(begun: bool, succeeded: bool, said: str) -> None:
    """One that isn't due yet hasn't run in time."""
    state = ScheduleState("sweep", interval_s=60, begun=begun, succeeded=succeeded, last_success_age_s=43)
    assert (_schedule(state).level, _schedule(state).text) == (Level.OK, said)


async def test_servers_out_of_reach_are_told_together(transfers: Transfers) -> None:
    """Neither Temporal nor Postgres there: both are named, each on a line."""
    ended = await transfers(
        "health", TEMPORAL_ADDRESS="127.0.0.1:1", DATABASE_URL="postgresql://nobody:secret@127.0.0.1:1/none"
    )
    assert ended.code == 6
    lines = ended.err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["temporal", "postgres"]
    assert "secret" not in ended.err


async def test_a_missing_namespace_and_an_old_schema_are_told(transfers: Transfers, pool: Pool) -> None:
    """A namespace that isn't there, and a database that lacks a migration or all of them."""
    unknown = await transfers("health", TEMPORAL_NAMESPACE="nowhere")
    assert unknown.code == 6
    assert "there is no namespace 'nowhere'" in unknown.err
    await pool.execute("DELETE FROM schema_migrations WHERE name LIKE '0006%'")
    old = await transfers("health")
    assert "postgres: the schema lacks 0006_alerts.sql" in old.err
    await pool.execute("ALTER TABLE alerts DROP COLUMN severity CASCADE")
    older = await transfers("alerts", "list")
    assert older.code == 1
    assert "has tables of an older version" in older.err
    assert older.err.count("\n") == 1
    await pool.execute("DROP TABLE schema_migrations")
    empty = await transfers("health")
    assert "no tables of this service" in empty.err
