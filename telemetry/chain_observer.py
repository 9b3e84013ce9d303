"""Observer of the chain: lanes as the ledger has them, signers and blocks as the node has them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

from ledger.figures import Figures
from telemetry import catalogue
from telemetry.board import Figure

INTERVAL_S = 15.0
WEI_PER_GWEI = 10**9


class NodeFigures(Protocol):
    """What the chain room reads from a node."""

    @property
    def head_number(self) -> int:
        """The latest block."""

    @property
    def head_made_at_s(self) -> int:
        """Unix time in its header."""

    @property
    def block_interval_s(self) -> float:
        """Mean of the last blocks."""

    @property
    def balances_wei(self) -> tuple[int, ...]:
        """In the order of the signers."""


ReadNode: TypeAlias = Callable[[Sequence[bytes]], Awaitable[NodeFigures]]


class LaneObserver:
    """Lanes and costs, from the ledger: told also while the node is away."""

    name = "lanes"
    interval_s = INTERVAL_S

    def __init__(self, figures: Figures, chain_id: int) -> None:
        self._figures = figures
        self._chain_id = chain_id

    async def read(self) -> Sequence[Figure]:
        """Every lane of the chain, and what a ticket costs."""
        return [*await self._lanes(), *await self._costs()]

    async def _lanes(self) -> list[Figure]:
        found: list[Figure] = []
        for lane in await self._figures.lanes(self._chain_id):
            labels = {"signer": "0x" + lane.signer.hex()}
            found += (
                Figure(catalogue.LANE_IN_FLIGHT, lane.in_flight, labels),
                Figure(catalogue.LANE_LIMIT, lane.limit, labels),
                Figure(catalogue.LANE_HALTED, int(lane.halted), labels),
                Figure(catalogue.LANE_HEAD_NONCE_AGE, lane.head_age_s, labels),
            )
        return found

    async def _costs(self) -> list[Figure]:
        found: list[Figure] = []
        for cost in await self._figures.costs(self._chain_id):
            labels = {"settlement": cost.settlement}
            found += (
                Figure(catalogue.GAS_PER_TICKET, cost.gas_per_ticket, labels),
                Figure(catalogue.FEE_PER_TICKET, cost.fee_per_ticket_gwei, labels),
            )
        return found


class NodeObserver:
    """The node's head and the signers' balances. Of the ledger's lanes, so that a worker without a key sees it too."""

    name = "node"
    interval_s = INTERVAL_S

    def __init__(
        self, figures: Figures, chain_id: int, read_node: ReadNode, clock: Callable[[], float] = time.time
    ) -> None:
        self._figures = figures
        self._chain_id = chain_id
        self._read_node = read_node
        self._clock = clock

    async def read(self) -> Sequence[Figure]:
        """Asks the node."""
        signers = [lane.signer for lane in await self._figures.lanes(self._chain_id)]
        node = await self._read_node(signers)
        return [*self._of_head(node), *_balances(signers, node)]

    def _of_head(self, node: NodeFigures) -> Iterator[Figure]:
        age_s = max(0.0, self._clock() - node.head_made_at_s)
        # The next block is under way for one interval; only what is later than that is missing.
        behind = max(0.0, age_s / node.block_interval_s - 1)
        yield Figure(catalogue.CHAIN_HEAD_BLOCK, node.head_number)
        yield Figure(catalogue.CHAIN_HEAD_AGE, age_s)
        yield Figure(catalogue.CHAIN_BLOCKS_BEHIND, int(behind))


def _balances(signers: Sequence[bytes], node: NodeFigures) -> Iterator[Figure]:
    for signer, balance_wei in zip(signers, node.balances_wei, strict=True):
        yield Figure(catalogue.LANE_BALANCE, balance_wei / WEI_PER_GWEI, {"signer": "0x" + signer.hex()})
