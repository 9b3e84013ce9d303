"""What callers may write, checked before anything is sent; and that the client needs no driver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from ledger.fingerprint import StagedItem, request_sha256
from starter.requests import checked_user_id, chosen_batch_id, inline_request, staged_items
from starter.settings import adopt_devstack_env, origin_of, temporal_config
from workflows.interface.batch import BatchItem
from workflows.interface.codes import ErrorCode, Settlement
from workflows.interface.errors import RequestError
from workflows.interface.names import batch_id_for
from workflows.interface.options import DEFAULT_OPTIONS, BatchOptions

OWN_ID = UUID("11111111-2222-4333-8444-555555555555")


def test_an_idempotency_key_names_the_batch() -> None:
    """The same sender and key give the same id, another sender another."""
    assert chosen_batch_id("alice", None, "order-17") == batch_id_for("alice", "order-17")
    assert chosen_batch_id(" alice ", None, "order-17") == batch_id_for("alice", "order-17")
    assert chosen_batch_id("bob", None, "order-17") != batch_id_for("alice", "order-17")


def test_without_a_key_every_batch_is_new() -> None:
    """The own id is taken; without one each call makes another."""
    assert chosen_batch_id("alice", OWN_ID, None) == OWN_ID
    assert chosen_batch_id("alice", None, None) != chosen_batch_id("alice", None, None)


@pytest.mark.parametrize(
    ("batch_id", "key", "message"),
    [
        (OWN_ID, "k", "exclude each other"),
        (None, "", "1 to 256 bytes"),
        (None, "é" * 129, "this has 258"),
        (None, "\ud800", "isn't UTF-8"),
    ],
)
def test_an_unfit_key_is_refused(batch_id: UUID | None, key: str, message: str) -> None:
    """A key beside an id, an empty, an oversized and an undecodable key are INVALID_INPUT."""
    with pytest.raises(RequestError, match=message) as caught:
        chosen_batch_id("alice", batch_id, key)
    assert caught.value.code is ErrorCode.INVALID_INPUT


@pytest.mark.parametrize("user_id", ["", "  ", "a" * 65, "é" * 33, "a\nb", "a\0b", "\udcff"])
def test_an_unfit_sender_is_refused(user_id: str) -> None:
    """Empty, oversized and unprintable user ids are INVALID_INPUT."""
    with pytest.raises(RequestError) as caught:
        checked_user_id(user_id)
    assert caught.value.code is ErrorCode.INVALID_INPUT


def test_the_fingerprint_is_of_the_canonical_request() -> None:
    """The way an address or a ticket is written doesn't change it; order, sender and options do."""
    mixed, lower = "0xAb5801a7D398351b8bE11C439e05C5B3259aeC9B", "0xab5801a7d398351b8be11c439e05c5b3259aec9b"

    def of(*rows: tuple[str, str], sender: str = "alice", options: BatchOptions = DEFAULT_OPTIONS) -> bytes:
        items = [BatchItem(ticket_id=ticket, to=to) for ticket, to in rows]
        request = inline_request(sender, items, OWN_ID, options)
        return request_sha256(sender, staged_items(request), options)

    first = of(("017", mixed), ("2", "bob"))
    assert first == of(("17", lower), ("2", " bob "))
    assert first == request_sha256("alice", [StagedItem("17", mixed), StagedItem("2", "bob")], BatchOptions())
    others = {
        of(("2", "bob"), ("17", mixed)),
        of(("17", mixed), ("2", "bob"), sender="eve"),
        of(("17", mixed), ("2", "bob"), options=BatchOptions(Settlement.SINGLE)),
        of(("17", mixed)),
    }
    assert len(others | {first}) == 5


def test_too_many_inline_items_are_refused() -> None:
    """More than 2,000 inline items are INVALID_INPUT, and the message names the field."""
    items = [BatchItem(ticket_id=str(number), to="bob") for number in range(2_001)]
    with pytest.raises(RequestError, match="items") as caught:
        inline_request("alice", items, OWN_ID, BatchOptions())
    assert caught.value.code is ErrorCode.INVALID_INPUT


def test_the_client_loads_no_driver() -> None:
    """A service that only speaks to Temporal loads neither asyncpg nor httpx, nor the command line."""
    program = (
        "import sys, starter.client;"
        "print([m for m in ('asyncpg', 'httpx', 'aiohttp', 'typer', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_fill_what_the_environment_lacks(tmp_path: Path) -> None:
    """The development stack's file fills gaps only, and messages can tell where a setting came from."""
    path = tmp_path / "env"
    path.write_text(
        "# made\nDATABASE_URL=postgresql://file/\nTEMPORAL_ADDRESS='file:7233'\nTEMPORAL_NAMESPACE=n\nSECRET=s\n"
    )
    environment = {"DATABASE_URL": "postgresql://own/", "TEMPORAL_ADDRESS": ""}
    adopt_devstack_env(environment, path)
    assert environment["DATABASE_URL"] == "postgresql://own/"
    assert "SECRET" not in environment
    assert origin_of("DATABASE_URL", environment) == "from DATABASE_URL"
    assert origin_of("TEMPORAL_ADDRESS", environment) == "from .devstack/env"
    config = temporal_config(environment)
    assert (config.get("target_host"), config.get("namespace")) == ("file:7233", "n")
    assert temporal_config({}).get("target_host") == "localhost:7233"
