"""The env file: which variables it promises, and that secrets stay out of the state's repr."""

from __future__ import annotations

from pathlib import Path

from devstack.environment import env_text
from devstack.ports import free_ports
from devstack.processes import ProcessRecord
from devstack.state import Deployment, Layout, Server, StackState

PROMISED = {
    "DATABASE_URL",
    "TEMPORAL_ADDRESS",
    "TEMPORAL_NAMESPACE",
    "CHAIN_RPC_URL",
    "TICKETS_ADDRESS",
    "ROUTER_ADDRESS",
    "DEMO_SENDER",
    "METRICS_URL",
    "WORKER_PID",
    "TEMPORAL_PID",
    "POSTGRES_PID",
    "CHAIN_PID",
}


def state() -> StackState:
    """A stack with everything running."""
    deployment = Deployment(
        chain_id=31337,
        tickets_address="0x01",
        router_address="0x02",
        refusing_address="0x03",
        block_number=5,
        block_hash="0x04",
    )
    processes = {server: ProcessRecord(pid=n, started_at=1.0) for n, server in enumerate(Server, 100)}
    return StackState(ports=free_ports(), processes=processes, deployment=deployment)


def test_the_env_file_names_what_programs_need(tmp_path: Path) -> None:
    """Every promised variable is there once, with a value."""
    lines = [line for line in env_text(Layout(tmp_path), state()).splitlines() if not line.startswith("#")]
    values = dict(line.split("=", 1) for line in lines)
    assert set(values) >= PROMISED
    assert len(values) == len(lines)
    assert all(values.values())
    assert values["WORKER_PID"] == "100"


def test_state_survives_a_file_and_its_repr_hides_passwords(tmp_path: Path) -> None:
    """What is saved is what is loaded, readable by its owner alone; a repr shows no password."""
    layout, before = Layout(tmp_path), state()
    layout.save(before)
    assert layout.load() == before
    assert layout.state_file.stat().st_mode & 0o077 == 0
    assert before.postgres_password not in repr(before)
    assert before.keystore_password not in repr(before)
