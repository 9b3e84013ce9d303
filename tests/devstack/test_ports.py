"""Choosing ports: defaults, taken ones, fixed ones."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.errors import StackError
from devstack.ports import HOST, PortName, Ports, choose_ports, default_ports, free_ports, is_free, moved

NOTHING_RUNS: frozenset[PortName] = frozenset()


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_ports_are_kept() -> None:
    """A stack that starts again listens where it listened before."""
    before = free_ports()
    assert choose_ports({}, before, NOTHING_RUNS) == before


def test_a_taken_port_is_replaced(taken_port: int) -> None:
    """A port that somebody else took meanwhile is replaced by a free one, and the others stay."""
    before = free_ports().model_copy(update={"chain": taken_port})
    chosen = choose_ports({}, before, NOTHING_RUNS)
    assert chosen.chain != taken_port
    assert is_free(chosen.chain)
    assert chosen.postgres == before.postgres


def test_a_port_that_gave_way_is_told() -> None:
    """Each port that isn't the wanted one is named with both numbers, unless the environment fixed it."""
    wanted = default_ports()
    chosen = wanted.model_copy(update={"chain": 1234, "temporal": 1235})
    assert moved({"DEVSTACK_CHAIN_PORT": "1234"}, wanted, chosen) == [
        f"port {wanted.temporal} (temporal) is taken: using 1235 instead"
    ]
    assert moved({}, wanted, wanted) == []


def test_our_own_running_server_keeps_its_port(taken_port: int) -> None:
    """A port on which our own server still runs is no clash."""
    before = free_ports().model_copy(update={"postgres": taken_port})
    assert choose_ports({}, before, frozenset({PortName.POSTGRES})).postgres == taken_port


def test_a_fixed_port_that_is_taken_is_an_error(taken_port: int) -> None:
    """A port fixed by the environment is never silently replaced."""
    with pytest.raises(StackError, match=rf"port {taken_port} \(DEVSTACK_TEMPORAL_PORT\) is taken"):
        choose_ports({"DEVSTACK_TEMPORAL_PORT": str(taken_port)}, free_ports(), NOTHING_RUNS)


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", "1.5", "٣"])
def test_a_fixed_port_must_be_a_port(text: str) -> None:
    """What isn't a port number is named in the error, with its variable."""
    with pytest.raises(StackError, match="DEVSTACK_CHAIN_PORT"):
        choose_ports({"DEVSTACK_CHAIN_PORT": text}, free_ports(), NOTHING_RUNS)


def test_all_ports_differ() -> None:
    """No two servers get the same port, even when the remembered ones clash."""
    port = free_ports().chain
    chosen = choose_ports({}, Ports(postgres=port, temporal=port, temporal_ui=port, chain=port), NOTHING_RUNS)
    assert len({chosen.of(name) for name in PortName}) == len(PortName)


def test_free_ports_lie_where_the_kernel_gives_none_away() -> None:
    """Chosen ports differ and lie below the kernel's ephemeral range, so nobody gets one before its server starts."""
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    ports = [free_ports() for _ in range(50)]
    chosen = [p.of(name) for p in ports for name in PortName]
    assert all(len({p.of(name) for name in PortName}) == len(PortName) for p in ports)
    assert max(chosen) < int(first)
