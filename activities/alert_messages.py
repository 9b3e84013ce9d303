"""How an alert is told: the body of a Standard Webhooks event, Slack's form, and a line of the log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from ledger.alerts import AlertRow, BodyOf
from workflows.interface.codes import AlertChannel, AlertNotice

MOST_CHARACTERS = 2000
"""Of a message: an exception's text may be long, receivers take 20 kB."""
_SLACK_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def webhook_body(alert: AlertRow, notice: AlertNotice) -> str:
    """An event of type `alert.opened`, `alert.repeated` or `alert.closed`."""
    data = {
        "alertId": alert.alert_id,
        "kind": alert.kind,
        "subject": alert.subject,
        "severity": alert.severity,
        "message": alert.message[:MOST_CHARACTERS],
        "value": alert.value,
        "threshold": alert.threshold,
        "seen": alert.seen,
        "openedAt": _time(alert.opened_at),
        "lastSeenAt": _time(alert.last_seen_at),
        "closedAt": _time(alert.closed_at),
        "closeMessage": _how_closed(alert) if notice is AlertNotice.CLOSED else None,
    }
    told = {name: value for name, value in data.items() if value is not None}
    event = {"type": f"alert.{notice}", "timestamp": _time(datetime.now(UTC)), "data": told}
    return json.dumps(event, ensure_ascii=False)


def slack_body(alert: AlertRow, notice: AlertNotice) -> str:
    """What Slack's incoming webhooks take, and those who copy them."""
    return json.dumps({"text": log_line(alert, notice).translate(_SLACK_ESCAPES)}, ensure_ascii=False)


def log_line(alert: AlertRow, notice: AlertNotice) -> str:
    """One line: what it is, since when, and how it ended."""
    lead = f"{_LEADS[notice]} [{alert.severity}] {alert.kind} {alert.subject}"
    if notice is AlertNotice.CLOSED:
        return _one_line(f"{lead}: {_how_closed(alert)} (open since {alert.opened_at:%F %T} UTC: {alert.message})")
    since = f" (since {alert.opened_at:%F %T} UTC)" if notice is AlertNotice.REPEATED else ""
    return _one_line(f"{lead}: {alert.message}{since}")


BODIES: Mapping[AlertChannel, BodyOf] = {
    AlertChannel.LOG: log_line,
    AlertChannel.WEBHOOK: webhook_body,
    AlertChannel.SLACK: slack_body,
}

_LEADS = {AlertNotice.OPENED: "alert", AlertNotice.REPEATED: "alert still open", AlertNotice.CLOSED: "alert closed"}


def _how_closed(alert: AlertRow) -> str:
    return alert.close_message or "closed by hand"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MOST_CHARACTERS]


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
