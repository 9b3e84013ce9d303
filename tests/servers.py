"""The real servers of a test session: one Postgres and one Temporal dev server, started as the dev stack does."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import asyncpg
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from devstack.ports import HOST, Ports
from devstack.postgres import SETTINGS, PostgresServer, remove_data
from devstack.processes import ProcessRecord, stop, wait_until
from devstack.temporal import SEARCH_ATTRIBUTES, is_temporal_ready, start_temporal
from devstack.tools import temporal_program
from ledger.migrate import migrate
from ledger.pool import Pool, create_pool

# A database per test: what a power cut would leave of it doesn't matter.
QUICK_SETTINGS = SETTINGS | {"fsync": "off", "full_page_writes": "off"}
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
TEMPLATE = "template_transfers"
_KINDS = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "Int": IndexedValueType.INDEXED_VALUE_TYPE_INT,
}


class Postgres(NamedTuple):
    """A running server that holds a migrated template database."""

    port: int
    password: str

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres:{self.password}@{HOST}:{self.port}/{database}"

    @asynccontextmanager
    async def fresh_database(self) -> AsyncIterator[str]:
        """A database of its own with the whole schema; its URL."""
        name = f"test_{uuid4().hex}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        yield self.url(name)
        await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def make_template(self) -> None:
        """Migrates once; every test copies the result."""
        await self._execute(f"CREATE DATABASE {TEMPLATE}")
        pool = await open_pool(self.url(TEMPLATE))
        await migrate(pool)
        await pool.close()

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


class Temporal(NamedTuple):
    """A running dev server."""

    address: str

    async def client(self, namespace: str) -> Client:
        """A client as the worker makes it."""
        return await Client.connect(
            self.address,
            namespace=namespace,
            data_converter=pydantic_data_converter,
            grpc_compression=GrpcCompression.NONE,
        )

    async def add_namespace(self, name: str) -> Client:
        """A namespace with our search attributes: what runs in it is out of other tests' way."""
        client = await self.client(name)
        retention = Duration(seconds=int(timedelta(days=1).total_seconds()))
        request = RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention)
        await client.workflow_service.register_namespace(request)
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not await _knows(client, name):
                await asyncio.sleep(0.05)
        kinds = {attribute: _KINDS[kind] for attribute, kind in SEARCH_ATTRIBUTES.items()}
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=name, search_attributes=kinds)
        )
        return client


async def open_pool(url: str) -> Pool:
    """A pool as the worker's."""
    return await create_pool(url, most_connections=12, name="tests")


@asynccontextmanager
async def running_postgres(folder: Path, port: int) -> AsyncIterator[Postgres]:
    """Starts Postgres in the folder, with the template database, and stops it at the end."""
    password, log = secrets.token_urlsafe(12), folder / "postgres.log"
    server = PostgresServer(folder / "postgres", port, password, log, QUICK_SETTINGS)
    with _stopped_after(await asyncio.to_thread(server.start), signal.SIGINT) as record:
        await asyncio.to_thread(wait_until, "Postgres", record, log, server.is_ready, READY_TIMEOUT_S)
        postgres = Postgres(port, password)
        await postgres.make_template()
        yield postgres
    remove_data(folder / "postgres")


@asynccontextmanager
async def running_temporal(folder: Path, ports: Ports) -> AsyncIterator[Temporal]:
    """Starts the dev server in the folder and stops it at the end."""
    log, address = folder / "temporal.log", f"{HOST}:{ports.temporal}"
    program = await asyncio.to_thread(temporal_program)
    started = start_temporal(program, folder / "temporal.db", ports.temporal, ports.temporal_ui, log)
    # Nobody needs its data afterwards, and its own shutdown takes seconds.
    with _stopped_after(started, signal.SIGKILL) as record:
        ready = lambda: is_temporal_ready(address)  # noqa: E731
        await asyncio.to_thread(wait_until, "Temporal", record, log, ready, READY_TIMEOUT_S)
        yield Temporal(address)


@contextmanager
def _stopped_after(record: ProcessRecord, number: signal.Signals) -> Iterator[ProcessRecord]:
    try:
        yield record
    finally:
        stop(record, number, STOP_TIMEOUT_S)


async def _knows(client: Client, namespace: str) -> bool:
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
        await client.count_workflows()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True
