"""What `transfers dead-letters …` prints: letters as JSON models (camelCase), and the tables made of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ledger.dead_letters import Action, DeadLetter
from starter.printing import PIPED_WIDTH, safe, say
from workflows.interface.codes import DeadLetterAction, DeadLetterKind, DeadLetterStatus
from workflows.interface.message import Message

_TIME = "%Y-%m-%d %H:%M:%S"


class ActionView(Message):
    """What somebody did about a letter."""

    action: DeadLetterAction
    by: str
    at: datetime
    replay_id: UUID | None
    note: str | None


class LetterView(Message):
    """A dead letter as it's printed; `payload_ref` says where its payload stands."""

    dead_letter_id: UUID
    kind: DeadLetterKind
    status: DeadLetterStatus
    transfer_id: UUID | None
    batch_id: UUID | None
    item_no: int | None
    subscription_id: UUID | None
    event_id: UUID | None
    job: str | None
    code: str
    reason: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime
    payload_ref: str
    closed_at: datetime | None
    closed_by: str | None


class LetterDetails(LetterView):
    """A letter with what was done about it."""

    actions: tuple[ActionView, ...]


class DoneView(Message):
    """What a replay or a discarding did, or would do."""

    status: str
    """DRY_RUN, NOTHING_SELECTED, STARTED, RUNNING, COMPLETED or DISCARDED."""
    selected: int | None = None
    """Open letters that were selected."""
    forced_only: int | None = None
    """Of them, those that only `--force` replays."""
    replay_id: UUID | None = None
    replayed: int | None = None
    skipped: int | None = None
    discarded: int | None = None


def print_letters(letters: Sequence[DeadLetter], *, as_json: bool, may_go_on: bool) -> None:
    """A page of letters, and how to get the next."""
    if as_json:
        print(json.dumps([_view(letter).model_dump(mode="json") for letter in letters]))
        return
    if not letters:
        say("no dead letters")
        return
    table = Table("dead letter", "kind", "status", "subject", "code", "attempts", "last failure (UTC)", "reason")
    table.columns[0].no_wrap = True
    for one in letters:
        cells = (one.kind, one.status, subject_of(one), one.code, str(one.attempts), _time(one.last_failed_at))
        table.add_row(str(one.dead_letter_id), *cells, safe(one.reason))
    _console().print(table)
    if may_go_on:
        say(f"maybe more: --after {letters[-1].dead_letter_id}")


def print_letter(letter: DeadLetter, actions: Sequence[Action], *, as_json: bool) -> None:
    """One letter with what was done about it."""
    done = tuple(ActionView(**action._asdict()) for action in actions)
    if as_json:
        print(LetterDetails(**letter._asdict(), actions=done).model_dump_json())
        return
    table = Table.grid(padding=(0, 2))
    for name, value in _rows(letter).items():
        table.add_row(Text(name, style="bold"), safe(value))
    for one in done:
        replay = f" (replay {one.replay_id})" if one.replay_id else ""
        note = f": {one.note}" if one.note else ""
        table.add_row(Text(one.action, style="bold"), safe(f"{_time(one.at)} by {one.by}{replay}{note}"))
    _console().print(table)


def subject_of(letter: DeadLetter) -> str:
    """What the letter is about, in a word or two."""
    if letter.job:
        return letter.job
    if letter.event_id:
        return f"event {letter.event_id} for {letter.subscription_id}"
    return f"transfer {letter.transfer_id}" if letter.batch_id is None else f"batch {letter.batch_id} #{letter.item_no}"


def _rows(letter: DeadLetter) -> dict[str, str]:
    closed = f" {_time(letter.closed_at)} by {letter.closed_by}" if letter.closed_at else ""
    return {
        "dead letter": f"{letter.dead_letter_id} ({letter.kind})",
        "status": f"{letter.status}{closed}",
        "subject": subject_of(letter),
        "code": letter.code,
        "reason": letter.reason,
        "attempts": str(letter.attempts),
        "first failure": f"{_time(letter.first_failed_at)} UTC",
        "last failure": f"{_time(letter.last_failed_at)} UTC",
        "payload": letter.payload_ref,
    }


def _view(letter: DeadLetter) -> LetterView:
    return LetterView(**letter._asdict())


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_TIME)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)
