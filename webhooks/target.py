"""Where requests go: names become addresses here and nowhere else, so this is the place of the target guard."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

RESOLVE_TIMEOUT_S = 5.0
RESOLVER_THREADS = 32
"""Own threads: a name server that hangs for some endpoints must not use up the few that everybody shares."""
KEEPALIVE_S = 4.0
"""Below the 5 s after which common servers close idle connections: a POST on a closed one is a failed attempt."""

Lookup: TypeAlias = Callable[[str, int, socket.AddressFamily], list[ResolveResult]]


def look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """All addresses of the host by the system's resolver; blocks.

    Raises:
        OSError: the name doesn't exist or no name server answers.
    """
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    return [_result(host, entry[0], entry[2], entry[4]) for entry in found]


class Resolver(AbstractResolver):
    """Resolves the hosts of webhook URLs; literal addresses don't pass through here, aiohttp dials them as they are."""

    def __init__(self, lookup: Lookup = look_up) -> None:
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="webhook-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """All addresses of the host.

        Raises:
            OSError: the name doesn't exist, or no name server answers in time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                return await loop.run_in_executor(self._threads, self._lookup, host, port, family)
        except TimeoutError as error:
            raise OSError(f"no name server answered for {host!r} within {RESOLVE_TIMEOUT_S:g} s") from error

    async def close(self) -> None:
        """Lets go of the threads without waiting for look-ups that hang."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def connector(resolver: AbstractResolver) -> aiohttp.TCPConnector:
    """Connections to endpoints. Without a limit of its own: drains bound their requests themselves."""
    return aiohttp.TCPConnector(resolver=resolver, limit=0, keepalive_timeout=KEEPALIVE_S)


def _result(host: str, family: int, protocol: int, address: tuple[Any, ...]) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=str(address[0]),
        port=int(address[1]),
        family=family,
        proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
