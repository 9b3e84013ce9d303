"""The worker's settings, from environment variables, all faults listed at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from chain.keccak import keccak256
from workflows.interface.addresses import parse_address
from workflows.interface.names import Queue

_Address = Annotated[str, AfterValidator(lambda text: "0x" + parse_address(text, keccak256).hex())]


class SettingsError(Exception):
    """The environment doesn't make usable settings; the message lists every fault."""


class WorkerSettings(BaseSettings):
    """What a worker needs to know. README lists the variables."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    database_url: SecretStr
    chain_rpc_url: str
    tickets_address: _Address
    router_address: _Address
    lane_keystore: Path
    lane_keystore_password: SecretStr

    slice_size: int = Field(default=500, ge=1, le=1000)
    window: int = Field(default=20, ge=1, le=100)
    slices_per_run: int = Field(default=200, ge=1, le=1000)
    """Slices of a batch before its workflow continues as new."""
    chain_depth: int = Field(default=1, ge=1, le=1000)
    """Blocks, the transaction's own included, before an outcome counts as final."""
    chain_poll_s: float = Field(default=0.3, gt=0, le=60)
    lane_max_in_flight: int = Field(default=512, ge=1, le=10_000)
    """Open nonces per lane; 16 where a public geth node guards its pool."""
    transfers_slots: int = Field(default=40, ge=1, le=1000)
    blockchain_slots: int = Field(default=40, ge=1, le=1000)
    webhooks_slots: int = Field(default=20, ge=4, le=1000)
    maintenance_slots: int = Field(default=4, ge=1, le=1000)
    database_connections: int = Field(default=30, ge=8, le=500)
    shutdown_grace_s: float = Field(default=20, ge=1, le=600)

    @model_validator(mode="after")
    def _slots_fit_window(self) -> Self:
        if min(self.transfers_slots, self.blockchain_slots) < self.window:
            raise ValueError(
                f"TRANSFERS_SLOTS ({self.transfers_slots}) and BLOCKCHAIN_SLOTS ({self.blockchain_slots}) must be at "
                f"least WINDOW ({self.window}): a batch keeps that many slices in flight"
            )
        return self

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return value

    def slots(self, queue: Queue) -> int:
        """Activities a worker runs at once from the queue."""
        slots: int = getattr(self, f"{queue.value}_slots")
        return slots

    @property
    def own_contracts(self) -> frozenset[bytes]:
        """Contracts that must never be a recipient."""
        return frozenset(bytes.fromhex(address[2:]) for address in (self.tickets_address, self.router_address))


def read_settings() -> WorkerSettings:
    """Settings from the environment.

    Raises:
        SettingsError: every fault, one a line.
    """
    try:
        return WorkerSettings()
    except ValidationError as error:
        raise SettingsError("\n".join(map(_told, error.errors(include_url=False)))) from None


def _told(fault: ErrorDetails) -> str:
    name = "_".join(str(part) for part in fault["loc"]).upper()
    message = fault["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
