"""The three kinds of failure: what is infrastructure, what is the request's own, and what is a defect."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import httpx
import pytest
from temporalio.exceptions import ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

from activities.faults import LONGEST_DELAY_S, Weather, is_infrastructure, not_yet, translated
from chain.rpc import NodeUnavailableError, RpcError
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError

OUTSIDE = [
    ConnectionRefusedError("x"),
    TimeoutError("x"),
    httpx.ConnectError("x"),
    NodeUnavailableError("x"),
    RPCError("x", RPCStatusCode.UNAVAILABLE, b""),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.ConnectionFailureError("08006"),
    asyncpg.SerializationError("40001"),
    asyncpg.DeadlockDetectedError("40P01"),
    asyncpg.TooManyConnectionsError("53300"),
    asyncpg.QueryCanceledError("57014"),
    asyncpg.AdminShutdownError("57P01"),
    asyncpg.ReadOnlySQLTransactionError("25006"),
    asyncpg.LockNotAvailableError("55P03"),
]
OURS = [
    KeyError("x"),
    ValueError("x"),
    asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
    asyncpg.UniqueViolationError("23505"),
    asyncpg.UndefinedTableError("42P01"),
    asyncpg.InvalidTextRepresentationError("22P02"),
    asyncpg.CheckViolationError("23514"),
    RpcError(-32000, "intrinsic gas too low"),
]


@pytest.mark.parametrize("error", OUTSIDE, ids=repr)
def test_the_outside_worlds_faults_are_retried_for_ever(error: Exception) -> None:
    """The list is closed; each of its faults says when to come back."""
    assert is_infrastructure(error)
    told = translated(error, Weather())
    assert (told.type, told.non_retryable) == (ErrorCode.INFRASTRUCTURE, False)
    assert told.next_retry_delay == timedelta(seconds=1)


@pytest.mark.parametrize("error", OURS, ids=repr)
def test_anything_else_is_a_defect(error: Exception) -> None:
    """It ends the step, so that the workflow can narrow it down."""
    told = translated(error, Weather())
    assert (told.type, told.non_retryable) == (ErrorCode.DEFECT, True)
    assert told.message.startswith(type(error).__name__)


def test_a_request_that_can_not_be_done_keeps_its_code() -> None:
    """The caller sees what was wrong with the request."""
    told = translated(RequestError(ErrorCode.BATCH_CONTENT_DIFFERS, "holds another"), Weather())
    assert (told.type, told.message, told.non_retryable) == ("BATCH_CONTENT_DIFFERS", "holds another", True)


def test_bad_weather_makes_waits_longer_up_to_a_limit() -> None:
    """A step waits as long again as the weather has been bad, however many met it; a good step ends it."""
    clock = [100.0]
    weather = Weather(lambda: clock[0])

    def wait_at(now: float) -> float:
        clock[0] = now
        return weather.next_delay().total_seconds()

    assert [wait_at(100) for _ in range(20)] == [1] * 20
    assert [wait_at(now) for now in (101, 102, 104, 108, 300)] == [1, 2, 4, 8, LONGEST_DELAY_S]
    weather.fair()
    assert weather.next_delay() == timedelta(seconds=1)


def test_not_yet_is_no_failure() -> None:
    """It's benign, retried after its own delay, and counts as nothing."""
    told = not_yet("3 are open", 0.3)
    assert (told.type, told.category) == (ErrorCode.NOT_YET, ApplicationErrorCategory.BENIGN)
    assert (told.next_retry_delay, told.non_retryable) == (timedelta(seconds=0.3), False)
