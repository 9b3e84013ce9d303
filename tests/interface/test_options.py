"""The options of a batch: which go together, and what they add to a request's fingerprint."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from ledger.fingerprint import StagedItem, request_sha256
from workflows.interface.batch import BatchInput
from workflows.interface.codes import ItemOrder, Settlement, TransferKind
from workflows.interface.options import DEFAULT_OPTIONS, BatchOptions

ITEM = {"ticketId": "17", "to": "bob"}
NOON = "2030-06-01T12:00:00Z"


def options_of(**fields: Any) -> BatchOptions:
    """The options of an inline request."""
    argument = {"batchId": str(uuid4()), "fromUserId": "alice", "items": [ITEM], **fields}
    return BatchInput.model_validate(argument).options


def digest(options: BatchOptions) -> bytes:
    return request_sha256("alice", [StagedItem("17", "bob")], options)


def test_options_left_out_are_the_defaults() -> None:
    """A request without options is one of direct transfers side by side, many per chain transaction."""
    assert options_of() == DEFAULT_OPTIONS
    assert options_of(kind="direct", order="parallel", settlement="batched") == DEFAULT_OPTIONS
    assert DEFAULT_OPTIONS == (Settlement.BATCHED, TransferKind.DIRECT, None, ItemOrder.PARALLEL)


def test_default_options_add_nothing_to_the_fingerprint() -> None:
    """Requests from before there were these options keep their fingerprints, to the byte."""
    before = '{"fromUserId":"alice","items":[["17","bob"]]'
    assert digest(DEFAULT_OPTIONS) == hashlib.sha256(f"{before}}}".encode()).digest()
    single = f'{before},"settlement":"single"}}'
    assert digest(BatchOptions(Settlement.SINGLE)) == hashlib.sha256(single.encode()).digest()


def test_chosen_options_stand_in_the_fingerprint_in_alphabetical_order() -> None:
    """All four at once, after the items, each as callers write it."""
    options = options_of(settlement="single", order="sequential", kind="gift", expiresAt=NOON)
    text = (
        '{"fromUserId":"alice","items":[["17","bob"]],"expiresAt":"2030-06-01T12:00:00.000000Z","kind":"gift",'
        '"order":"sequential","settlement":"single"}'
    )
    assert digest(options) == hashlib.sha256(text.encode()).digest()


def test_each_option_makes_another_request() -> None:
    """No two ways to write an option share a fingerprint."""
    gift = TransferKind.GIFT
    some = [
        DEFAULT_OPTIONS,
        BatchOptions(Settlement.SINGLE),
        BatchOptions(kind=gift),
        options_of(kind="gift", expiresAt=NOON),
        options_of(kind="gift", expiresAt="2030-06-01T12:00:00.000001Z"),
        BatchOptions(order=ItemOrder.SEQUENTIAL),
    ]
    assert len({digest(options) for options in some}) == len(some)


@pytest.mark.parametrize(
    "text", [NOON, "2030-06-01T14:00:00+02:00", "2030-06-01T12:00:00.000Z", "2030-06-01T06:30-05:30"]
)
def test_one_moment_is_one_fingerprint(text: str) -> None:
    """The zone and the digits a time is written in don't make another request."""
    assert digest(options_of(kind="gift", expiresAt=text)) == digest(options_of(kind="gift", expiresAt=NOON))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"expiresAt": NOON}, "expiresAt is for gifts"),
        ({"kind": "direct", "expiresAt": NOON}, "expiresAt is for gifts"),
        ({"kind": "gift", "expiresAt": "2030-06-01T12:00:00"}, "timezone"),
        ({"kind": "gift", "expiresAt": "9999-12-31T23:59:59-05:00"}, "between the years 2000 and 9998"),
        ({"kind": "gift", "expiresAt": "soon"}, "valid datetime"),
        ({"kind": "loan"}, "'direct' or 'gift'"),
        ({"order": "random"}, "'parallel' or 'sequential'"),
    ],
)
def test_impossible_options_are_refused_and_say_why(fields: dict[str, Any], said: str) -> None:
    """A fault of the request itself is found before anything is written."""
    with pytest.raises(ValidationError, match=said):
        options_of(**fields)


@pytest.mark.parametrize("field", [{"kind": "gift"}, {"order": "sequential"}, {"expiresAt": NOON}])
def test_options_go_with_the_items(field: dict[str, str]) -> None:
    """A start by id alone can't change what was staged."""
    with pytest.raises(ValidationError, match=f"{next(iter(field))} belongs to the request that wrote the items"):
        BatchInput.model_validate({"batchId": str(uuid4()), **field})
