"""How the worker starts and ends: bad settings and servers out of reach are told in a line each, with exit code 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.ports import free_ports
from tests.e2e.conftest import System
from tests.e2e.worker_process import WorkerProcess
from worker_settings import SettingsError, read_settings

SOUND = {
    "DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/d",
    "CHAIN_RPC_URL": "http://127.0.0.1:1",
    "TICKETS_ADDRESS": "0x" + "11" * 20,
    "ROUTER_ADDRESS": "0x" + "22" * 20,
    "LANE_KEYSTORE": "keystore.json",
    "LANE_KEYSTORE_PASSWORD": "secret",
}


async def said_at_its_end(environment: dict[str, str], tmp_path: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and the lines it said."""
    worker = WorkerProcess(environment, tmp_path / "refused.log")
    await worker.spawn(*arguments)
    code = await worker.exit_code()
    return code, worker.log.splitlines()


async def test_missing_settings_are_all_told_a_line_each(tmp_path: Path) -> None:
    """A newcomer sees at once what is needed."""
    code, lines = await said_at_its_end({}, tmp_path)
    assert code == 1
    assert lines == [
        "worker: DATABASE_URL: Field required",
        "CHAIN_RPC_URL: Field required",
        "TICKETS_ADDRESS: Field required",
        "ROUTER_ADDRESS: Field required",
        "LANE_KEYSTORE: Field required",
        "LANE_KEYSTORE_PASSWORD: Field required",
    ]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"SLICE_SIZE": "1001"}, r"SLICE_SIZE: .*less than or equal to 1000"),
        ({"SLICE_SIZE": "0"}, r"SLICE_SIZE: .*greater than or equal to 1"),
        ({"WINDOW": "many"}, r"WINDOW: .*valid integer"),
        ({"CHAIN_DEPTH": "0"}, r"CHAIN_DEPTH: "),
        ({"WINDOW": "8", "TRANSFERS_SLOTS": "7"}, r"TRANSFERS_SLOTS \(7\) .* must be at\s+least WINDOW \(8\)"),
        ({"WINDOW": "8", "BLOCKCHAIN_SLOTS": "7"}, r"BLOCKCHAIN_SLOTS \(7\) must be at\s+least WINDOW \(8\)"),
        ({"TICKETS_ADDRESS": "0x12"}, r"TICKETS_ADDRESS: .*isn't an address"),
        ({"ROUTER_ADDRESS": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"}, r"ROUTER_ADDRESS: .*checksum is wrong"),
        ({"ROUTER_ADDRESS": "0x" + "0" * 40}, r"ROUTER_ADDRESS: .*zero address"),
        ({"DATABASE_URL": "mysql://u:secret@127.0.0.1/d"}, r"DATABASE_URL: must begin with postgresql://"),
    ],
)
def test_a_bad_setting_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch, bad: dict[str, str], said: str) -> None:
    """Each fault names the variable and what it must be."""
    for name, value in (SOUND | bad).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said) as caught:
        read_settings()
    assert "secret" not in str(caught.value)


def test_several_bad_settings_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """All faults at once, a line each."""
    for name, value in (SOUND | {"SLICE_SIZE": "0", "CHAIN_POLL_S": "-1", "TICKETS_ADDRESS": "x"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "TICKETS_ADDRESS",
        "SLICE_SIZE",
        "CHAIN_POLL_S",
    ]


def test_secrets_never_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the password nor the database's URL stand in the settings' repr."""
    for name, value in SOUND.items():
        monkeypatch.setenv(name, value)
    assert "secret" not in repr(read_settings())


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
    assert lines[0].startswith("worker: ")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"LANE_KEYSTORE_PASSWORD": "wrong"}, "password"),
        ({"LANE_KEYSTORE": "/nowhere/keystore.json"}, "/nowhere/keystore.json"),
        ({"DATABASE_URL": "postgresql://127.0.0.1/d?sslmode=maybe"}, "sslmode"),
        ({"TEMPORAL_NAMESPACE": "nowhere"}, "nowhere"),
        ({"ROUTER_ADDRESS": "0x" + "22" * 20}, "isn't an operator"),
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


async def test_an_unknown_queue_is_refused(tmp_path: Path) -> None:
    """The words of the argument's own list are told."""
    code, lines = await said_at_its_end({}, tmp_path, "--queues", "transfers,mail")
    assert code == 2
    assert "choose from transfers, blockchain, webhooks, maintenance" in lines[-1]


async def test_a_worker_stops_cleanly_when_asked(system: System) -> None:
    """SIGTERM: running steps end, nothing new is taken, exit code 0; a second start finds everything in place."""
    for _ in range(2):
        await system.worker.start()
        assert await system.worker.stop() == 0
    assert "Traceback" not in system.worker.log
