"""The worker: the one place where clients, pools and activities are put together. Drains on SIGTERM.

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
from functools import partial
from typing import Any

import asyncpg
import uvloop
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.blockchain import Blockchain, ChainLedgers, ChainTools
from activities.lane_waking import LaneWaker
from activities.maintenance import Maintenance
from activities.transfers import Pace, TransferLedgers, Transfers
from activities.waking import Waker
from activities.webhooks import Webhooks
from chain.approvals import Approvals
from chain.block_clock import BlockClock
from chain.confirmation import Confirmer
from chain.heads import ChainBehindLedgerError, ForeignNonceError, NotOperatorError
from chain.keccak import keccak256
from chain.packing import OPENZEPPELIN, Packer
from chain.recipients import Recipients
from chain.rpc import NodeUnavailableError, RpcError
from chain.sender import Sender
from ledger.attempts import Attempts
from ledger.binding import Binding
from ledger.creation import TransferCreation
from ledger.lanes import Lanes
from ledger.migrate import ChangedMigrationError, migrate
from ledger.pool import Pool
from ledger.retries import Retries
from ledger.runs import BatchRuns
from ledger.settlement import Settling
from ledger.staging import BatchWriter
from ledger.webhooks import WebhookLedger
from starter.leaving import leave
from starter.schedules import put_schedules
from webhooks.sender import open_sender
from worker_connections import ConnectError, Connections, connect
from worker_lanes import ready_lanes
from worker_settings import SettingsError, WorkerSettings, read_settings
from workflows.batch_transfer import BatchTransfer
from workflows.interface.names import Queue
from workflows.interface.validation import judge
from workflows.lane_keeper import LaneKeeper
from workflows.sandbox import sandboxed
from workflows.sweep import SweepWebhookDeliveries
from workflows.webhook_delivery import WebhookDelivery

_log = logging.getLogger("worker")

_WORKFLOWS: dict[Queue, list[type]] = {
    Queue.TRANSFERS: [BatchTransfer],
    Queue.BLOCKCHAIN: [LaneKeeper],
    Queue.WEBHOOKS: [WebhookDelivery],
    Queue.MAINTENANCE: [SweepWebhookDeliveries],
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


def chain_activities(settings: WorkerSettings, to: Connections, waker: Waker, lane_waker: LaneWaker) -> Blockchain:
    """The steps of the queue `blockchain`."""
    router, tickets = (bytes.fromhex(a[2:]) for a in (settings.router_address, settings.tickets_address))
    attempts = Attempts(to.pool)
    ledgers = ChainLedgers(
        runs=BatchRuns(to.pool),
        retries=Retries(to.pool, partial(judge, keccak256=keccak256), settings.own_contracts),
        binding=Binding(to.pool, to.chain_id, list(to.signers)),
        attempts=attempts,
        settling=Settling(to.pool),
    )
    tools = ChainTools(
        approvals=Approvals(to.rpc, tickets, router, list(to.signers)),
        packer=Packer({tickets: OPENZEPPELIN}),
        recipients=Recipients(to.rpc),
        sender=Sender(to.rpc, attempts, to.signers, router),
        confirmer=Confirmer(to.rpc, router, settings.chain_depth),
        blocks=BlockClock(settings.chain_poll_s),
    )
    return Blockchain(ledgers, tools, waker, lane_waker)


def transfer_activities(settings: WorkerSettings, pool: Pool, waker: Waker) -> Transfers:
    """The steps of the queue `transfers`."""
    rule = partial(judge, keccak256=keccak256)
    ledgers = TransferLedgers(
        runs=BatchRuns(pool),
        writer=BatchWriter(pool),
        creation=TransferCreation(pool, rule, settings.own_contracts),
        retries=Retries(pool, rule, settings.own_contracts),
    )
    return Transfers(ledgers, waker, Pace(settings.slice_size, settings.window, settings.slices_per_run))


def steps_of(activities: object) -> list[Callable[..., Any]]:
    """The activity methods of an object."""
    methods = (getattr(activities, name) for name in dir(activities) if not name.startswith("_"))
    return [method for method in methods if hasattr(method, "__temporal_activity_definition")]


async def run(settings: WorkerSettings, queues: Sequence[Queue]) -> None:
    """Works until SIGTERM or SIGINT, then lets running steps end.

    Raises:
        ConnectError: something can't be reached or opened.
        ChainBehindLedgerError, ForeignNonceError, NotOperatorError: chain and database don't belong together.
    """
    async with AsyncExitStack() as stack:
        to = await connect(settings, stack)
        await migrate(to.pool)
        waker = await stack.enter_async_context(Waker(to.temporal))
        lane_waker = LaneWaker(to.temporal)
        await ready_lanes(to.rpc, Lanes(to.pool), list(to.signers), settings, lane_waker)
        await put_schedules(to.temporal)
        sender = await stack.enter_async_context(open_sender())
        webhook_ledger, raise_alert = WebhookLedger(to.pool), BatchRuns(to.pool).raise_alert
        activities: dict[Queue, object] = {
            Queue.TRANSFERS: transfer_activities(settings, to.pool, waker),
            Queue.BLOCKCHAIN: chain_activities(settings, to, waker, lane_waker),
            Queue.WEBHOOKS: Webhooks(webhook_ledger, sender, raise_alert, settings.webhooks_slots),
            Queue.MAINTENANCE: Maintenance(webhook_ledger, to.temporal, raise_alert),
        }
        workers = [_worker(to.temporal, queue, activities[queue], settings) for queue in queues]
        await _until_stopped(workers)


def _worker(client: Client, queue: Queue, activities: object, settings: WorkerSettings) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=_WORKFLOWS[queue],
        activities=steps_of(activities),
        workflow_runner=sandboxed(),
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


def _queues(text: str) -> list[Queue]:
    try:
        return list(dict.fromkeys(Queue(name.strip()) for name in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; choose from {', '.join(Queue)}") from None


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
    parser.add_argument(
        "--queues", type=_queues, default=list(Queue), metavar="A,B", help=f"default: {','.join(Queue)}"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # One line per JSON-RPC call is no help to anybody.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    _spare_the_collector()
    try:
        uvloop.run(run(read_settings(), arguments.queues))
    except _MENDABLE as error:
        sys.stderr.writelines(f"worker: {line}\n" for line in _told(error).splitlines())
        return 1
    return 0


if __name__ == "__main__":
    leave(main())
