"""A sender, a namespace of these tests' own, and a worker with the real steps on a chain that moves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities.faults import not_yet
from activities.single_transfers import SingleLedgers, SingleSteps
from activities.transfers import Pace, TransferLedgers
from activities.transfers import Transfers as TransferSteps
from activities.turns import Turns
from activities.waking import Waker
from chain.keccak import keccak256
from ledger.creation import TransferCreation
from ledger.dead_letters import DeadLetters
from ledger.gifts import Gifts
from ledger.pool import Pool
from ledger.retries import Retries
from ledger.runs import BatchRuns
from ledger.single_retries import SingleRetries
from ledger.singles import SingleTransfers
from ledger.staging import BatchWriter
from starter.client import TransferClient
from starter.transfers import SingleTransferClient
from tests.servers import Temporal
from tests.starter.commands import Transfers
from worker_steps import steps_of
from workflows.batch_transfer import BatchTransfer
from workflows.interface.batch import BlockchainActivities, LaneState, LaneWork, Slice, StepResult
from workflows.interface.names import Queue, batch_workflow_id
from workflows.interface.transfer import ChainTransferActivities, TransferStep, TransferWork
from workflows.interface.validation import judge
from workflows.sandbox import sandboxed
from workflows.transfer import Transfer

SENDER = "alice"
NAMESPACE = "starter"


_SINGLES_THAT_RUN = "WorkflowType = 'Transfer' AND ExecutionStatus = 'Running'"


class StillChain(BlockchainActivities):
    """A chain that is never asked to move anything: for batches whose items all fail before it."""

    def __init__(self, runs: BatchRuns) -> None:
        self._runs = runs

    @activity.defn(name="submit_transfers")
    async def submit_transfers(self, work: Slice) -> StepResult:
        counts = await self._runs.counts(work.batch_id)
        return StepResult(counts=counts, stopped=await self._runs.is_stopped(work.batch_id))

    @activity.defn(name="confirm_transfers")
    async def confirm_transfers(self, work: Slice) -> StepResult:
        return StepResult(counts=await self._runs.counts(work.batch_id))

    @activity.defn(name="tend_lane")
    async def tend_lane(self, work: LaneWork) -> LaneState:
        return LaneState(open=0)


class StillSingles(ChainTransferActivities):
    """The same for single transfers: they wait for ever for room on a lane."""

    @activity.defn(name="submit_transfer")
    async def submit_transfer(self, work: TransferWork) -> TransferStep:
        raise not_yet("this chain moves nothing", 60.0)

    @activity.defn(name="confirm_transfer")
    async def confirm_transfer(self, work: TransferWork) -> TransferStep:
        raise not_yet("this chain moves nothing", 60.0)


class Service(NamedTuple):
    """A database, a Temporal namespace, and what a command needs to find them."""

    pool: Pool
    temporal: Client
    environment: dict[str, str]

    @property
    def client(self) -> TransferClient:
        """The client under test."""
        return TransferClient(self.temporal)

    @property
    def singles(self) -> SingleTransferClient:
        """The client of single transfers and gifts."""
        return SingleTransferClient(self.temporal)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker for the block."""
        runs, rule = BatchRuns(self.pool), partial(judge, keccak256=keccak256)
        ledgers = TransferLedgers(
            runs=runs,
            writer=BatchWriter(self.pool),
            creation=TransferCreation(self.pool, rule, frozenset()),
            retries=Retries(self.pool, rule, frozenset()),
            letters=DeadLetters(self.pool),
        )
        async with AsyncExitStack() as stack:
            waker = await stack.enter_async_context(Waker(self.temporal))
            transfers = TransferSteps(ledgers, waker, Pace(slice_size=100, window=4, slices_per_run=50), Turns())
            parts = SingleLedgers(
                SingleTransfers(self.pool, rule, frozenset()),
                Gifts(self.pool),
                SingleRetries(self.pool, rule, frozenset()),
            )
            singles = SingleSteps(parts, waker, runs.raise_alert, Turns())
            objects: dict[Queue, tuple[object, object]] = {
                Queue.TRANSFERS: (transfers, singles),
                Queue.BLOCKCHAIN: (StillChain(runs), StillSingles()),
            }
            for queue, steps in objects.items():
                workflows = [BatchTransfer, Transfer] if queue is Queue.TRANSFERS else []
                worker = Worker(
                    self.temporal,
                    task_queue=queue,
                    workflows=workflows,
                    activities=[method for one in steps for method in steps_of(one)],
                    workflow_runner=sandboxed(),
                    build_id="tests",
                )
                await stack.enter_async_context(worker)
            yield


@pytest.fixture
async def sender(pool: Pool) -> str:
    """A user with a wallet."""
    await pool.execute("INSERT INTO wallets VALUES ($1, decode(repeat('a1', 20), 'hex'))", SENDER)
    return SENDER


@pytest.fixture(scope="package")
async def starter_client(temporal: Temporal) -> Client:
    """A client of a namespace of these tests' own."""
    return await temporal.add_namespace(NAMESPACE)


@pytest.fixture
async def service(
    pool: Pool, sender: str, database_url: str, temporal: Temporal, starter_client: Client
) -> AsyncIterator[Service]:
    """Everything a command needs but a worker; batches left open are terminated, out of the next test's way."""
    assert sender == SENDER
    environment = {"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": NAMESPACE}
    yield Service(pool, starter_client, environment)
    left = [batch_workflow_id(row["batch_id"]) for row in await pool.fetch("SELECT batch_id FROM batch_transfers")]
    left += [run.id async for run in starter_client.list_workflows(_SINGLES_THAT_RUN)]
    for workflow_id in left:
        try:
            await starter_client.get_workflow_handle(workflow_id).terminate()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


@pytest.fixture
def transfers(service: Service, tmp_path: Path) -> Transfers:
    """The command, pointed at the service."""
    return Transfers(tmp_path, service.environment)
