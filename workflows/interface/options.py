"""Options of a batch: what its sender may choose once for all of its items."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from workflows.interface.codes import ItemOrder, Settlement, TransferKind

GIFT_LIFETIME = timedelta(days=7)
"""How long a gift waits from its creation where nobody said until when."""

# Within them every moment has its text in UTC, whatever zone it was written in.
_FIRST_YEAR, _LAST_YEAR = 2000, 9998


class BatchOptions(NamedTuple):
    """The options with their defaults."""

    settlement: Settlement = Settlement.BATCHED
    kind: TransferKind = TransferKind.DIRECT
    expires_at: datetime | None = None
    """Of gifts: until when they can be accepted. None: `GIFT_LIFETIME` from the creation of each."""
    order: ItemOrder = ItemOrder.PARALLEL

    @property
    def chosen(self) -> dict[str, str]:
        """Those that differ from their defaults as JSON has them, in alphabetical order: part of the fingerprint."""
        chosen: dict[str, str] = {}
        if self.expires_at is not None:
            chosen["expiresAt"] = canonical_time(self.expires_at)
        if self.kind is not TransferKind.DIRECT:
            chosen["kind"] = self.kind.value
        if self.order is not ItemOrder.PARALLEL:
            chosen["order"] = self.order.value
        if self.settlement is not Settlement.BATCHED:
            chosen["settlement"] = self.settlement.value
        return chosen

    @property
    def fault(self) -> str | None:
        """Why these options can't go together; None where they can."""
        if self.expires_at is None:
            return None
        if self.kind is not TransferKind.GIFT:
            return "expiresAt is for gifts: add kind gift, or leave it out"
        if self.expires_at.tzinfo is None:
            return "expiresAt needs a time zone: end it with Z for UTC"
        if not _FIRST_YEAR <= self.expires_at.year <= _LAST_YEAR:
            return f"expiresAt must lie between the years {_FIRST_YEAR} and {_LAST_YEAR}"
        return None


DEFAULT_OPTIONS = BatchOptions()


def canonical_time(time: datetime) -> str:
    """The moment in UTC with all six digits of its microseconds: one text per moment."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
