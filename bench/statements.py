"""Counts the SQL statements of the worker from the server's own log, by the names they have in ledger/sql.

The wheel's Postgres has no pg_stat_statements; its log tells the same (a few lines per hundred items), and the worker
needs no switch for it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Statement
from ledger.pool import Pool
from ledger.queries import GROUPS, load

WORKER = "transfers-worker"
"""The worker's application_name."""
_SETTINGS = {
    "log_line_prefix": "'%a|'",
    "log_min_duration_statement": "0",
    # The values are slices of five hundred: not wanted in the log.
    "log_parameter_max_length": "0",
}
_ENTRY = re.compile(
    r"^(?P<application>[^|\n]*)\|LOG:  duration: (?P<ms>[0-9.]+) ms  (?P<phase>parse|bind|execute|statement)"
    r"(?: [^:\n]*)?: (?P<text>[^\n]*(?:\n\t[^\n]*)*)",
    re.MULTILINE,
)


async def log_statements(pool: Pool) -> None:
    """Has the server write every statement with its time into its log, from now on."""
    for name, value in _SETTINGS.items():
        await pool.execute(f"ALTER SYSTEM SET {name} = {value}")
    await pool.execute("SELECT pg_reload_conf()")


def names_of_statements() -> dict[str, str]:
    """The name of each statement of ledger/sql by its text."""
    return {text: name for group in GROUPS for name, text in load(group).items()}


def read_statements(log: Path, since: int, application: str = WORKER) -> list[Statement]:
    """The statements an application has run since a position of the log, the most expensive first."""
    with log.open("rb") as file:
        file.seek(since)
        text = file.read().decode(errors="replace")
    return tally(text, application, names_of_statements())


def tally(log: str, application: str, names: dict[str, str]) -> list[Statement]:
    """The statements in a piece of log. Parsing and binding add to a statement's time and not to its number."""
    calls: dict[str, int] = defaultdict(int)
    spent_ms: dict[str, float] = defaultdict(float)
    for phase, text, duration_ms in _entries(log, application):
        name = names.get(text, " ".join(text.split())[:60])
        calls[name] += phase in ("execute", "statement")
        spent_ms[name] += duration_ms
    ordered = sorted(spent_ms, key=lambda name: -spent_ms[name])
    return [Statement(name=name, calls=calls[name], total_ms=spent_ms[name]) for name in ordered]


def _entries(log: str, application: str) -> Iterator[tuple[str, str, float]]:
    for entry in _ENTRY.finditer(log):
        if entry["application"] == application:
            text = entry["text"].replace("\n\t", "\n").strip().rstrip(";")
            yield entry["phase"], text, float(entry["ms"])
