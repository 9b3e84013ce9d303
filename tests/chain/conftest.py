"""Fixtures of the chain room's tests."""

from __future__ import annotations

import pytest

from tests.chain.lane_bench import LaneBench
from tests.real_chain import RealChain


@pytest.fixture
async def bench(real_chain: RealChain) -> LaneBench:
    """A fresh lane."""
    return LaneBench(real_chain, *await real_chain.new_lane())
