"""Opens what the worker needs: Temporal, Postgres, the EVM node and the keystore, with a clear line for each fault."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import NamedTuple

import asyncpg
import httpx
from httpx_aiohttp import HttpxAiohttpClient
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from chain.heads import read_chain_id
from chain.keystore import KeystoreError, load_signers
from chain.rpc import JsonRpc, NodeUnavailableError, RpcError
from chain.signing import KeySigner
from ledger.pool import Pool, create_pool
from starter.connections import cause_of, place_of
from starter.settings import origin_of, temporal_config
from worker_settings import WorkerSettings
from worker_telemetry import WorkerTelemetry

CONNECT_TIMEOUT = timedelta(seconds=5)
NODE_TIMEOUT_S = 20.0
# Opened before work begins: a log-in costs 20 ms, and the first slices come all at once.
READY_CONNECTIONS = 8


class ConnectError(Exception):
    """Something the worker needs can't be reached or opened; the message has a line for each."""


class Connections(NamedTuple):
    """What the worker is connected to."""

    temporal: Client
    pool: Pool
    rpc: JsonRpc
    signers: dict[bytes, KeySigner]
    chain_id: int


async def connect(settings: WorkerSettings, telemetry: WorkerTelemetry, stack: AsyncExitStack) -> Connections:
    """Connects to everything at once; `stack` closes it again.

    Raises:
        ConnectError: whatever can't be reached or opened, one a line.
    """
    temporal, pool, node, signers = await asyncio.gather(
        _open_temporal(telemetry),
        _open_pool(settings, telemetry, stack),
        _open_node(settings, telemetry, stack),
        _open_keystore(settings),
        return_exceptions=True,
    )
    if (
        isinstance(temporal, BaseException)
        or isinstance(pool, BaseException)
        or isinstance(node, BaseException)
        or isinstance(signers, BaseException)
    ):
        raise _all_of([one for one in (pool, temporal, node, signers) if isinstance(one, BaseException)])
    return Connections(temporal, pool, node[0], {signer.address: signer for signer in signers}, node[1])


def _all_of(faults: list[BaseException]) -> BaseException:
    """The faults as one; a defect of ours goes before what a person can mend."""
    for fault in faults:
        if not isinstance(fault, ConnectError):
            return fault
    return ConnectError("\n".join(map(str, faults)))


async def _open_temporal(telemetry: WorkerTelemetry) -> Client:
    # TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TLS and API key: whatever Temporal's own tools read.
    config = temporal_config(os.environ)
    place = f"Temporal at {config.get('target_host')} ({origin_of('TEMPORAL_ADDRESS', os.environ)})"
    try:
        client = await Client.connect(
            **config,
            data_converter=pydantic_data_converter,
            # Compressing small messages costs more than sending them over a local network.
            grpc_compression=GrpcCompression.NONE,
            connect_timeout=CONNECT_TIMEOUT,
            runtime=telemetry.runtime,
        )
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        raise ConnectError(_refused(place, config.get("namespace", "default"), error)) from error
    except (RuntimeError, ValueError) as error:
        why = f"{cause_of(error)}; start it or correct TEMPORAL_ADDRESS"
        raise ConnectError(f"{place} doesn't answer: {why}") from error
    return client


def _refused(place: str, namespace: str, error: RPCError) -> str:
    if error.status is RPCStatusCode.NOT_FOUND:
        return f"{place} has no namespace {namespace!r}: create it or correct TEMPORAL_NAMESPACE"
    return f"{place} refuses namespace {namespace!r} (TEMPORAL_NAMESPACE): {cause_of(error)} ({error.status.name})"


async def _open_pool(settings: WorkerSettings, telemetry: WorkerTelemetry, stack: AsyncExitStack) -> Pool:
    url = settings.database_url.get_secret_value()
    place = f"Postgres at {place_of(url)} (from DATABASE_URL)"
    most = settings.database_connections
    try:
        pool = await create_pool(
            url,
            most_connections=most,
            ready_connections=READY_CONNECTIONS,
            name="transfers-worker",
            on_statement=telemetry.on_statement,
        )
    except asyncpg.ClientConfigurationError as error:
        raise ConnectError(f"DATABASE_URL: can't be used: {cause_of(error)}") from error
    except ValueError:
        # The driver's words may hold a part of the password.
        raise ConnectError("DATABASE_URL: can't be used: it isn't a well-formed address") from None
    except asyncpg.PostgresError as error:
        raise ConnectError(f"{place} refuses: {cause_of(error)}; correct DATABASE_URL or the server") from error
    except (OSError, asyncpg.InterfaceError) as error:
        raise ConnectError(f"{place} doesn't answer: {cause_of(error)}; start it or correct DATABASE_URL") from error
    stack.push_async_callback(pool.close)
    return pool


async def _open_node(
    settings: WorkerSettings, telemetry: WorkerTelemetry, stack: AsyncExitStack
) -> tuple[JsonRpc, int]:
    # Over aiohttp's connections a call takes a sixth of the time that httpx's own take.
    url = httpx.URL(settings.chain_rpc_url)
    # aiohttp refuses a request with both a header and credentials in its address.
    auth = (url.username, url.password) if url.userinfo else None
    http = await stack.enter_async_context(HttpxAiohttpClient(timeout=NODE_TIMEOUT_S, trust_env=False, auth=auth))
    rpc = JsonRpc(http, str(url.copy_with(userinfo=b"")), tracer=telemetry.tracer)
    default_port = 443 if url.scheme == "https" else 80
    place = f"the EVM node at {place_of(settings.chain_rpc_url, default_port)} (from CHAIN_RPC_URL)"
    try:
        return rpc, await read_chain_id(rpc)
    except NodeUnavailableError as error:
        # A web server's page has many lines.
        why = " ".join(str(error).split())
        raise ConnectError(f"{place} doesn't answer: {why}; start it or correct CHAIN_RPC_URL") from error
    except (RpcError, TypeError, ValueError) as error:
        raise ConnectError(f"{place} tells no chain id: {cause_of(error)}; correct CHAIN_RPC_URL") from error


async def _open_keystore(settings: WorkerSettings) -> list[KeySigner]:
    password = settings.lane_keystore_password.get_secret_value()
    try:
        # A key of geth's takes a second to open; the servers' timeouts go on meanwhile.
        signers = await asyncio.to_thread(load_signers, settings.lane_keystore, password)
    except KeystoreError as error:
        raise ConnectError(f"LANE_KEYSTORE, LANE_KEYSTORE_PASSWORD: {cause_of(error)}") from error
    if not signers:
        raise ConnectError(f"LANE_KEYSTORE: keystore {settings.lane_keystore} holds no key")
    return signers
