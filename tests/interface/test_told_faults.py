"""Faults of requests in our own words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from workflows.interface.batch import MAX_INLINE_ITEMS, BatchInput
from workflows.interface.faults import told

BATCH_ID = "62e8045f-ea82-4f01-913a-074bde32eddf"
ITEM = {"ticketId": "1", "to": "bob"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"batchId": "17"}, "batchId: must be a UUID"),
        ({"batchId": None}, "batchId: must be a UUID"),
        ({"fromUserId": 7}, "fromUserId: must be a text"),
        ({"fromUserId": "  ", "items": [ITEM]}, "fromUserId: must not be empty"),
        ({"items": "bob"}, "items: must be a list"),
        ({"items": [17]}, "items.0: must be a JSON object"),
        ({"items": [{"to": "bob"}]}, "items.0.ticketId: is missing"),
        ({"items": [ITEM]}, "input: fromUserId is needed with items"),
        ({"items": [ITEM] * (MAX_INLINE_ITEMS + 1)}, "items: has more than 2,000 entries"),
        ({"settlement": "gift"}, "settlement: must be 'batched' or 'single'"),
        ({"retryFailed": "perhaps"}, "retryFailed: must be true or false"),
        ({"kindly": True}, "kindly: unknown field"),
    ],
)
def test_a_fault_is_told_in_our_words(fields: dict[str, Any], words: str) -> None:
    """Each fault is its field's path and a plain phrase, without the validator's own."""
    with pytest.raises(ValidationError) as caught:
        BatchInput.model_validate({"batchId": BATCH_ID, **fields})
    assert told(caught.value) == words


def test_only_the_first_faults_are_told() -> None:
    """Five faults are told and the others counted."""
    with pytest.raises(ValidationError) as caught:
        BatchInput.model_validate({"batchId": BATCH_ID, "fromUserId": "alice", "items": [{"to": "bob"}] * 7})
    assert told(caught.value).endswith("items.4.ticketId: is missing; and 2 more")
