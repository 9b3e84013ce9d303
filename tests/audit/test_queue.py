"""Queue system: what is stored survives its servers, and an item's tries are counted and spaced."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from devstack.ports import HOST, free_ports
from devstack.postgres import PostgresServer, remove_data
from devstack.processes import ProcessRecord, kill, stop, wait_until
from devstack.state import NAMESPACE
from devstack.temporal import is_temporal_ready, start_temporal
from devstack.tools import temporal_program
from ledger.migrate import migrate
from tests.audit.conftest import making_blocks
from tests.crew import Crew
from tests.e2e.conftest import System, batch_id_of
from tests.e2e.test_system import check_nothing_lost_or_doubled
from tests.e2e.worker_process import WorkerProcess
from tests.real_chain import RealChain
from tests.servers import Postgres, Temporal, open_pool

TIMEOUT_S = 60.0
PASSWORD = "only-for-this-test"


class OwnServers:
    """A Temporal and a Postgres that may be killed: nobody else uses them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ports = folder, free_ports()
        self._log = folder / "servers.log"
        self._postgres = PostgresServer(folder / "postgres", self._ports.postgres, PASSWORD, self._log)
        self._running: list[ProcessRecord] = []
        self.temporal = Temporal(f"{HOST}:{self._ports.temporal}")
        self.database_url = Postgres(self._ports.postgres, PASSWORD).url("postgres")

    def start(self) -> None:
        """Starts both on whatever data they have."""
        database = self._folder / "temporal.db"
        ports, log = self._ports, self._log
        server = start_temporal(temporal_program(), database, ports.temporal, ports.temporal_ui, log)
        self._running = [server, self._postgres.start()]
        wait_until("Temporal", server, log, lambda: is_temporal_ready(self.temporal.address), TIMEOUT_S)
        wait_until("Postgres", self._running[1], log, self._postgres.is_ready, TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL to both."""
        for record in self._running:
            kill(record)

    def end(self) -> None:
        """Stops both and removes the data."""
        for record, number in zip(self._running, (signal.SIGKILL, signal.SIGINT), strict=True):
            stop(record, number, TIMEOUT_S)
        remove_data(self._folder / "postgres")


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[OwnServers]:
    """Both, running."""
    own = OwnServers(tmp_path)
    await asyncio.to_thread(own.start)
    yield own
    await asyncio.to_thread(own.end)


async def test_a_batch_outlives_its_killed_servers(
    servers: OwnServers, environment: dict[str, str], real_chain: RealChain, lane_keys: list[bytes], tmp_path: Path
) -> None:
    """SIGKILL to Temporal and Postgres in the middle: back on their data, the batch goes on, each ticket moves once."""
    client = await servers.temporal.client(NAMESPACE)
    lanes = [await real_chain.new_lane(key) for key in lane_keys]
    where = {"TEMPORAL_ADDRESS": servers.temporal.address, "TEMPORAL_NAMESPACE": NAMESPACE}
    environment |= where | {"DATABASE_URL": servers.database_url}
    worker = WorkerProcess(environment, tmp_path / "worker.log")
    try:
        async with await open_pool(servers.database_url) as pool:
            await migrate(pool)
            system = System(client, Crew(pool, real_chain, client, *lanes[0]), worker, environment)
            await system.crew.books.people("alice", "bob")
            tickets = await system.crew.world_tickets(30)
            await worker.start()
            handle = await system.start_batch([(ticket, "bob") for ticket in tickets])
            await system.until("count(*) = 30 FROM chain_bindings")
            await asyncio.to_thread(servers.kill)
            pool.terminate()
        await asyncio.to_thread(servers.start)
        async with await open_pool(servers.database_url) as pool, making_blocks(real_chain):
            result = await handle.result()
            assert (result["status"], result["completed"]) == ("COMPLETED", 30)
            await check_nothing_lost_or_doubled(system._replace(crew=system.crew.on(pool)), 30)
    finally:
        await worker.kill()


@pytest.mark.usefixtures("blocks")
async def test_an_item_has_three_tries_one_and_two_seconds_apart(system: System) -> None:
    """Refused by its recipient, an item is bound three times with growing waits; then it's failed, with its code."""
    await system.worker.start()
    refusing = "0x" + (await system.crew.chain.deploy("test/RefusingReceiver")).hex()
    [ticket] = await system.crew.world_tickets(1)
    handle = await system.start_batch([(ticket, refusing)])
    assert (await handle.result())["failed"] == 1
    rows = await system.pool.fetch(
        "SELECT x.bound_at, x.settled_at FROM chain_bindings b JOIN chain_transactions x USING (transaction_id)"
        " ORDER BY b.binding_no"
    )
    assert len(rows) == 3
    waits = [(after["bound_at"] - before["settled_at"]).total_seconds() for before, after in pairwise(rows)]
    assert 1 <= waits[0] < 2 <= waits[1] < 4
    [failed] = await system.pool.fetch("SELECT failure_code, tries FROM batch_transfer_items")
    assert (failed["failure_code"], failed["tries"]) == ("REVERTED", 3)
    assert (await system.crew.books.items(batch_id_of(handle)))[1][0] == "FAILED"
