"""Rate limits as the steps meet them: tokens before the work, and "not yet" where there are none.

Without limits a step asks the database nothing: which limits there are is read once a second at most.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from ledger.rate_limits import Grant, RateLimits
from workflows.interface.codes import ErrorCode
from workflows.interface.rates import RateName, endpoint_rate_name

KNOWN_FOR_S = 1.0
"""How long a process may be unaware of a limit that was set or cleared."""
LEAST_S = 0.25
"""Nobody is granted less than so many seconds' worth: a chain transaction per token would cost more than it moves."""
SOONEST_S, LATEST_S = 0.25, 1.0
"""Bounds of a step's wait: a grant goes to whoever asks next, and a limit that was lifted is noticed as soon."""


class RateLimitedError(ApplicationError):
    """NOT_YET: the step was granted nothing. Its slot is free meanwhile, and no try is spent."""

    def __init__(self, name: RateName, wait_s: float) -> None:
        # Apart from each other: steps that all ask at the same moment would find what one of them takes.
        soonest_s = random.uniform(SOONEST_S, 3 * SOONEST_S)  # noqa: S311
        super().__init__(
            f"rate limit {name}",
            type=ErrorCode.NOT_YET,
            next_retry_delay=timedelta(seconds=min(max(wait_s, soonest_s), LATEST_S)),
            category=ApplicationErrorCategory.BENIGN,
        )


class RateGate:
    """One per process, shared by its steps."""

    def __init__(self, limits: RateLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._names: frozenset[str] = frozenset()
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def limits(self, name: str) -> bool:
        """Whether a limit of this name was set a moment ago."""
        async with self._reading:
            if self._read_at is None or self._clock() - self._read_at >= KNOWN_FOR_S:
                self._names = frozenset([limit.name for limit in await self._limits.limits()])
                self._read_at = self._clock()
        return name in self._names

    async def take(self, name: RateName, wanted: int, *, charge: int = 0, urgent: bool = False) -> int:
        """Tokens for some of the work, or for all that is wanted where nothing limits it.

        `charge`: what was used beyond earlier grants. `urgent` work overtakes what drains the bucket.

        Raises:
            RateLimitedError: not one.
        """
        if not await self.limits(name):
            return wanted
        grant = await self._limits.take(name, wanted, charge=charge, least_s=LEAST_S, urgent=urgent)
        if wanted and not grant.tokens:
            raise RateLimitedError(name, grant.wait_s)
        return grant.tokens

    async def take_for_endpoint(self, subscription_id: UUID, wanted: int) -> Grant | None:
        """Tokens for requests to one webhook endpoint; None where nothing limits it."""
        name = endpoint_rate_name(subscription_id)
        if not await self.limits(name) and not await self.limits(RateName.WEBHOOKS):
            return None
        return await self._limits.take(name, wanted, default_limit=RateName.WEBHOOKS, least_s=LEAST_S)

    async def give_back(self, name: str, tokens: int) -> None:
        """Returns what was granted and not used."""
        if tokens > 0 and await self.limits(name):
            await self._limits.take(name, 0, charge=-tokens)

    async def give_back_of_endpoint(self, subscription_id: UUID, tokens: int) -> None:
        """Returns what was granted to an endpoint and not used."""
        if tokens > 0:
            name = endpoint_rate_name(subscription_id)
            await self._limits.take(name, 0, default_limit=RateName.WEBHOOKS, charge=-tokens)
