"""What the stack remembers between commands: its folder, ports, processes and deployment."""

from __future__ import annotations

import os
import secrets
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from devstack.errors import StackError
from devstack.ports import HOST, Ports
from devstack.processes import ProcessRecord, is_running
from devstack.tools import ROOT

DEFAULT_FOLDER = ROOT / ".devstack"
NAMESPACE = "default"


class Server(StrEnum):
    """The processes of the stack, in the order in which they are stopped."""

    WORKER = "worker"
    RECEIVER = "receiver"
    """Of webhooks; the demo's alone."""
    TEMPORAL = "temporal"
    CHAIN = "chain"
    POSTGRES = "postgres"

    @property
    def spoken(self) -> str:
        """What messages call it."""
        return _SPOKEN[self]


_SPOKEN = {
    Server.WORKER: "the worker",
    Server.RECEIVER: "the receiver",
    Server.TEMPORAL: "Temporal",
    Server.CHAIN: "anvil",
    Server.POSTGRES: "Postgres",
}


class Deployment(BaseModel):
    """Contracts on the chain, and the last block we know to hold something of ours.

    Its hash tells this chain from a fresh or an older one, where the addresses are the same.
    """

    model_config = ConfigDict(frozen=True)

    chain_id: int
    tickets_address: str
    router_address: str
    refusing_address: str
    block_number: int
    block_hash: str
    next_ticket_id: int = 1


class StackState(BaseModel):
    """All that is remembered."""

    model_config = ConfigDict(frozen=True)

    ports: Ports
    processes: dict[Server, ProcessRecord] = Field(default_factory=dict)
    postgres_password: str = Field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    keystore_password: str = Field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    deployment: Deployment | None = None

    @property
    def database_url(self) -> str:
        """Where Postgres listens, password included."""
        return f"postgresql://postgres:{self.postgres_password}@{HOST}:{self.ports.postgres}/transfers"

    @property
    def temporal_address(self) -> str:
        """Where the Temporal frontend listens."""
        return f"{HOST}:{self.ports.temporal}"

    @property
    def temporal_ui_url(self) -> str:
        """The address of the Web UI."""
        return f"http://{HOST}:{self.ports.temporal_ui}"

    @property
    def chain_rpc_url(self) -> str:
        """Where the node answers JSON-RPC."""
        return f"http://{HOST}:{self.ports.chain}"

    def running(self) -> frozenset[Server]:
        """The servers that run right now."""
        return frozenset(server for server, record in self.processes.items() if is_running(record))

    def with_process(self, server: Server, record: ProcessRecord | None) -> StackState:
        """The state with one server's process set or forgotten."""
        others = {name: kept for name, kept in self.processes.items() if name is not server}
        return self.model_copy(update={"processes": others | ({server: record} if record else {})})


class Layout:
    """Where everything lies in the stack's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_file = folder / "state.json"
        self.env_file = folder / "env"
        self.lock_file = folder.with_name(folder.name + ".lock")
        self.postgres = folder / "postgres"
        self.temporal_database = folder / "temporal.db"
        self.chain_state = folder / "chain-state.json"
        self.keystore = folder / "keystore.json"

    def log(self, server: Server) -> Path:
        """The server's log."""
        return self.folder / "logs" / f"{server.value}.log"

    def load(self) -> StackState | None:
        """The remembered state, if any.

        Raises:
            StackError: the file is there and can't be read as one.
        """
        try:
            return StackState.model_validate_json(self.state_file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise StackError(f"{self.state_file} isn't what this version writes: run `make clean`") from error

    def save(self, state: StackState) -> None:
        """Remembers the state; readable by its owner alone, because it holds passwords."""
        write_private(self.state_file, state.model_dump_json(indent=2))


def write_private(path: Path, text: str) -> None:
    """Writes the file whole or not at all, with mode 0600."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)
