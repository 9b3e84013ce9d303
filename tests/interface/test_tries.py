"""The rule of item tries."""

from __future__ import annotations

from datetime import timedelta

import pytest

from workflows.interface.codes import FailureCode, TransferStatus
from workflows.interface.tries import MAX_TRIES, after_failure

RETRYABLE = [code for code in FailureCode if code.retryable]
PERMANENT = [code for code in FailureCode if not code.retryable]


@pytest.mark.parametrize("code", RETRYABLE)
def test_a_retryable_failure_is_tried_three_times_with_growing_waits(code: FailureCode) -> None:
    """Waits of one and two seconds come before the second and third try; the third failure is the last."""
    waits, tries = [], 0
    while True:
        verdict = after_failure(code, costs_try=True, tries=tries, cancelled=False)
        assert verdict.tries == tries + 1
        tries = verdict.tries
        if verdict.delay is None:
            break
        assert verdict.status is TransferStatus.ACCEPTED
        waits.append(verdict.delay)
    assert verdict.status is TransferStatus.FAILED
    assert (tries, waits) == (MAX_TRIES, [timedelta(seconds=1), timedelta(seconds=2)])


@pytest.mark.parametrize("code", PERMANENT)
def test_a_permanent_failure_fails_at_once(code: FailureCode) -> None:
    """What trying again can't mend isn't tried again."""
    assert after_failure(code, costs_try=True, tries=0, cancelled=False) == (TransferStatus.FAILED, 1, None)


@pytest.mark.parametrize("code", [None, *FailureCode])
def test_what_costs_no_try_goes_again_with_as_many_left(code: FailureCode | None) -> None:
    """A skipped item, or one of a transaction that reverted as a whole, keeps its tries, even its last."""
    verdict = after_failure(code, costs_try=False, tries=2, cancelled=False)
    assert (verdict.status, verdict.tries) == (TransferStatus.ACCEPTED, 2)
    assert verdict.delay is not None
    assert verdict.delay > timedelta(0)


@pytest.mark.parametrize("code", [None, FailureCode.REVERTED, FailureCode.RECIPIENT_REFUSED])
def test_in_a_cancelled_batch_nothing_is_tried_again(code: FailureCode | None) -> None:
    """After the cancel, whatever didn't move ends CANCELLED and costs no try."""
    assert after_failure(code, costs_try=True, tries=1, cancelled=True) == (TransferStatus.CANCELLED, 1, None)
