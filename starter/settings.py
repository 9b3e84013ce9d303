"""Where the servers are: the environment first, then what `make up` left in `.devstack/env` of the current folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from temporalio.envconfig import ClientConfig, ClientConnectConfig

DEVSTACK_ENV = Path(".devstack/env")
DEFAULT_TEMPORAL_ADDRESS = "localhost:7233"


class Settings(BaseSettings):
    """The settings of the command line. Temporal's own variables (`TEMPORAL_*`) are read by its SDK."""

    model_config = SettingsConfigDict(env_file=DEVSTACK_ENV, env_ignore_empty=True, extra="ignore", frozen=True)

    database_url: SecretStr | None = None


def temporal_config(environment: Mapping[str, str] | None = None) -> ClientConnectConfig:
    """How to reach Temporal, TLS and API key included (`temporalio.envconfig`).

    Raises:
        RuntimeError: the profile named or its file can't be used.
    """
    own = {name: value for name, value in (os.environ if environment is None else environment).items() if value}
    config = ClientConfig.load_client_connect_config(override_env_vars={**_devstack_values(), **own})
    config.setdefault("target_host", DEFAULT_TEMPORAL_ADDRESS)
    return config


def origin_of(name: str) -> str:
    """Where a setting comes from, for error messages."""
    if os.environ.get(name):
        return f"from {name}"
    return f"from {DEVSTACK_ENV}" if name in _devstack_values() else "the default"


def _devstack_values() -> dict[str, str]:
    if not DEVSTACK_ENV.is_file():
        return {}
    return {name: value for name, value in dotenv_values(DEVSTACK_ENV).items() if value}
