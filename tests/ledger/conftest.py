"""The ledger's parts on a fresh database."""

from __future__ import annotations

import pytest

from ledger.pool import Pool
from tests.books import Books


@pytest.fixture
def books(pool: Pool) -> Books:
    return Books(pool)
