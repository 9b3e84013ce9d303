"""What makes an item acceptable, and what an address is."""

from __future__ import annotations

from uuid import uuid4

import pytest

from chain.keccak import keccak256
from workflows.interface.addresses import (
    InvalidAddressError,
    canonical_recipient,
    checksum_address,
    is_address_text,
    parse_address,
)
from workflows.interface.codes import FailureCode
from workflows.interface.validation import Accepted, Known, QueuedItem, Rejected, Ticket, judge

# The examples of EIP-55 itself.
EIP_55 = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]
HOLDER, FRIEND, ROUTER, TOKEN = bytes([1]) * 20, bytes([2]) * 20, bytes([3]) * 20, bytes([4]) * 20
KNOWN = Known(
    from_user_id="alice",
    tickets={"7": Ticket(TOKEN, HOLDER, "alice"), "8": Ticket(TOKEN, HOLDER, "bob"), "9": Ticket(TOKEN, HOLDER, None)},
    wallet_of={"bob": FRIEND, "alice": HOLDER},
    user_of={FRIEND: "bob", HOLDER: "alice"},
    own_contracts=frozenset({ROUTER}),
)


def verdict(to: str, ticket_id: str = "7") -> Accepted | Rejected:
    return judge(QueuedItem(1, uuid4(), ticket_id, to, 0), KNOWN, keccak256)


@pytest.mark.parametrize("text", EIP_55)
def test_the_examples_of_eip_55_are_addresses(text: str) -> None:
    """An address with the right checksum is read, and written the same way."""
    address = parse_address(text, keccak256)
    assert "0x" + address.hex() == text.lower()
    assert checksum_address(address, keccak256) == text or text in EIP_55[2:4]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0x", FailureCode.INVALID_ADDRESS),
        ("0x1234", FailureCode.INVALID_ADDRESS),
        ("0X" + "ab" * 20, FailureCode.INVALID_ADDRESS),
        ("0x" + "ab" * 19 + "g1", FailureCode.INVALID_ADDRESS),
        ("0x" + "ab" * 20 + "\n", FailureCode.INVALID_ADDRESS),
        ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD", FailureCode.ADDRESS_CHECKSUM),
        ("0x" + "0" * 40, FailureCode.ZERO_ADDRESS),
    ],
)
def test_what_is_no_usable_address_is_refused_with_its_code(text: str, code: FailureCode) -> None:
    """Malformed, mistyped and zero addresses each have a code of their own."""
    with pytest.raises(InvalidAddressError) as caught:
        parse_address(text, keccak256)
    assert caught.value.code is code


def test_a_recipient_that_starts_with_0x_is_meant_as_an_address() -> None:
    """Only the first two characters decide between address and user id."""
    assert [is_address_text(to) for to in ("0xzz", "0X12", "x0", "bob", "")] == [True, True, False, False, False]


def test_a_valid_address_is_canonical_in_lower_case_and_all_else_unchanged() -> None:
    """The same recipient written in two ways is the same request; a bad address keeps its text for the reason."""
    assert canonical_recipient(EIP_55[4], keccak256) == EIP_55[4].lower()
    bad = EIP_55[4][:-1] + "D"
    assert [canonical_recipient(to, keccak256) for to in (bad, "Bob", "0x12")] == [bad, "Bob", "0x12"]


def test_a_user_with_a_wallet_and_a_plain_address_are_accepted() -> None:
    """The recipient is a wallet, with its user where it's somebody's."""
    by_name, by_address, stranger = verdict("bob"), verdict("0x" + FRIEND.hex()), verdict("0x" + "05" * 20)
    assert isinstance(by_name, Accepted)
    assert isinstance(by_address, Accepted)
    assert isinstance(stranger, Accepted)
    assert [(v.to_user_id, v.to) for v in (by_name, by_address, stranger)] == [
        ("bob", FRIEND),
        ("bob", FRIEND),
        (None, bytes([5]) * 20),
    ]
    assert by_name.ticket == KNOWN.tickets["7"]


@pytest.mark.parametrize(
    ("to", "ticket_id", "code"),
    [
        ("0x12", "7", FailureCode.INVALID_ADDRESS),
        ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD", "7", FailureCode.ADDRESS_CHECKSUM),
        ("0x" + "0" * 40, "7", FailureCode.ZERO_ADDRESS),
        ("nobody", "7", FailureCode.UNKNOWN_USER),
        ("bob", "6", FailureCode.UNKNOWN_TICKET),
        ("bob", "8", FailureCode.NOT_TICKET_OWNER),
        ("bob", "9", FailureCode.NOT_TICKET_OWNER),
        ("alice", "7", FailureCode.RECIPIENT_IS_SENDER),
        ("0x" + HOLDER.hex(), "7", FailureCode.RECIPIENT_IS_SENDER),
        ("0x" + ROUTER.hex(), "7", FailureCode.RECIPIENT_NOT_ALLOWED),
    ],
)
def test_each_fault_of_an_item_has_its_code_and_a_readable_reason(to: str, ticket_id: str, code: FailureCode) -> None:
    """A rejected item says why in words, with the evidence."""
    rejected = verdict(to, ticket_id)
    assert isinstance(rejected, Rejected)
    assert rejected.code is code
    assert rejected.reason.startswith(code.meaning)
    assert to in rejected.reason or ticket_id in rejected.reason


def test_every_code_has_a_sentence() -> None:
    """No failure is left without words for people."""
    assert all(code.meaning for code in FailureCode)
