"""Chooses the ports of the stack: defaults away from the usual ones, another free one when taken, or what was fixed."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from devstack.errors import StackError

HOST = "127.0.0.1"
# Below 32,768, where Linux' ephemeral range begins, and above the ports that well-known servers listen on.
_LASTING_PORTS = range(15_000, 32_000)


class PortName(StrEnum):
    """The ports the stack listens on."""

    POSTGRES = "postgres"
    TEMPORAL = "temporal"
    TEMPORAL_UI = "temporal_ui"
    CHAIN = "chain"
    METRICS = "metrics"

    @property
    def variable(self) -> str:
        """The environment variable that fixes this port."""
        return f"DEVSTACK_{self.value.upper()}_PORT"


DEFAULT_PORTS = {
    PortName.POSTGRES: 25432,
    PortName.TEMPORAL: 27233,
    PortName.TEMPORAL_UI: 28233,
    PortName.CHAIN: 28545,
    PortName.METRICS: 29464,
}


class Ports(BaseModel):
    """The chosen ports."""

    model_config = ConfigDict(frozen=True)

    postgres: int
    temporal: int
    temporal_ui: int
    chain: int
    metrics: int = DEFAULT_PORTS[PortName.METRICS]
    """Of the worker's Prometheus endpoint."""

    def of(self, name: PortName) -> int:
        """The port of that name."""
        return int(getattr(self, name.value))


def choose_ports(environment: Mapping[str, str], before: Ports | None, in_use: frozenset[PortName]) -> Ports:
    """The ports to use now.

    Args:
        environment: may fix ports (`DEVSTACK_POSTGRES_PORT`, ...).
        before: the ports of the last time, kept where possible.
        in_use: ports on which our own server is still running.

    Raises:
        StackError: a fixed port is no port or is taken.
    """
    chosen: dict[PortName, int] = {}
    for name in PortName:
        if name in in_use and before is not None:
            chosen[name] = before.of(name)
        else:
            wanted = before.of(name) if before else DEFAULT_PORTS[name]
            chosen[name] = _choose(name, environment.get(name.variable), wanted, frozenset(chosen.values()))
    return Ports(**{name.value: port for name, port in chosen.items()})


def default_ports() -> Ports:
    """Where a fresh stack listens unless something stands in the way."""
    return Ports(**{name.value: port for name, port in DEFAULT_PORTS.items()})


def moved(environment: Mapping[str, str], wanted: Ports, chosen: Ports) -> list[str]:
    """A line for each port that was taken and gave way; one fixed by the environment is no news."""
    return [
        f"port {wanted.of(name)} ({name.value}) is taken: using {chosen.of(name)} instead"
        for name in PortName
        if wanted.of(name) != chosen.of(name) and not environment.get(name.variable)
    ]


def free_ports() -> Ports:
    """Free ports anywhere, for stacks that live a few minutes."""
    chosen: dict[PortName, int] = {}
    for name in PortName:
        chosen[name] = _any_free(frozenset(chosen.values()))
    return Ports(**{name.value: port for name, port in chosen.items()})


def is_free(port: int) -> bool:
    """Whether the port can be listened on."""
    try:
        _bound(port).close()
    except OSError:
        return False
    return True


def _choose(name: PortName, fixed: str | None, wanted: int, taken: frozenset[int]) -> int:
    if fixed:
        return _fixed_port(name, fixed)
    if wanted not in taken and is_free(wanted):
        return wanted
    return _any_free(taken)


def _any_free(taken: frozenset[int]) -> int:
    """A free port outside the kernel's ephemeral range.

    One inside it could be given away between the choice and the server's start: to an outgoing connection, or to
    Temporal's inner services, which ask the kernel for any port.
    """
    while True:
        port = secrets.choice(_LASTING_PORTS)
        if port not in taken and is_free(port):
            return port


def _fixed_port(name: PortName, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise StackError(f"{name.variable}={text!r} is no port number (1 to 65535)")
    if not is_free(int(text)):
        raise StackError(f"port {text} ({name.variable}) is taken: end the program that uses it or choose another port")
    return int(text)


def _bound(port: int) -> socket.socket:
    holder = socket.socket()
    # As servers do: a port whose last connections are still closing is free to listen on.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind((HOST, port))
    except OSError:
        holder.close()
        raise
    return holder
