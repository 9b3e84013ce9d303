"""The worker's settings, from environment variables, all faults listed at once: a line each, without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import httpx
from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsConfigDict

from chain.keccak import keccak256
from starter.job_settings import JobSettings
from starter.settings import temporal_config
from telemetry.logs import LogFormat
from telemetry.otel_settings import otel_faults
from telemetry.providers import Address
from worker_alert_settings import AlertSettings
from workflows.interface.addresses import InvalidAddressError, parse_address
from workflows.interface.codes import FailureCode
from workflows.interface.names import Queue

_HOST = r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+)"
_HOST_AND_PORT = re.compile(rf"{_HOST}:(\d{{1,5}})")
# libpq takes several hosts, and a host or port that is left out has a default.
_POSTGRES_HOST = re.compile(rf"{_HOST}?(:(\d{{1,5}})?)?")
_MAX_PORT = 65_535


class SettingsError(Exception):
    """The environment doesn't make usable settings; the message lists every fault, one a line."""


def _checked_address(text: str) -> str:
    try:
        return "0x" + parse_address(text, keccak256).hex()
    except InvalidAddressError as fault:
        raise ValueError(f"{text!r}: {_ADDRESS_FAULTS[fault.code]}") from None


_ADDRESS_FAULTS = {
    FailureCode.INVALID_ADDRESS: "isn't an address: 0x and 40 hexadecimal digits",
    FailureCode.ADDRESS_CHECKSUM: "the address's EIP-55 checksum is wrong: copy it anew, or write it in lower case",
    FailureCode.ZERO_ADDRESS: "is the zero address: no contract lives there",
}
_Address = Annotated[str, AfterValidator(_checked_address)]


class WorkerSettings(AlertSettings, JobSettings):
    """What a worker needs to know. README lists the variables. An empty variable counts as unset."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    EXAMPLES: ClassVar[Mapping[str, str]] = {
        "database_url": "postgresql://user:password@host:port/database",
        "chain_rpc_url": "http://host:port, the JSON-RPC of an EVM node",
        "tickets_address": "0x…, the `Tickets` contract",
        "router_address": "0x…, the `TransferRouter` contract",
        "lane_keystore": "a file with the lanes' keys",
        "lane_keystore_password": "what opens the keystore",
    }

    database_url: SecretStr
    chain_rpc_url: str
    tickets_address: _Address
    router_address: _Address
    lane_keystore: Path
    lane_keystore_password: SecretStr

    slice_size: int = Field(default=500, ge=1, le=1000)
    window: int = Field(default=30, ge=1, le=100)
    slices_at_once: int = Field(default=4, ge=1, le=100)
    """Steps of slices that a worker runs at once while there are single transfers, or batches of other senders."""
    slices_per_run: int = Field(default=200, ge=1, le=1000)
    """Slices of a batch before its workflow continues as new."""
    chain_depth: int = Field(default=1, ge=1, le=1000)
    """Blocks, the transaction's own included, before an outcome counts as final."""
    chain_poll_s: float = Field(default=0.3, gt=0, le=60, allow_inf_nan=False)
    lane_max_in_flight: int = Field(default=512, ge=1, le=10_000)
    """Open nonces per lane; 16 where a public geth node guards its pool."""
    transfers_slots: int = Field(default=40, ge=1, le=1000)
    blockchain_slots: int = Field(default=40, ge=1, le=1000)
    webhooks_slots: int = Field(default=20, ge=4, le=1000)
    maintenance_slots: int = Field(default=4, ge=1, le=1000)
    database_connections: int = Field(default=30, ge=8, le=500)
    metrics_address: str | None = None
    """host:port of the Prometheus endpoint; there is none without it."""
    log_format: LogFormat = LogFormat.TEXT
    shutdown_grace_s: float = Field(default=20, ge=1, le=600, allow_inf_nan=False)

    # Rules over two fields stand at the later one: a rule over the whole model would wait until each field is sound.
    @field_validator("transfers_slots", "blockchain_slots")
    @classmethod
    def _fit_window(cls, value: int, info: ValidationInfo) -> int:
        window = info.data.get("window", 0)
        if value < window:
            raise ValueError(f"{value} is less than WINDOW ({window}): a batch keeps that many slices in flight")
        return value

    @field_validator("router_address")
    @classmethod
    def _is_no_other(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("tickets_address"):
            raise ValueError("is the same as TICKETS_ADDRESS: they are two contracts")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr) -> SecretStr:
        scheme, _, rest = value.get_secret_value().partition("://")
        if scheme not in ("postgresql", "postgres"):
            raise ValueError(f"must begin with postgresql://, as in {cls.EXAMPLES['database_url']}")
        hosts = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
        found = [_POSTGRES_HOST.fullmatch(host) for host in hosts.split(",")]
        if not all(host and int(host[3] or 1) in range(1, _MAX_PORT + 1) for host in found):
            raise ValueError("host or port can't be read; write / ? # @ : in user and password as %2F %3F %23 %40 %3A")
        return value

    @field_validator("chain_rpc_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        try:
            url = httpx.URL(value)
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in ("http", "https") or not url.host or url.port == 0 or re.search(r"\s", value):
            raise ValueError("must be an address as http://host:port or https://host/path")
        return value

    @field_validator("metrics_address")
    @classmethod
    def _is_host_and_port(cls, value: str | None) -> str | None:
        found = _HOST_AND_PORT.fullmatch(value or "")
        if value is not None and not (found and int(found[2]) in range(1, _MAX_PORT + 1)):
            raise ValueError(f"{value!r} isn't host:port, as in 127.0.0.1:9464")
        return value

    @field_validator("lane_keystore")
    @classmethod
    def _exists(cls, value: Path) -> Path:
        if value.is_dir():
            raise ValueError(f"{value} is a folder; name the keystore's file")
        if not value.exists():
            raise ValueError(f"there is no file {value}")
        return value

    def slots(self, queue: Queue) -> int:
        """Activities a worker runs at once from the queue."""
        slots: int = getattr(self, f"{queue.value}_slots")
        return slots

    @property
    def metrics_endpoint(self) -> Address | None:
        """Where the Prometheus endpoint is to listen."""
        if self.metrics_address is None:
            return None
        host, _, port = self.metrics_address.rpartition(":")
        return Address(host.strip("[]"), int(port))

    @property
    def own_contracts(self) -> frozenset[bytes]:
        """Contracts that must never be a recipient."""
        return frozenset(bytes.fromhex(address[2:]) for address in (self.tickets_address, self.router_address))


def read_settings() -> WorkerSettings:
    """Settings from the environment; Temporal's own are looked at, too.

    Raises:
        SettingsError: every fault, one a line.
    """
    faults = [*_temporal_faults(os.environ), *otel_faults(os.environ)]
    try:
        settings = WorkerSettings()
    except ValidationError as error:
        own = map(_told, error.errors(include_url=False))
        raise SettingsError("\n".join([*own, *faults])) from None
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def _told(fault: ErrorDetails) -> str:
    field = "_".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"{field.upper()}: isn't set; it must be {WorkerSettings.EXAMPLES[field]}"
    return f"{field.upper()}: {fault['msg'].removeprefix('Value error, ')}"


def _temporal_faults(environment: Mapping[str, str]) -> list[str]:
    try:
        address = temporal_config(environment).get("target_host", "")
    except (RuntimeError, ValueError) as error:
        return [f"TEMPORAL_*: can't be used: {' '.join(str(error).split())}"]
    found = _HOST_AND_PORT.fullmatch(address)
    if found and int(found[2]) in range(1, _MAX_PORT + 1):
        return []
    return [f"TEMPORAL_ADDRESS: {address!r} isn't host:port, as in 127.0.0.1:7233"]
