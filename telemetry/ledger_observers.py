"""Observers of the ledger: batches and their items, live transfers, webhooks, dead letters and alerts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from ledger.figures import Figures
from telemetry import catalogue
from telemetry.board import Figure
from workflows.interface.codes import AlertKind, BatchStatus, DeadLetterKind, ItemStatus, TransferStatus

INTERVAL_S = 10.0


class LedgerObserver:
    """What costs next to nothing whatever the load."""

    name = "ledger"
    interval_s = INTERVAL_S

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    async def read(self) -> Sequence[Figure]:
        """Batches, items and transfers in work, endpoints, alerts."""
        batches = await self._figures.batches()
        submitted, submitted_of_batches = await self._figures.submitted()
        endpoints = await self._figures.endpoints()
        alerts = await self._figures.open_alerts()
        # Read one after the other: what moved meanwhile must not make it negative.
        accepted = max(0, batches.items[ItemStatus.PROCESSING] - submitted_of_batches)
        return [
            *(_by(catalogue.BATCH_OPEN, "status", one, batches.batches) for one in BatchStatus if not one.ended),
            *(_by(catalogue.BATCH_ITEMS, "status", one, batches.items) for one in ItemStatus),
            Figure(catalogue.TRANSFER_LIVE, accepted, {"status": TransferStatus.ACCEPTED.value}),
            Figure(catalogue.TRANSFER_LIVE, submitted, {"status": TransferStatus.SUBMITTED.value}),
            Figure(catalogue.WEBHOOK_ENDPOINTS, endpoints.active, {"state": "active"}),
            Figure(catalogue.WEBHOOK_ENDPOINTS, endpoints.failing, {"state": "failing"}),
            Figure(catalogue.WEBHOOK_ENDPOINTS, endpoints.disabled, {"state": "disabled"}),
            Figure(catalogue.WEBHOOK_OLDEST_DUE_AGE, endpoints.oldest_due_age_s),
            *(_by(catalogue.ALERTS_OPEN, "kind", one, alerts) for one in AlertKind),
        ]


class GiftObserver:
    """Waiting gifts: apart, for counting a hundred thousand of them takes a while."""

    name = "gifts"
    interval_s = INTERVAL_S

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    async def read(self) -> Sequence[Figure]:
        """How many gifts wait for their recipient."""
        pending = await self._figures.pending_gifts()
        return [Figure(catalogue.TRANSFER_LIVE, pending, {"status": TransferStatus.PENDING.value})]


class DeadLetterObserver:
    """Dead letters: those open, and those buried since this process began."""

    name = "dead-letters"
    interval_s = INTERVAL_S

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._mark: UUID | None = None
        self._buried: Counter[str] = Counter()

    async def read(self) -> Sequence[Figure]:
        """Counts what is new behind the mark of the last look; so the price is that of the new ones."""
        mark = await self._figures.buried_mark()
        if self._mark is not None:
            self._buried += await self._figures.buried_between(self._mark, mark)
        self._mark = mark
        found = await self._figures.open_dead_letters()
        return [
            *(_by(catalogue.DEAD_LETTERS_OPEN, "kind", one, found) for one in DeadLetterKind),
            *(_by(catalogue.DEAD_LETTERS_BURIED, "kind", one, self._buried) for one in DeadLetterKind),
        ]


def _by(metric: catalogue.Metric, label: str, key: str, found: dict[str, int] | Counter[str]) -> Figure:
    """One series; it's 0 where nothing was found, so that it doesn't end."""
    return Figure(metric, found.get(str(key), 0), {label: str(key)})
