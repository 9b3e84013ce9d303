"""docs/interface.md and the README name what the code has: codes, statuses, names, settings."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import pytest

from starter.exit_codes import ExitCode
from worker_settings import WorkerSettings
from workflows.interface.codes import (
    AlertKind,
    BatchStatus,
    DeliveryStatus,
    ErrorCode,
    EventType,
    FailureCode,
    ItemOrder,
    ItemStatus,
    Outcome,
    Settlement,
    TransferKind,
    TransferStatus,
)
from workflows.interface.deliveries import AttemptError
from workflows.interface.names import (
    BATCH_NAMESPACE,
    MemoKey,
    Query,
    Queue,
    ScheduleId,
    SearchAttribute,
    Signal,
    Update,
    WorkflowType,
)

ROOT = Path(__file__).resolve().parents[2]
INTERFACE = (ROOT / "docs" / "interface.md").read_text()
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize(
    "words",
    [
        AttemptError,
        BatchStatus,
        DeliveryStatus,
        ErrorCode,
        EventType,
        FailureCode,
        ItemOrder,
        ItemStatus,
        MemoKey,
        Outcome,
        Query,
        Queue,
        ScheduleId,
        SearchAttribute,
        Settlement,
        Signal,
        TransferKind,
        TransferStatus,
        Update,
        WorkflowType,
    ],
)
def test_every_word_is_documented(words: type[StrEnum]) -> None:
    """Every code, status and name that callers see stands in docs/interface.md."""
    assert [word for word in words if f"`{word}`" not in INTERFACE] == []


def test_failure_codes_are_told_as_they_are() -> None:
    """The table of failure codes has a row per code with its meaning and whether it's retryable, and no other row."""
    rows = {f"| `{code}` | {'yes' if code.retryable else 'no'} | {code.meaning} |" for code in FailureCode}
    told = set(re.findall(r"^\| `[A-Z_]+` \| (?:yes|no) \| .+ \|$", section("Failure codes of items"), re.MULTILINE))
    assert told == rows


def test_exit_codes_are_told_as_they_are() -> None:
    """The table of exit codes has a row per code with its meaning."""
    assert [code for code in ExitCode if f"| {code.value} | `{code.name}` | {code.meaning} |" not in INTERFACE] == []


def test_batch_namespace_is_published() -> None:
    """The namespace of batch ids stands in docs/interface.md."""
    assert str(BATCH_NAMESPACE) in INTERFACE


def test_every_alert_has_a_remedy() -> None:
    """Every kind of alert stands in docs/operations.md."""
    assert [kind for kind in AlertKind if f"`{kind}`" not in OPERATIONS] == []


def test_every_setting_is_documented() -> None:
    """Every environment variable of the worker stands in the README with its default."""
    missing = []
    for name, field in WorkerSettings.model_fields.items():
        default = "none" if field.is_required() or field.default is None else f"`{field.default}`"
        if not re.search(rf"^\| `{name.upper()}` \| {re.escape(default)} \|", README, re.MULTILINE):
            missing.append(name.upper())
    assert missing == []


def test_deployment_keeps_the_defaults() -> None:
    """Where deploy/env.example and the compose file name a setting's default, it's the worker's own; empty is unset."""
    example = dict(re.findall(r"^([A-Z_]+)=(.+)$", (ROOT / "deploy" / "env.example").read_text(), re.MULTILINE))
    compose = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", (ROOT / "docker-compose.temporal.yml").read_text()))
    defaults = {n.upper(): str(f.default or "") for n, f in WorkerSettings.model_fields.items() if not f.is_required()}
    told = [(name, value) for values in (example, compose) for name, value in values.items() if name in defaults]
    assert [(name, value) for name, value in told if value and defaults[name] != value] == []


def section(title: str) -> str:
    """The text under a heading of docs/interface.md."""
    return INTERFACE.partition(f"## {title}\n")[2].partition("\n## ")[0]
