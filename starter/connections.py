"""The command line's one place that opens connections, with its words for servers that don't answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import asyncpg
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, Interceptor
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from ledger.pool import Pool, create_pool
from starter.errors import SettingsError, UnavailableError
from starter.settings import Settings, origin_of, temporal_config
from telemetry.otel_settings import exports

POOL_SIZE = 2
CONNECT_TIMEOUT = timedelta(seconds=5)
_LOST_POSTGRES = (
    ConnectionResetError,
    ConnectionRefusedError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
_REMEDY = "start it (`make up` starts a development stack) or correct the setting"


@asynccontextmanager
async def open_postgres() -> AsyncIterator[Pool]:
    """The pool; closed at the end. Faults of the server while it's in use become one clear error as well.

    Raises:
        SettingsError: DATABASE_URL is missing or no Postgres address.
        UnavailableError: the server can't be reached, refuses, or lacks the schema.
    """
    url = _database_url()
    where = f"Postgres at {place_of(url)} ({origin_of('DATABASE_URL', os.environ)})"
    try:
        pool = await create_pool(url, most_connections=POOL_SIZE, name="transfers command line")
    except asyncpg.ClientConfigurationError as error:
        raise SettingsError(f"DATABASE_URL can't be used: {error}") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise UnavailableError(f"{where} doesn't answer: {cause_of(error)}; {_REMEDY}") from error
    try:
        yield pool
    except asyncpg.UndefinedTableError as error:
        raise UnavailableError(f"{where} has no tables of this service: start a worker, which makes them") from error
    except asyncpg.UndefinedColumnError as error:
        why = f"{where} has tables of an older version ({cause_of(error)}): start a worker, which mends that"
        raise UnavailableError(why) from error
    except _LOST_POSTGRES as error:
        raise UnavailableError(f"{where} doesn't answer any more: {cause_of(error)}; {_REMEDY}") from error
    finally:
        pool.terminate()


async def connect_temporal() -> Client:
    """A connected client.

    Raises:
        SettingsError: the Temporal profile can't be used.
        UnavailableError: the server can't be reached.
    """
    try:
        config = temporal_config(os.environ)
    except (RuntimeError, ValueError) as error:
        raise SettingsError(f"the settings for Temporal can't be used: {error}") from error
    place = f"Temporal at {config.get('target_host')} ({origin_of('TEMPORAL_ADDRESS', os.environ)})"
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds()):
            client = await Client.connect(
                **config,
                data_converter=pydantic_data_converter,
                grpc_compression=GrpcCompression.NONE,
                connect_timeout=CONNECT_TIMEOUT,
                interceptors=_tracing(),
            )
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
            return client
    except TimeoutError as error:
        waited = f"no answer within {CONNECT_TIMEOUT.total_seconds():g} s"
        raise UnavailableError(f"{place} doesn't answer: {waited}; {_REMEDY}") from error
    except RPCError as error:
        raise UnavailableError(f"{place}: {_refused(config.get('namespace', 'default'), error)}") from error
    except (RuntimeError, ValueError) as error:
        # The SDK's own words hold the cause on their last line; its type is RuntimeError for every fault.
        raise UnavailableError(f"{place} doesn't answer: {cause_of(error)}; {_REMEDY}") from error


def _refused(namespace: str, error: RPCError) -> str:
    """A namespace that isn't there would else look like work that isn't there."""
    if error.status is RPCStatusCode.NOT_FOUND:
        return f"there is no namespace {namespace!r}: create it or correct TEMPORAL_NAMESPACE"
    return f"doesn't answer as it should: {error.message} ({error.status.name})"


def _tracing() -> list[Interceptor]:
    """A trace begins with the start call, where traces are wanted."""
    if not exports("TRACES", os.environ):
        return []
    # What sends traces takes a fifth of a second to load: only who wants them waits for it.
    from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415

    from telemetry.providers import open_tracer  # noqa: PLC0415

    return [TracingInterceptor(open_tracer("transfers", os.environ))]


def _database_url() -> str:
    url = Settings().database_url
    if url is None:
        raise SettingsError(
            "DATABASE_URL isn't set: run `make up` and stay in its folder, or set it to postgresql://user:password@host/db"
        )
    return url.get_secret_value()


def place_of(url: str, default_port: int = 5432) -> str:
    """Host and port of an address, without its password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "the local socket", parts.port or default_port
    except ValueError:
        return "an address that can't be read"
    return f"{host}:{port}"


def cause_of(error: BaseException) -> str:
    """A server's or driver's error in a few words, on one line."""
    text = str(error)
    if "ConnectionRefused" in text or isinstance(error, ConnectionRefusedError):
        return "connection refused"
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else type(error).__name__
