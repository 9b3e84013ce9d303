"""What a request must look like, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ledger.fingerprint import StagedItem, request_sha256
from workflows.interface.batch import MAX_INLINE_ITEMS, BatchInput, BatchItem
from workflows.interface.codes import Settlement
from workflows.interface.options import BatchOptions
from workflows.interface.requests import RequestFingerprint, canonical_ticket_id

BATCH_ID = "3f6fa5a2-5a1b-4b43-9a52-4b1f6b7e0d11"
ITEM = {"ticketId": "17", "to": "bob"}


def given_input(**fields: Any) -> BatchInput:
    return BatchInput.model_validate({"batchId": BATCH_ID, **fields})


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("0", "0"), ("17", "17"), ("017", "17"), ("000", "0"), (str(2**256 - 1), str(2**256 - 1)), ("0" * 99 + "7", "7")],
)
def test_ticket_ids_are_canonical_decimals(text: str, canonical: str) -> None:
    """Leading zeros don't make another ticket."""
    assert canonical_ticket_id(text) == canonical


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1e3", " 7", "7\n", "٣", "0x7", str(2**256), "1" * 101])
def test_what_is_no_ticket_id_is_refused(text: str) -> None:
    """Only whole numbers in ASCII digits below 2**256 name tickets."""
    with pytest.raises(ValueError, match="must be"):
        canonical_ticket_id(text)


def test_the_fingerprint_is_the_published_one() -> None:
    """The hash is pinned: another one would make old batches strangers to their own requests."""
    items = [StagedItem("17", "bob"), StagedItem("18", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")]
    text = '{"fromUserId":"Zoë","items":[["17","bob"],["18","0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"]]}'
    assert request_sha256("Zoë", items, BatchOptions()) == hashlib.sha256(text.encode()).digest()
    assert request_sha256("Zoë", items, BatchOptions()).hex() == PINNED
    single = text[:-1] + ',"settlement":"single"}'
    assert request_sha256("Zoë", items, BatchOptions(Settlement.SINGLE)) == hashlib.sha256(single.encode()).digest()


PINNED = "766eb3784bbddd31988caa7d1bf9130b683ea3c9cfacbe4441cbaa37968b2b00"


@given(st.text(min_size=1), st.lists(st.tuples(st.integers(0, 10**30), st.text(min_size=1)), min_size=1))
def test_the_fingerprint_is_over_canonical_json(sender: str, items: list[tuple[int, str]]) -> None:
    """Fed item by item, it's the hash of the whole request's JSON without spaces, whatever the texts hold."""
    fingerprint = RequestFingerprint(sender)
    for ticket, to in items:
        fingerprint.add(str(ticket), to)
    whole = {"fromUserId": sender, "items": [[str(ticket), to] for ticket, to in items]}
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    assert fingerprint.digest(BatchOptions()) == hashlib.sha256(text.encode()).digest()


def test_the_order_of_items_belongs_to_the_request() -> None:
    """The same items in another order are another request."""
    items = [StagedItem("1", "a"), StagedItem("2", "b")]
    there, back = (request_sha256("z", some, BatchOptions()) for some in (items, items[::-1]))
    assert there != back


def test_an_input_in_camel_case_is_read_and_written_as_such() -> None:
    """Callers see camelCase, Python sees snake_case, and ticket ids come canonical."""
    given = given_input(fromUserId=" alice ", items=[{"ticketId": "017", "to": " bob "}], settlement="single")
    assert given.batch_id == UUID(BATCH_ID)
    assert given.from_user_id == "alice"
    assert given.items == (BatchItem(ticket_id="17", to="bob"),)
    assert json.loads(given.model_dump_json(exclude_defaults=True))["items"] == [ITEM]


@pytest.mark.parametrize("to", ["bob\tsmith", "a\nb", "\x1b[31m", "\u202e", "0x12"])
def test_an_odd_recipient_is_the_matter_of_its_item(to: str) -> None:
    """Whatever the database can hold is taken: such an item fails alone, as an unknown user or a wrong address."""
    given = given_input(fromUserId="alice", items=[ITEM, {"ticketId": "8", "to": to}])
    assert [item.to for item in given.items or ()] == ["bob", to]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"items": [ITEM]}, "fromUserId is needed with items"),
        ({"fromUserId": "alice", "items": []}, "items is empty"),
        ({"settlement": "single"}, "settlement belongs to the request that wrote the items"),
        ({"fromUserId": "alice", "items": [ITEM], "retryFailed": True}, "retryFailed goes without items"),
        ({"fromUserId": "alice", "items": [ITEM] * (MAX_INLINE_ITEMS + 1)}, "at most 2000"),
        ({"fromUserId": "a" * 65, "items": [ITEM]}, "at most 64"),
        ({"fromUserId": "alice", "items": [{"ticketId": "-7", "to": "bob"}]}, "whole number"),
        ({"fromUserId": "alice", "items": [{"ticketId": "7", "to": " "}]}, "must not be empty"),
        ({"fromUserId": "alice", "items": [{"ticketId": "7", "to": "é" * 33}]}, "at most 64 bytes"),
        ({"fromUserId": "alice", "items": [{"ticketId": "7", "to": "a\0b"}]}, "NUL character"),
        ({"fromUserId": "al\nice", "items": [ITEM]}, "control characters"),
        ({"fromUserId": "alice", "items": [ITEM], "settlment": "single"}, "Extra inputs"),
        ({"fromUserId": "alice", "items": [ITEM], "settlement": "cash"}, "'batched' or 'single'"),
    ],
)
def test_an_impossible_input_is_refused_and_says_why(fields: dict[str, Any], said: str) -> None:
    """A fault of the request itself is found before anything is written."""
    with pytest.raises(ValidationError, match=said):
        given_input(**fields)
