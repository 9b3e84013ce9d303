"""A crew with a fresh database and a fresh lane."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from ledger.pool import Pool
from tests.crew import Crew
from tests.real_chain import RealChain


@pytest.fixture
async def crew(pool: Pool, real_chain: RealChain, idle_client: Client) -> AsyncIterator[Crew]:
    lane, signer = await real_chain.new_lane()
    crew = Crew(pool, real_chain, idle_client, lane, signer)
    yield crew
    await crew.waker.close()
