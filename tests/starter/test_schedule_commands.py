"""The schedules on the real server: put in place, listed, triggered, paused, restored; and the commands for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from temporalio.client import Client, ScheduleOverlapPolicy
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities.maintenance import RestoreSchedules
from activities.waking import Waker
from ledger.pool import Pool
from starter.job_settings import JobSettings
from starter.schedules import Applied, put_schedules, restore_schedules, scheduled_jobs
from tests.fake_jobs import nothing_gone
from tests.servers import Temporal
from tests.starter.commands import Transfers
from worker_steps import maintenance_steps, steps_of
from workflows.interface.names import Queue, ScheduleId
from workflows.maintenance import (
    ArchiveWebhookDeliveries,
    CleanStaleBatches,
    ExpireTransfers,
    RetryFailedBlockchainTransfers,
    SweepWebhookDeliveries,
)
from workflows.sandbox import sandboxed

NAMESPACE = "schedules"
JOBS = [one for one in ScheduleId if one is not ScheduleId.CHECK_ALERTS]


@pytest.fixture(scope="module")
async def namespace(temporal: Temporal) -> Client:
    """A client of a namespace of these tests' own."""
    return await temporal.add_namespace(NAMESPACE)


@pytest.fixture
async def client(namespace: Client) -> AsyncIterator[Client]:
    """The same; what a test leaves behind is removed."""
    yield namespace
    for schedule_id in ScheduleId:
        try:
            await namespace.get_schedule_handle(schedule_id).delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
    async for running in namespace.list_workflows("ExecutionStatus = 'Running'"):
        await namespace.get_workflow_handle(running.id).terminate()


@pytest.fixture
def command(temporal: Temporal, tmp_path: Path) -> Transfers:
    """The command, pointed at that namespace."""
    return Transfers(tmp_path, {"TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": NAMESPACE})


@asynccontextmanager
async def working(client: Client, pool: Pool, restore: RestoreSchedules = nothing_gone) -> AsyncIterator[None]:
    """A worker of the queue `maintenance` with the real steps."""
    async with Waker(client) as waker:
        worker = Worker(
            client,
            task_queue=Queue.MAINTENANCE,
            workflows=[
                ArchiveWebhookDeliveries,
                CleanStaleBatches,
                ExpireTransfers,
                RetryFailedBlockchainTransfers,
                SweepWebhookDeliveries,
            ],
            activities=steps_of(maintenance_steps(pool, client, waker, restore)),
            workflow_runner=sandboxed(),
            build_id="tests",
        )
        async with worker:
            yield


async def listed(command: Transfers, schedule_id: str) -> dict[str, Any]:
    """One line of `schedules list --json`."""
    ended = await command("schedules", "list", "--json")
    assert ended.code == 0, ended.err
    [line] = [line for line in ended.json if line["id"] == schedule_id]
    assert isinstance(line, dict)
    return line


async def until_ended(client: Client, schedule_id: str, runs: int = 1) -> None:
    """Returns once so many runs have ended."""
    handle = client.get_schedule_handle(schedule_id)
    async with asyncio.timeout(30):
        info = (await handle.describe()).info
        while info.running_actions or len(info.recent_actions) < runs:
            await asyncio.sleep(0.05)
            info = (await handle.describe()).info


async def test_each_job_runs_through_its_schedule(client: Client, pool: Pool, command: Transfers) -> None:
    """Triggered by the command, every job's workflow runs with its real steps, and the list tells its result."""
    await put_schedules(client, JobSettings())
    await pool.execute(
        "INSERT INTO ticket_transfers (transfer_id, kind, ticket_id, from_user_id, to_user_id, settlement, status,"
        " expires_at) VALUES (gen_random_uuid(), 'gift', '1', 'alice', 'bob', 'batched', 'PENDING', now())"
    )
    async with working(client, pool):
        for schedule_id in JOBS:
            assert (await command("schedules", "trigger", schedule_id)).code == 0
        for schedule_id in JOBS:
            await until_ended(client, schedule_id)
    lines = {line["id"]: line["lastRun"] for line in (await command("schedules", "list", "--json")).json}
    runs = {schedule_id: lines[schedule_id] for schedule_id in JOBS}
    assert {schedule_id: run["status"] for schedule_id, run in runs.items()} == dict.fromkeys(JOBS, "COMPLETED")
    assert runs[ScheduleId.EXPIRE_TRANSFERS]["result"] == {"expired": 1, "more": False}
    assert runs[ScheduleId.SWEEP_WEBHOOK_DELIVERIES]["result"] == {"dueSubscriptions": 0}
    assert runs[ScheduleId.RETRY_FAILED_BLOCKCHAIN_TRANSFERS]["result"]["reopened"] == 0
    assert runs[ScheduleId.ARCHIVE_WEBHOOK_DELIVERIES]["result"]["deliveries"] == 0
    assert runs[ScheduleId.CLEAN_STALE_BATCHES]["result"]["started"] == 0
    ended = await command("schedules", "list")
    assert "expired 1" in ended.out
    assert "nothing to do" in ended.out
    assert await pool.fetchval("SELECT status FROM ticket_transfers") == "EXPIRED"


async def test_a_failed_run_doesnt_stop_the_next(client: Client, pool: Pool, command: Transfers) -> None:
    """A job that meets a defect is shown as failed with its words; mended, its schedule's next run goes through."""
    await put_schedules(client, JobSettings())
    await pool.execute("ALTER TABLE failed_blockchain_transfers RENAME TO gone")
    schedule_id = ScheduleId.RETRY_FAILED_BLOCKCHAIN_TRANSFERS
    async with working(client, pool):
        await client.get_schedule_handle(schedule_id).trigger()
        await until_ended(client, schedule_id)
        failed = (await listed(command, schedule_id))["lastRun"]
        assert failed["status"] == "FAILED"
        assert "failed_blockchain_transfers" in failed["failure"]
        assert await pool.fetchval("SELECT job FROM dead_letters WHERE status = 'OPEN'") == schedule_id
        await pool.execute("ALTER TABLE gone RENAME TO failed_blockchain_transfers")
        await client.get_schedule_handle(schedule_id).trigger()
        await until_ended(client, schedule_id, runs=2)
    assert (await listed(command, schedule_id))["lastRun"]["status"] == "COMPLETED"
    assert await pool.fetchval("SELECT status FROM dead_letters") == "RESOLVED"


async def test_two_runs_of_a_job_dont_overlap(client: Client, command: Transfers) -> None:
    """While a run goes on (here: no worker takes it), another one is skipped."""
    await put_schedules(client, JobSettings())
    handle = client.get_schedule_handle(ScheduleId.CLEAN_STALE_BATCHES)
    await handle.trigger()
    async with asyncio.timeout(20):
        while not (await handle.describe()).info.running_actions:
            await asyncio.sleep(0.05)
        await command("schedules", "trigger", ScheduleId.CLEAN_STALE_BATCHES)
        while not (await handle.describe()).info.num_actions_skipped_overlap:
            await asyncio.sleep(0.05)
    assert (await handle.describe()).info.num_actions == 1


async def test_schedules_are_as_the_settings_say(client: Client) -> None:
    """Interval, overlap, catch-up window, jitter, and the limits in the input; other settings change them in place."""
    assert set((await put_schedules(client, JobSettings())).values()) == {Applied.CREATED}
    settings = JobSettings(expire_transfers_every_s=1_200, expire_page_size=77)
    assert set((await put_schedules(client, settings)).values()) == {Applied.UPDATED}
    for job in scheduled_jobs(settings):
        found = (await client.get_schedule_handle(job.schedule_id).describe()).schedule
        assert [one.every for one in found.spec.intervals] == [job.every]
        assert found.spec.jitter
        assert found.policy.overlap is ScheduleOverlapPolicy.SKIP
        assert timedelta(seconds=10) <= (found.policy.catchup_window or timedelta()) <= timedelta(hours=1)
    expire: Any = (await client.get_schedule_handle(ScheduleId.EXPIRE_TRANSFERS).describe()).schedule.action
    [argument] = await client.data_converter.decode(expire.args, [dict])
    assert argument == {"stepLimitS": 1200.0, "pageSize": 77, "stepBudgetS": 20.0}


async def test_workers_that_start_at_once_agree(client: Client) -> None:
    """However many put the schedules in place at the same time, each stands once and as wanted."""
    await asyncio.gather(*(put_schedules(client, JobSettings()) for _ in range(5)))
    await asyncio.gather(*(put_schedules(client, JobSettings(archive_every_s=7_200)) for _ in range(5)))
    found = (await client.get_schedule_handle(ScheduleId.ARCHIVE_WEBHOOK_DELIVERIES).describe()).schedule
    assert [one.every for one in found.spec.intervals] == [timedelta(hours=2)]


async def test_a_deleted_schedule_comes_back(client: Client, command: Transfers) -> None:
    """The list shows that it's missing, a command about it says how to mend it, and `apply` puts it back."""
    await put_schedules(client, JobSettings())
    await client.get_schedule_handle(ScheduleId.EXPIRE_TRANSFERS).delete()
    assert not (await listed(command, "expire-transfers"))["exists"]
    ended = await command("schedules", "pause", "expire-transfers")
    assert ended.code == 3
    assert "`transfers schedules apply` puts it back" in ended.err
    ended = await command("schedules", "apply", "--json")
    assert {line["applied"] for line in ended.json if line["id"] == "expire-transfers"} == {"created"}
    assert (await listed(command, "expire-transfers"))["exists"]


async def test_what_is_gone_is_put_back_and_nothing_else_touched(client: Client) -> None:
    """A job's own look restores the missing schedule alone: a pause, and settings of another hand, stay."""
    await put_schedules(client, JobSettings(archive_every_s=7_200))
    archive = client.get_schedule_handle(ScheduleId.ARCHIVE_WEBHOOK_DELIVERIES)
    await archive.pause(note="disk move")
    await client.get_schedule_handle(ScheduleId.EXPIRE_TRANSFERS).delete()
    assert await restore_schedules(client, JobSettings()) == ["expire-transfers"]
    assert await restore_schedules(client, JobSettings()) == []
    assert (await client.get_schedule_handle(ScheduleId.EXPIRE_TRANSFERS).describe()).schedule.spec.intervals
    found = (await archive.describe()).schedule
    assert (found.state.paused, found.state.note) == (True, "disk move")
    assert [one.every for one in found.spec.intervals] == [timedelta(hours=2)]


async def test_a_deleted_schedule_comes_back_with_the_next_sweep(client: Client, pool: Pool) -> None:
    """As the worker has it: the sweep's run puts another job's schedule in place again."""
    await put_schedules(client, JobSettings())
    await client.get_schedule_handle(ScheduleId.EXPIRE_TRANSFERS).delete()
    async with working(client, pool, partial(restore_schedules, client, JobSettings())):
        await client.get_schedule_handle(ScheduleId.SWEEP_WEBHOOK_DELIVERIES).trigger()
        await until_ended(client, ScheduleId.SWEEP_WEBHOOK_DELIVERIES)
    assert (await client.get_schedule_handle(ScheduleId.EXPIRE_TRANSFERS).describe()).schedule.spec.intervals


async def test_a_pause_stays_until_it_is_resumed(client: Client, command: Transfers) -> None:
    """Neither a worker's start nor `apply` ends an operator's pause, and its reason is kept."""
    await put_schedules(client, JobSettings())
    assert (await command("schedules", "pause", "expire-transfers", "--reason", "audit week")).code == 0
    await put_schedules(client, JobSettings(expire_transfers_every_s=600))
    line = await listed(command, "expire-transfers")
    assert (line["paused"], line["note"], line["nextRunAt"], line["everyS"]) == (True, "audit week", None, 600)
    assert "paused: audit week" in (await command("schedules", "list")).out
    assert (await command("schedules", "resume", "expire-transfers", "--json")).json["requested"] == "resume"
    line = await listed(command, "expire-transfers")
    assert (line["paused"], line["note"]) == (False, None)
    assert line["nextRunAt"]


async def test_apply_takes_the_settings_of_the_environment(client: Client, command: Transfers) -> None:
    """Intervals come from the worker's variables, and wrong ones are told, all of them."""
    ended = await command("schedules", "apply", ARCHIVE_EVERY_S="7200")
    assert (ended.code, "archive-webhook-deliveries: created" in ended.out) == (0, True)
    assert (await listed(command, "archive-webhook-deliveries"))["everyS"] == 7200
    ended = await command("schedules", "apply", ARCHIVE_EVERY_S="-1", EXPIRE_PAGE_SIZE="many")
    assert ended.code == 2
    assert "ARCHIVE_EVERY_S" in ended.err
    assert "EXPIRE_PAGE_SIZE" in ended.err


async def test_an_unknown_schedule_is_told_with_the_known(command: Transfers) -> None:
    """A mistyped id is answered with the ids there are."""
    ended = await command("schedules", "trigger", "expire")
    assert ended.code == 3
    assert all(known in ended.err for known in ScheduleId)


async def test_temporal_down_is_one_line(command: Transfers) -> None:
    """Each command says which server doesn't answer, and ends with 1."""
    for arguments in (("apply",), ("list",), ("trigger", "expire-transfers")):
        ended = await command("schedules", *arguments, TEMPORAL_ADDRESS="127.0.0.1:1")
        assert ended.code == 1
        assert ended.err.startswith("error: Temporal at 127.0.0.1:1 (from TEMPORAL_ADDRESS) doesn't answer")
        assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("expire_transfers_every_s", -1, "greater than or equal to 10"),
        ("clean_batches_every_s", float("nan"), "finite"),
        ("archive_page_size", 0, "greater than or equal to 1"),
        ("webhook_retention_days", 0.5, "greater than or equal to 1"),
        ("retry_failed_every_s", 50, "isn't less than RETRY_FAILED_EVERY_S"),
        ("stale_batch_fail_after_s", 3600, "isn't more than STALE_BATCH_START_AFTER_S"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: float, said: str) -> None:
    """The fault says what the setting must be."""
    with pytest.raises(ValidationError, match=said):
        JobSettings(**{name: value})  # type: ignore[arg-type]
