"""The whole system of tests/e2e, in a namespace of these tests' own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID

import pytest
from temporalio.client import Client

from ledger.webhooks import NewSubscription, WebhookLedger
from tests.e2e import conftest as e2e
from tests.e2e.conftest import System
from tests.e2e.worker_process import WorkerProcess
from tests.real_chain import RealChain
from tests.servers import Temporal
from tests.starter.commands import Transfers
from workflows.interface.deliveries import RetryPolicy

NAMESPACE = "audit"
MOST_S = 60.0
SECRET = bytes(range(32))
COMMAND_SETTINGS = ("DATABASE_URL", "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE")

blocks = e2e.blocks
lane_keys = e2e.lane_keys
crew = e2e.crew
system = e2e.system
e2e_environment = e2e.environment


@pytest.fixture(scope="package")
async def e2e_client(temporal: Temporal) -> Client:
    """A client of these tests' namespace."""
    return await temporal.add_namespace(NAMESPACE)


@pytest.fixture
def environment(e2e_environment: dict[str, str]) -> dict[str, str]:
    """The worker's settings."""
    return e2e_environment | {"TEMPORAL_NAMESPACE": NAMESPACE}


@pytest.fixture
async def second_worker(system: System, tmp_path: Path) -> AsyncIterator[WorkerProcess]:
    """Another worker process with the same settings."""
    worker = WorkerProcess(system.environment, tmp_path / "second.log")
    yield worker
    await worker.kill()


@pytest.fixture
def command(system: System, tmp_path: Path) -> Transfers:
    """The command line, pointed at the same servers."""
    return Transfers(tmp_path, {name: system.environment[name] for name in COMMAND_SETTINGS})


async def subscribe(system: System, url: str, *event_types: str, retry: RetryPolicy | None = None) -> UUID:
    """An endpoint that wants to hear of alice's events."""
    new = NewSubscription(url, SECRET, "alice", event_types, retry or RetryPolicy())
    return (await WebhookLedger(system.pool).create_subscription(new)).subscription_id


@asynccontextmanager
async def making_blocks(chain: RealChain) -> AsyncIterator[None]:
    """The chain makes blocks by itself, for a minute at most: for tests that hold it still at first."""

    async def make() -> None:
        while True:
            await chain.mine()
            await asyncio.sleep(e2e.BLOCK_TIME_S)

    task = asyncio.create_task(make())
    try:
        async with asyncio.timeout(MOST_S):
            yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
