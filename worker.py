"""The worker: where clients, pools and activities are put together (with the `worker_*` modules). Drains on SIGTERM.

`python worker.py [--queues transfers,blockchain,webhooks,maintenance]`; any number may run, on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import asyncpg
import uvloop
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Interceptor, Worker

from activities.lane_waking import LaneWaker
from activities.turns import Turns
from activities.waking import Waker
from chain.heads import ChainBehindLedgerError, ForeignNonceError, NotOperatorError
from chain.rpc import NodeUnavailableError, RpcError
from ledger.lanes import Lanes
from ledger.migrate import ChangedMigrationError, migrate
from starter.leaving import leave
from starter.schedules import put_schedules
from webhooks.sender import open_sender
from worker_connections import ConnectError, connect
from worker_lanes import ready_lanes
from worker_settings import SettingsError, WorkerSettings, read_settings
from worker_steps import Tools, steps_by_queue
from worker_telemetry import cluster_observers, observe, open_telemetry, set_up_worker_logging
from workflows.batch_transfer import BatchTransfer
from workflows.check_alerts import CheckAlerts
from workflows.dead_letters import ReplayDeadLetters
from workflows.interface.names import Queue
from workflows.lane_keeper import LaneKeeper
from workflows.maintenance import (
    ArchiveWebhookDeliveries,
    CleanStaleBatches,
    ExpireTransfers,
    RetryFailedBlockchainTransfers,
    SweepWebhookDeliveries,
)
from workflows.sandbox import sandboxed
from workflows.transfer import Transfer
from workflows.webhook_delivery import WebhookDelivery

_log = logging.getLogger("worker")

_WORKFLOWS: dict[Queue, list[type]] = {
    Queue.TRANSFERS: [BatchTransfer, Transfer],
    Queue.BLOCKCHAIN: [LaneKeeper],
    Queue.WEBHOOKS: [WebhookDelivery],
    Queue.MAINTENANCE: [
        ArchiveWebhookDeliveries,
        CheckAlerts,
        CleanStaleBatches,
        ExpireTransfers,
        RetryFailedBlockchainTransfers,
        SweepWebhookDeliveries,
        ReplayDeadLetters,
    ],
}
# Every fault a person can mend: told in one line, without a traceback.
_MENDABLE = (
    SettingsError,
    ConnectError,
    ChainBehindLedgerError,
    ForeignNonceError,
    NotOperatorError,
    NodeUnavailableError,
    RpcError,
    ChangedMigrationError,
    asyncpg.PostgresError,
    RPCError,
    OSError,
    RuntimeError,
)
# Whose words an error's text is, where it doesn't say so itself.
_SPEAKERS: dict[type[Exception], str] = {
    asyncpg.PostgresError: "Postgres (DATABASE_URL): ",
    RPCError: "Temporal (TEMPORAL_ADDRESS): ",
    NodeUnavailableError: "the EVM node (CHAIN_RPC_URL): ",
    RpcError: "the EVM node (CHAIN_RPC_URL): ",
}


async def run(settings: WorkerSettings, queues: Sequence[Queue]) -> None:
    """Works until SIGTERM or SIGINT, then lets running steps end.

    Raises:
        ConnectError: something can't be reached or opened.
        ChainBehindLedgerError, ForeignNonceError, NotOperatorError: chain and database don't belong together.
    """
    async with AsyncExitStack() as stack:
        telemetry = await open_telemetry(settings, stack)
        to = await connect(settings, telemetry, stack)
        await migrate(to.pool)
        waker = await stack.enter_async_context(Waker(to.temporal))
        lane_waker = LaneWaker(to.temporal)
        await ready_lanes(to.rpc, Lanes(to.pool), list(to.signers), settings, lane_waker)
        await put_schedules(to.temporal, settings)
        sender = await stack.enter_async_context(open_sender())
        steps = steps_by_queue(
            Tools(settings, to, waker, lane_waker, Turns(settings.slices_at_once), telemetry.deliveries), sender
        )
        workers = [_worker(to.temporal, queue, steps[queue], settings, telemetry.interceptors) for queue in queues]
        observes = Queue.MAINTENANCE in queues
        observers = cluster_observers(to.temporal, to.pool, to.rpc, to.chain_id) if observes else []
        await observe(telemetry, to.pool, observers, stack)
        await _until_stopped(workers)


def _worker(
    client: Client,
    queue: Queue,
    activities: list[Callable[..., Any]],
    settings: WorkerSettings,
    interceptors: Sequence[Interceptor],
) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=_WORKFLOWS[queue],
        activities=activities,
        workflow_runner=sandboxed(),
        interceptors=interceptors,
        build_id="transfers",
        max_concurrent_activities=settings.slots(queue),
        # A worker that comes back replays many workflows at once; each must stay below the deadlock detector's 2 s.
        max_concurrent_workflow_tasks=8,
        max_cached_workflows=500,
        # Eager activities would bypass limits, priority and fairness.
        disable_eager_activity_execution=True,
        # A killed worker's workflows come to another one after this.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
        graceful_shutdown_timeout=timedelta(seconds=settings.shutdown_grace_s),
        max_heartbeat_throttle_interval=timedelta(seconds=2),
    )


async def _until_stopped(workers: Sequence[Worker]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
        _log.info("working on %s", ", ".join(worker.task_queue for worker in workers))
        await stop.wait()
        _log.info("draining: running steps end, nothing new is taken")


def _chosen(queues: str) -> tuple[WorkerSettings, list[Queue]]:
    """The settings, and the queues by their names.

    Raises:
        SettingsError: every fault of both, one a line.
    """
    names = list(dict.fromkeys(name.strip() for name in queues.split(",")))
    unknown = [name for name in names if name not in set(Queue)]
    faults = [f"--queues: {name!r} is no queue; choose from {', '.join(Queue)}" for name in unknown]
    try:
        settings = read_settings()
    except SettingsError as error:
        raise SettingsError("\n".join([*faults, str(error)])) from None
    if faults:
        raise SettingsError("\n".join(faults))
    return settings, [Queue(name) for name in names]


def _told(error: Exception) -> str:
    speaker = next((words for kind, words in _SPEAKERS.items() if isinstance(error, kind)), "")
    return speaker + (str(error) or type(error).__name__)


def _spare_the_collector() -> None:
    """A slice makes thousands of rows that end without cycles: looking for cycles each 700 of them took a fifth of the
    worker's CPU.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def main() -> int:
    """Entry point; exit code 1 with a line for each thing a person can mend."""
    parser = argparse.ArgumentParser(
        prog="worker.py", description="Works on the queues of the ticket transfer service."
    )
    parser.add_argument("--queues", default=",".join(Queue), metavar="A,B", help="default: %(default)s")
    arguments = parser.parse_args()
    _spare_the_collector()
    try:
        settings, queues = _chosen(arguments.queues)
        set_up_worker_logging(settings)
        uvloop.run(run(settings, queues))
    except _MENDABLE as error:
        sys.stderr.writelines(f"worker: {line}\n" for line in _told(error).splitlines())
        return 1
    return 0


if __name__ == "__main__":
    leave(main())
