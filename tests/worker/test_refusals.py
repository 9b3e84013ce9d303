"""What `worker.py` says, as a process, when its settings are wrong or its servers don't answer: a line per fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.keystore import write_keystore
from devstack.ports import free_ports
from tests.e2e.worker_process import WorkerProcess

SECRET = "hunter2"
TICKETS = "0x" + "11" * 20


async def refusal(environment: dict[str, str], tmp_path: Path) -> list[str]:
    """The lines of a worker that must end by itself with exit code 1, without a secret."""
    worker = WorkerProcess(environment, tmp_path / "worker.log")
    await worker.spawn()
    assert await worker.exit_code() == 1
    assert SECRET not in worker.log
    return worker.log.splitlines()


async def test_missing_settings_are_all_told_a_line_each(tmp_path: Path) -> None:
    """A newcomer sees at once what is needed, and an empty variable counts as missing."""
    lines = await refusal({"CHAIN_RPC_URL": "", "LANE_KEYSTORE": "", "TEMPORAL_ADDRESS": ""}, tmp_path)
    assert lines == [
        "worker: DATABASE_URL: isn't set; it must be postgresql://user:password@host:port/database",
        "worker: CHAIN_RPC_URL: isn't set; it must be http://host:port, the JSON-RPC of an EVM node",
        "worker: TICKETS_ADDRESS: isn't set; it must be 0x…, the `Tickets` contract",
        "worker: ROUTER_ADDRESS: isn't set; it must be 0x…, the `TransferRouter` contract",
        "worker: LANE_KEYSTORE: isn't set; it must be a file with the lanes' keys",
        "worker: LANE_KEYSTORE_PASSWORD: isn't set; it must be what opens the keystore",
    ]


async def test_bad_settings_are_all_told_a_line_each(tmp_path: Path) -> None:
    """Every garbled variable is named together with the others, rules over two of them included."""
    bad = {
        "DATABASE_URL": f"mysql://u:{SECRET}@127.0.0.1/d",
        "TEMPORAL_ADDRESS": "garbled",
        "CHAIN_RPC_URL": f"garbled/{SECRET}",
        "TICKETS_ADDRESS": TICKETS,
        "ROUTER_ADDRESS": TICKETS,
        "LANE_KEYSTORE": str(tmp_path),
        "LANE_KEYSTORE_PASSWORD": SECRET,
        "WINDOW": "41",
        "CHAIN_POLL_S": "nan",
    }
    assert [line.split(": ")[:2] for line in await refusal(bad, tmp_path)] == [
        ["worker", name]
        for name in (
            *("DATABASE_URL", "CHAIN_RPC_URL", "ROUTER_ADDRESS", "LANE_KEYSTORE", "CHAIN_POLL_S"),
            *("TRANSFERS_SLOTS", "BLOCKCHAIN_SLOTS", "TEMPORAL_ADDRESS"),
        )
    ]


async def test_servers_out_of_reach_are_all_told_a_line_each(tmp_path: Path) -> None:
    """Each line says what doesn't answer, where, and which variable says so; the keystore is looked at meanwhile."""
    port, keystore = free_ports().chain, tmp_path / "keystore.json"
    write_keystore(keystore, [b"\x07" * 32], "another password")
    postgres, temporal, node, keys = await refusal(
        {
            "DATABASE_URL": f"postgresql://u:{SECRET}@127.0.0.1:{port}/d",
            "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
            "CHAIN_RPC_URL": f"http://u:{SECRET}@127.0.0.1:{port}/{SECRET}",
            "TICKETS_ADDRESS": TICKETS,
            "ROUTER_ADDRESS": "0x" + "22" * 20,
            "LANE_KEYSTORE": str(keystore),
            "LANE_KEYSTORE_PASSWORD": SECRET,
        },
        tmp_path,
    )
    assert postgres.startswith(f"worker: Postgres at 127.0.0.1:{port} (from DATABASE_URL) doesn't answer: ")
    assert temporal.startswith(f"worker: Temporal at 127.0.0.1:{port} (from TEMPORAL_ADDRESS) doesn't answer: ")
    assert node.startswith(f"worker: the EVM node at 127.0.0.1:{port} (from CHAIN_RPC_URL) doesn't answer: ")
    assert keys.startswith("worker: LANE_KEYSTORE, LANE_KEYSTORE_PASSWORD: ")
    assert keys.endswith("the password doesn't open it")


@pytest.mark.parametrize("content", ["[]", "{", "7"])
async def test_a_file_without_keys_is_told(tmp_path: Path, content: str) -> None:
    """A keystore that holds no key is named, whatever else it holds."""
    keystore, nowhere = tmp_path / "keystore.json", f"127.0.0.1:{free_ports().chain}"
    keystore.write_text(content)
    lines = await refusal(
        {
            "DATABASE_URL": f"postgresql://u@{nowhere}/d",
            "TEMPORAL_ADDRESS": nowhere,
            "CHAIN_RPC_URL": f"http://{nowhere}",
            "TICKETS_ADDRESS": TICKETS,
            "ROUTER_ADDRESS": "0x" + "22" * 20,
            "LANE_KEYSTORE": str(keystore),
            "LANE_KEYSTORE_PASSWORD": SECRET,
        },
        tmp_path,
    )
    assert lines[-1].startswith("worker: LANE_KEYSTORE")
    assert str(keystore) in lines[-1]
