"""What all tests share: the session's real servers, and a fresh database per test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from temporalio.client import Client

from devstack.ports import Ports, free_ports
from ledger.pool import Pool
from tests.real_chain import RealChain, running_chain
from tests.servers import Postgres, Temporal, open_pool, running_postgres, running_temporal
from tests.webhooks.receiver import Receiver


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's servers keep their data and logs."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def ports() -> Ports:
    """Free ports for the session's servers."""
    return free_ports()


@pytest.fixture(scope="session")
async def postgres(server_folder: Path, ports: Ports) -> AsyncIterator[Postgres]:
    """The session's Postgres, with the migrated template database."""
    async with running_postgres(server_folder, ports.postgres) as running:
        yield running


@pytest.fixture
async def database_url(postgres: Postgres) -> AsyncIterator[str]:
    """A fresh database with the whole schema."""
    async with postgres.fresh_database() as url:
        yield url


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on a fresh database."""
    async with await open_pool(database_url) as opened:
        yield opened


@pytest.fixture(scope="session")
async def temporal(server_folder: Path, ports: Ports) -> AsyncIterator[Temporal]:
    """The session's Temporal dev server."""
    async with running_temporal(server_folder, ports) as running:
        yield running


@pytest.fixture(scope="session")
async def idle_client(temporal: Temporal) -> Client:
    """A client of a namespace without workers: what is started there is only ever looked at."""
    return await temporal.add_namespace("idle")


@pytest.fixture(scope="session")
async def real_chain() -> AsyncIterator[RealChain]:
    """The session's EVM node with the contracts; it mines when a test says so."""
    async with running_chain() as chain:
        yield chain


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A webhook endpoint on loopback."""
    received = Receiver()
    runner = web.AppRunner(received.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    received.port = runner.addresses[0][1]
    yield received
    received.release.set()
    await runner.cleanup()
