"""Fixtures of the chain room's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.chain.lane_bench import LaneBench
from tests.real_chain import RealChain, running_chain


@pytest_asyncio.fixture(scope="session")
async def real_chain() -> AsyncIterator[RealChain]:
    """A real node with the contracts, shared by the session."""
    async with running_chain() as chain:
        yield chain


@pytest_asyncio.fixture
async def bench(real_chain: RealChain) -> LaneBench:
    """A fresh lane."""
    return LaneBench(real_chain, *await real_chain.new_lane())
