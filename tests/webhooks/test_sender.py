"""The sender against real servers, well-behaved and not."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from aiohttp import web

from starter.webhooks import secret_text
from tests.webhooks.conftest import SECRET
from tests.webhooks.receiver import Receiver
from webhooks.sender import MOST_STORED_BYTES, Answer, Sender, open_sender, stored_text
from workflows.interface.deliveries import AttemptError

EVENT_ID = UUID("6f1c1d52-8c0e-5d7b-9a1e-2f5f1f1a7c10")
BODY = '{"type": "transfer.completed", "data": {"name": "é"}}'.encode()

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def send(sender: Sender, url: str) -> Answer:
    return await sender.send(url, SECRET, EVENT_ID, BODY)


@asynccontextmanager
async def raw_server(serve: Serve) -> AsyncIterator[str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_sends_the_exact_bytes_signed(sender: Sender, receiver: Receiver) -> None:
    """The receiver gets the stored bytes, the event id, and a signature that verifies."""
    answer = await send(sender, receiver.url)
    assert (answer.http_status, answer.error, answer.response) == (204, None, "")
    headers, body = receiver.requests[0]
    assert body == BODY
    assert headers["webhook-id"] == str(EVENT_ID)
    assert headers["content-type"] == "application/json"
    assert "accept-encoding" not in headers
    receiver.verify_all(secret_text(SECRET))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(sender: Sender, receiver: Receiver, status: int) -> None:
    """A redirect is a failed attempt that keeps where it pointed; the target is never visited."""
    receiver.answer = lambda _: web.Response(status=status, headers={"location": receiver.url + "/elsewhere"})
    answer = await send(sender, receiver.url)
    assert (answer.http_status, answer.error) == (status, AttemptError.HTTP_STATUS)
    assert answer.response == f"location: {receiver.url}/elsewhere"
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
async def test_only_2xx_is_success(sender: Sender, receiver: Receiver, status: int) -> None:
    """Every other status fails with the status and the beginning of the body kept."""
    receiver.answer = lambda _: web.Response(status=status, text="no")
    answer = await send(sender, receiver.url)
    assert (answer.http_status, answer.error, answer.response) == (status, AttemptError.HTTP_STATUS, "no")


async def test_dripping_body_ends_with_the_total_timeout(receiver: Receiver) -> None:
    """A body that drips a byte at a time can't hold an attempt longer than its total timeout."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not receiver.release.is_set():
            await response.write(b".")
            await asyncio.wait({asyncio.create_task(receiver.release.wait())}, timeout=0.02)
        return response

    receiver.answer = drip
    async with open_sender(timeout_s=0.3) as hurried:
        answer = await send(hurried, receiver.url)
    assert answer.error is AttemptError.TIMEOUT
    assert 250 <= answer.duration_ms < 3000


async def test_silent_endpoint_times_out(receiver: Receiver) -> None:
    """An endpoint that never answers costs the total timeout."""
    async with open_sender(timeout_s=0.2) as hurried:
        answer = await send(hurried, receiver.slow_url)
    assert (answer.http_status, answer.error) == (None, AttemptError.TIMEOUT)


async def test_endless_body_is_cut(sender: Sender, receiver: Receiver) -> None:
    """Of a huge body 16 KiB are read and 2 KiB kept, at once."""
    receiver.answer = lambda _: web.Response(body=b"x" * 50_000_000)
    answer = await send(sender, receiver.url)
    assert answer.error is None
    assert answer.response == "x" * MOST_STORED_BYTES


async def test_compressed_bomb_is_not_unpacked(sender: Sender, receiver: Receiver) -> None:
    """A compressed body is kept as it came, not unpacked."""
    bomb = gzip.compress(b"\0" * 20_000_000)
    receiver.answer = lambda _: web.Response(body=bomb, headers={"content-encoding": "gzip"})
    answer = await send(sender, receiver.url)
    assert answer.error is None
    assert answer.response is not None
    assert len(answer.response.encode()) <= MOST_STORED_BYTES


@pytest.mark.parametrize("raw", [b"a\0b", b"\xff" * 5000, "é".encode() * 3000, b"\xed\xa0\x80"])
def test_stored_text_is_what_postgres_takes(raw: bytes) -> None:
    """Whatever the bytes, the text is valid UTF-8 without NUL and fits its limit."""
    text = stored_text(raw)
    assert "\0" not in text
    assert len(text.encode()) <= MOST_STORED_BYTES


async def test_refused_connection_is_named(sender: Sender) -> None:
    """Nobody listening is CONNECTION_REFUSED."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        answer = await send(sender, f"http://127.0.0.1:{port}/")
    assert (answer.http_status, answer.error) == (None, AttemptError.CONNECTION_REFUSED)


async def test_unknown_host_is_named(sender: Sender) -> None:
    """A host name that doesn't exist is DNS."""
    answer = await send(sender, "http://nowhere.invalid/")
    assert answer.error is AttemptError.DNS


async def test_plain_server_behind_https_is_named(sender: Sender, receiver: Receiver) -> None:
    """A server that speaks no TLS behind an https URL is TLS."""
    answer = await send(sender, receiver.url.replace("http:", "https:"))
    assert answer.error is AttemptError.TLS


@pytest.mark.parametrize("url", ["http://[::1/", "nonsense", "http://exa\nmple/", "gopher://x/", "http://a..b/"])
async def test_bad_url_fails_the_attempt_alone(sender: Sender, url: str) -> None:
    """A stored URL that can't be dialled fails its attempts and raises nothing."""
    answer = await send(sender, url)
    assert answer.error in (AttemptError.INVALID_TARGET, AttemptError.DNS)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"", AttemptError.CONNECTION_LOST),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", AttemptError.CONNECTION_LOST),
        (b"garbage\r\n\r\n", AttemptError.INVALID_RESPONSE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", AttemptError.INVALID_RESPONSE),
    ],
)
async def test_broken_answers_are_named(sender: Sender, reply: bytes, error: AttemptError) -> None:
    """A lost connection, a short body, junk, and a huge header each fail the attempt with their name."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(reply)
        writer.close()

    async with raw_server(serve) as url:
        answer = await send(sender, url)
    assert answer.error is error


async def test_environment_proxies_are_ignored(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy named in the environment is never used: it would go around the target guard."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    answer = await send(sender, receiver.url)
    assert answer.http_status == 204
