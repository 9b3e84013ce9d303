"""The whole stack: up, up again after kills, a chain that lost its state, down and away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.ending import uninterrupted
from devstack.errors import StackError
from devstack.ports import free_ports
from devstack.processes import is_running, kill
from devstack.stack import Stack
from devstack.state import Server, StackState


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack in a folder of its own, running."""
    stack = Stack(tmp_path_factory.mktemp("stack") / "state", {}, lambda _: None)
    with stack.guarded():
        stack.up(ports=free_ports())
        try:
            yield stack
        finally:
            with uninterrupted():
                stack.clean()


def others(state: StackState, *killed: Server) -> dict[Server, int]:
    """The pids of the servers that weren't killed."""
    return {server: record.pid for server, record in state.processes.items() if server not in killed}


def values_of(stack: Stack) -> dict[str, str]:
    """The env file."""
    lines = stack.layout.env_file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_up_starts_everything_and_says_where(stack: Stack) -> None:
    """After `up`, every server runs under the pid in the env file, which only its owner can read."""
    pids = {name: int(value) for name, value in values_of(stack).items() if name.endswith("_PID")}
    assert pids == {f"{server.name}_PID": record.pid for server, record in stack.state.processes.items()}
    assert stack.state.running() == {Server.POSTGRES, Server.TEMPORAL, Server.CHAIN, Server.WORKER}
    assert stack.layout.env_file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("killed", [(Server.WORKER,), (Server.POSTGRES,), (Server.TEMPORAL, Server.POSTGRES)])
def test_up_starts_only_what_was_killed(stack: Stack, killed: tuple[Server, ...]) -> None:
    """After SIGKILL of some servers, `up` starts those on their ports, no other, and renews the env file."""
    before = stack.state
    for server in killed:
        kill(before.processes[server])
    after = stack.up()
    assert after.ports == before.ports
    assert others(after, *killed, Server.WORKER) == others(before, *killed, Server.WORKER)
    assert after.running() == {Server.POSTGRES, Server.TEMPORAL, Server.CHAIN, Server.WORKER}
    assert values_of(stack)[f"{killed[0].name}_PID"] == str(after.processes[killed[0]].pid)


def test_up_changes_nothing_when_all_runs(stack: Stack) -> None:
    """A second `up` leaves every process alone."""
    before = stack.state
    assert stack.up().processes == before.processes


def test_two_commands_exclude_each_other(stack: Stack) -> None:
    """A second command on the same folder is refused while the first is at work."""
    second = Stack(stack.layout.folder, {}, lambda _: None)
    with pytest.raises(StackError, match="another command is at work"), second.guarded():
        pass


def test_a_clean_stop_keeps_the_chain(stack: Stack) -> None:
    """Down and up again finds the same chain and contracts; in between nothing runs and no env file is left."""
    before = stack.state
    assert stack.down()
    assert not any(is_running(record) for record in before.processes.values())
    assert not stack.layout.env_file.exists()
    assert stack.up().deployment == before.deployment


def test_a_chain_that_lost_its_state_is_refused(stack: Stack) -> None:
    """A chain without the blocks Postgres relies on is refused with the remedy; what was started is stopped."""
    before = stack.state
    kill(before.processes[Server.CHAIN])
    kept = stack.layout.chain_state.rename(stack.layout.folder / "kept.json")
    with pytest.raises(StackError, match=r"the chain is behind Postgres.*make clean"):
        Stack(stack.layout.folder, {}, lambda _: None).up()
    assert stack.state.running() == before.running() - {Server.CHAIN}
    kept.replace(stack.layout.chain_state)
    assert stack.up().deployment == before.deployment


def test_a_failing_start_leaves_nothing_running(tmp_path: Path) -> None:
    """When the worker can't start, the servers started before it are stopped, and the error is one line."""
    stack = Stack(tmp_path / "state", {}, lambda _: None, {"SLICE_SIZE": "0"})
    with stack.guarded():
        with pytest.raises(StackError, match=r"the worker ended while it was starting: .*SLICE_SIZE") as caught:
            stack.up(ports=free_ports())
        assert not stack.state.running()
        assert "\n" not in str(caught.value)
        stack.clean()
    assert not stack.layout.folder.exists()
