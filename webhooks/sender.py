"""Sends one signed request and says how it went, in words of the delivery log; an endpoint's faults never raise."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import aiohttp
from yarl import URL

from webhooks.signing import signed_headers
from webhooks.target import Resolver, connector
from workflows.interface.deliveries import AttemptError

ATTEMPT_TIMEOUT_S = 15.0
"""For the whole attempt: name, connection, request, answer with its body. aiohttp's own timeouts are per phase."""
MOST_RESPONSE_BYTES = 16 * 1024
MOST_STORED_BYTES = 2 * 1024
USER_AGENT = "ticket-transfers-webhooks/1"

_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """How one request ended. `error` is None only for a 2xx answer read within the time and size limits."""

    started_at: datetime
    duration_ms: int
    http_status: int | None
    error: AttemptError | None
    response: str | None


class _Heard(NamedTuple):
    http_status: int
    response: str


class Sender:
    """Signs and posts. One for all subscriptions of a worker; connections are kept between requests."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._clock = clock

    async def send(self, url: str, secret: bytes | None, event_id: UUID, body: bytes) -> Answer:
        """One attempt. `body` is signed (unless `secret` is None: for receivers that know no signatures) and sent byte
        for byte.
        """
        now_s = self._clock()
        started = time.monotonic()
        heard: _Heard | None = None
        error: AttemptError | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                heard = await self._post(url, _headers(secret, event_id, int(now_s), body), body)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as fault:
            error = _classified(fault)
        except Exception:  # noqa: BLE001
            # Logged and kept as a failed attempt: one delivery that can't be sent must not stop the others.
            _log.exception("defect while sending event %s", event_id)
            error = AttemptError.INTERNAL
        if heard and not 200 <= heard.http_status < 300:
            error = AttemptError.HTTP_STATUS
        return Answer(
            started_at=datetime.fromtimestamp(now_s, UTC),
            duration_ms=int((time.monotonic() - started) * 1000),
            http_status=heard.http_status if heard else None,
            error=error,
            response=heard.response if heard else None,
        )

    def not_sent(self, error: AttemptError) -> Answer:
        """The answer that stands for a request that can't be made."""
        return Answer(datetime.fromtimestamp(self._clock(), UTC), 0, None, error, None)

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> _Heard:
        async with self._session.post(URL(url), data=body, headers=headers, allow_redirects=False) as response:
            raw = await _first_bytes(response.content)
            if 300 <= response.status < 400 and "location" in response.headers:
                raw = f"location: {response.headers['location']}".encode(errors="replace")
            return _Heard(response.status, stored_text(raw))


@asynccontextmanager
async def open_sender(timeout_s: float = ATTEMPT_TIMEOUT_S) -> AsyncIterator[Sender]:
    """A sender with its own connections and resolver, closed at the end."""
    resolver = Resolver()
    session = aiohttp.ClientSession(
        connector=connector(resolver),
        cookie_jar=aiohttp.DummyCookieJar(),
        # A compressed bomb must not be unpacked: the body is read raw and bounded.
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        headers={"user-agent": USER_AGENT, "accept": "*/*"},
        skip_auto_headers=("accept-encoding",),
    )
    try:
        async with session:
            yield Sender(session, timeout_s)
    finally:
        await resolver.close()


def stored_text(raw: bytes) -> str:
    """The beginning of a response as text that Postgres takes: valid UTF-8, no NUL, at most 2 KiB."""
    text = raw[:MOST_STORED_BYTES].decode(errors="replace").replace("\x00", "")
    return text.encode()[:MOST_STORED_BYTES].decode(errors="ignore")


def _headers(secret: bytes | None, event_id: UUID, now_s: int, body: bytes) -> dict[str, str]:
    if secret is None:
        return {"content-type": "application/json"}
    return signed_headers(secret, str(event_id), now_s, body)


async def _first_bytes(content: aiohttp.StreamReader) -> bytes:
    """At most 16 KiB; the connection of a longer answer is closed, not read to its end."""
    chunks: list[bytes] = []
    room = MOST_RESPONSE_BYTES
    while room > 0 and (chunk := await content.read(room)):
        chunks.append(chunk)
        room -= len(chunk)
    return b"".join(chunks)


def _classified(fault: BaseException) -> AttemptError:
    for kinds, error in _FAULTS:
        if isinstance(fault, kinds):
            return error
    return AttemptError.CONNECTION_LOST


# Narrow kinds first: aiohttp's connection errors are OSErrors, its timeouts TimeoutErrors, its URL errors ValueErrors.
_FAULTS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], AttemptError], ...] = (
    (TimeoutError, AttemptError.TIMEOUT),
    (aiohttp.ClientConnectorDNSError, AttemptError.DNS),
    ((aiohttp.ClientSSLError, ssl.SSLError), AttemptError.TLS),
    (aiohttp.ClientConnectorError, AttemptError.CONNECTION_REFUSED),
    (aiohttp.ClientPayloadError, AttemptError.CONNECTION_LOST),
    (aiohttp.ClientConnectionError, AttemptError.CONNECTION_LOST),
    (aiohttp.ClientResponseError, AttemptError.INVALID_RESPONSE),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, ValueError), AttemptError.INVALID_TARGET),
)
