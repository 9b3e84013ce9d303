"""Where the servers are: the environment, and for what it leaves out the `.devstack/env` that `make up` writes."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from temporalio.envconfig import ClientConfig, ClientConnectConfig

from starter.job_settings import JobSettings

DEVSTACK_ENV = Path(".devstack/env")
DEFAULT_TEMPORAL_ADDRESS = "localhost:7233"
ADOPTED = "TRANSFERS_ADOPTED_SETTINGS"
"""Names of the variables that came from the file, for error messages."""
# The file also holds the worker's settings, which are none of this program's business.
_OURS = ("DATABASE_URL", "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", *map(str.upper, JobSettings.model_fields))


class Settings(BaseSettings):
    """The settings of the command line. Temporal's own variables (`TEMPORAL_*`) are read by its SDK."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    database_url: SecretStr | None = None


def adopt_devstack_env(environment: MutableMapping[str, str], path: Path = DEVSTACK_ENV) -> None:
    """Fills in the variables that the environment lacks from the development stack's file, if there is one."""
    values = dotenv_values(path) if path.is_file() else {}
    adopted = {name: value for name, value in values.items() if name in _OURS and value and not environment.get(name)}
    environment.update(adopted)
    environment[ADOPTED] = ",".join(sorted(adopted))


def temporal_config(environment: Mapping[str, str]) -> ClientConnectConfig:
    """How to reach Temporal, TLS and API key included (`temporalio.envconfig`).

    Raises:
        RuntimeError: the profile named or its file can't be used.
    """
    variables = {name: value for name, value in environment.items() if value}
    config = ClientConfig.load_client_connect_config(override_env_vars=variables)
    config.setdefault("target_host", DEFAULT_TEMPORAL_ADDRESS)
    return config


def origin_of(name: str, environment: Mapping[str, str]) -> str:
    """Where a setting comes from, for error messages."""
    if name in environment.get(ADOPTED, "").split(","):
        return f"from {DEVSTACK_ENV}"
    return f"from {name}" if environment.get(name) else "the default"
