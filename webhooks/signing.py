"""Standard Webhooks 1.0.0, symmetric form: the signature and the headers of one attempt."""

from __future__ import annotations

import base64
import hashlib
import hmac


def signature(secret: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """The `webhook-signature` value: HMAC-SHA256 over `id.timestamp.body` with the decoded secret's bytes.

    `message_id` must not contain a dot. Source: Standard Webhooks, "Signature scheme".
    """
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def signed_headers(secret: bytes, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt; id and body stay the same over all attempts, time and signature are new."""
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": signature(secret, message_id, timestamp_s, body),
    }
