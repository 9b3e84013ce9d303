"""The whole system: a database, a chain that makes blocks, Temporal, and the worker as a process."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from chain.keystore import write_keystore
from chain.quantities import to_hex
from ledger.pool import Pool
from tests.crew import Crew
from tests.e2e.worker_process import WorkerProcess
from tests.real_chain import RealChain
from tests.servers import Temporal

NAMESPACE, PASSWORD = "e2e", "only for tests"
BLOCK_TIME_S = 0.25
LANES = 2


class System(NamedTuple):
    """What a test needs to use and to judge the system."""

    client: Client
    crew: Crew
    worker: WorkerProcess
    environment: dict[str, str]

    @property
    def pool(self) -> Pool:
        """The service's database."""
        return self.crew.books.pool

    async def start_batch(self, lines: list[tuple[int | str, str]], **fields: Any) -> WorkflowHandle[Any, Any]:
        """Starts an inline batch with nothing but a Temporal client and plain JSON."""
        batch_id = uuid4()
        items = [{"ticketId": str(ticket), "to": to} for ticket, to in lines]
        argument = {"batchId": str(batch_id), "fromUserId": "alice", "items": items, **fields}
        return await self.client.start_workflow(
            "BatchTransfer", argument, id=f"batch/{batch_id}", task_queue="transfers"
        )

    async def until(self, condition: str) -> None:
        """Waits until the SQL condition holds."""
        while not await self.pool.fetchval(f"SELECT {condition}"):  # a test's own words
            await asyncio.sleep(0.01)


def batch_id_of(handle: WorkflowHandle[Any, Any]) -> UUID:
    """The batch of a workflow."""
    return UUID(handle.id.removeprefix("batch/"))


@pytest.fixture(scope="package")
async def e2e_client(temporal: Temporal) -> Client:
    """A client of a namespace of these tests' own."""
    return await temporal.add_namespace(NAMESPACE)


@pytest.fixture
async def blocks(real_chain: RealChain) -> AsyncIterator[None]:
    """The chain makes blocks by itself while the test runs."""

    async def make() -> None:
        while True:
            await asyncio.sleep(BLOCK_TIME_S)
            await real_chain.mine()

    task = asyncio.create_task(make())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def environment(
    database_url: str, temporal: Temporal, real_chain: RealChain, lane_keys: list[bytes], tmp_path: Path
) -> dict[str, str]:
    """The worker's settings, as an operator gives them."""
    keystore = tmp_path / "keystore.json"
    write_keystore(keystore, lane_keys, PASSWORD)
    return {
        "DATABASE_URL": database_url,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "CHAIN_RPC_URL": real_chain.url,
        "TICKETS_ADDRESS": to_hex(real_chain.tickets),
        "ROUTER_ADDRESS": to_hex(real_chain.router),
        "LANE_KEYSTORE": str(keystore),
        "LANE_KEYSTORE_PASSWORD": PASSWORD,
        "SLICE_SIZE": "10",
        "WINDOW": "4",
        "SLICES_PER_RUN": "8",
        "CHAIN_POLL_S": "0.1",
    }


@pytest.fixture
def lane_keys() -> list[bytes]:
    """Fresh keys, so that no other test has used their nonces."""
    return [secrets.token_bytes(32) for _ in range(LANES)]


@pytest.fixture
async def crew(pool: Pool, real_chain: RealChain, e2e_client: Client, lane_keys: list[bytes]) -> Crew:
    """For preparing and judging; its own steps aren't used."""
    lanes = [await real_chain.new_lane(key) for key in lane_keys]
    return Crew(pool, real_chain, e2e_client, *lanes[0])


@pytest.fixture
async def system(crew: Crew, e2e_client: Client, environment: dict[str, str], tmp_path: Path) -> AsyncIterator[System]:
    """Everything in place; no worker runs yet."""
    await crew.books.people("alice", "bob", "carol")
    worker = WorkerProcess(environment, tmp_path / "worker.log")
    yield System(e2e_client, crew, worker, environment)
    await worker.kill()
    async for running in e2e_client.list_workflows("ExecutionStatus = 'Running'"):
        try:
            await e2e_client.get_workflow_handle(running.id).terminate()
        except RPCError as error:  # the list is a moment old
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
