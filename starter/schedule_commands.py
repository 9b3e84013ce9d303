"""`transfers schedules apply|list|trigger|pause|resume`: the scheduled jobs."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer
from pydantic import ValidationError
from temporalio.client import ScheduleHandle
from temporalio.service import RPCError, RPCStatusCode

from starter.connections import connect_temporal
from starter.errors import SettingsError, UnavailableError
from starter.exit_codes import ExitCode
from starter.job_settings import JobSettings
from starter.requests import checked_reason
from starter.running import run
from starter.schedule_reports import ANSWER_TIMEOUT, RunView, ScheduleView, schedule_views
from starter.schedules import put_schedules, scheduled_jobs
from starter.tables import TIME, print_table
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError
from workflows.interface.names import ScheduleId

app = typer.Typer(no_args_is_help=True, help="Scheduled jobs: apply, list, trigger, pause, resume.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]
_COLUMNS = ("schedule", "every", "state", "last run", "what it did", "next run")


@app.command()
def apply(as_json: AsJson = False) -> None:
    """Put all schedules in place as the settings say, also ones that were deleted; a pause stays.

    Intervals and limits are read from the environment, as the worker does: give both the same variables.
    """

    async def command() -> ExitCode:
        settings, client = _settings(), await connect_temporal()
        with _temporal_told():
            applied = await put_schedules(client, settings)
        if as_json:
            print(json.dumps([{"id": one, "applied": what} for one, what in applied.items()]))
        else:
            print("\n".join(f"{one}: {what}" for one, what in applied.items()))
        return ExitCode.OK

    run(command())


@app.command("list")
def list_schedules(as_json: AsJson = False) -> None:
    """List all schedules with the last run's result and the next run."""

    async def command() -> ExitCode:
        jobs, client = scheduled_jobs(_settings()), await connect_temporal()
        with _temporal_told():
            views = await schedule_views(client, jobs)
        if as_json:
            print(json.dumps([view.model_dump(mode="json") for view in views]))
        else:
            print_table(_COLUMNS, map(_cells, views))
        return ExitCode.OK

    run(command())


@app.command()
def trigger(schedule_id: Id, as_json: AsJson = False) -> None:
    """Begin a run now, also of a paused schedule; nothing happens while one runs."""
    run(_steered(schedule_id, "trigger", lambda handle: handle.trigger(rpc_timeout=ANSWER_TIMEOUT), as_json))


@app.command()
def pause(
    schedule_id: Id,
    reason: Annotated[str, typer.Option(help="Kept with the schedule.")] = "paused by an operator",
    as_json: AsJson = False,
) -> None:
    """Begin no more runs; one that runs goes on. It stays paused, whatever worker starts, until it's resumed."""

    async def ask(handle: ScheduleHandle) -> None:
        await handle.pause(note=checked_reason(reason), rpc_timeout=ANSWER_TIMEOUT)

    run(_steered(schedule_id, "pause", ask, as_json))


@app.command()
def resume(schedule_id: Id, as_json: AsJson = False) -> None:
    """Let a paused schedule go on."""

    async def ask(handle: ScheduleHandle) -> None:
        await handle.unpause(note="resumed by an operator", rpc_timeout=ANSWER_TIMEOUT)

    run(_steered(schedule_id, "resume", ask, as_json))


async def _steered(
    schedule_id: str, what: str, ask: Callable[[ScheduleHandle], Awaitable[None]], as_json: bool
) -> ExitCode:
    known = _known(schedule_id)
    client = await connect_temporal()
    with _temporal_told(known):
        await ask(client.get_schedule_handle(known))
    if as_json:
        print(json.dumps({"id": known, "requested": what}))
    else:
        print(f"{known}: {what} requested")
    return ExitCode.OK


@contextmanager
def _temporal_told(schedule_id: ScheduleId | None = None) -> Iterator[None]:
    """Temporal's faults in the words of schedules.

    Raises:
        RequestError: NOT_FOUND, the schedule was deleted.
        UnavailableError: Temporal doesn't answer.
    """
    try:
        yield
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND and schedule_id is not None:
            why = f"schedule {schedule_id} isn't there: `transfers schedules apply` puts it back"
            raise RequestError(ErrorCode.NOT_FOUND, why) from error
        raise UnavailableError(
            f"Temporal doesn't answer as it should: {error.message} ({error.status.name})"
        ) from error


def _known(schedule_id: str) -> ScheduleId:
    try:
        return ScheduleId(schedule_id)
    except ValueError as error:
        why = f"there is no schedule {schedule_id!r}; known are {', '.join(sorted(ScheduleId))}"
        raise RequestError(ErrorCode.NOT_FOUND, why) from error


def _settings() -> JobSettings:
    try:
        return JobSettings()
    except ValidationError as error:
        faults = [
            f"{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_url=False)
        ]
        raise SettingsError("\n".join(faults)) from error


def _cells(view: ScheduleView) -> tuple[str, ...]:
    state = "running" if view.running else "waits"
    if view.paused:
        state = f"paused: {view.note}" if view.note else "paused"
    if not view.exists:
        state = "missing: transfers schedules apply puts it back"
    last = view.last_run
    return (
        view.id,
        _span(view.every_s),
        state,
        _time(last.started_at if last else None),
        _deed(last) if last else "-",
        _time(view.next_run_at),
    )


def _deed(last: RunView) -> str:
    """The result in a few words: what isn't zero or empty."""
    if last.failure is not None:
        return f"{last.status}: {last.failure}"
    if last.result is None:
        return last.status
    told_fields = [f"{name} {value}" for name, value in last.result.items() if value and not isinstance(value, list)]
    return ", ".join(told_fields) or "nothing to do"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _time(moment: datetime | None) -> str:
    return moment.strftime(TIME) if moment else "-"
