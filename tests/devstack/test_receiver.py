"""The receiver: only a right signature over the very bytes, lately sent, counts."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import orjson
import pytest
from standardwebhooks.webhooks import Webhook

from devstack.errors import StackError
from devstack.receiver import Received, secret_key

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, more or less").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"another key of thirty-two bytes or so").decode()
SENT_AT = datetime(2026, 1, 1, tzinfo=UTC)
BODY = orjson.dumps({"type": "transfer.completed", "timestamp": "2026-01-01T00:00:00Z", "data": {}})


def headers(secret: str, webhook_id: str = "evt_1") -> dict[str, str]:
    """What a sender with this secret sends."""
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(SENT_AT.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, SENT_AT, BODY.decode()),
    }


def test_a_signed_webhook_counts() -> None:
    """A webhook signed by the reference library is counted by id and type."""
    received = Received([SECRET])
    assert received.take(headers(SECRET), BODY, SENT_AT.timestamp())
    assert received.take(headers(SECRET), BODY, SENT_AT.timestamp() + 60)
    assert received.summary() == {
        "received": 2,
        "distinctIds": 1,
        "badSignatures": 0,
        "types": {"transfer.completed": 2},
    }


@pytest.mark.parametrize(
    ("changes", "body", "later_s"),
    [
        ({"webhook-id": "evt_2"}, BODY, 0),
        ({"webhook-timestamp": "1"}, BODY, 0),
        ({"webhook-timestamp": "soon"}, BODY, 0),
        ({"webhook-signature": ""}, BODY, 0),
        ({}, BODY + b" ", 0),
        ({}, BODY, 301),
        ({}, BODY, -301),
    ],
)
def test_anything_changed_or_old_is_refused(changes: dict[str, str], body: bytes, later_s: int) -> None:
    """A changed id, time or body, no signature, or one of another time than now is refused and counted as bad."""
    received = Received([SECRET])
    assert not received.take(headers(SECRET) | changes, body, SENT_AT.timestamp() + later_s)
    assert received.summary()["badSignatures"] == 1


def test_a_secret_may_come_later() -> None:
    """A secret that is added while it runs is accepted from then on; any of the secrets may have signed."""
    received = Received([SECRET])
    assert not received.take(headers(OTHER_SECRET), BODY, SENT_AT.timestamp())
    received.add_secret(OTHER_SECRET)
    assert received.take(headers(OTHER_SECRET), BODY, SENT_AT.timestamp())


def test_a_malformed_secret_is_an_error() -> None:
    """A secret that isn't base64 is refused in one line."""
    with pytest.raises(StackError, match="whsec_"):
        secret_key("whsec_###")
