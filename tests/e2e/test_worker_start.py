"""How the worker starts and ends: bad settings and servers out of reach are told in a line each, with exit code 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.ports import free_ports
from tests.e2e.conftest import System
from tests.e2e.worker_process import WorkerProcess


async def said_at_its_end(environment: dict[str, str], tmp_path: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and the lines it said."""
    worker = WorkerProcess(environment, tmp_path / "refused.log")
    await worker.spawn(*arguments)
    code = await worker.exit_code()
    return code, worker.log.splitlines()


@pytest.mark.parametrize("name", ["DATABASE_URL", "TEMPORAL_ADDRESS", "CHAIN_RPC_URL"])
async def test_a_server_out_of_reach_ends_the_worker_with_a_line(system: System, tmp_path: Path, name: str) -> None:
    """Exit code 1, no traceback, and the line tells which server."""
    port = free_ports().chain
    nowhere = {
        "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{port}/transfers",
        "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
        "CHAIN_RPC_URL": f"http://127.0.0.1:{port}",
    }
    code, lines = await said_at_its_end(system.environment | {name: nowhere[name]}, tmp_path)
    assert code == 1
    assert len(lines) == 1, lines
    assert f"127.0.0.1:{port} (from {name}) doesn't answer: " in lines[0]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"LANE_KEYSTORE_PASSWORD": "wrong"}, "password"),
        ({"DATABASE_URL": "postgresql://127.0.0.1/d?sslmode=maybe"}, "sslmode"),
        ({"TEMPORAL_NAMESPACE": "nowhere"}, "no namespace 'nowhere': create it or correct TEMPORAL_NAMESPACE"),
        ({"ROUTER_ADDRESS": "0x" + "22" * 20}, "ROUTER_ADDRESS: there is no contract at 0x2222"),
    ],
)
async def test_what_a_person_can_mend_is_told_in_one_line(
    system: System, tmp_path: Path, bad: dict[str, str], said: str
) -> None:
    """No traceback for a wrong password, file, namespace or contract."""
    code, lines = await said_at_its_end(system.environment | bad, tmp_path)
    assert code == 1
    assert len(lines) == 1, lines
    assert said in lines[0]


async def test_swapped_contracts_are_told(system: System, tmp_path: Path) -> None:
    """Contracts that don't know each other are named, with what else may be wrong."""
    tickets, router = (system.environment[name] for name in ("TICKETS_ADDRESS", "ROUTER_ADDRESS"))
    swapped = {"TICKETS_ADDRESS": router, "ROUTER_ADDRESS": tickets}
    code, lines = await said_at_its_end(system.environment | swapped, tmp_path)
    assert code == 1
    assert "isn't an operator of" in lines[0]
    assert "TICKETS_ADDRESS or ROUTER_ADDRESS is wrong" in lines[0]


async def test_a_chain_behind_postgres_is_refused_with_the_remedy(system: System, tmp_path: Path) -> None:
    """A dev chain that was restored from an old state must not get nonces again."""
    await system.crew.books.lane(signer=system.crew.lane.signer)
    await system.pool.execute(
        "INSERT INTO chain_transactions (chain_id, signer, nonce, settlement, gas_limit, final_tx_hash,"
        " final_block_number, final_block_hash, succeeded, gas_used, fee_wei, settled_at)"
        " VALUES ($1, $2, 40, 'single', 21000, sha256('x'), 7, sha256('y'), true, 1, 1, now())",
        *system.crew.lane,
    )
    await system.pool.execute("UPDATE chain_lanes SET next_nonce = 41")
    code, lines = await said_at_its_end(system.environment, tmp_path)
    assert (code, len(lines)) == (1, 1)
    assert "the chain is behind" in lines[0]
    assert "make clean" in lines[0]


async def test_an_unknown_queue_is_told_with_the_settings_faults(tmp_path: Path) -> None:
    """All that is wrong comes at once, a line each."""
    code, lines = await said_at_its_end({"WINDOW": "-1"}, tmp_path, "--queues", "transfers,mail")
    assert code == 1
    queues = "transfers, blockchain, webhooks, maintenance"
    assert f"worker: --queues: 'mail' is no queue; choose from {queues}" in lines
    assert [line for line in lines if line.startswith("worker: WINDOW: ")]


async def test_a_worker_stops_cleanly_when_asked(system: System) -> None:
    """SIGTERM: running steps end, nothing new is taken, exit code 0; a second start finds everything in place."""
    for _ in range(2):
        await system.worker.start()
        assert await system.worker.stop() == 0
    assert "Traceback" not in system.worker.log
