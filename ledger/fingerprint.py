"""What makes two batch requests the same: recipients in canonical form and Keccak-256 for their checksums.

Needs no database driver, so that a client that speaks only to Temporal can use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from Crypto.Hash import keccak

from workflows.interface.addresses import canonical_recipient
from workflows.interface.codes import Settlement, TransferKind
from workflows.interface.options import BatchOptions
from workflows.interface.requests import RequestFingerprint
from workflows.interface.transfer import TransferInput


class StagedItem(NamedTuple):
    """One line of a batch: a canonical ticket id, and the recipient as given, without surrounding blanks."""

    ticket_id: str
    to: str


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (the original padding, not SHA-3's)."""
    return keccak.new(data=data, digest_bits=256).digest()


def request_sha256(from_user_id: str, items: Iterable[StagedItem], options: BatchOptions) -> bytes:
    """The 32 bytes that stand for a whole request held in memory."""
    fingerprint = RequestFingerprint(from_user_id)
    for item in items:
        add_item(fingerprint, item)
    return fingerprint.digest(options)


def transfer_sha256(request: TransferInput) -> bytes:
    """The 32 bytes that stand for a request of one transfer: those of a batch with this one item."""
    options = BatchOptions(
        request.settlement or Settlement.BATCHED, request.kind or TransferKind.DIRECT, request.expires_at
    )
    return request_sha256(str(request.from_user_id), [StagedItem(str(request.ticket_id), str(request.to))], options)


def add_item(fingerprint: RequestFingerprint, item: StagedItem) -> None:
    """Feeds the next item, its recipient canonical."""
    fingerprint.add(item.ticket_id, _canonical(item.to))


@lru_cache(maxsize=4_096)
def _canonical(to: str) -> str:
    """A checksum takes longer than all the rest of a line, and recipients come again."""
    return canonical_recipient(to, keccak256)
