"""Loads the named SQL: files in `sql/`, where each statement has a name and a line that says what it's for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

GROUPS = (
    "batches",
    "runs",
    "transfers",
    "singles",
    "chain",
    "webhooks",
    "figures",
    "dead_letters",
    "rate_limits",
    "maintenance",
    "transfer_reports",
    "proof",
    "alerts",
    "reports",
)
"""The files of `sql/`, one per group of tables."""

_HEADER = re.compile(r"^-- name: (\w+)\n((?:-- .*\n)+)", re.MULTILINE)


def statement_names() -> dict[str, str]:
    """The names of all statements by their text, with their group: for who sees a statement pass by."""
    return {text: f"{group}.{name}" for group in GROUPS for name, text in load(group).items()}


def load(group: str) -> Mapping[str, str]:
    """The statements of one group by name.

    Raises:
        ValueError: a statement has no purpose line, or a name stands twice.
    """
    text = (files("ledger") / "sql" / f"{group}.sql").read_text()
    headers = list(_HEADER.finditer(text))
    if len(headers) != text.count("-- name:"):
        raise ValueError(f"sql/{group}.sql: each name needs a line of purpose under it")
    ends = [header.start() for header in headers[1:]] + [len(text)]
    statements = {h[1]: text[h.end() : end].strip().rstrip(";") for h, end in zip(headers, ends, strict=True)}
    if len(statements) != len(headers):
        raise ValueError(f"sql/{group}.sql: a name stands twice")
    return MappingProxyType(statements)
