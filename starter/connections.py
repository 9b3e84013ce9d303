"""The command line's one place that opens connections, and its words for servers that don't answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
from temporalio.client import Client
from temporalio.common import RawValue  # noqa: F401  # (kept out of the way of lazy loading)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import GrpcCompression, RPCError

from ledger.pool import Pool, create_pool
from starter.settings import DEVSTACK_ENV, Settings, origin_of, temporal_config
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import InfrastructureError, RequestError
