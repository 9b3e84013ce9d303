"""`transfers health`: whether everything is there that jobs need; an error and a line for each thing that isn't."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from temporalio.service import RPCError

from ledger.alerts import AlertLedger
from ledger.migrate import missing_migrations
from ledger.pool import Pool
from starter.connections import connect_temporal, open_postgres
from starter.errors import SettingsError, UnavailableError
from starter.exit_codes import ExitCode
from starter.monitoring import read_queues, read_schedules
from starter.printing import say
from starter.running import run
from workflows.interface.alert_rules import conditions_of
from workflows.interface.alerts import Measured, QueueState, ScheduleState, Thresholds
from workflows.interface.codes import AlertKind
from workflows.interface.message import Message

ALERTS_SHOWN = 20
# The worker's own thresholds may be others; these two kinds are what health is about.
_LIMITS = Thresholds()


class Level(StrEnum):
    """How a part is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(Message):
    """One part of the service and how it is."""

    part: str
    level: Level
    text: str


class Health(Message):
    """Everything that was looked at."""

    healthy: bool
    """Without errors; warnings may be there."""
    findings: tuple[Finding, ...]


def health(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say whether Temporal, Postgres, workers and schedules are there; exit code 6 if anything is missing."""

    async def command() -> ExitCode:
        told = await asyncio.gather(_temporal(), _postgres())
        findings = tuple(finding for part in told for finding in part)
        healthy = not any(finding.level is Level.ERROR for finding in findings)
        if as_json:
            print(Health(healthy=healthy, findings=findings).model_dump_json())
        else:
            _print(findings)
        return ExitCode.OK if healthy else ExitCode.UNHEALTHY

    run(command())


def _print(findings: Sequence[Finding]) -> None:
    for finding in findings:
        line = f"{finding.level}: {finding.part}: {finding.text}"
        # What is sound is the result; what isn't belongs where it's seen even if that goes to a file.
        print(line, flush=True) if finding.level is Level.OK else say(line)


async def _temporal() -> Sequence[Finding]:
    try:
        client = await connect_temporal()
    except (UnavailableError, SettingsError) as error:
        return [Finding(part="temporal", level=Level.ERROR, text=str(error))]
    try:
        queues, schedules = await asyncio.gather(read_queues(client), read_schedules(client))
    except RPCError as error:
        text = f"doesn't answer as it should: {error.message} ({error.status.name})"
        return [Finding(part="temporal", level=Level.ERROR, text=text)]
    answers = Finding(part="temporal", level=Level.OK, text=f"answers, namespace {client.namespace}")
    return [answers, *map(_queue, queues), *map(_schedule, schedules)]


def _queue(state: QueueState) -> Finding:
    part = f"queue {state.queue}"
    found = {condition.kind: condition.message for condition in conditions_of(Measured(queues=[state]), _LIMITS)}
    if not found:
        return Finding(part=part, level=Level.OK, text=f"a worker polls, {state.depth:,} tasks wait")
    level = Level.ERROR if AlertKind.NO_WORKER in found else Level.WARNING
    return Finding(part=part, level=level, text="; ".join(found.values()))


def _schedule(state: ScheduleState) -> Finding:
    part = f"schedule {state.schedule_id}"
    if state.exists and state.paused:
        text = f"is paused: `transfers schedules resume {state.schedule_id}` lets it go on"
        return Finding(part=part, level=Level.ERROR, text=text)
    missed = [condition.message for condition in conditions_of(Measured(schedules=[state]), _LIMITS)]
    if missed:
        return Finding(part=part, level=Level.ERROR, text=missed[0])
    return Finding(part=part, level=Level.OK, text=_in_time(state))


def _in_time(state: ScheduleState) -> str:
    if not state.begun:
        return "not due yet"
    return f"ran in time, {state.last_success_age_s:.0f} s ago" if state.succeeded else "no run has gone through yet"


async def _postgres() -> Sequence[Finding]:
    try:
        async with open_postgres() as pool:
            schema = await _schema(pool)
            return [schema] if schema.level is Level.ERROR else [schema, *await _alerts(pool)]
    except (UnavailableError, SettingsError) as error:
        return [Finding(part="postgres", level=Level.ERROR, text=str(error))]


async def _schema(pool: Pool) -> Finding:
    missing = await missing_migrations(pool)
    if missing:
        text = f"the schema lacks {', '.join(missing)}: start a worker, which brings it up to date"
        return Finding(part="postgres", level=Level.ERROR, text=text)
    return Finding(part="postgres", level=Level.OK, text="answers, the schema is there")


async def _alerts(pool: Pool) -> Sequence[Finding]:
    found = await AlertLedger(pool).list(with_closed=False)
    told = [
        Finding(
            part=f"alert {alert.alert_id}", level=Level.WARNING, text=f"{alert.kind} {alert.subject}: {alert.message}"
        )
        for alert, _ in found[:ALERTS_SHOWN]
    ]
    left = len(found) - len(told)
    if left > 0:
        text = f"and {left:,} more: transfers alerts list"
        told.append(Finding(part="alerts", level=Level.WARNING, text=text))
    return told or [Finding(part="alerts", level=Level.OK, text="none is open")]
