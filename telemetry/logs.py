"""What the worker writes to its log: lines for people, or a JSON object per line for machines; never a secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from opentelemetry import trace
from temporalio import activity, workflow

from workflows.interface.names import batch_id_of, transfer_id_of

SHORTEST_SECRET = 4
"""A shorter one can't be told from ordinary text: striking it out would make the log unreadable."""
_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class LogFormat(StrEnum):
    """How lines look."""

    TEXT = "text"
    JSON = "json"


class Discreet(logging.Formatter):
    """Lines for people. Strikes out what must not stand in a log, whoever wrote it there."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__(_TEXT)
        # The longest first: a secret may be a part of another.
        self._secrets = sorted({one for one in secrets if len(one) >= SHORTEST_SECRET}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        return self.struck(super().format(record))

    def struck(self, text: str) -> str:
        """The text without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class JsonLines(Discreet):
    """One JSON object per line, with the ids of the workflow, batch or transfer that is being worked on."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_work(record),
            **_traced(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # Secrets are struck out before the text is escaped: afterwards they would look different.
        return json.dumps({name: self._clean(value) for name, value in line.items()}, ensure_ascii=False, default=str)

    def _clean(self, value: Any) -> Any:
        return self.struck(value) if isinstance(value, str) else value


def set_up_logging(log_format: LogFormat, secrets: Iterable[str]) -> None:
    """Sends the process's log to standard error in the format wanted."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(secrets) if log_format is LogFormat.JSON else Discreet(secrets))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # One line per JSON-RPC call is no help to anybody.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # The ids are fields of their own there.
    activity.logger.activity_info_on_message = log_format is LogFormat.TEXT
    workflow.logger.workflow_info_on_message = log_format is LogFormat.TEXT


def _work(record: logging.LogRecord) -> dict[str, Any]:
    """What Temporal's loggers say of themselves; any other logger's line belongs to the step it's written in."""
    told = (getattr(record, name, None) for name in ("temporal_activity", "temporal_workflow"))
    details: dict[str, Any] = next(filter(None, told), {})
    if not details and activity.in_activity():
        info = activity.info()
        details = {
            "workflow_id": info.workflow_id,
            "workflow_run_id": info.workflow_run_id,
            "workflow_type": info.workflow_type,
            "activity_type": info.activity_type,
            "attempt": info.attempt,
            "task_queue": info.task_queue,
        }
    found = {
        "workflow_id": details.get("workflow_id"),
        "run_id": details.get("workflow_run_id") or details.get("run_id"),
        "workflow_type": details.get("workflow_type"),
        "activity_type": details.get("activity_type"),
        "attempt": details.get("attempt"),
        "queue": details.get("task_queue"),
    }
    return {name: value for name, value in found.items() if value} | _subject(details.get("workflow_id") or "")


def _subject(workflow_id: str) -> dict[str, str]:
    for name, parse in (("batch_id", batch_id_of), ("transfer_id", transfer_id_of)):
        try:
            subject: UUID = parse(workflow_id)
        except ValueError:
            continue
        return {name: str(subject)}
    return {}


def _traced() -> dict[str, str]:
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}
