"""A real HTTP receiver that keeps what it gets and answers as it's told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web
from standardwebhooks import Webhook


class Receiver:
    """Answers 204 unless told otherwise; `/slow` answers once `release` is set."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.open = 0
        self.most_open = 0
        self.release = asyncio.Event()
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse] | web.StreamResponse] = lambda _: (
            web.Response(status=204)
        )
        self.arrived = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def slow_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/slow"

    @property
    def ids(self) -> Counter[str]:
        """How often each `webhook-id` came."""
        return Counter(headers["webhook-id"] for headers, _ in self.requests)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        return app

    def verify_all(self, secret: str) -> None:
        """Checks every signature with the reference library.

        Raises:
            WebhookVerificationError: one is wrong.
        """
        for headers, body in self.requests:
            Webhook(secret).verify(body, headers)

    async def came(self, count: int) -> None:
        """Returns once so many requests have come."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        async with self.arrived:
            self.requests.append((headers, body))
            self.arrived.notify_all()
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            if request.path == "/slow":
                await self.release.wait()
            answer = self.answer(request)
            return answer if isinstance(answer, web.StreamResponse) else await answer
        finally:
            self.open -= 1
