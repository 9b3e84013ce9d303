"""A small, quick receiver of webhooks: checks each signature, counts, and tells on request what it got.

POST /hooks/... takes webhooks, POST /secrets adds a signing secret, GET /received lists what came, GET /summary
counts it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import signal
import time
from collections import Counter
from collections.abc import Sequence

import orjson
from aiohttp import web

from devstack.errors import StackError
from devstack.ports import HOST

# Standard Webhooks: older or newer timestamps are to be refused.
_TOLERANCE_S = 5 * 60
_SECRET_PREFIX = "whsec_"  # noqa: S105  # the prefix all secrets share
_REPORT_EVERY_S = 1.0


class Received:
    """What came so far. A webhook may come more than once; only a changed set of ids or a bad signature is a fault."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [secret_key(secret) for secret in secrets]
        self.arrivals: list[tuple[str, str, float]] = []
        """Id, event type and time of arrival (Unix seconds) of each webhook with a valid signature."""
        self.bad_signatures = 0

    def add_secret(self, secret: str) -> None:
        """Takes one more secret that signatures may be made with."""
        self._keys.append(secret_key(secret))

    def take(self, headers: dict[str, str], body: bytes, now: float) -> bool:
        """Notes a webhook; whether its signature is valid."""
        if not is_signed(self._keys, headers, body, now):
            self.bad_signatures += 1
            return False
        self.arrivals.append((headers["webhook-id"], orjson.loads(body)["type"], now))
        return True

    def summary(self) -> dict[str, object]:
        """Counts for people and tests."""
        return {
            "received": len(self.arrivals),
            "distinctIds": len({webhook_id for webhook_id, _, _ in self.arrivals}),
            "badSignatures": self.bad_signatures,
            "types": dict(Counter(kind for _, kind, _ in self.arrivals)),
        }


def secret_key(secret: str) -> bytes:
    """The key bytes of a `whsec_` secret.

    Raises:
        StackError: it's none.
    """
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except ValueError as error:
        raise StackError("a webhook secret is `whsec_` and base64") from error


def is_signed(keys: Sequence[bytes], headers: dict[str, str], body: bytes, now: float) -> bool:
    """Whether one of the keys made one of the signatures over `id.timestamp.body` (Standard Webhooks, v1)."""
    webhook_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not webhook_id or not sent_at.isdigit() or abs(now - int(sent_at)) > _TOLERANCE_S:
        return False
    message = f"{webhook_id}.{sent_at}.".encode() + body
    given = headers.get("webhook-signature", "").split()
    right = {"v1," + base64.b64encode(hmac.digest(key, message, hashlib.sha256)).decode() for key in keys}
    return any(hmac.compare_digest(one, other) for one in given for other in right)


def receiver_app(received: Received) -> web.Application:
    """The HTTP application."""

    async def take(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        valid = received.take(headers, await request.read(), time.time())
        return web.Response(status=204 if valid else 401)

    async def add_secret(request: web.Request) -> web.Response:
        received.add_secret(orjson.loads(await request.read())["secret"])
        return web.Response(status=204)

    async def summary(_: web.Request) -> web.Response:
        return _json(received.summary())

    async def listing(_: web.Request) -> web.Response:
        rows = [{"id": one, "type": kind, "at": at} for one, kind, at in received.arrivals]
        return _json(received.summary() | {"deliveries": rows})

    app = web.Application()
    app.router.add_post("/hooks{rest:.*}", take)
    app.router.add_post("/secrets", add_secret)
    app.router.add_get("/summary", summary)
    app.router.add_get("/received", listing)
    return app


def run_receiver(port: int, secrets: Sequence[str], quiet: bool) -> None:
    """Serves until Ctrl-C or SIGTERM, then prints the summary.

    Raises:
        StackError: the port is taken.
    """
    received = Received(secrets)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(received, port, quiet))
    print(orjson.dumps(received.summary()).decode(), flush=True)


async def _serve(received: Received, port: int, quiet: bool) -> None:
    runner = web.AppRunner(receiver_app(received), access_log=None)
    await runner.setup()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await _listen(runner, port)
        await _report_until(received, ended, quiet)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, HOST, port, backlog=1024).start()
    except OSError as error:
        raise StackError(f"port {port} is taken: choose another one with --port") from error
    taken = runner.addresses[0][1]
    print(f"receiving at http://{HOST}:{taken}/hooks", flush=True)


async def _report_until(received: Received, ended: asyncio.Event, quiet: bool) -> None:
    before = 0
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _REPORT_EVERY_S)
        count = len(received.arrivals)
        if count != before and not quiet:
            print(f"{count} webhooks, {count - before}/s, {received.bad_signatures} bad signatures", flush=True)
        before = count


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
