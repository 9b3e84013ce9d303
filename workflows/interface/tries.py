"""When a failed item is tried again, and when it isn't: the pure rule of item tries."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from workflows.interface.codes import FailureCode, TransferStatus

MAX_TRIES = 3
MAX_SCHEDULED_RETRIES = 5
"""Of a transfer that the chain refused; each grants one try, then only a person does."""
FIRST_DELAY = timedelta(seconds=1)
NO_TRY_DELAY = timedelta(milliseconds=200)
"""A skipped item goes again at once, but with the next round and not in a tight loop."""


class Verdict(NamedTuple):
    """What becomes of a transfer whose go at the chain (or at its ticket) failed."""

    status: TransferStatus
    tries: int
    delay: timedelta | None
    """Until the next try; None where there is none."""


def after_failure(code: FailureCode | None, *, costs_try: bool, tries: int, cancelled: bool) -> Verdict:
    """`tries` counts the tries used up before this one; `code` is None for a skipped item.

    In a cancelled batch nothing is tried again, and what didn't move ends CANCELLED.
    """
    if cancelled:
        return Verdict(TransferStatus.CANCELLED, tries, None)
    if not costs_try or code is None:
        return Verdict(TransferStatus.ACCEPTED, tries, NO_TRY_DELAY)
    if code.retryable and tries + 1 < MAX_TRIES:
        return Verdict(TransferStatus.ACCEPTED, tries + 1, FIRST_DELAY * 2**tries)
    return Verdict(TransferStatus.FAILED, tries + 1, None)
