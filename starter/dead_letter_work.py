"""What `transfers dead-letters replay|discard` do: count, ask, act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import typer
from pydantic import ValidationError

from ledger.dead_letters import DeadLetter, DeadLetters, OpenCount, Signature
from starter.counting import counted
from starter.dead_letter_views import DoneView
from starter.exit_codes import ExitCode
from starter.printing import say
from starter.replays import ReplayClient, ReplayStanding
from workflows.interface.codes import DeadLetterStatus, ErrorCode
from workflows.interface.dead_letters import LetterFilter, LetterSelection, ReplayInput
from workflows.interface.errors import RequestError
from workflows.interface.faults import told
from workflows.interface.message import Request

RequestT = TypeVar("RequestT", bound=Request)


class Asked(NamedTuple):
    """How a command shall go about it."""

    everything: bool
    yes: bool
    as_json: bool


def checked(message: type[RequestT], /, **fields: Any) -> RequestT:
    """The message with these fields.

    Raises:
        RequestError: INVALID_INPUT, naming the fields.
    """
    try:
        return message(**fields)
    except ValidationError as error:
        raise RequestError(ErrorCode.INVALID_INPUT, told(error)) from error


async def existing_letters(ledger: DeadLetters, dead_letter_ids: Sequence[UUID]) -> list[DeadLetter]:
    """The letters.

    Raises:
        RequestError: NOT_FOUND, naming those that don't exist.
    """
    found = await ledger.letters(dead_letter_ids)
    missing = [one for one in dead_letter_ids if one not in {letter.dead_letter_id for letter in found}]
    if missing:
        first = ", ".join(map(str, missing[:5]))
        raise RequestError(
            ErrorCode.NOT_FOUND, f"no such {'dead letter' if len(missing) == 1 else 'dead letters'}: {first}"
        )
    return found


async def count_letters(ledger: DeadLetters, request: ReplayInput, asked: Asked) -> ExitCode:
    """Tells what a replay or a discarding would be about.

    Raises:
        RequestError: INVALID_INPUT, NOT_FOUND, NOT_ALLOWED.
    """
    _require_choice(request.filter, everything=asked.everything)
    _, selected = await _selected(ledger, request.filter)
    return _tell_count(selected, asked)


async def replay_letters(
    ledger: DeadLetters, client: ReplayClient, request: ReplayInput, asked: Asked, *, wait: bool
) -> ExitCode:
    """Counts, asks, starts the replay, and with `wait` stays until its end.

    Raises:
        RequestError: INVALID_INPUT, NOT_FOUND, NOT_ALLOWED.
        UnavailableError: Temporal doesn't answer.
    """
    _require_choice(request.filter, everything=asked.everything)
    standing = await client.standing(request)
    if standing is None:
        _, selected = await _selected(ledger, request.filter)
        if not selected.open:
            return _tell_count(selected, asked)
        _require_use(selected, request)
        if not _agreed(f"replay {_words(selected, force=request.force)}", asked):
            return ExitCode.BAD_INPUT
        standing = await client.start(request, selected.open)
    if wait or standing is ReplayStanding.COMPLETED:
        return await _tell_end(client, request, asked)
    state = "is running" if standing is ReplayStanding.RUNNING else "started"
    words = f"replay {request.replay_id} {state}; the same command with --replay-id {request.replay_id} tells its end"
    return _tell(DoneView(status=standing, replay_id=request.replay_id), asked, words)


async def discard_letters(ledger: DeadLetters, signed: ReplayInput, asked: Asked) -> ExitCode:
    """Counts, asks, closes the letters.

    Raises:
        RequestError: INVALID_INPUT, NOT_FOUND, NOT_ALLOWED.
    """
    _require_choice(signed.filter, everything=asked.everything)
    selection, selected = await _selected(ledger, signed.filter)
    if not selected.open:
        return _tell_count(selected, asked)
    if not _agreed(f"discard {counted(selected.open, 'open dead letter')}", asked):
        return ExitCode.BAD_INPUT
    discarded = await ledger.discard(selection, Signature(signed.by, signed.note))
    done = DoneView(status=DeadLetterStatus.DISCARDED, selected=selected.open, discarded=discarded)
    return _tell(done, asked, f"{counted(discarded, 'dead letter')} discarded")


async def _selected(ledger: DeadLetters, wanted: LetterFilter) -> tuple[LetterSelection, OpenCount]:
    selection = await ledger.select(wanted)
    selected = await ledger.count(selection)
    if wanted.dead_letter_ids:
        named = await existing_letters(ledger, wanted.dead_letter_ids)
        if not selected.open:
            closed = ", ".join(f"{letter.dead_letter_id} is {letter.status}" for letter in named[:5])
            raise RequestError(ErrorCode.NOT_ALLOWED, f"nothing of it is open: {closed}")
    return selection, selected


def _require_choice(wanted: LetterFilter, *, everything: bool) -> None:
    if everything == bool(wanted.model_fields_set and wanted.model_dump(exclude_none=True)):
        raise RequestError(
            ErrorCode.INVALID_INPUT, "name dead letters or a filter, or --all for every open one (not both)"
        )


def _require_use(selected: OpenCount, request: ReplayInput) -> None:
    if selected.forced_only == selected.open and not request.force:
        raise RequestError(
            ErrorCode.NOT_ALLOWED,
            f"{counted(selected.open, 'transfer')} failed for good, trying again unchanged can't help: mend the cause, "
            "then add --force",
        )


def _agreed(what: str, asked: Asked) -> bool:
    if asked.yes:
        return True
    try:
        if typer.confirm(f"{what}?", err=True):
            return True
    except typer.Abort:
        pass
    say("nothing was done; --yes answers for you")
    return False


def _words(selected: OpenCount, *, force: bool) -> str:
    words = counted(selected.open, "open dead letter")
    if not selected.forced_only or force:
        return words
    return f"{words} ({selected.forced_only:,} of them only with --force)"


def _tell_count(selected: OpenCount, asked: Asked) -> ExitCode:
    status = "DRY_RUN" if selected.open else "NOTHING_SELECTED"
    view = DoneView(status=status, selected=selected.open, forced_only=selected.forced_only)
    return _tell(view, asked, f"{_words(selected, force=False)} selected; nothing was done")


async def _tell_end(client: ReplayClient, request: ReplayInput, asked: Asked) -> ExitCode:
    result = await client.result(request)
    view = DoneView(
        status=ReplayStanding.COMPLETED,
        replay_id=request.replay_id,
        replayed=result.replayed,
        skipped=result.skipped,
    )
    words = f"replay {request.replay_id} has ended: {result.replayed:,} replayed, {result.skipped:,} skipped"
    return _tell(view, asked, words)


def _tell(view: DoneView, asked: Asked, words: str) -> ExitCode:
    print(view.model_dump_json(exclude_none=True) if asked.as_json else words)
    return ExitCode.OK
