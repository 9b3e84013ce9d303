"""Signatures against the published vectors and the reference verifier."""

from __future__ import annotations

import base64
import json
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from starter.webhooks import secret_text
from webhooks.signing import signature, signed_headers

SECRET = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP_S = 1614265330


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"test": 2432232314}', "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ("", "v1,v48jdbgvh29KJz2Qc+ghw8G6vG3nAKnujWBg8oM/62A="),
        ('{"name":"héllo"}', "v1,0vsrHn/P6hlCm5nnCDSa6lhpREBMiqK0FMupkY68AKo="),
    ],
)
def test_signature_matches_published_vectors(body: str, expected: str) -> None:
    """A signature equals the one the specification's libraries make."""
    assert signature(SECRET, MESSAGE_ID, TIMESTAMP_S, body.encode()) == expected


def test_reference_library_verifies_headers() -> None:
    """The reference library accepts the headers with the secret as its owner got it, and refuses another body."""
    secret, body = bytes(range(32)), json.dumps({"type": "transfer.completed", "name": "é"}).encode()
    headers = signed_headers(secret, "0b6f", int(time.time()), body)
    assert Webhook(secret_text(secret)).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(secret)).verify(body + b" ", headers)
