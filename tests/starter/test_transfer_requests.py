"""What is wrong with a request for one transfer is told with its field and remedy, before anything is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from temporalio.client import Client

from starter.transfer_requests import chosen_expiry, chosen_transfer_id, require_same_transfer
from starter.transfers import SingleTransferClient
from workflows.interface.codes import ErrorCode, TransferKind, TransferStatus
from workflows.interface.errors import RequestError
from workflows.interface.transfer import TransferInput, TransferState

WALLET = "0x8c56dbe7d4a2c36035bd0c32328abe3b85b7bf4f"
WALLET_WITH_CHECKSUM = "0x8C56DbE7D4A2C36035Bd0c32328ABe3b85b7BF4F"


def test_the_key_of_a_sender_is_an_id_of_its_own() -> None:
    """The id is the published uuid5 over sender and key, and no batch of the same key has it."""
    own = chosen_transfer_id(" alice ", None, "order-17")
    assert own == UUID("ee4f6f55-1347-58f1-9527-ca508ee8a477")
    assert chosen_transfer_id("bob", None, "order-17") != own


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"from_user_id": ""}, "from_user_id: must not be empty"),
        ({"ticket_id": "x"}, "ticket_id: must be a whole number"),
        ({"ticket_id": "-1"}, "ticket_id: must be a whole number"),
        ({"to": ""}, "to: must not be empty"),
        ({"to": "b" * 65}, "to: must be at most 64 bytes of UTF-8, this has 65"),
        ({"idempotency_key": ""}, "the idempotency key must be 1 to 256 bytes"),
        ({"idempotency_key": "k", "transfer_id": uuid4()}, "exclude each other: give one"),
        ({"settlement": "gift"}, "settlement: must be 'batched' or 'single'"),
    ],
)
async def test_a_bad_field_is_named(idle_client: Client, fields: dict[str, object], told: str) -> None:
    """Each wrong argument is refused with INVALID_INPUT, its name and what it should be."""
    good: dict[str, object] = {"from_user_id": "alice", "ticket_id": "17", "to": "bob"}
    with pytest.raises(RequestError, match=told) as caught:
        await SingleTransferClient(idle_client).start_transfer(**{**good, **fields})  # type: ignore[arg-type]
    assert caught.value.code is ErrorCode.INVALID_INPUT


@pytest.mark.parametrize(
    ("at", "span", "told"),
    [
        (datetime(2030, 1, 1, tzinfo=UTC), timedelta(days=1), "exclude each other: give one"),
        (datetime(2030, 1, 1), None, "has no time zone: add one"),  # noqa: DTZ001  # the fault that is tested
        (None, timedelta(), "must be more than nothing"),
        (None, timedelta(days=9_999_999), "beyond the year 9999"),
    ],
)
def test_a_bad_expiry_is_refused(at: datetime | None, span: timedelta | None, told: str) -> None:
    """A moment without zone, a span of nothing or for ever, or both at once, is INVALID_INPUT."""
    with pytest.raises(RequestError, match=told):
        chosen_expiry(at, span)


@pytest.mark.parametrize(("user_id", "reason"), [("", None), ("b\x00b", None), ("bob", "no\x1bthanks")])
async def test_a_bad_word_is_not_sent(idle_client: Client, user_id: str, reason: str | None) -> None:
    """Who speaks and why is checked as everywhere else."""
    with pytest.raises(RequestError) as caught:
        await SingleTransferClient(idle_client).decline_gift(uuid4(), user_id, reason)
    assert caught.value.code is ErrorCode.INVALID_INPUT


def request(**fields: object) -> TransferInput:
    """A request of alice's."""
    good = {"transfer_id": uuid4(), "from_user_id": "alice", "ticket_id": "17", "to": "bob"}
    return TransferInput.model_validate({**good, **fields})


STATE = TransferState(
    transfer_id=uuid4(),
    status=TransferStatus.ACCEPTED,
    kind=TransferKind.DIRECT,
    ticket_id="17",
    from_user_id="alice",
    to_user_id="bob",
    to_address=WALLET,
)


@pytest.mark.parametrize("to", ["bob", WALLET, WALLET_WITH_CHECKSUM])
def test_a_transfer_is_known_by_user_or_address(to: str) -> None:
    """Whoever asked for bob and whoever asked for bob's wallet finds the transfer that was made."""
    require_same_transfer(request(to=to), STATE, expiry_matters=False)


@pytest.mark.parametrize(
    "other",
    [
        {"from_user_id": "carol"},
        {"ticket_id": "18"},
        {"to": "carol"},
        {"to": "0x" + "11" * 20},
        {"kind": "gift"},
    ],
)
def test_another_request_is_told_from_the_transfer(other: dict[str, object]) -> None:
    """Another sender, ticket, recipient or kind under the id is TRANSFER_CONTENT_DIFFERS."""
    with pytest.raises(RequestError, match="use a new transfer id or idempotency key") as caught:
        require_same_transfer(request(**other), STATE, expiry_matters=False)
    assert caught.value.code is ErrorCode.TRANSFER_CONTENT_DIFFERS
