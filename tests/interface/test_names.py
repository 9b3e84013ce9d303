"""Ids that callers depend on: pinned, and read back."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workflows.interface.batch import BatchInput
from workflows.interface.names import (
    batch_id_for,
    batch_id_of,
    batch_workflow_id,
    lane_workflow_id,
    transfer_id_for,
    webhook_workflow_id,
)

BATCH_ID = UUID("3f6fa5a2-5a1b-4b43-9a52-4b1f6b7e0d11")


def test_the_batch_id_of_an_idempotency_key_is_pinned() -> None:
    """The published namespace and form never change, or a repeated request would move on."""
    assert batch_id_for("alice", "order-1") == UUID("2f3d3d8f-58e9-5744-9a42-8d1be2bbaee2")
    assert batch_id_for("alice", "order-1") != batch_id_for("alic", "e\norder-1")


@given(st.text(st.sampled_from("a \n\r\x1c\x85\u2028"), min_size=3, max_size=12))
def test_no_two_senders_and_keys_share_a_batch_id(text: str) -> None:
    """Keys may hold line breaks: what the id is made of reads as one sender and key only, as no sender holds one."""
    breaks = [at for at, character in enumerate(text) if character == "\n"]
    readings = {(text[:at], text[at + 1 :]) for at in breaks}
    assert len({batch_id_for(*reading) for reading in readings}) <= 1
    assert len({reading for reading in readings if is_sender(reading[0])}) <= 1


def is_sender(text: str) -> bool:
    """Whether a request may name this sender, as it stands."""
    try:
        return BatchInput(batch_id=BATCH_ID, from_user_id=text).from_user_id == text
    except ValidationError:
        return False


def test_the_transfer_of_an_item_is_pinned() -> None:
    """A batch item has one transfer for ever."""
    assert transfer_id_for(BATCH_ID, 1) == UUID("8b336b3d-d336-5eab-b95a-6f7b1cdb1d54")
    assert len({transfer_id_for(BATCH_ID, n) for n in range(1, 200)}) == 199


def test_workflow_ids_have_their_published_forms() -> None:
    """Ids are business keys in lower case."""
    assert batch_workflow_id(BATCH_ID) == "batch/3f6fa5a2-5a1b-4b43-9a52-4b1f6b7e0d11"
    assert lane_workflow_id(31337, "0xABcd") == "lane/31337/0xabcd"
    assert webhook_workflow_id(BATCH_ID) == "webhook/3f6fa5a2-5a1b-4b43-9a52-4b1f6b7e0d11"


def test_a_batch_id_is_read_back_from_its_workflow_id() -> None:
    """Parsing is the inverse of building."""
    assert batch_id_of(batch_workflow_id(BATCH_ID)) == BATCH_ID


@pytest.mark.parametrize(
    "workflow_id", ["", "batch/", "batch/7", f"lane/{BATCH_ID}", f"batch/{BATCH_ID}".upper(), f"batch/{BATCH_ID.hex}"]
)
def test_another_workflow_id_is_no_batch(workflow_id: str) -> None:
    """Only the canonical form is taken."""
    with pytest.raises(ValueError, match=r"workflow id|badly formed"):
        batch_id_of(workflow_id)
