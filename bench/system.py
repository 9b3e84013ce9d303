"""The system under measurement: one batch, staged and started as a service would, watched from outside."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import GrpcCompression

from bench.blocks import next_block
from bench.figures import SystemRun, WebhookRun
from bench.stage import SENDER
from bench.statements import read_statements
from bench.temporal_effort import workflow_efforts
from bench.usage import Meter
from chain.rpc import JsonRpc
from devstack.demo_ledger import secret_text
from devstack.errors import StackError
from devstack.seed import mint, open_pool, open_rpc
from devstack.stack import Stack
from devstack.state import NAMESPACE, Server
from ledger.fingerprint import StagedItem
from ledger.pool import Pool
from ledger.staging import BatchHeader, BatchWriter
from ledger.webhooks import NewSubscription, WebhookLedger
from workflows.interface.batch import BatchInput, BatchResult
from workflows.interface.codes import BatchStatus, Settlement
from workflows.interface.deliveries import RetryPolicy
from workflows.interface.names import Queue, WorkflowType, batch_workflow_id
from workflows.interface.options import BatchOptions

EVENT_TYPES = ("transfer.completed", "batch.*")
METERED = (Server.WORKER, Server.POSTGRES, Server.TEMPORAL, Server.CHAIN)
_POLL_S = 0.05
# Each look makes the receiver count what it has got.
_RECEIVER_POLL_S = 0.5
_TIMEOUT_S = 900.0

Progress = Callable[[int], None]


class Target(NamedTuple):
    """A subscription's receiver."""

    url: str
    subscription_id: UUID


class SystemBench:
    """Measures one batch on a stack that is up."""

    def __init__(self, stack: Stack, pool: Pool, rpc: JsonRpc, client: Client, progress: Progress) -> None:
        self._stack = stack
        self._pool = pool
        self._rpc = rpc
        self._client = client
        self._progress = progress

    async def run(self, items: int, settlement: Settlement, target: Target | None) -> SystemRun:
        """Stages, starts and waits for the end, of the deliveries too."""
        batch_id = uuid4()
        staging_s = await self._stage(batch_id, items, settlement)
        meter, log_position = meter_of(self._stack, target is not None), self._log.stat().st_size
        await next_block(self._rpc)
        meter.start()
        started = time.time()
        handle = await self._start(batch_id)
        start_s = time.time() - started
        result = asyncio.create_task(_result(handle))
        completed_at = await self._await_items(batch_id, items, result)
        batch, result_at = await result
        if batch.status is not BatchStatus.COMPLETED:
            raise StackError(f"the batch ended {batch.status}: {batch.failed} of {items} items failed")
        webhooks = await self._await_webhooks(target, started) if target else None
        usage = meter.stop()
        statements = read_statements(self._log, log_position)
        return SystemRun(
            items=items,
            settlement=settlement,
            staging_s=staging_s,
            start_ms=start_s * 1000,
            duration_s=completed_at - started,
            result_s=result_at - started,
            transactions=await self._pool.fetchval("SELECT count(*) FROM chain_transactions"),
            usage=usage,
            statements=tuple(statements),
            workflows=await workflow_efforts(self._client),
            webhooks=webhooks,
        )

    @property
    def _log(self) -> Any:
        return self._stack.layout.log(Server.POSTGRES)

    async def _stage(self, batch_id: UUID, items: int, settlement: Settlement) -> float:
        started = time.monotonic()
        await BatchWriter(self._pool).write(BatchHeader(batch_id, SENDER, BatchOptions(settlement)), fresh_items(items))
        return time.monotonic() - started

    async def _start(self, batch_id: UUID) -> WorkflowHandle[Any, BatchResult]:
        return await self._client.start_workflow(
            WorkflowType.BATCH_TRANSFER,
            BatchInput(batch_id=batch_id),
            id=batch_workflow_id(batch_id),
            task_queue=Queue.TRANSFERS,
            result_type=BatchResult,
        )

    async def _await_items(self, batch_id: UUID, items: int, result: asyncio.Task[Any]) -> float:
        """When the counters showed the last item as done with."""
        deadline = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < deadline:
            done: int = await self._pool.fetchval(
                "SELECT completed + failed + cancelled FROM batch_counters WHERE batch_id = $1", batch_id
            )
            self._progress(done)
            if done == items or result.done():
                return time.time()
            await asyncio.sleep(_POLL_S)
        raise StackError(f"the batch wasn't done after {_TIMEOUT_S:.0f} s: {self._stack.worker_log_tail()}")

    async def _await_webhooks(self, target: Target, started: float) -> WebhookRun:
        due = await self._pool.fetchval("SELECT count(*) FROM webhook_deliveries")
        last_at = await await_arrivals(target.url, due, self._progress)
        return WebhookRun(due=due, received=due, duration_s=last_at - started)


async def measure_batch(
    stack: Stack, items: int, settlement: Settlement, with_webhooks: bool, progress: Progress
) -> SystemRun:
    """One batch on a fresh stack."""
    state = stack.state
    async with open_pool(state) as pool, open_rpc(state) as rpc:
        await mint(pool, rpc, stack.deployment, user_id=SENDER, first_id=1, count=items)
        target = await subscribe(stack, pool) if with_webhooks else None
        client = await connect(state.temporal_address)
        return await SystemBench(stack, pool, rpc, client, progress).run(items, settlement, target)


async def connect(address: str) -> Client:
    """A client like a service's on the same machine."""
    return await Client.connect(
        address,
        namespace=NAMESPACE,
        data_converter=pydantic_data_converter,
        grpc_compression=GrpcCompression.NONE,
    )


async def subscribe(stack: Stack, pool: Pool) -> Target:
    """Starts a receiver and subscribes it to what a batch's owner wants to know."""
    secret = secrets.token_bytes(32)
    base_url = await asyncio.to_thread(stack.start_receiver, secret_text(secret))
    new = NewSubscription(f"{base_url}/hooks", secret, SENDER, EVENT_TYPES, RetryPolicy())
    return Target(base_url, (await WebhookLedger(pool).create_subscription(new)).subscription_id)


def meter_of(stack: Stack, with_receiver: bool) -> Meter:
    """A meter on the stack's processes."""
    servers = (*METERED, Server.RECEIVER) if with_receiver else METERED
    return Meter({server.value: stack.state.processes[server].pid for server in servers})


async def await_arrivals(url: str, due: int, progress: Progress) -> float:
    """When the last of `due` distinct webhooks came (Unix seconds).

    Raises:
        StackError: signatures were bad, or they didn't all come in time.
    """
    deadline = time.monotonic() + _TIMEOUT_S
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        seen: dict[str, Any] = {"distinctIds": 0, "badSignatures": 0}
        while seen["distinctIds"] < due and not seen["badSignatures"]:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_RECEIVER_POLL_S)
            seen = (await http.get(f"{url}/summary")).json()
            progress(seen["distinctIds"])
        if seen["distinctIds"] != due or seen["badSignatures"]:
            raise StackError(f"{due} webhooks were due, but the receiver saw {seen}")
        listed = (await http.get(f"{url}/received")).json()["deliveries"]
    return float(max(delivery["at"] for delivery in listed))


def fresh_items(count: int) -> Iterator[StagedItem]:
    """Tickets 1 to `count`, each to an address that has never had one."""
    for ticket_id in range(1, count + 1):
        yield StagedItem(str(ticket_id), "0x" + secrets.token_hex(20))


async def _result(handle: WorkflowHandle[Any, BatchResult]) -> tuple[BatchResult, float]:
    return await handle.result(), time.time()
