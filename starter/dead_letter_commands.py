"""`transfers dead-letters …`: what used up its retries: list, show, replay, discard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer

from ledger.dead_letters import DeadLetters
from starter.connections import connect_temporal, open_postgres
from starter.dead_letter_views import print_letter, print_letters
from starter.dead_letter_work import (
    Asked,
    checked,
    count_letters,
    discard_letters,
    existing_letters,
    replay_letters,
)
from starter.exit_codes import ExitCode
from starter.operators import user_of_system
from starter.replays import ReplayClient
from starter.running import run
from starter.times import span
from workflows.interface.codes import DeadLetterKind, DeadLetterStatus
from workflows.interface.dead_letters import DEFAULT_PER_SECOND, MOST_PER_SECOND, LetterFilter, ReplayInput

app = typer.Typer(no_args_is_help=True, help="Dead letters: what used up its retries. List, show, replay, discard.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON (camelCase).")]
Kind = Annotated[DeadLetterKind | None, typer.Option(case_sensitive=False, help="Only of this kind.")]
Code = Annotated[str | None, typer.Option(help="Only of this failure code, e.g. NOT_APPROVED or TIMEOUT.")]
OlderThan = Annotated[
    timedelta | None, typer.Option(parser=span, metavar="AGE", help="Last failure at least so long ago: 90s, 2h, 3d.")
]
NewerThan = Annotated[
    timedelta | None, typer.Option(parser=span, metavar="AGE", help="Last failure less than so long ago.")
]
OfBatch = Annotated[UUID | None, typer.Option("--batch", metavar="ID", help="Only of this batch.")]
OfEndpoint = Annotated[
    UUID | None, typer.Option("--endpoint", metavar="ID", help="Only deliveries to this webhook subscription.")
]
Ids = Annotated[list[UUID] | None, typer.Argument(metavar="ID", help="Dead letters, as `list` shows them.")]
Everything = Annotated[bool, typer.Option("--all", help="Every open dead letter, where no id and no filter is given.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count what is selected; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]
By = Annotated[str | None, typer.Option(help="Who does it, for the record (default: the system's user name).")]
Note = Annotated[str | None, typer.Option(help="Why, for the record.")]


@app.command("list")
def list_letters(
    *,
    kind: Kind = None,
    code: Code = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    batch: OfBatch = None,
    endpoint: OfEndpoint = None,
    status: Annotated[DeadLetterStatus, typer.Option(case_sensitive=False, help="Only of this status.")] = (
        DeadLetterStatus.OPEN
    ),
    any_status: Annotated[bool, typer.Option("--all", help="Of any status.")] = False,
    after: Annotated[UUID | None, typer.Option(metavar="ID", help="Those behind this one, the last listed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first; the open ones unless told otherwise."""

    async def command() -> ExitCode:
        wanted = _filter(
            kind=kind, code=code, older_than=older_than, newer_than=newer_than, batch=batch, endpoint=endpoint
        )
        async with open_postgres() as pool:
            ledger = DeadLetters(pool)
            found = await ledger.list_page(await ledger.select(wanted), None if any_status else status, after, limit)
        print_letters(found, as_json=as_json, may_go_on=len(found) == limit)
        return ExitCode.OK

    run(command())


@app.command()
def show(
    dead_letter_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: what failed, why, how often, where its payload stands, and who did what about it."""

    async def command() -> ExitCode:
        async with open_postgres() as pool:
            ledger = DeadLetters(pool)
            [letter] = await existing_letters(ledger, [dead_letter_id])
            print_letter(letter, await ledger.actions(dead_letter_id), as_json=as_json)
        return ExitCode.OK

    run(command())


@app.command(
    epilog="Examples:\n\n  transfers dead-letters replay --kind delivery --endpoint 0199… --dry-run\n\n"
    "  transfers dead-letters replay --code NOT_APPROVED --force --note 'approval given' --wait"
)
def replay(
    ids: Ids = None,
    *,
    kind: Kind = None,
    code: Code = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    batch: OfBatch = None,
    endpoint: OfEndpoint = None,
    everything: Everything = False,
    force: Annotated[bool, typer.Option("--force", help="Also transfers whose code says it can't help.")] = False,
    per_second: Annotated[
        int, typer.Option(min=1, max=MOST_PER_SECOND, help="At most so many a second.")
    ] = DEFAULT_PER_SECOND,
    replay_id: Annotated[
        UUID | None, typer.Option(metavar="ID", help="Your own id: the same command again does nothing twice.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    by: By = None,
    note: Note = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give open dead letters another go, as a workflow of its own: paced, and resumed by the same command.

    Transfers are reopened, deliveries get all their attempts anew, jobs are run. Cancel the workflow to pause it.
    """

    async def command() -> ExitCode:
        wanted = _filter(
            ids=ids, kind=kind, code=code, older_than=older_than, newer_than=newer_than, batch=batch, endpoint=endpoint
        )
        request = checked(
            ReplayInput,
            replay_id=replay_id or uuid4(),
            filter=wanted,
            by=by or user_of_system(),
            note=note,
            force=force,
            per_second=per_second,
        )
        asked = Asked(everything=everything, yes=yes, as_json=as_json)
        async with open_postgres() as pool:
            ledger = DeadLetters(pool)
            if dry_run:
                return await count_letters(ledger, request, asked)
            client = ReplayClient(await connect_temporal())
            return await replay_letters(ledger, client, request, asked, wait=wait)

    run(command())


@app.command()
def discard(
    ids: Ids = None,
    *,
    kind: Kind = None,
    code: Code = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    batch: OfBatch = None,
    endpoint: OfEndpoint = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    by: By = None,
    note: Note = None,
    as_json: AsJson = False,
) -> None:
    """Close open dead letters without another go; they stay on record with who did it and why."""

    async def command() -> ExitCode:
        wanted = _filter(
            ids=ids, kind=kind, code=code, older_than=older_than, newer_than=newer_than, batch=batch, endpoint=endpoint
        )
        # Checked by the same rules as a replay's.
        signed = checked(ReplayInput, replay_id=uuid4(), filter=wanted, by=by or user_of_system(), note=note)
        asked = Asked(everything=everything, yes=yes, as_json=as_json)
        async with open_postgres() as pool:
            work = count_letters if dry_run else discard_letters
            return await work(DeadLetters(pool), signed, asked)

    run(command())


def _filter(
    *,
    ids: Sequence[UUID] | None = None,
    kind: DeadLetterKind | None,
    code: str | None,
    older_than: timedelta | None,
    newer_than: timedelta | None,
    batch: UUID | None,
    endpoint: UUID | None,
) -> LetterFilter:
    given: dict[str, Any] = {
        "dead_letter_ids": tuple(ids) if ids else None,
        "kind": kind,
        "code": code,
        "batch_id": batch,
        "subscription_id": endpoint,
        "older_than_s": None if older_than is None else older_than.total_seconds(),
        "newer_than_s": None if newer_than is None else newer_than.total_seconds(),
    }
    return checked(LetterFilter, **given)
