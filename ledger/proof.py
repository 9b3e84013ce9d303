"""The proof that no ticket moved twice: Postgres against the chain's own log of moves, in one query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ledger.pool import Pool
from ledger.queries import load

_SQL = load("proof")


class LoggedMove(NamedTuple):
    """A `Transfer` log that isn't a mint (ERC-721); addresses are 20 bytes."""

    ticket_id: int
    sender: bytes
    recipient: bytes


async def differences_from_chain(pool: Pool, token: bytes, moves: Sequence[LoggedMove]) -> list[str]:
    """What Postgres and the chain say differently, one line each; none where they agree.

    `moves`: all of the token contract, in the order of the chain.
    """
    rows = await pool.fetch(_SQL["differences_from_chain"], token, *_columns(moves))
    return [f"ticket {row['ticket_id']}: {row['difference']}" for row in rows]


async def tickets_come_back(pool: Pool, token: bytes, moves: Sequence[LoggedMove]) -> list[str]:
    """Tickets that moves unknown to Postgres took away from their holder and that are with this holder again."""
    rows = await pool.fetch(_SQL["tickets_come_back"], token, *_columns(moves))
    return [row["ticket_id"] for row in rows]


def _columns(moves: Sequence[LoggedMove]) -> tuple[list[str], list[bytes], list[bytes]]:
    return (
        [str(move.ticket_id) for move in moves],
        [move.sender for move in moves],
        [move.recipient for move in moves],
    )
